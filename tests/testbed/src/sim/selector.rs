//! Label and field selectors, as text in queries and as objects in specs. Pure.

use serde_json::Value;

use super::error::ApiError;
use super::json::Json as _;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
        }
    }
}

/// What a list or watch request selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    labels: Vec<(String, Test)>,
    fields: Vec<(String, Test)>,
}

impl Selection {
    /// Parses the `labelSelector` and `fieldSelector` parameters.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, ApiError> {
        let labels = split(labels).iter().map(|term| parse_term(term)).collect::<Result<_, _>>()?;
        let fields = split(fields)
            .iter()
            .map(|term| parse_term(term).map(|(key, test)| (format!("/{}", key.replace('.', "/")), test)))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.at("/metadata/labels");
        self.labels.iter().all(|(key, test)| test.holds(labels.get(key).and_then(Value::as_str)))
            && self.fields.iter().all(|(pointer, test)| {
                // A field that isn't there selects as empty.
                let text = match object.at(pointer) {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                };
                test.holds(Some(&text))
            })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut terms = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            terms.push(String::new());
        } else if let Some(last) = terms.last_mut() {
            last.push(c);
        }
    }
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn parse_term(term: &str) -> Result<(String, Test), ApiError> {
    let term = term.trim();
    let list = |text: &str| -> Vec<String> {
        let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
        inner.split(',').map(|v| v.trim().to_owned()).collect()
    };
    let named = |key: &str, test: Test| Ok((key.trim().to_owned(), test));
    if let Some((key, values)) = term.split_once(" notin ") {
        return named(key, Test::NotIn(list(values)));
    }
    if let Some((key, values)) = term.split_once(" in ") {
        return named(key, Test::In(list(values)));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return named(key, Test::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once('=') {
        return named(key, Test::In(vec![value.trim_start_matches('=').trim().to_owned()]));
    }
    if let Some(key) = term.strip_prefix('!') {
        return named(key, Test::Missing);
    }
    if term.contains(char::is_whitespace) {
        return Err(ApiError::bad_request(format!("unable to parse selector term {term:?}")));
    }
    named(term, Test::Exists)
}

/// Whether labels match a `LabelSelector` object; an empty selector matches everything.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let equal =
        selector.at("/matchLabels").as_object().is_none_or(|map| map.iter().all(|(key, value)| label(key) == value.as_str()));
    equal
        && selector.items("/matchExpressions").iter().all(|e| {
            let values = || -> Vec<String> { e.items("/values").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect() };
            let test = match e.text("/operator") {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                _ => Test::Missing,
            };
            test.holds(label(e.text("/key")))
        })
}

/// Whether labels match a plain map, as a Service's selector is; an empty map matches nothing.
pub(crate) fn selects_map(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|map| !map.is_empty() && map.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selections_match_labels_and_fields() {
        let pod = json!({
            "metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}},
            "status": {"phase": "Running"},
        });
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,tier!=back", "", true),
            ("app in (web, api),tier", "", true),
            ("app notin (web)", "", false),
            ("!gone,app", "", true),
            ("!app", "", false),
            ("", "metadata.name=a,status.phase!=Failed", true),
            ("", "spec.nodeName=", true),
            ("", "metadata.name=b", false),
        ] {
            let selection = Selection::parse(labels, fields).unwrap();
            assert_eq!(selection.matches(&pod), expected, "{labels} / {fields}");
        }
    }
}
