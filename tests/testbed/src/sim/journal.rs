//! The journal of write requests, by which tests prove what was and what was not written to the cluster.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

/// One write request as it came in, and how it was answered.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    /// When it was answered.
    pub time: Timestamp,
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The `fieldManager` parameter, empty if there was none.
    pub field_manager: String,
    /// The request's content type, which tells the kinds of patches apart.
    pub content_type: String,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// The body, null if there was none.
    pub body: Value,
    /// The status code of the answer.
    pub status: u16,
}

/// All write requests so far.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Vec<JournalEntry>>);

impl Journal {
    pub(crate) fn push(&self, entry: JournalEntry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<JournalEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
