//! What is wrong with a document, and where.
//!
//! Guarantees: names the field by its full path, what it says, and what to write instead. Must not: end the search; all problems are told.

use serde_json::Value;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field}: {text}")]
pub struct Problem {
    /// The field's full path: `spec.freeze[1].timeZone`.
    pub field: String,
    /// What it says, why that is refused, and the remedy.
    pub text: String,
}

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// A text as it stands in a document, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A value as it stands in a document.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::String(text) => quoted(text),
        plain => plain.to_string(),
    }
}

/// Where problems are collected, at one place in the document.
#[derive(Debug)]
pub(super) struct At<'a> {
    path: String,
    found: &'a mut Vec<Problem>,
}

impl<'a> At<'a> {
    pub(super) fn new(path: &str, found: &'a mut Vec<Problem>) -> Self {
        Self { path: path.to_owned(), found }
    }

    /// A field of this place.
    pub(super) fn field(&mut self, name: &str) -> At<'_> {
        At { path: format!("{}.{name}", self.path), found: self.found }
    }

    /// An element of this list.
    pub(super) fn index(&mut self, index: usize) -> At<'_> {
        At { path: format!("{}[{index}]", self.path), found: self.found }
    }

    /// Something is wrong here.
    pub(super) fn refuse(&mut self, text: impl Into<String>) {
        self.found.push(Problem { field: self.path.clone(), text: text.into() });
    }

    /// The same, as what comes of it: nothing.
    pub(super) fn none<T>(&mut self, text: impl Into<String>) -> Option<T> {
        self.refuse(text);
        None
    }
}
