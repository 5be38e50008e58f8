//! Whether an alert is over by what Prometheus' rules API says: pure.
//!
//! Guarantees: "over" needs the alert's rule, healthy and evaluated after the mitigation, and no pending or firing instance that
//! could be the trigger; a rule that is absent, unhealthy or stale says nothing. Must not: take an empty answer for a quiet alert.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// The answer of `GET /api/v1/rules`, as far as it is needed. Read here rather than by the client library, which insists on
/// fields that Prometheus before 2.42 doesn't have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    /// The answer's body.
    pub data: Groups,
}

/// All rule groups.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Groups {
    /// One a group.
    pub groups: Vec<Group>,
}

/// One rule group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Group {
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rule {
    /// The alert's name, or the recorded metric's.
    pub name: String,
    /// "alerting" or "recording".
    #[serde(rename = "type")]
    pub kind: String,
    /// "ok", "err" or "unknown".
    pub health: String,
    /// When it was evaluated last; the year 1 where it never was.
    #[serde(rename = "lastEvaluation")]
    pub last_evaluation: Timestamp,
    /// The instances that are pending or firing.
    #[serde(default)]
    pub alerts: Vec<Instance>,
}

/// One instance of an alerting rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Instance {
    /// Its labels, `alertname` among them, without Prometheus' external labels.
    pub labels: BTreeMap<String, String>,
    /// "inactive", "pending" or "firing".
    pub state: String,
}

/// What the rules say of one alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is over.
    Over,
    /// It is active, in this state.
    Active(String),
    /// It can't be told, for this reason.
    Unknown(String),
}

/// Judges the alert of these labels. `ignored` labels are not compared: those that `alert_relabel_configs` rewrite.
#[must_use]
pub fn judge(
    groups: &[Group],
    alert: &str,
    labels: &BTreeMap<String, String>,
    ignored: &[String],
    since: Timestamp,
) -> Judgement {
    let rules: Vec<&Rule> =
        groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.kind == "alerting" && rule.name == alert).collect();
    let active = rules
        .iter()
        .flat_map(|rule| &rule.alerts)
        .find(|instance| instance.state != "inactive" && could_be(&instance.labels, labels, ignored));
    if let Some(instance) = active {
        return Judgement::Active(instance.state.clone());
    }
    if rules.is_empty() {
        return Judgement::Unknown(format!("Prometheus has no alerting rule `{alert}`"));
    }
    if let Some(rule) = rules.iter().find(|rule| rule.health != "ok") {
        return Judgement::Unknown(format!("the rule's health is {}", rule.health));
    }
    if let Some(rule) = rules.iter().find(|rule| rule.last_evaluation <= since) {
        return Judgement::Unknown(format!("the rule was last evaluated at {}, before the mitigation", rule.last_evaluation));
    }
    Judgement::Over
}

