//! What one fact of an incident says: a line that people read, and under it what they need to know of it.
//!
//! Guarantees: every fact has a line; the words are `lastgood_core::words`' where the chat has them too. Must not: escape; who prints does.

use contracts::time::from_proto;
use contracts::v1::{self, Urgency, Verdict};
use contracts::{DecodeError, Fact};
use jiff::Timestamp;
use lastgood_core::text::{length, utc};
use lastgood_core::words::{Mark, audience_name, images, step, words};

use super::dossier::Entry;
use crate::look::Tone;

/// Digits of a hash that are shown.
const HASH: usize = 10;
/// Pods of a failure that are shown with all that is known of them.
const PODS: usize = 10;

/// What a fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is like.
    pub tone: Tone,
    /// In one line.
    pub headline: String,
    /// More, a line each.
    pub details: Vec<String>,
}

/// What an entry says.
#[must_use]
pub fn tell(entry: &Entry) -> Told {
    let fact = match &entry.fact {
        Ok(fact) => fact,
        Err(error) => return unreadable(entry, error),
    };
    let (tone, headline) = match step(fact) {
        // How it began is nothing that went well.
        Some((Mark::Done, text)) if matches!(fact, Fact::AnomalyDetected(_) | Fact::CurrentVersionIdentified(_)) => {
            (Tone::Plain, text)
        }
        Some((Mark::Done, text)) => (Tone::Good, text),
        Some((Mark::Failed, text)) => (Tone::Bad, text),
        Some((Mark::Note, text)) => (Tone::Plain, text),
        None => between(fact),
    };
    let details = deciding(fact, entry.at).or_else(|| acting(fact)).or_else(|| ending(fact)).unwrap_or_else(|| telling(fact));
    Told { tone, headline, details: details.into_iter().filter(|detail| !detail.trim().is_empty()).collect() }
}

fn unreadable(entry: &Entry, error: &DecodeError) -> Told {
    let headline = match error {
        DecodeError::UnknownType(_) => {
            format!("{}: a newer lastgood wrote this, which this program does not know", entry.event_type)
        }
        DecodeError::Damaged { .. } => format!("{}: damaged", entry.event_type),
    };
    Told { tone: Tone::Bad, headline, details: vec![error.to_string()] }
}

/// What would only be noise in a chat.
fn between(fact: &Fact) -> (Tone, String) {
    let text = match fact {
        Fact::Mitigated(_) => "Mitigated: waiting for the alert to resolve".to_owned(),
        Fact::DeadlinePassed(fact) => format!("Deadline passed: {}", words(&fact.deadline)),
        Fact::NotificationRequested(fact) => {
            let verb = if fact.urgency() == Urgency::Page { "paged" } else { "told" };
            format!("{} is to be {verb} ({})", audience_name(fact.audience()), words(&fact.reason))
        }
        Fact::Announced(fact) if fact.thread.is_empty() => "No chat thread".to_owned(),
        Fact::Announced(_) => "Chat thread opened".to_owned(),
        other => words(other.event_type()),
    };
    (Tone::Plain, text)
}

fn deciding(fact: &Fact, at: Timestamp) -> Option<Vec<String>> {
    Some(match fact {
        Fact::AnomalyDetected(fact) => fact.trigger.as_ref().map_or_else(Vec::new, alert),
        Fact::CurrentVersionIdentified(fact) => {
            let ago = from_proto(fact.changed_at.as_ref()).map(|changed| at.duration_since(changed));
            let ago = ago.map_or_else(String::new, |ago| format!(", rolled out {} before", length(ago)));
            vec![format!("template {}{ago}", fact.version.as_ref().map_or("unknown", |version| short(&version.template_hash)))]
        }
        Fact::PreviousVersionFound(fact) => {
            let hash = fact.version.as_ref().map_or("unknown", |version| short(&version.template_hash));
            vec![format!("template {hash}, {}", fact.evidence)]
        }
        Fact::PreviousVersionMissing(fact) => fact.considered.clone(),
        Fact::RollbackPlanned(fact) => fact.plan.as_ref().map_or_else(Vec::new, plan),
        Fact::RollbackHalted(fact) => {
            let would =
                if fact.would_do.is_empty() { Vec::new() } else { listed("what would have been done:", fact.would_do.lines()) };
            [lines(&fact.detail), would, vec![runbook(&fact.reason.replace('_', "-"))]].concat()
        }
        Fact::AlertJoined(fact) => fact.occurrences.iter().flat_map(alert).collect(),
        _ => return None,
    })
}

