//! Where an incident stands and what it waits for, in words and for programs.
//!
//! Guarantee: the codes never change. Must not: read anything.

use contracts::DeadlineKind;
use contracts::codes::outcome_name;
use contracts::v1::Outcome;
use jiff::Timestamp;
use lastgood_core::incident::{Incident, Phase, pending_deadlines};
use lastgood_core::text::when;
use lastgood_core::words::words;
use serde_json::{Value, json};

use crate::look::Tone;

/// Where an incident stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    phase: Phase,
    pending: Vec<(DeadlineKind, Timestamp)>,
    /// Whether a part of its log can't be read, so that this may not be all.
    damaged: bool,
}

impl State {
    /// Where this incident stands.
    #[must_use]
    pub fn of(incident: &Incident, damaged: bool) -> Self {
        let mut pending = pending_deadlines(incident);
        pending.sort_by_key(|(_, until)| *until);
        Self { phase: incident.phase(), pending, damaged }
    }

    /// For programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.phase {
            Phase::Absent => "absent",
            Phase::Detected => "detected",
            Phase::Identified => "identified",
            Phase::TargetMissing => "target_missing",
            Phase::TargetFound => "target_found",
            Phase::AwaitingApproval => "awaiting_approval",
            Phase::InGrace => "in_grace",
            Phase::Planned => "planned",
            Phase::Acting => "acting",
            Phase::Verifying => "verifying",
            Phase::Mitigated => "mitigated",
            Phase::Ended(_) => "ended",
            Phase::Closed(_) => "closed",
        }
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let text = match self.phase {
            Phase::Absent => "its opening is not on the log".to_owned(),
            Phase::Detected | Phase::Identified | Phase::TargetFound => "looking for the last good version".to_owned(),
            Phase::TargetMissing => "no version to go back to".to_owned(),
            Phase::AwaitingApproval => "rollback planned, waiting for a person's yes or no".to_owned(),
            Phase::InGrace => "rollback planned, waiting whether the alert goes on".to_owned(),
            Phase::Planned => "rollback planned".to_owned(),
            Phase::Acting => "rolling back".to_owned(),
            Phase::Verifying => "rolled back, verifying".to_owned(),
            Phase::Mitigated => "verified, waiting for the alert to resolve".to_owned(),
            Phase::Ended(outcome) => format!("{}, people are being told", outcome_name(outcome)),
            Phase::Closed(outcome) => outcome_name(outcome).to_owned(),
        };
        if self.damaged { format!("{text} (a part of its log can't be read)") } else { text }
    }

    /// What the words are like.
    #[must_use]
    pub const fn tone(&self) -> Tone {
        match self.phase {
            Phase::Ended(outcome) | Phase::Closed(outcome) => tone_of(outcome),
            _ => Tone::Open,
        }
    }

    /// A line for each thing that it waits for.
    #[must_use]
    pub fn waiting(&self, now: Timestamp) -> Vec<String> {
        let line =
            |(kind, until): &(DeadlineKind, Timestamp)| format!("waits for {} until {}", awaited(*kind), when(*until, now));
        self.pending.iter().map(line).collect()
    }

    /// The same for programs.
    #[must_use]
    pub fn waiting_json(&self) -> Value {
        let one = |(kind, until): &(DeadlineKind, Timestamp)| json!({"deadline": kind.code(), "what": awaited(*kind), "until": until.to_string()});
        self.pending.iter().map(one).collect()
    }
}

/// What has to have happened by a deadline. By its code: one that is added says at least its own name.
fn awaited(kind: DeadlineKind) -> String {
    let what = match kind.code() {
        "decide" => "a plan or a halt",
        "announce" => "the chat thread",
        "approve" => "somebody to approve or decline it",
        "grace" => "the end of the grace period",
        "start" => "the first attempt",
        "rollback" => "its pods to be ready and traffic to have shifted",
        "verify" => "the smoke tests",
        "resolve" => "the alert to resolve and the cluster to be tidied up",
        "acknowledge" => "somebody to acknowledge the page",
        "escalate" => "somebody to acknowledge the page, before the next is called",
        "notify" => "the notifications to be delivered",
        other => return words(other),
    };
    what.to_owned()
}

/// What an outcome is like.
#[must_use]
pub const fn tone_of(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Completed => Tone::Good,
        Outcome::Superseded => Tone::Plain,
        _ => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use contracts::v1;
    use lastgood_core::incident::{Recorded, evolve};

    use super::*;

    #[test]
    fn an_open_incident_says_what_it_waits_for_and_until_when() {
        let at: Timestamp = "2026-11-25T13:00:00Z".parse().unwrap();
        let opening = Recorded { sequence: 1, at, fact: v1::AnomalyDetected::default().into() };
        let state = State::of(&evolve(Incident::default(), &opening), false);
        assert_eq!((state.code(), state.words().as_str()), ("detected", "looking for the last good version"));
        assert_eq!(state.waiting(at), ["waits for a plan or a halt until 2026-11-25 13:01:00Z (in 1m 00s)"]);
        assert_eq!(state.waiting_json()[0]["deadline"], "decide");
    }

    #[test]
    fn every_deadline_has_its_words() {
        for kind in DeadlineKind::ALL {
            assert!(!awaited(*kind).is_empty());
        }
    }
}
