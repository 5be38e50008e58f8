//! Subjects: where each event goes, and the filters that expectations and consumers use.
//!
//! Guarantees: a `.` in a Kubernetes name is written `_` (which such names can't contain) and read back; the workload filter is one
//! literal string for a workload, as the log's expectations need. Must not: be built by hand anywhere else.

use std::fmt;

use crate::ids::IncidentId;
use crate::v1::WorkloadRef;

/// The streams.
pub mod streams {
    /// Incident and occurrence facts, so that one atomic batch can open an incident and dispose of its occurrence.
    pub const INCIDENTS: &str = "LASTGOOD_INCIDENTS";
    /// Alert notifications as they were heard.
    pub const ALERTS: &str = "LASTGOOD_ALERTS";
    /// Versions and switches.
    pub const LEDGER: &str = "LASTGOOD_LEDGER";
    /// Scheduled messages; apart, because nats-server refuses schedules on a stream that discards new messages when full.
    pub const TIMERS: &str = "LASTGOOD_TIMERS";
    /// What could not be decoded or processed.
    pub const DEAD: &str = "LASTGOOD_DEAD";
    /// Captured max-delivery advisories.
    pub const ADVISORIES: &str = "LASTGOOD_ADVISORIES";
    /// The bucket (an object store) of archived incidents.
    pub const ARCHIVE_BUCKET: &str = "LASTGOOD_ARCHIVE";
}

/// All incident facts.
pub const ALL_INCIDENTS: &str = "lastgood.incident.>";
/// All occurrence facts.
pub const ALL_OCCURRENCES: &str = "lastgood.occurrence.>";
/// All alert notifications.
pub const ALL_ALERTS: &str = "lastgood.alert.>";
/// All ledger facts.
pub const ALL_LEDGER: &str = "lastgood.ledger.>";
/// All switches.
pub const ALL_SWITCHES: &str = "lastgood.switch.>";
/// All switches of single namespaces. Apart from [`ALL_SWITCHES`]: a binary that doesn't know of them takes the last word under the cluster's
/// filter for the cluster's, and a namespace's `resume` must not be that.
pub const ALL_NAMESPACE_SWITCHES: &str = "lastgood.namespace_switch.>";
/// All facts about budgets.
pub const ALL_BUDGETS: &str = "lastgood.budget.>";
/// All schedules.
pub const ALL_TIMERS: &str = "lastgood.timer.>";
/// All timers that fired.
pub const ALL_FIRED: &str = "lastgood.fired.>";
/// All dead letters.
pub const ALL_DEAD: &str = "lastgood.dead.>";

/// A subject that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{subject}` is not a subject of {what}")]
pub struct SubjectError {
    subject: String,
    what: &'static str,
}

fn token(name: &str) -> String {
    name.replace('.', "_")
}

fn name(token: &str) -> String {
    token.replace('_', ".")
}

/// `<cluster>.<namespace>.<kind>.<name>`, the workload's part of a subject.
#[must_use]
pub fn workload_path(workload: &WorkloadRef) -> String {
    format!(
        "{}.{}.{}.{}",
        token(&workload.cluster),
        token(&workload.namespace),
        workload.kind.to_ascii_lowercase(),
        token(&workload.name)
    )
}

/// The filter over everything that ever happened to a workload: the one literal string of its expectations.
#[must_use]
pub fn workload_filter(workload: &WorkloadRef) -> String {
    format!("lastgood.incident.{}.>", workload_path(workload))
}

/// All facts of one type, of every incident.
#[must_use]
pub fn facts_of_type(event_type: &str) -> String {
    format!("lastgood.incident.*.*.*.*.*.{event_type}")
}

/// All facts of one type in one cluster.
#[must_use]
pub fn cluster_facts_of_type(cluster: &str, event_type: &str) -> String {
    format!("lastgood.incident.{}.*.*.*.*.{event_type}", token(cluster))
}

/// All facts of one type of one workload.
#[must_use]
pub fn workload_facts_of_type(workload: &WorkloadRef, event_type: &str) -> String {
    format!("lastgood.incident.{}.*.{event_type}", workload_path(workload))
}

/// All facts of an incident whose workload is not known.
#[must_use]
pub fn any_workload_filter(incident: IncidentId) -> String {
    format!("lastgood.incident.*.*.*.*.{incident}.>")
}

/// Where a source's notifications go.
#[must_use]
pub fn alert(source: &str) -> String {
    format!("lastgood.alert.{}", token(source))
}

/// The filter over one fingerprint's occurrences.
#[must_use]
pub fn occurrence_filter(fingerprint: &str) -> String {
    format!("lastgood.occurrence.{fingerprint}.>")
}

