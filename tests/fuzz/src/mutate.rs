//! Mutators: what one input is changed by to get the next.
//!
//! Guarantee: total; an input stays below a bound however often it is mutated. Must not: know the program under test.

use crate::Random;

/// No input grows beyond this.
const LARGEST: usize = 64 * 1024;

/// What breaks parsers of text, JSON, YAML, TOML, Slack's markup, PromQL and URLs.
const HOSTILE: &[&str] = &[
    "\0",
    "\u{7}",
    "\u{202e}",
    "\u{feff}",
    "\r\n",
    "\n",
    "\\u0000",
    "\\ud800",
    "\\",
    "\"",
    "'",
    "`",
    "```",
    "&",
    "<!channel>",
    "<https://evil|ok>",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "NaN",
    "\"\"",
    "{\"a\":",
    "[[[[[[[[",
    "*x",
    "&x",
    "!!binary ",
    "<<:",
    "---\n",
    "...",
    "#",
    "%",
    "=",
    "\t",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "javascript:alert(1)",
    "http://a:b@c/",
    "}) or vector(1) #",
    "$(id)",
    "../../../etc/passwd",
    "\u{1f4a9}",
];

/// One input made of others.
#[must_use]
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.of(corpus).clone();
    for _ in 0..=random.below(6) {
        step(random, corpus, &mut bytes);
        bytes.truncate(LARGEST);
    }
    bytes
}

fn step(random: &mut Random, corpus: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    let to = at + random.below(bytes.len() - at + 1).min(64);
    match random.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.byte(),
        2 => insert(bytes, at, random.of(HOSTILE).as_bytes()),
        3 => drop(bytes.splice(at..to, random.of(HOSTILE).bytes())),
        4 => drop(bytes.drain(at..to)),
        5 => {
            let piece = bytes[at..to].to_vec();
            let into = random.below(bytes.len() + 1);
            insert(bytes, into, &piece);
        }
        6 => {
            let piece = bytes[at..to].repeat(1 + random.below(200));
            insert(bytes, at, &piece[..piece.len().min(8 * 1024)]);
        }
        7 => {
            let other = random.of(corpus);
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        8 => bytes.truncate(at),
        _ => {
            let noise: Vec<u8> = (0..random.below(16)).map(|_| random.byte()).collect();
            insert(bytes, at, &noise);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Bytes in protobuf's wire format (fields 1 to 12 of any type, nested), which messages with such fields often decode, now and then
/// damaged.
#[must_use]
pub fn bytes_of_protobuf(random: &mut Random) -> Vec<u8> {
    let mut bytes = message(random, 4);
    if random.once_in(4) {
        step(random, &[Vec::new()], &mut bytes);
    }
    bytes
}

fn message(random: &mut Random, depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(6) {
        let field = 1 + random.below(12) as u64;
        match random.below(8) {
            0..3 => {
                varint(&mut bytes, field << 3);
                let value = if random.once_in(3) { random.next() } else { random.below(8) as u64 };
                varint(&mut bytes, value);
            }
            3 => {
                varint(&mut bytes, field << 3 | 1);
                bytes.extend(random.next().to_le_bytes());
            }
            4 => {
                varint(&mut bytes, field << 3 | 5);
                bytes.extend(&random.next().to_le_bytes()[..4]);
            }
            _ => {
                let inner = match random.below(3) {
                    0 if depth > 0 => message(random, depth - 1),
                    1 => random.of(HOSTILE).as_bytes().to_vec(),
                    _ => b"lastgood".to_vec(),
                };
                varint(&mut bytes, field << 3 | 2);
                varint(&mut bytes, inner.len() as u64);
                bytes.extend(inner);
            }
        }
    }
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_mutates_the_same_and_within_bounds() {
        let corpus = [b"{\"a\": [1, 2]}".to_vec(), vec![], vec![b'x'; LARGEST]];
        let all = |seed| {
            let mut random = Random::new(seed);
            (0..2000).map(|_| mutate(&mut random, &corpus)).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(3).iter().all(|bytes| bytes.len() <= LARGEST));
    }
}
