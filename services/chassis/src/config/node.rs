//! The tree that file and environment are merged into: values that remember where they came from.
//!
//! Guarantee: every error carries the key's path and its origin. Must not: read the environment itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de;
use serde_json::Value;

use super::ConfigError;

/// Where a value came from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null(Origin),
    /// A bool, number or text of a file.
    Scalar(Value, Origin),
    /// A text whose type the field decides: from the environment or a `_file`.
    Text(String, Origin),
    List(Vec<Node>, Origin),
    Map(BTreeMap<String, Node>, Origin),
}

impl Node {
    pub(super) const fn empty(origin: Origin) -> Self {
        Self::Map(BTreeMap::new(), origin)
    }

    pub(super) fn from_value(value: Value, origin: &Origin) -> Self {
        match value {
            Value::Null => Self::Null(origin.clone()),
            Value::Array(items) => Self::List(items.into_iter().map(|v| Self::from_value(v, origin)).collect(), origin.clone()),
            Value::Object(entries) => {
                Self::Map(entries.into_iter().map(|(k, v)| (k, Self::from_value(v, origin))).collect(), origin.clone())
            }
            scalar => Self::Scalar(scalar, origin.clone()),
        }
    }

    /// Puts a variable's text at a path, making maps on the way.
    pub(super) fn set(&mut self, path: &[&str], variable: &str, text: String) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            *self = Self::Text(text, Origin::Variable(variable.to_owned()));
            return Ok(());
        };
        if first.is_empty() {
            return Err("a part of the name is empty".to_owned());
        }
        if !matches!(self, Self::Map(..)) {
            *self = Self::empty(Origin::Variable(variable.to_owned()));
        }
        let Self::Map(entries, _) = self else { return Ok(()) };
        entries
            .entry((*first).to_owned())
            .or_insert_with(|| Self::empty(Origin::Variable(variable.to_owned())))
            .set(rest, variable, text)
    }

    pub(super) const fn origin(&self) -> &Origin {
        match self {
            Self::Null(o) | Self::Scalar(_, o) | Self::Text(_, o) | Self::List(_, o) | Self::Map(_, o) => o,
        }
    }

    /// A variable's text as the list or map that the field wants.
    pub(super) fn unfold(self) -> Result<Self, NodeError> {
        match self {
            Self::Text(text, origin) => {
                let value: Value = serde_saphyr::from_str(&text).map_err(|e| NodeError::new(format!("not YAML or JSON: {e}")))?;
                Ok(Self::from_value(value, &origin))
            }
            other => Ok(other),
        }
    }
}

/// What is wrong, and where: the path grows from the inside out.
#[derive(Debug)]
pub(super) struct NodeError {
    path: Vec<String>,
    origin: Option<Origin>,
    reason: String,
}

impl NodeError {
    pub(super) fn new(reason: String) -> Self {
        Self { path: Vec::new(), origin: None, reason }
    }

    pub(super) fn at(mut self, key: &str, origin: &Origin) -> Self {
        self.path.push(key.to_owned());
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// With this origin where it has none of its own: the tree as a whole is wrong.
    pub(super) fn or_of(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    pub(super) fn into_config_error(mut self) -> ConfigError {
        self.path.reverse();
        let origin = self.origin.unwrap_or(Origin::Default).to_string();
        let key = if self.path.is_empty() { "(the whole)".to_owned() } else { self.path.join(".") };
        ConfigError::Refused { key, origin, reason: self.reason }
    }
}

impl std::fmt::Display for NodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NodeError {}

impl de::Error for NodeError {
    fn custom<T: std::fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}
