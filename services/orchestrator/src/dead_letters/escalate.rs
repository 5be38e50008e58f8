//! A dead letter about an incident: the incident halts where it waits for the message and still can; else the team lead is paged through
//! its log; where the log itself is damaged, the incident is given up and closed.
//!
//! Guarantees: after a dead letter about an incident a person is asked for, whoever gave the message up and whatever the incident's phase;
//! one letter after another about the same incident asks once. Letters about no incident are the notifier's to tell of. Must not: halt for
//! a message that the incident can do without, or make a dead letter of a dead letter.

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler, consumer_of};
use chassis::incidents::{ExecuteError, Incidents};
use contracts::subjects::streams;
use contracts::v1::{DeadLetter, NotificationFailed, NotificationRequested};
use contracts::{Fact, FailureReason, HaltReason, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Refusal};

use crate::give_up::give_up;
use crate::resume::is_undecided;

/// What a person is told of a reason at most, in characters: it may quote what was damaged.
const REASON: usize = 300;

/// Handles `lastgood.dead.>`.
pub struct DeadLetters {
    incidents: Incidents,
}

impl DeadLetters {
    /// On these incidents.
    #[must_use]
    pub const fn new(incidents: Incidents) -> Self {
        Self { incidents }
    }

    /// Sees that a person is asked for.
    async fn ask(&self, letter: &DeadLetter, subject: &IncidentSubject, now: Timestamp) -> Result<(), ExecuteError> {
        let detail = detail(letter);
        let seen = (letter.stream == streams::INCIDENTS).then_some(letter.sequence);
        if waits_for(consumer_of(letter)) && self.halt(letter, subject, seen, &detail, now).await? {
            tracing::warn!(incident = %subject, detail, "halted: undeliverable");
            return Ok(());
        }
        if let Some(undelivered) = undelivered(letter) {
            // Whoever waits for its delivery need not wait on; who was meant is told by the escalation.
            let result = self.incidents.execute(subject, seen, &Command::RecordUndelivered(undelivered), now).await;
            accepted(result.map(drop))?;
        }
        let command = Command::Escalate { reason: FailureReason::DeadLetter, detail };
        if accepted(self.incidents.execute(subject, seen, &command, now).await.map(drop))? {
            tracing::warn!(incident = %subject, "escalated: a dead letter");
        }
        Ok(())
    }

    /// Halts an incident that waits for this message; false where it can't halt any more, or doesn't wait.
    async fn halt(
        &self,
        letter: &DeadLetter,
        subject: &IncidentSubject,
        seen: Option<u64>,
        detail: &str,
        now: Timestamp,
    ) -> Result<bool, ExecuteError> {
        if is_decision(consumer_of(letter)) && !is_undecided(&self.incidents.load(subject, seen).await?.incident) {
            return Ok(false);
        }
        let command = Command::Halt { reason: HaltReason::Undeliverable, detail: detail.to_owned(), would_do: String::new() };
        accepted(self.incidents.execute(subject, seen, &command, now).await.map(drop))
    }
}

/// Whether it was accepted; a refusal is an answer too.
fn accepted(result: Result<(), ExecuteError>) -> Result<bool, ExecuteError> {
    match result {
        Ok(()) => Ok(true),
        Err(ExecuteError::Refused(refusal)) => {
            if refusal != Refusal::AlreadySo {
                tracing::warn!(%refusal, "the incident goes on without it");
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether an incident waits for what this consumer does with its facts.
fn waits_for(consumer: &str) -> bool {
    consumer.starts_with("executor") || is_decision(consumer)
}

/// Whether an incident's decision may wait for this consumer.
fn is_decision(consumer: &str) -> bool {
    consumer.starts_with("orchestrator-resume")
}

/// The notification that the notifier gave up, where it is one and can be read.
fn undelivered(letter: &DeadLetter) -> Option<NotificationFailed> {
    if consumer_of(letter) != "notifier" {
        return None;
    }
    let (_, event_type) = IncidentSubject::parse(&letter.subject).ok()?;
    let Ok(Fact::NotificationRequested(request)) = Fact::decode(event_type, &letter.data) else { return None };
    let NotificationRequested { audience, reason, .. } = request;
    Some(NotificationFailed { audience, reason, error: shortened(&letter.reason), owed: false })
}

fn detail(letter: &DeadLetter) -> String {
    let (sequence, stream, consumer) = (letter.sequence, &letter.stream, consumer_of(letter));
    format!("message {sequence} of {stream} was given up by {consumer}: {}", shortened(&letter.reason))
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON).collect()
}

#[async_trait]
impl Handler for DeadLetters {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let Ok(letter) = delivery.decode::<DeadLetter>() else {
            tracing::error!(sequence = delivery.sequence(), "a dead letter can't be read");
            return Ok(());
        };
        // The notifier tells of those that name none.
        let Ok((subject, _)) = IncidentSubject::parse(&letter.subject) else { return Ok(()) };
        match self.ask(&letter, &subject, delivery.stored.at).await {
            Err(ExecuteError::Damaged(what)) => give_up(&self.incidents, &subject, &what, delivery.stored.at).await,
            // A newer orchestrator knows what to do; until then the incident's own deadlines are its business too.
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contracts::v1::Audience;

    use super::*;

    fn letter(consumer: &str, event_type: &str, data: Vec<u8>) -> DeadLetter {
        let id = "inc_0000000000000000000000000000002a";
        DeadLetter {
            service: "x".into(),
            stream: "S".into(),
            sequence: 7,
            subject: format!("lastgood.incident.eu.shop.deployment.web.{id}.{event_type}"),
            reason: "damaged".into(),
            headers: BTreeMap::from([("Lastgood-Consumer".to_owned(), consumer.to_owned())]),
            data,
        }
    }

    #[test]
    fn only_what_an_incident_waits_for_halts_it() {
        assert!(waits_for("executor") && waits_for("orchestrator-resume"));
        assert!(!waits_for("notifier") && !waits_for("orchestrator-ledger") && !waits_for("orchestrator-alerts"));
    }

    #[test]
    fn the_detail_names_message_consumer_and_a_reason_that_ends() {
        assert_eq!(detail(&letter("executor", "rollback_planned", vec![])), "message 7 of S was given up by executor: damaged");
        let long = DeadLetter { reason: "x".repeat(100_000), ..letter("executor", "rollback_planned", vec![]) };
        assert!(detail(&long).len() < 500);
    }

    #[test]
    fn only_the_pages_own_consumer_leaves_a_notification_undelivered() {
        let request = Fact::from(NotificationRequested {
            audience: Audience::OnCall.into(),
            reason: "halted.paused".into(),
            ..NotificationRequested::default()
        });
        let of = |consumer: &str, data: Vec<u8>| undelivered(&letter(consumer, "notification_requested", data));
        assert_eq!(of("notifier", request.encode()).map(|failed| failed.reason).as_deref(), Some("halted.paused"));
        assert_eq!(of("notifier-copies", request.encode()), None);
        assert_eq!(of("notifier", b"\xff\xff".to_vec()), None);
        assert_eq!(undelivered(&letter("notifier", "incident_closed", vec![])), None);
    }
}
