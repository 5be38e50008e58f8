//! Finds the field that made a payload unreadable.
//!
//! Guarantees: only runs for payloads that were refused already, so that good ones are read once; always gives an answer, at worst
//! `body` with the parser's own words, which name line and column (a large body gets those at once). Must not: accept anything.

use serde_json::{Map, Value};

use super::payload::{Malformed, REMEDY_SHAPE};

/// Larger bodies are not read a second time: as a tree they take some thirty times their size, and several may be in hand.
const READ_AGAIN: usize = 1 << 20;

/// What one field must be.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Count,
    Texts,
}

impl Form {
    const fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Count => "a number of 0 or more",
            Self::Texts => "an object of strings",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Count => value.is_u64(),
            Self::Texts => value.as_object().is_some_and(|texts| texts.values().all(Value::is_string)),
        }
    }
}

type Fields = [(&'static str, Form, bool)];

/// The payload's own, each with its form and whether it must be there.
const PAYLOAD: &Fields = &[
    ("version", Form::Text, true),
    ("groupKey", Form::Text, false),
    ("truncatedAlerts", Form::Count, false),
    ("status", Form::Text, false),
    ("receiver", Form::Text, false),
    ("groupLabels", Form::Texts, false),
    ("commonLabels", Form::Texts, false),
    ("commonAnnotations", Form::Texts, false),
    ("externalURL", Form::Text, false),
];

/// An alert's.
const ALERT: &Fields = &[
    ("status", Form::Text, true),
    ("labels", Form::Texts, true),
    ("annotations", Form::Texts, false),
    ("startsAt", Form::Text, true),
    ("endsAt", Form::Text, false),
    ("generatorURL", Form::Text, false),
    ("fingerprint", Form::Text, true),
];

/// Why these bytes, which `error` refused, are no payload.
pub(super) fn explain(body: &[u8], error: &serde_json::Error) -> Malformed {
    let by_parser = || Malformed::new("body", error.to_string(), REMEDY_SHAPE);
    if body.len() > READ_AGAIN {
        return by_parser();
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return by_parser() };
    find(&value).unwrap_or_else(by_parser)
}

fn find(value: &Value) -> Option<Malformed> {
    let Value::Object(payload) = value else { return Some(wrong("body", value, "an object")) };
    if let Some(found) = find_in(payload, "", PAYLOAD) {
        return Some(found);
    }
    let alerts = match payload.get("alerts") {
        None => return Some(missing("alerts")),
        Some(Value::Array(alerts)) => alerts,
        Some(other) => return Some(wrong("alerts", other, "an array")),
    };
    alerts.iter().enumerate().find_map(|(at, alert)| match alert {
        Value::Object(alert) => find_in(alert, &format!("alerts[{at}]."), ALERT),
        other => Some(wrong(&format!("alerts[{at}]"), other, "an object")),
    })
}

fn find_in(object: &Map<String, Value>, prefix: &str, fields: &Fields) -> Option<Malformed> {
    fields.iter().find_map(|(name, form, required)| {
        let field = format!("{prefix}{name}");
        match object.get(*name) {
            None if *required => Some(missing(&field)),
            None => None,
            Some(Value::Null) if !required => None,
            Some(value) if form.fits(value) => None,
            Some(Value::Object(texts)) if matches!(form, Form::Texts) => {
                let (name, value) = texts.iter().find(|(_, value)| !value.is_string())?;
                Some(wrong(&format!("{field}.{}", crate::problem::shortened(name, 100)), value, "a string"))
            }
            Some(value) => Some(wrong(&field, value, form.words())),
        }
    })
}

fn missing(field: &str) -> Malformed {
    Malformed::new(field, "it is missing", REMEDY_SHAPE)
}

fn wrong(field: &str, value: &Value, expected: &str) -> Malformed {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Malformed::new(field, format!("it is {found}, not {expected}"), REMEDY_SHAPE)
}