fn acting(fact: &Fact) -> Option<Vec<String>> {
    Some(match fact {
        Fact::RollbackStarted(fact) => {
            vec![format!("template {} → {}", short(&fact.template_hash), short(&fact.target_template_hash))]
        }
        Fact::PreviousVersionDeployed(fact) => {
            let set = if fact.replica_set.is_empty() { String::new() } else { format!(", ReplicaSet {}", fact.replica_set) };
            vec![format!("generation {}{set}", fact.workload_generation)]
        }
        Fact::ImageMoved(fact) => fact.images.iter().map(moved).collect(),
        Fact::TrafficShifted(fact) => fact.services.clone(),
        Fact::RollbackFailed(fact) => failed(fact),
        Fact::SmokeTestFinished(fact) => {
            let tries = if fact.tries == 1 { "1 try".to_owned() } else { format!("{} tries", fact.tries) };
            let evidence = lines(&fact.evidence);
            let kind = if fact.verdict() == Verdict::Passed && evidence.is_empty() {
                Vec::new()
            } else {
                vec![format!("{}, {tries}", fact.kind)]
            };
            [kind, evidence].concat()
        }
        Fact::VerificationFailed(fact) => {
            let failed =
                if fact.failed_checks.is_empty() { String::new() } else { format!("failed: {}", fact.failed_checks.join(", ")) };
            vec![failed, runbook(&fact.reason.replace('_', "-"))]
        }
        _ => return None,
    })
}

fn moved(image: &v1::MovedImage) -> String {
    format!("container {} of {}: {} was {}, is {}", image.container, image.pod, image.image, image.recorded, image.found)
}

fn ending(fact: &Fact) -> Option<Vec<String>> {
    Some(match fact {
        Fact::StatusUpdated(fact) if !fact.event_name.is_empty() => vec![format!("Event {}", fact.event_name)],
        Fact::OldResourcesCleaned(fact) => fact.cleaned.clone(),
        Fact::AlertResolved(fact) => {
            let ended = from_proto(fact.ends_at.as_ref()).map_or_else(String::new, |at| format!(", over since {}", utc(at)));
            vec![format!("fingerprint {}{ended}", fact.fingerprint)]
        }
        Fact::Superseded(fact) => lines(&fact.detail),
        Fact::IncidentClosed(fact) => vec![words(&fact.reason)],
        _ => return None,
    })
}

fn telling(fact: &Fact) -> Vec<String> {
    match fact {
        Fact::NotificationRequested(fact) => {
            let too = if fact.audience_too { ", and the usual way" } else { "" };
            let to = if fact.receivers.is_empty() { String::new() } else { format!("to {}{too}", fact.receivers.join(", ")) };
            [lines(&fact.summary), vec![to, runbook(&fact.runbook)]].concat()
        }
        Fact::Announced(fact) if !fact.channel.is_empty() => vec![format!("channel {} {}", fact.channel, fact.thread)],
        Fact::OnCallNotified(v1::OnCallNotified { dedup_key, .. }) | Fact::Escalated(v1::Escalated { dedup_key, .. })
            if !dedup_key.is_empty() =>
        {
            vec![format!("dedup key {dedup_key}")]
        }
        Fact::NotificationFailed(fact) => lines(&fact.error),
        Fact::PersonActed(fact) => lines(&fact.note),
        _ => Vec::new(),
    }
}

