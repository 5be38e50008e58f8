//! The promises S1 to S4 and S8, checked on what a run has left in the log and in the cluster's journal, whatever was done to it.
//!
//! Guarantee: each violation is named with what shows it. Must not: know which fault there was; these hold under all of them.

use std::collections::BTreeMap;

use contracts::v1::RollbackStarted;
use contracts::{Fact, IncidentId, OccurrenceFact};
use testbed::app::App;
use testbed::journal::{Entry, Said};
use testbed::sim::JournalEntry;
use testbed::small_play::Alarm;

use super::ending::template_writes;

/// What is broken; empty when all is well.
#[must_use]
pub fn broken(log: &[Entry], cluster: &[JournalEntry], app: &App, alarms: &[Alarm]) -> Vec<String> {
    let mut found = dispositions(log, alarms);
    found.extend(one_at_a_time(log));
    found.extend(writes(log, cluster, app));
    found
}

/// S1: each alert that was taken has exactly one disposition.
fn dispositions(log: &[Entry], alarms: &[Alarm]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = alarms.iter().map(|alarm| (alarm.fingerprint(), 0)).collect();
    for entry in log {
        if let Said::Occurrence(fingerprint, fact) = &entry.said
            && !matches!(fact, OccurrenceFact::OccurrenceResolved(_) | OccurrenceFact::OccurrenceRepeated(_))
        {
            *counts.entry(fingerprint.clone()).or_default() += 1;
        }
    }
    let wrong = counts.into_iter().filter(|(_, count)| *count != 1);
    wrong.map(|(fingerprint, count)| format!("S1: alert {fingerprint} has {count} dispositions")).collect()
}

/// S2: an incident opens only when its workload's earlier one is closed.
fn one_at_a_time(log: &[Entry]) -> Vec<String> {
    let mut open: BTreeMap<String, IncidentId> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in log {
        let Said::Incident(subject, fact) = &entry.said else { continue };
        match **fact {
            Fact::AnomalyDetected(_) => {
                if let Some(other) = open.insert(subject.workload_filter(), subject.incident) {
                    found.push(format!("S2: {} opened while {other} was open", subject.incident));
                }
            }
            Fact::IncidentClosed(_) => drop(open.remove(&subject.workload_filter())),
            _ => {}
        }
    }
    found
}

/// S2, S3 and S4: each change of the template was named by an intent that was stored before it, on the very generation that it names, and no
/// plan changed it twice, unless its images had moved.
fn writes(log: &[Entry], cluster: &[JournalEntry], app: &App) -> Vec<String> {
    let mut by_incident: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (write, replaced) in template_writes(cluster, app) {
        let stamp = |name: &str| {
            let value = write.body.pointer(&format!("/metadata/annotations/lastgood.dev~1{name}"));
            value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let (incident, attempt) = (stamp("incident"), stamp("attempt"));
        *by_incident.entry(incident.clone()).or_default() += 1;
        let Some((at, intent)) = intent(log, &incident, &attempt) else {
            found.push(format!("S3: a write replaced {replaced} as attempt {attempt} of {incident}, which no fact names"));
            continue;
        };
        if at > write.time {
            found.push(format!("S3: the write of {} came before its intent of {at}", write.time));
        }
        let (generation, uid) = (&write.body["metadata"]["generation"], &write.body["metadata"]["uid"]);
        if generation.as_i64() != Some(intent.workload_generation) || uid.as_str() != Some(intent.workload_uid.as_str()) {
            found.push(format!("S4: the write was made on generation {generation} of {uid}, its intent names {intent:?}"));
        }
    }
    let moved = |id: &String| {
        let of = |entry: &&Entry| matches!(&entry.said, Said::Incident(subject, fact) if subject.incident.to_string() == *id && matches!(**fact, Fact::ImageMoved(_)));
        log.iter().filter(of).count()
    };
    let twice = by_incident.into_iter().filter(|(id, count)| *count > 1 + moved(id).min(1));
    found.extend(twice.map(|(incident, count)| format!("S2: {incident} changed the template {count} times")));
    found
}

fn intent(log: &[Entry], incident: &str, attempt: &str) -> Option<(jiff::Timestamp, RollbackStarted)> {
    log.iter().find_map(|entry| match &entry.said {
        Said::Incident(subject, fact) if subject.incident.to_string() == incident => match &**fact {
            Fact::RollbackStarted(intent) if intent.attempt.to_string() == attempt => Some((entry.at, intent.clone())),
            _ => None,
        },
        _ => None,
    })
}