/// Whether an instance could be the alert: no label that both have differs. Labels that only one has (external ones, or ones
/// that relabelling dropped) say nothing.
fn could_be(instance: &BTreeMap<String, String>, alert: &BTreeMap<String, String>, ignored: &[String]) -> bool {
    instance
        .iter()
        .filter(|(name, _)| !ignored.contains(name))
        .all(|(name, value)| alert.get(name).is_none_or(|known| known == value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn rule(health: &str, evaluated: i64, alerts: &[(&str, &[(&str, &str)])]) -> Rule {
        Rule {
            name: "HighErrorRate".into(),
            kind: "alerting".into(),
            health: health.into(),
            last_evaluation: at(evaluated),
            alerts: alerts.iter().map(|(state, pairs)| Instance { labels: labels(pairs), state: (*state).into() }).collect(),
        }
    }

    fn trigger() -> BTreeMap<String, String> {
        labels(&[("alertname", "HighErrorRate"), ("namespace", "shop"), ("deployment", "web"), ("cluster", "eu")])
    }

    fn told(rules: Vec<Rule>) -> Judgement {
        judge(&[Group { rules }], "HighErrorRate", &trigger(), &["dc".to_owned()], at(0))
    }

    fn code(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Over => "over",
            Judgement::Active(_) => "active",
            Judgement::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn the_table() {
        let ours: &[(&str, &str)] = &[("alertname", "HighErrorRate"), ("namespace", "shop"), ("deployment", "web")];
        let other: &[(&str, &str)] = &[("alertname", "HighErrorRate"), ("namespace", "shop"), ("deployment", "api")];
        let relabelled: &[(&str, &str)] = &[("namespace", "shop"), ("deployment", "web"), ("dc", "2"), ("replica", "0")];
        let recording = Rule { kind: "recording".into(), ..rule("ok", 9, &[]) };
        let cases: Vec<(&str, Vec<Rule>, &str)> = vec![
            ("quiet", vec![rule("ok", 1, &[])], "over"),
            ("another workload's", vec![rule("ok", 1, &[("firing", other)])], "over"),
            ("firing", vec![rule("ok", 1, &[("firing", ours)])], "active"),
            ("pending", vec![rule("ok", 1, &[("pending", ours)])], "active"),
            ("inactive", vec![rule("ok", 1, &[("inactive", ours)])], "over"),
            ("with labels that only one side has", vec![rule("ok", 1, &[("firing", relabelled)])], "active"),
            ("no rule", vec![], "unknown"),
            ("a recording rule of that name", vec![recording], "unknown"),
            ("unhealthy", vec![rule("err", 1, &[])], "unknown"),
            ("never evaluated", vec![rule("unknown", -9, &[])], "unknown"),
            ("stale", vec![rule("ok", 0, &[])], "unknown"),
            ("one of two is stale", vec![rule("ok", 1, &[]), rule("ok", -1, &[])], "unknown"),
            ("one of two is active", vec![rule("ok", 1, &[]), rule("err", 1, &[("firing", ours)])], "active"),
        ];
        for (what, rules, wanted) in cases {
            assert_eq!(code(&told(rules)), wanted, "{what}");
        }
    }

    #[test]
    fn ignored_labels_are_not_compared() {
        let instance = labels(&[("namespace", "shop"), ("cluster", "us")]);
        assert!(!could_be(&instance, &trigger(), &[]));
        assert!(could_be(&instance, &trigger(), &["cluster".to_owned()]));
    }

    #[test]
    fn an_answer_of_a_real_prometheus_is_read() {
        let text = r#"{"status":"success","data":{"groups":[{"name":"g","file":"r.yml","rules":[{"state":"firing","name":"HighErrorRate",
            "query":"vector(1)","duration":0,"labels":{"severity":"page"},"annotations":{},"alerts":[{"labels":{"alertname":"HighErrorRate"},
            "annotations":{},"state":"firing","activeAt":"2026-11-21T10:00:00.1Z","value":"1e+00"}],"health":"ok","evaluationTime":0.1,
            "lastEvaluation":"2026-11-21T10:00:00.123456789Z","type":"alerting"},{"name":"r","query":"up","health":"unknown",
            "evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"recording"}],"interval":1,"limit":0}]}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(judge(&answer.data.groups, "HighErrorRate", &trigger(), &[], at(0)), Judgement::Active("firing".into()));
    }

    proptest! {
        #[test]
        fn over_needs_a_healthy_rule_evaluated_since(
            rules in prop::collection::vec((prop::sample::select(vec!["ok", "err", "unknown"]), -3_i64..3), 0..4)
        ) {
            let all_good = !rules.is_empty() && rules.iter().all(|(health, evaluated)| *health == "ok" && *evaluated > 0);
            let rules = rules.into_iter().map(|(health, evaluated)| rule(health, evaluated, &[])).collect();
            prop_assert_eq!(told(rules) == Judgement::Over, all_good);
        }
    }
}
