//! Which workloads a policy governs.
//!
//! Guarantees: names, kinds and labels have all to fit, each where it is given; a label selector picks what the API server would. Must
//! not: cross a namespace; `combine` keeps a namespaced policy at home.

use std::collections::BTreeMap;

use super::document::{LabelOperator, Workloads};
use super::problem::At;

/// What of a workload decides who governs it.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its kind, "Deployment".
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `metadata.labels`.
    pub labels: &'a BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: &'a BTreeMap<String, String>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    operator: LabelOperator,
    values: Vec<String>,
}

/// Which workloads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    names: Option<Vec<String>>,
    kinds: Option<Vec<&'static str>>,
    labels: Vec<Requirement>,
}

impl Requirement {
    fn accepts(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selection {
    /// Whether it picks this workload.
    #[must_use]
    pub fn selects(&self, workload: &Workload<'_>) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|name| name == workload.name))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&workload.kind))
            && self.labels.iter().all(|requirement| requirement.accepts(workload.labels))
    }

    /// How much it says about which: 3 by name, 2 by label, 1 by kind alone, 0 all.
    #[must_use]
    pub const fn specificity(&self) -> u8 {
        if self.names.is_some() {
            3
        } else if !self.labels.is_empty() {
            2
        } else if self.kinds.is_some() {
            1
        } else {
            0
        }
    }
}

pub(super) fn read(workloads: &Workloads, mut at: At<'_>) -> Selection {
    let mut labels = Vec::new();
    if let Some(selector) = &workloads.selector {
        let equal = selector.match_labels.iter().flatten();
        labels.extend(equal.map(|(key, value)| Requirement {
            key: key.clone(),
            operator: LabelOperator::In,
            values: vec![value.clone()],
        }));
        let (mut at, expressions) = (at.field("selector"), selector.match_expressions.iter().flatten());
        for (index, expression) in expressions.enumerate() {
            let mut at = at.field("matchExpressions");
            let mut at = at.index(index);
            let values = expression.values.clone().unwrap_or_default();
            let Some(key) = expression.key.clone() else {
                at.field("key").refuse("is missing; name a label");
                continue;
            };
            let Some(operator) = expression.operator else {
                at.field("operator").refuse("is missing; write In, NotIn, Exists or DoesNotExist");
                continue;
            };
            if matches!(operator, LabelOperator::In | LabelOperator::NotIn) == values.is_empty() {
                at.field("values").refuse("are for In and NotIn, which need some");
            }
            labels.push(Requirement { key, operator, values });
        }
        if labels.is_empty() {
            at.refuse("has no requirement; leave it out to govern all");
        }
    }
    let kinds = workloads.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.name()).collect());
    Selection { names: workloads.names.clone(), kinds, labels }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selection(workloads: serde_json::Value) -> (Selection, Vec<String>) {
        let mut found = Vec::new();
        let read = read(&serde_json::from_value(workloads).unwrap(), At::new("spec.workloads", &mut found));
        (read, found.iter().map(ToString::to_string).collect())
    }

    fn selects(workloads: serde_json::Value, kind: &str, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (selection, found) = selection(workloads);
        assert!(found.is_empty(), "{found:?}");
        selection.selects(&Workload { namespace: "shop", kind, name, labels: &labels, annotations: &BTreeMap::new() })
    }

    #[test]
    fn all_that_is_given_has_to_fit() {
        let web = |workloads| selects(workloads, "Deployment", "web", &[("tier", "front"), ("app", "web")]);
        for (workloads, wanted) in [
            (json!({}), true),
            (json!({"names": ["web", "api"]}), true),
            (json!({"names": ["api"]}), false),
            (json!({"kinds": ["Deployment"]}), true),
            (json!({"kinds": ["StatefulSet"], "names": ["web"]}), false),
            (json!({"selector": {"matchLabels": {"tier": "front"}}}), true),
            (json!({"selector": {"matchLabels": {"tier": "back"}}}), false),
            (json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back", "front"]}]}}), true),
            (json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}}), false),
            (json!({"selector": {"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["front"]}]}}), true),
            (
                json!({"selector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}, {"key": "app", "operator": "Exists"}]}}),
                true,
            ),
        ] {
            assert_eq!(web(workloads.clone()), wanted, "{workloads}");
        }
    }

    #[test]
    fn what_says_more_is_more_specific() {
        let of = |workloads| selection(workloads).0.specificity();
        let (name, label) = (json!({"names": ["web"]}), json!({"selector": {"matchLabels": {"a": "b"}}}));
        assert_eq!([of(name), of(label), of(json!({"kinds": ["Deployment"]})), of(json!({}))], [3, 2, 1, 0]);
    }

    #[test]
    fn a_selector_that_cannot_be_meant_is_refused() {
        for (workloads, wanted) in [
            (json!({"selector": {}}), "spec.workloads.selector: has no requirement; leave it out to govern all"),
            (
                json!({"selector": {"matchExpressions": [{"operator": "Exists"}]}}),
                "spec.workloads.selector.matchExpressions[0].key: is missing; name a label",
            ),
            (
                json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
                "spec.workloads.selector.matchExpressions[0].values: are for In and NotIn, which need some",
            ),
        ] {
            assert!(selection(workloads).1.contains(&wanted.to_owned()), "{wanted}");
        }
    }
}
