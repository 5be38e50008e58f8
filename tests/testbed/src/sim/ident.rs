//! The ambient things of the simulator in one place: the time, fresh ids, and names' random endings.

use std::cell::RefCell;

use jiff::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The characters that Kubernetes makes names of, without vowels so that no words come about.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

thread_local! {
    /// What a simulation has put in the place of the real time and randomness of this thread.
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// A clock and randomness that a simulation controls.
pub(crate) struct Source {
    pub(crate) clock: Box<dyn Fn() -> Timestamp>,
    pub(crate) random: StdRng,
    /// The millisecond in the newest uid.
    pub(crate) newest: i64,
}

/// Puts the ambient time and randomness back when it is dropped.
#[derive(Debug)]
pub(crate) struct Installed(());

/// Lets every cluster of this thread live by this source until the answer is dropped.
pub(crate) fn install(source: Source) -> Installed {
    SOURCE.set(Some(source));
    Installed(())
}

impl Drop for Installed {
    fn drop(&mut self) {
        SOURCE.set(None);
    }
}

/// The present.
#[expect(clippy::disallowed_methods, reason = "a simulated cluster lives in real time unless a simulation says otherwise")]
pub(crate) fn now() -> Timestamp {
    SOURCE.with_borrow(|source| source.as_ref().map(|source| (source.clock)())).unwrap_or_else(Timestamp::now)
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
#[expect(clippy::disallowed_methods, reason = "outside a simulation nobody replays a cluster's uids")]
fn fresh() -> Uuid {
    SOURCE.with_borrow_mut(|source| source.as_mut().map(Source::uuid)).unwrap_or_else(Uuid::now_v7)
}

impl Source {
    /// A UUID that sorts after all before it: each has a millisecond of its own.
    fn uuid(&mut self) -> Uuid {
        self.newest = (self.clock)().as_millisecond().max(self.newest + 1);
        let mut random = [0_u8; 10];
        self.random.fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(self.newest).unwrap_or_default(), &random).into_uuid()
    }
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