/// Where one occurrence fact goes.
#[must_use]
pub fn occurrence(fingerprint: &str, event_type: &str) -> String {
    format!("lastgood.occurrence.{fingerprint}.{event_type}")
}

/// Whether a fingerprint can be a subject's token.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether a subject is matched by a filter, which may hold `*` (one token) and end in `>` (one or more).
#[must_use]
pub fn is_match(filter: &str, subject: &str) -> bool {
    let (mut wanted, mut tokens) = (filter.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(literal), Some(token)) if literal == token => {}
            _ => return false,
        }
    }
}

/// The filter over a workload's ledger.
#[must_use]
pub fn ledger_filter(workload: &WorkloadRef) -> String {
    format!("lastgood.ledger.{}.>", workload_path(workload))
}

/// The filter over the ledgers of a namespace's workloads.
#[must_use]
pub fn namespace_ledger_filter(cluster: &str, namespace: &str) -> String {
    format!("lastgood.ledger.{}.{}.>", token(cluster), token(namespace))
}

/// All ledger facts of one type in one cluster.
#[must_use]
pub fn cluster_ledger_facts_of_type(cluster: &str, event_type: &str) -> String {
    format!("lastgood.ledger.{}.*.*.*.{event_type}", token(cluster))
}

/// Where one ledger fact goes.
#[must_use]
pub fn ledger(workload: &WorkloadRef, event_type: &str) -> String {
    format!("lastgood.ledger.{}.{event_type}", workload_path(workload))
}

/// The filter over a cluster's switches.
#[must_use]
pub fn switch_filter(cluster: &str) -> String {
    format!("lastgood.switch.{}.>", token(cluster))
}

/// Where the pause switch's facts go.
#[must_use]
pub fn switch(cluster: &str, event_type: &str) -> String {
    format!("lastgood.switch.{}.{event_type}", token(cluster))
}

/// The filter over a namespace's switches.
#[must_use]
pub fn namespace_switch_filter(cluster: &str, namespace: &str) -> String {
    format!("lastgood.namespace_switch.{}.{}.>", token(cluster), token(namespace))
}

/// The filter over the switches of all namespaces of a cluster.
#[must_use]
pub fn namespace_switches_filter(cluster: &str) -> String {
    format!("lastgood.namespace_switch.{}.*.*", token(cluster))
}

/// Where the facts of a namespace's pause switch go.
#[must_use]
pub fn namespace_switch(cluster: &str, namespace: &str, event_type: &str) -> String {
    format!("lastgood.namespace_switch.{}.{}.{event_type}", token(cluster), token(namespace))
}

/// The cluster that a switch's subject names, of a whole cluster or of a namespace of it.
#[must_use]
pub fn cluster_of_switch(subject: &str) -> Option<String> {
    match subject.split('.').collect::<Vec<_>>().as_slice() {
        ["lastgood", "switch", cluster, _] | ["lastgood", "namespace_switch", cluster, _, _] => Some(name(cluster)),
        _ => None,
    }
}

/// The filter over a cluster's budgets: the one literal string of their expectations.
#[must_use]
pub fn budget_filter(cluster: &str) -> String {
    format!("lastgood.budget.{}.>", token(cluster))
}

/// Where a fact about a cluster's budgets goes.
#[must_use]
pub fn budget(cluster: &str, event_type: &str) -> String {
    format!("lastgood.budget.{}.{event_type}", token(cluster))
}

/// Where a service's dead letters go.
#[must_use]
pub fn dead(service: &str) -> String {
    format!("lastgood.dead.{}", token(service))
}

/// An incident's place in the log: the workload and the id.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentSubject {
    /// The workload; its cluster is part of it.
    pub workload: WorkloadRef,
    /// The incident.
    pub incident: IncidentId,
}

impl IncidentSubject {
    /// Where a fact of this type goes.
    #[must_use]
    pub fn fact(&self, event_type: &str) -> String {
        format!("lastgood.incident.{}.{}.{event_type}", workload_path(&self.workload), self.incident)
    }

    /// The filter over this incident's facts.
    #[must_use]
    pub fn filter(&self) -> String {
        self.fact(">")
    }

    /// The workload's filter, the one that appends expect.
    #[must_use]
    pub fn workload_filter(&self) -> String {
        workload_filter(&self.workload)
    }

    /// The schedule of one of its deadlines.
    #[must_use]
    pub fn timer(&self, deadline: &str) -> String {
        format!("lastgood.timer.{}.{}.{deadline}", workload_path(&self.workload), self.incident)
    }

