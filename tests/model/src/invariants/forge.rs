//! Forged histories, with which each invariant proves that it can fail.

use std::sync::Arc;

use contracts::subjects::streams;
use contracts::v1::{self, Alert, AlertNotification, AlertStatus, Audience, Urgency, Verdict, WorkloadRef};
use contracts::{Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::template;
use prost::Message as _;
use serde_json::{Value, json};

use super::Invariant;
use crate::world::history::{Event, Message, Told, What, Write};

/// A second of the forged time.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An incident's id as annotations have it.
pub(crate) fn id(number: u128) -> String {
    IncidentId::from_uuid(uuid(number)).to_string()
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn subject(number: u128) -> IncidentSubject {
    let workload =
        WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() };
    IncidentSubject { workload, incident: IncidentId::from_uuid(uuid(number)) }
}

/// A stored message.
pub(crate) fn stored(stream: &str, subject: &str, data: &[u8]) -> What {
    stored_at(stream, 1, subject, data)
}

/// A stored message at this sequence.
pub(crate) fn stored_at(stream: &str, sequence: u64, subject: &str, data: &[u8]) -> What {
    let data = bytes::Bytes::copy_from_slice(data);
    What::Stored(Message { stream: stream.into(), sequence, subject: subject.into(), at: at(0), data })
}

/// Where an incident's facts of this type are.
pub(crate) fn path(number: u128, event_type: &str) -> String {
    subject(number).fact(event_type)
}

fn of(number: u128, fact: impl Into<Fact>) -> What {
    let fact = fact.into();
    stored(streams::INCIDENTS, &subject(number).fact(fact.event_type()), &fact.encode())
}

/// An alert as it was stored.
pub(crate) fn alert(fingerprint: &str, firing: bool) -> What {
    let status = if firing { AlertStatus::Firing } else { AlertStatus::Resolved };
    let starts_at = Some(contracts::time::to_proto(at(0)));
    let alert = Alert { fingerprint: fingerprint.into(), status: status.into(), starts_at, ..Alert::default() };
    let notification = AlertNotification { alerts: vec![alert], ..AlertNotification::default() };
    stored(streams::ALERTS, "lastgood.alert.alertmanager", &notification.encode_to_vec())
}

pub(crate) fn opened(number: u128) -> What {
    let trigger = v1::Occurrence { fingerprint: "f1".into(), ..v1::Occurrence::default() };
    of(number, v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() })
}

pub(crate) fn identified(number: u128) -> What {
    of(number, v1::CurrentVersionIdentified::default())
}

pub(crate) fn halted(number: u128) -> What {
    of(number, v1::RollbackHalted { reason: "paused".into(), ..v1::RollbackHalted::default() })
}

pub(crate) fn joined(number: u128, fingerprint: &str) -> What {
    let occurrence = v1::Occurrence { fingerprint: fingerprint.into(), ..v1::Occurrence::default() };
    of(number, v1::AlertJoined { occurrences: vec![occurrence] })
}

pub(crate) fn resolved(number: u128, fingerprint: &str) -> What {
    of(number, v1::AlertResolved { fingerprint: fingerprint.into(), ..v1::AlertResolved::default() })
}

/// Over, by the word of Prometheus.
pub(crate) fn over(number: u128, fingerprint: &str) -> What {
    let seen_by = "prometheus".to_owned();
    of(number, v1::AlertResolved { fingerprint: fingerprint.into(), seen_by, ..v1::AlertResolved::default() })
}

pub(crate) fn mitigated(number: u128) -> What {
    of(number, v1::Mitigated {})
}

pub(crate) fn closed(number: u128) -> What {
    of(number, v1::IncidentClosed::default())
}

pub(crate) fn asked(number: u128) -> What {
    let (audience, urgency) = (Audience::OnCall.into(), Urgency::Page.into());
    of(number, v1::NotificationRequested { audience, urgency, reason: "failed".into(), ..v1::NotificationRequested::default() })
}

/// The team lead is asked for because of a dead letter.
pub(crate) fn dead_letter(number: u128) -> What {
    let (audience, urgency, reason) = (Audience::TeamLead.into(), Urgency::Page.into(), "dead_letter".into());
    of(number, v1::NotificationRequested { audience, urgency, reason, ..v1::NotificationRequested::default() })
}

pub(crate) fn notified(number: u128) -> What {
    of(number, v1::OnCallNotified { reason: "failed".into(), ..v1::OnCallNotified::default() })
}

pub(crate) fn told(number: u128, answer_lost: bool) -> What {
    What::Told(Told {
        process: "notifier-0".into(),
        channel: "pagerduty",
        incident: id(number),
        audience: Audience::OnCall,
        urgency: Urgency::Page,
        reason: "failed".into(),
        answer_lost,
    })
}

