//! The ambient things of the simulator in one place: the time, fresh ids, and names' random endings.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The characters that Kubernetes makes names of, without vowels so that no words come about.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The present.
#[expect(clippy::disallowed_methods, reason = "a simulated cluster lives in real time; this is its only clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The present as API objects write it: whole seconds.
pub(crate) fn now_text() -> String {
    text(now())
}

/// A time as API objects write it: whole seconds.
pub(crate) fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A fresh UUID; those made later sort later.
#[expect(clippy::disallowed_methods, reason = "a cluster's uids are its own and nobody replays them")]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// A fresh uid.
pub(crate) fn uid() -> String {
    fresh().to_string()
}

/// Four fresh random bytes.
pub(crate) fn random() -> [u8; 4] {
    let bytes = fresh().into_bytes();
    [bytes[12], bytes[13], bytes[14], bytes[15]]
}

/// A random ending for a generated name.
pub(crate) fn suffix() -> String {
    let mut number = u32::from_be_bytes(random());
    (0..5)
        .map(|_| {
            let digit = number % 27;
            number /= 27;
            char::from(SAFE[digit as usize])
        })
        .collect()
}

/// A stable hash of text in the form of a `pod-template-hash`.
pub(crate) fn template_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    number.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

/// The SHA-256 of text in hex.
pub(crate) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
