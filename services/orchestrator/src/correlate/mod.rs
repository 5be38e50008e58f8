//! From an alert to the one workload that it is about.
//!
//! `clues` reads labels and annotations into an ordered list of guesses (pure); `resolve` follows them through the cluster until one
//! leads somewhere. Guarantees: what an alert says explicitly is never second-guessed; more than one possible workload is never
//! decided by chance; an API server that can't be asked is an error, never a dismissal. Must not: write, or look at time.

mod clue;
mod resolve;

use contracts::DismissReason;

use crate::cluster::{Kind, LookupError, Object};

pub use clue::{Clue, Rules, clues};
pub use resolve::{Workload, resolve};

/// What a dismissal says at most, in characters: it quotes labels, which may have megabytes.
const DETAIL: usize = 500;

/// Why an alert leads to no workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissal {
    /// The code.
    pub reason: DismissReason,
    /// For people: what was tried.
    pub detail: String,
}

impl Dismissal {
    pub(crate) fn new(reason: DismissReason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((cut, _)) = detail.char_indices().nth(DETAIL) {
            detail.truncate(cut);
            detail.push('…');
        }
        Self { reason, detail }
    }
}

/// What following an alert's clues came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Correlation {
    /// This workload, as it is now.
    Found(Box<Workload>),
    /// None, or not one.
    Dismissed(Dismissal),
}

/// An object that clues lead to.
pub(crate) type Found = (Kind, Object);

/// Follows a result or gives up on an outage.
pub(crate) type Looked<T> = Result<T, LookupError>;