fn alert(occurrence: &v1::Occurrence) -> Vec<String> {
    let since = from_proto(occurrence.starts_at.as_ref()).map_or_else(String::new, |at| format!(", firing since {}", utc(at)));
    let head = format!("{}, told by {}{since}, fingerprint {}", occurrence.alert_name, occurrence.source, occurrence.fingerprint);
    let text = ["summary", "description"].iter().filter_map(|key| occurrence.annotations.get(*key));
    std::iter::once(head).chain(text.flat_map(|text| lines(text))).collect()
}

fn plan(plan: &v1::Plan) -> Vec<String> {
    let mut details = vec![format!("{} → {}", images(plan.from.as_ref()), images(plan.to.as_ref()))];
    if let Some(at) = from_proto(plan.not_after.as_ref()) {
        details.push(format!("to be begun before {}", utc(at)));
    }
    details.extend(
        plan.service_switches.iter().map(|switch| format!("Service {} is switched to the restored version", switch.name)),
    );
    details.extend(plan.diff.lines().map(|line| format!("  {line}")));
    details
}

fn failed(fact: &v1::RollbackFailed) -> Vec<String> {
    let mut details = lines(&fact.detail);
    for pod in fact.pods.iter().take(PODS) {
        details.push(format!("pod {}: {} ({} restarts)", pod.name, pod.reason, pod.restarts));
        details.extend(pod.last_log_lines.iter().map(|line| format!("    {line}")));
    }
    if fact.pods.len() > PODS {
        details.push(format!("… and {} more pods", fact.pods.len() - PODS));
    }
    details.push(if fact.serving.is_empty() {
        "no pod serves now".to_owned()
    } else {
        format!("serving now: {}", fact.serving.join(", "))
    });
    details.push(runbook(&fact.reason.replace('_', "-")));
    details
}

fn listed<'a>(head: &str, items: impl Iterator<Item = &'a str>) -> Vec<String> {
    std::iter::once(head.to_owned()).chain(items.map(|item| format!("  {item}"))).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn runbook(page: &str) -> String {
    if page.is_empty() { String::new() } else { format!("runbook: {page}") }
}

fn short(hash: &str) -> &str {
    hash.char_indices().nth(HASH).map_or(hash, |(end, _)| &hash[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event_type: &str, data: &[u8]) -> Told {
        let entry = Entry {
            sequence: 1,
            at: Timestamp::UNIX_EPOCH,
            event_type: event_type.to_owned(),
            fact: Fact::decode(event_type, data),
        };
        tell(&entry)
    }

    #[test]
    fn every_fact_has_a_line_even_an_empty_or_a_strange_one() {
        for event_type in Fact::EVENT_TYPES {
            let told = told(event_type, b"");
            assert!(!told.headline.is_empty() && !told.details.iter().any(String::is_empty), "{event_type}: {told:?}");
        }
        let newer = told("sung_about", b"");
        assert!(newer.tone == Tone::Bad && newer.headline.contains("newer lastgood"), "{newer:?}");
        assert_eq!(told("pods_ready", b"\xff\xff").headline, "pods_ready: damaged");
    }

    #[test]
    fn a_failure_says_which_pods_and_what_serves() {
        let pod = v1::PodReport {
            name: "web-1".into(),
            reason: "CrashLoopBackOff".into(),
            restarts: 4,
            last_log_lines: vec!["boom".into()],
            ..Default::default()
        };
        let fact = v1::RollbackFailed {
            reason: "pods_not_ready".into(),
            detail: "1 of 2".into(),
            pods: vec![pod],
            serving: vec!["web-0".into()],
            ..Default::default()
        };
        let told = told("rollback_failed", &Fact::from(fact).encode());
        assert_eq!(told.headline, "Rollback failed: pods not ready");
        assert_eq!(
            told.details,
            ["1 of 2", "pod web-1: CrashLoopBackOff (4 restarts)", "    boom", "serving now: web-0", "runbook: pods-not-ready"]
        );
    }
}
