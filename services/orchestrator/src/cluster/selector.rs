//! Label selectors, as Services (plain maps) and workloads (`matchLabels` and `matchExpressions`) have them.
//!
//! Guarantees: `matches` agrees with what the API server selects for `query`. Must not: match anything by a selector that it could not
//! read (an unknown operator gives no selector at all).

use std::collections::BTreeMap;

use serde_json::Value;

use super::object::strings;

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Equals(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

/// A conjunction of requirements; with none it picks everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// Picks everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Labels that must be equal.
    #[must_use]
    pub fn equal(labels: &BTreeMap<String, String>) -> Self {
        Self(labels.iter().map(|(k, v)| Requirement::Equals(k.clone(), v.clone())).collect())
    }

    /// A workload's `spec.selector`; `None` where it is empty or can't be read.
    #[must_use]
    pub fn from_workload(selector: &Value) -> Option<Self> {
        let mut requirements = Self::equal(&strings(selector.get("matchLabels"))).0;
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = expression.get("key")?.as_str()?.to_owned();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect();
            requirements.push(match expression.get("operator")?.as_str()? {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                _ => return None,
            });
        }
        (!requirements.is_empty()).then_some(Self(requirements))
    }

    /// Whether these labels are picked.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Equals(key, value) => labels.get(key) == Some(value),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }

    /// As the API's `labelSelector` parameter.
    #[must_use]
    pub fn query(&self) -> String {
        let terms = self.0.iter().map(|requirement| match requirement {
            Requirement::Equals(key, value) => format!("{key}={value}"),
            Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
            Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
            Requirement::Exists(key) => key.clone(),
            Requirement::DoesNotExist(key) => format!("!{key}"),
        });
        terms.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_workloads_selector_picks_as_the_api_server_does() {
        let selector = Selector::from_workload(&json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
            {"key": "x", "operator": "NotIn", "values": ["1"]}, {"key": "tier", "operator": "Exists"}]}))
        .expect("a selector");
        assert!(selector.matches(&labels(&[("app", "web"), ("tier", "b")])));
        for other in [
            &[("app", "web")][..],
            &[("app", "web"), ("tier", "c")],
            &[("app", "web"), ("tier", "a"), ("old", "")],
            &[("app", "web"), ("tier", "a"), ("x", "1")],
        ] {
            assert!(!selector.matches(&labels(other)), "{other:?}");
        }
        assert_eq!(selector.query(), "app=web,tier in (a,b),!old,x notin (1),tier");
    }

    #[test]
    fn what_cannot_be_read_is_no_selector() {
        assert_eq!(Selector::from_workload(&json!({})), None);
        assert_eq!(Selector::from_workload(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})), None);
    }
}