pub(crate) fn planned(number: u128, generation: i64, from: &str, to: &str) -> What {
    let version = |name: &str| Some(v1::Version { template_hash: hash(name), ..v1::Version::default() });
    let plan = v1::Plan {
        from: version(from),
        to: version(to),
        workload_uid: "uid".into(),
        workload_generation: generation,
        ..v1::Plan::default()
    };
    of(number, v1::RollbackPlanned { plan: Some(plan) })
}

pub(crate) fn started(number: u128, attempt: u32, generation: i64, from: &str, to: &str) -> What {
    of(
        number,
        v1::RollbackStarted {
            attempt,
            workload_uid: "uid".into(),
            workload_generation: generation,
            template_hash: hash(from),
            target_template_hash: hash(to),
            ..v1::RollbackStarted::default()
        },
    )
}

pub(crate) fn moved(number: u128) -> What {
    of(number, v1::ImageMoved::default())
}

pub(crate) fn shifted(number: u128) -> What {
    of(number, v1::TrafficShifted::default())
}

pub(crate) fn check(number: u128, kind: &str, verdict: Verdict) -> What {
    of(number, v1::SmokeTestFinished { check: kind.into(), kind: kind.into(), verdict: verdict.into(), ..Default::default() })
}

pub(crate) fn verified(number: u128) -> What {
    of(number, v1::VerificationPassed::default())
}

fn template_named(name: &str) -> Value {
    json!({"spec": {"containers": [{"name": "web", "image": name}]}})
}

fn hash(name: &str) -> String {
    template::hash(&template_named(name))
}

/// A Deployment with this template, generation and stamp.
pub(crate) fn object(image: &str, generation: i64, incident: &str, attempt: u32) -> Value {
    json!({"metadata": {"uid": "uid", "generation": generation,
            "annotations": {"lastgood.dev/incident": incident, "lastgood.dev/attempt": attempt.to_string()}},
        "spec": {"replicas": 2, "template": template_named(image)}})
}

/// The same with other replicas.
pub(crate) fn scaled(image: &str, generation: i64, incident: &str, attempt: u32) -> Value {
    let mut object = object(image, generation, incident, attempt);
    object["spec"]["replicas"] = 5.into();
    object
}

/// One that its owner has paused.
pub(crate) fn paused(image: &str, generation: i64) -> Value {
    let mut object = object(image, generation, "", 0);
    object["spec"]["paused"] = true.into();
    object
}

fn write(process: Option<&str>, before: Value, after: Value) -> What {
    What::Wrote(Write {
        process: process.map(ToOwned::to_owned),
        resource: "deployments.apps".into(),
        namespace: "shop".into(),
        name: "web".into(),
        before: Some(Arc::new(before)),
        after: Some(Arc::new(after)),
    })
}

/// A write of an executor.
pub(crate) fn wrote(before: Value, after: Value) -> What {
    write(Some("executor-0"), before, after)
}

/// A write of a person.
pub(crate) fn person(before: Value, after: Value) -> What {
    write(None, before, after)
}

/// The selector of the Service of the same name goes from one version to another.
pub(crate) fn selector_changed(process: Option<&str>, from: &str, to: &str) -> What {
    let service = |version: &str| Some(Arc::new(json!({"spec": {"selector": {"app": "web", "version": version}}})));
    What::Wrote(Write {
        process: process.map(ToOwned::to_owned),
        resource: "services".into(),
        namespace: "shop".into(),
        name: "web".into(),
        before: service(from),
        after: service(to),
    })
}

fn judge(mut invariant: impl Invariant, events: Vec<(i64, What)>) -> Result<(), String> {
    for (number, (second, what)) in events.into_iter().enumerate() {
        invariant.see(&Event { number, at: at(second), what })?;
    }
    invariant.end()
}

fn at_once(events: Vec<What>) -> Vec<(i64, What)> {
    events.into_iter().map(|what| (0, what)).collect()
}

/// The invariant has nothing to say against these events.
#[track_caller]
pub(crate) fn holds(invariant: impl Invariant, events: Vec<What>) {
    holds_at(invariant, at_once(events));
}

/// The same, each event at its second.
#[track_caller]
pub(crate) fn holds_at(invariant: impl Invariant, events: Vec<(i64, What)>) {
    assert_eq!(judge(invariant, events), Ok(()));
}

/// The invariant is broken by these events, and says so in these words.
#[track_caller]
pub(crate) fn broken(invariant: impl Invariant, events: Vec<What>, words: &str) {
    broken_at(invariant, at_once(events), words);
}

/// The same, each event at its second.
#[track_caller]
pub(crate) fn broken_at(invariant: impl Invariant, events: Vec<(i64, What)>, words: &str) {
    let said = judge(invariant, events).expect_err("it must be broken");
    assert!(said.contains(words), "{said}");
}
