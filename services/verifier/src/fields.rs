//! Reads the keys of a YAML mapping one by one, strictly: for check definitions, whose mistakes people have to find by the message.
//!
//! Guarantees: whatever is wrong is named by its full path (`lastgood.dev/smoke-tests[1].http.port`) with the reason; a key that
//! nobody asked for is refused. Must not: guess at what was meant, or convert between types.

use std::time::Duration;

use serde_json::{Map, Value};

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct Invalid {
    /// The key's full path, from the annotation's or the section's name on.
    pub path: String,
    /// Why it is refused, for people.
    pub reason: String,
}

impl Invalid {
    /// This reason at this path.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// One mapping, whose keys are taken out one by one.
#[derive(Debug)]
pub struct Fields {
    path: String,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The mapping at this path; anything else is refused.
    pub fn of(path: impl Into<String>, value: Value) -> Result<Self, Invalid> {
        let path = path.into();
        match value {
            Value::Object(left) => Ok(Self { path, left, known: Vec::new() }),
            other => Err(Invalid::new(path, format!("must be a mapping, not {}", kind(&other)))),
        }
    }

    /// The full path of one of its keys.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// A refusal of one of its keys.
    pub fn invalid(&self, key: &str, reason: impl Into<String>) -> Invalid {
        Invalid::new(self.path_of(key), reason)
    }

    /// A refusal of the whole mapping.
    pub fn invalid_self(&self, reason: impl Into<String>) -> Invalid {
        Invalid::new(self.path.clone(), reason)
    }

    /// Takes a key's value as it is.
    pub fn raw(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, Invalid> {
        self.read(key, "a text", |value| value.as_str().map(ToOwned::to_owned))
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Invalid> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// Takes a finite number.
    pub fn number(&mut self, key: &'static str) -> Result<Option<f64>, Invalid> {
        self.read(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// Takes a whole number within these bounds.
    pub fn whole(&mut self, key: &'static str, least: u32, most: u32) -> Result<Option<u32>, Invalid> {
        let wanted = format!("a whole number from {least} to {most}");
        self.read(key, &wanted, |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| (least..=most).contains(number))
        })
    }

    /// Takes a TCP port.
    pub fn port(&mut self, key: &'static str) -> Result<Option<u16>, Invalid> {
        self.read(key, "a port from 1 to 65535", |value| {
            value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
        })
    }

    /// Takes a length of time like `2s`, more than nothing and at most an hour.
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, Invalid> {
        self.read(key, "a length of time like `2s`, above zero and at most 1h", |value| {
            value
                .as_str()
                .and_then(|text| humantime::parse_duration(text).ok())
                .filter(|length| !length.is_zero() && *length <= Duration::from_hours(1))
        })
    }

    /// Takes one of these words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Invalid> {
        let wanted = format!("one of {}", words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "));
        self.read(key, &wanted, |value| words.iter().find(|(word, _)| value.as_str() == Some(*word)).map(|(_, what)| *what))
    }

    /// Refuses whatever was not asked for.
    pub fn finish(self) -> Result<(), Invalid> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.invalid(key, format!("is not a key here; known are {}", self.known.join(", ")))),
        }
    }

    fn read<T>(&mut self, key: &'static str, wanted: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, Invalid> {
        match self.raw(key) {
            None => Ok(None),
            Some(value) => {
                read(&value).map(Some).ok_or_else(|| self.invalid(key, format!("must be {wanted}, not {}", shown(&value))))
            }
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        plain => format!("`{}`", crate::text::excerpt(&plain.to_string(), 60)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::of("checks[0]", value).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named_by_path_and_reason() {
        let cases: Vec<(Invalid, &str)> = vec![
            (fields(json!({"port": 0})).port("port").unwrap_err(), "`checks[0].port`: must be a port from 1 to 65535, not `0`"),
            (
                fields(json!({"timeout": "soon"})).duration("timeout").unwrap_err(),
                "`checks[0].timeout`: must be a length of time like `2s`, above zero and at most 1h, not `\"soon\"`",
            ),
            (
                fields(json!({"passes": 0})).whole("passes", 1, 100).unwrap_err(),
                "`checks[0].passes`: must be a whole number from 1 to 100, not `0`",
            ),
            (
                fields(json!({"insecure": "yes"})).flag("insecure").unwrap_err(),
                "`checks[0].insecure`: must be true or false, not `\"yes\"`",
            ),
            (
                fields(json!({"target": "node"})).word("target", &[("pods", 1), ("service", 2)]).unwrap_err(),
                "`checks[0].target`: must be one of pods, service, not `\"node\"`",
            ),
            (fields(json!({"path": []})).text("path").unwrap_err(), "`checks[0].path`: must be a text, not a list"),
            (Fields::of("x", json!([])).unwrap_err(), "`x`: must be a mapping, not a list"),
        ];
        for (error, wanted) in cases {
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn a_key_that_nobody_asked_for_is_refused() {
        let mut some = fields(json!({"port": 80, "prot": 81}));
        assert_eq!(some.port("port"), Ok(Some(80)));
        assert_eq!(some.text("path"), Ok(None));
        assert_eq!(some.finish().unwrap_err().to_string(), "`checks[0].prot`: is not a key here; known are port, path");
    }
}
