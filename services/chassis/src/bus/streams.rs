//! The streams: made when they are missing, added to when they lack something, never shrunk and never deleted.
//!
//! Guarantees: a stream of facts refuses new messages when it is full. A difference that could lose something is logged and
//! left. Must not: know the facts.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use contracts::subjects::{self, streams};

use crate::config;

/// How long the same `Nats-Msg-Id` is the same message.
const DUPLICATES: Duration = Duration::from_hours(1);

/// The stream that holds this subject's facts.
pub(super) fn of_subject(subject: &str) -> Option<&'static str> {
    match subject.split('.').nth(1) {
        Some("incident" | "occurrence") => Some(streams::INCIDENTS),
        Some("ledger" | "switch" | "namespace_switch" | "budget") => Some(streams::LEDGER),
        _ => None,
    }
}

/// All streams as they should be.
pub(super) fn wanted(config: &config::Nats) -> Vec<Config> {
    // JetStream sets the room aside when it makes a stream; what is kept for a while only needs less of it.
    let less = if config.max_bytes > 0 { (config.max_bytes / 8).max(1 << 20).min(config.max_bytes) } else { config.max_bytes };
    let facts = |name: &str, filters: &[&str]| Config {
        name: name.to_owned(),
        subjects: filters.iter().map(|&filter| filter.to_owned()).collect(),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: config.replicas,
        max_bytes: config.max_bytes,
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    };
    let incidents = facts(streams::INCIDENTS, &[subjects::ALL_INCIDENTS, subjects::ALL_OCCURRENCES]);
    let kept = [subjects::ALL_LEDGER, subjects::ALL_SWITCHES, subjects::ALL_NAMESPACE_SWITCHES, subjects::ALL_BUDGETS];
    let ledger = facts(streams::LEDGER, &kept);
    let mut alerts = facts(streams::ALERTS, &[subjects::ALL_ALERTS]);
    alerts.max_age = config.keep;
    alerts.duplicate_window = DUPLICATES.min(config.keep);
    // Schedules need room to be replaced: nats-server refuses them on a stream that discards new messages.
    let mut timers = facts(streams::TIMERS, &[subjects::ALL_TIMERS, subjects::ALL_FIRED]);
    timers.max_bytes = less;
    timers.discard = DiscardPolicy::Old;
    timers.allow_atomic_publish = false;
    timers.allow_message_schedules = true;
    timers.allow_message_ttl = true;
    let redelivery = format!("{}.>", super::REDELIVERY_PREFIX);
    let mut dead = facts(streams::DEAD, &[subjects::ALL_DEAD, redelivery.as_str()]);
    dead.max_bytes = less;
    dead.discard = DiscardPolicy::Old;
    dead.max_age = config.keep;
    let advised: Vec<String> = super::advisories::captured();
    let mut advisories = facts(streams::ADVISORIES, &advised.iter().map(String::as_str).collect::<Vec<_>>());
    advisories.max_bytes = less;
    advisories.discard = DiscardPolicy::Old;
    advisories.max_age = config.keep;
    advisories.allow_atomic_publish = false;
    vec![incidents, ledger, alerts, timers, dead, advisories]
}

/// What is there, with what it lacks added; `None` when it lacks nothing. `drift` gets a line for each difference that is left alone.
pub(super) fn additions(have: &Config, want: &Config, drift: &mut Vec<String>) -> Option<Config> {
    let mut next = have.clone();
    for subject in &want.subjects {
        if !next.subjects.contains(subject) {
            next.subjects.push(subject.clone());
        }
    }
    next.allow_direct |= want.allow_direct;
    next.allow_atomic_publish |= want.allow_atomic_publish;
    next.allow_message_schedules |= want.allow_message_schedules;
    next.allow_message_ttl |= want.allow_message_ttl;
    next.num_replicas = next.num_replicas.max(want.num_replicas);
    if have.max_bytes > 0 {
        next.max_bytes = if want.max_bytes <= 0 { -1 } else { have.max_bytes.max(want.max_bytes) };
    }
    if !have.max_age.is_zero() && (want.max_age.is_zero() || want.max_age > have.max_age) {
        next.max_age = want.max_age;
    }
    if want.duplicate_window > have.duplicate_window {
        next.duplicate_window = want.duplicate_window;
    }
    let mut differs = |what: &str, have: &dyn std::fmt::Debug, want: &dyn std::fmt::Debug| {
        let (have, want) = (format!("{have:?}"), format!("{want:?}"));
        if have != want {
            drift.push(format!("{what} is {have}, not {want}"));
        }
    };
    differs("discard", &next.discard, &want.discard);
    differs("retention", &next.retention, &want.retention);
    differs("storage", &next.storage, &want.storage);
    differs("num_replicas", &next.num_replicas, &want.num_replicas);
    differs("max_bytes", &next.max_bytes, &want.max_bytes);
    differs("max_age", &next.max_age, &want.max_age);
    if next.max_messages > 0 || next.max_messages_per_subject > 0 {
        drift.push("it limits the number of messages".to_owned());
    }
    let changed = format!("{next:?}") != format!("{have:?}");
    changed.then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added_and_nothing_shrinks() {
        let config = config::Nats { replicas: 3, max_bytes: 1000, ..config::Nats::default() };
        let want = wanted(&config).remove(0);
        let have =
            Config { subjects: vec!["other".into()], num_replicas: 1, max_bytes: 5000, allow_direct: false, ..want.clone() };
        let mut drift = Vec::new();
        let next = additions(&have, &want, &mut drift).unwrap();
        assert_eq!(next.num_replicas, 3);
        assert_eq!(next.max_bytes, 5000);
        assert!(next.allow_direct && next.subjects.len() == 3);
        assert_eq!(drift, ["max_bytes is 5000, not 1000"]);
        assert!(additions(&want, &want, &mut Vec::new()).is_none());
    }

    #[test]
    fn facts_have_their_stream() {
        assert_eq!(of_subject("lastgood.occurrence.f00.occurrence_opened"), Some(streams::INCIDENTS));
        assert_eq!(of_subject("lastgood.switch.default.pause_switched"), Some(streams::LEDGER));
        assert_eq!(of_subject(&subjects::namespace_switch("default", "shop", "pause_switched")), Some(streams::LEDGER));
        assert_eq!(of_subject(&subjects::budget("default", "budget_taken")), Some(streams::LEDGER));
        assert_eq!(of_subject("lastgood.dead.executor"), None);
    }
}