    /// Where that deadline's message appears when it fires.
    #[must_use]
    pub fn fired(&self, deadline: &str) -> String {
        format!("lastgood.fired.{}.{}.{deadline}", workload_path(&self.workload), self.incident)
    }

    /// Reads `lastgood.<incident|timer|fired>.<cluster>.<namespace>.<kind>.<name>.<incident-id>.<last>` into the incident and its last token.
    pub fn parse(subject: &str) -> Result<(Self, &str), SubjectError> {
        let wrong = || SubjectError { subject: subject.to_owned(), what: "an incident" };
        let parts: Vec<&str> = subject.split('.').collect();
        let ["lastgood", "incident" | "timer" | "fired", cluster, namespace, kind, workload, incident, last] = parts.as_slice()
        else {
            return Err(wrong());
        };
        if !is_workload_path([cluster, namespace, kind, workload]) || !is_token(last) {
            return Err(wrong());
        }
        let incident = incident.parse().map_err(|_| wrong())?;
        let workload = WorkloadRef {
            cluster: name(cluster),
            namespace: name(namespace),
            kind: kind_name(kind).to_owned(),
            name: name(workload),
        };
        Ok((Self { workload, incident }, last))
    }
}

impl fmt::Display for IncidentSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.incident, workload_path(&self.workload))
    }
}

/// Whether these can be the tokens of a workload that [`workload_path`] writes: nothing empty, no wildcard, no space or control character,
/// and the kind in small letters, so that what is read is written the same.
fn is_workload_path(tokens: [&str; 4]) -> bool {
    let is_plain =
        |token: &str| !token.is_empty() && !token.chars().any(|c| c.is_whitespace() || c.is_control() || "*>.".contains(c));
    tokens.into_iter().all(is_plain) && !tokens[2].contains(|c: char| c.is_ascii_uppercase())
}

fn kind_name(token: &str) -> &str {
    match token {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        other => other,
    }
}

/// Reads a workload's path out of a ledger subject, with the event type.
pub fn parse_ledger(subject: &str) -> Result<(WorkloadRef, &str), SubjectError> {
    let parts: Vec<&str> = subject.split('.').collect();
    let wrong = || SubjectError { subject: subject.to_owned(), what: "the ledger" };
    let ["lastgood", "ledger", cluster, namespace, kind, workload, event_type] = parts.as_slice() else {
        return Err(wrong());
    };
    if !is_workload_path([cluster, namespace, kind, workload]) || !is_token(event_type) {
        return Err(wrong());
    }
    let workload = WorkloadRef {
        cluster: name(cluster),
        namespace: name(namespace),
        kind: kind_name(kind).to_owned(),
        name: name(workload),
    };
    Ok((workload, event_type))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn a_subject_reads_back(cluster in "[a-z0-9][a-z0-9.-]{0,20}", namespace in "[a-z0-9-]{1,20}", name in "[a-z0-9][a-z0-9.-]{0,40}", bits: u128) {
            let workload = WorkloadRef { cluster, namespace, kind: "Deployment".into(), name };
            let subject = IncidentSubject { workload, incident: IncidentId::from_uuid(Uuid::from_u128(bits)) };
            let text = subject.fact("pods_ready");
            prop_assert_eq!(IncidentSubject::parse(&text), Ok((subject, "pods_ready")));
        }
    }

    #[test]
    fn filters_match_as_the_server_does() {
        for (filter, subject, matches) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b.c", false),
            ("a.b.c", "a.b", false),
            (">", "a", true),
        ] {
            assert_eq!(is_match(filter, subject), matches, "{filter} {subject}");
        }
    }

    #[test]
    fn a_namespaces_switch_is_not_under_the_clusters_filter() {
        let own = namespace_switch("eu.prod", "shop", "pause_switched");
        assert!(is_match(&namespace_switch_filter("eu.prod", "shop"), &own) && !is_match(&switch_filter("eu.prod"), &own));
        assert!(!is_match(&namespace_switch_filter("eu.prod", "bank"), &own));
        assert!(is_match(&namespace_switches_filter("eu.prod"), &own) && !is_match(&namespace_switches_filter("eu"), &own));
        assert_eq!(cluster_of_switch(&own).as_deref(), Some("eu.prod"));
        assert_eq!(cluster_of_switch(&switch("eu", "pause_switched")).as_deref(), Some("eu"));
    }

    #[test]
    fn a_dotted_name_stays_one_token() {
        let workload =
            WorkloadRef { cluster: "eu".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web.v1".into() };
        assert_eq!(workload_filter(&workload), "lastgood.incident.eu.shop.deployment.web_v1.>");
    }
}
