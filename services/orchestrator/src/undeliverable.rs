//! Messages that a service gave up on: their incident halts where it still can, and people hear of it.
//!
//! Guarantees: an incident that can't go on is not left to its deadlines alone. Must not: halt for a message that the incident can do
//! without (a notification, a timer's bookkeeping); its own phases' deadlines remain.

use async_trait::async_trait;
use chassis::bus::{Advisory, AdvisoryKind, Delivery, HandleError, Handler, decode_advisory};
use chassis::incidents::{ExecuteError, Incidents};
use contracts::subjects::streams;
use contracts::{HaltReason, IncidentSubject};
use lastgood_core::incident::Command;

use crate::resume::is_undecided;

/// Handles captured advisories.
pub struct Undeliverable {
    incidents: Incidents,
}

impl Undeliverable {
    /// On these incidents.
    #[must_use]
    pub const fn new(incidents: Incidents) -> Self {
        Self { incidents }
    }
}

/// Whether an incident waits for what this consumer does with its facts.
fn is_essential(advisory: &Advisory) -> bool {
    advisory.stream == streams::INCIDENTS && (advisory.consumer.starts_with("executor") || is_decision(advisory))
}

/// Whether it is about a message that an incident's decision may wait for.
fn is_decision(advisory: &Advisory) -> bool {
    advisory.consumer.starts_with("orchestrator-resume")
}

fn detail(advisory: &Advisory) -> String {
    let how = match advisory.kind {
        AdvisoryKind::MaxDeliveries => format!("was delivered {} times to {}", advisory.deliveries, advisory.consumer),
        AdvisoryKind::Terminated => format!("was given up by {}", advisory.consumer),
    };
    let why = advisory.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("message {} of {} {how}{why}", advisory.sequence, advisory.stream)
}

#[async_trait]
impl Handler for Undeliverable {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let advisory = decode_advisory(delivery)?;
        let detail = detail(&advisory);
        tracing::error!(detail, "a message is undeliverable");
        let (stream, consumer) = (advisory.stream.clone(), advisory.consumer.clone());
        metrics::counter!("lastgood_undeliverable_total", "stream" => stream, "consumer" => consumer).increment(1);
        if !is_essential(&advisory) {
            return Ok(());
        }
        let Some(stored) = self.incidents.bus().message(&advisory.stream, advisory.sequence).await? else { return Ok(()) };
        let Ok((subject, _)) = IncidentSubject::parse(&stored.subject) else { return Ok(()) };
        if is_decision(&advisory) && !is_undecided(&self.incidents.load(&subject, Some(stored.sequence)).await?.incident) {
            tracing::info!(incident = %subject, "it was decided all the same");
            return Ok(());
        }
        let command = Command::Halt { reason: HaltReason::Undeliverable, detail, would_do: String::new() };
        match self.incidents.execute(&subject, None, &command, delivery.stored.at).await {
            Ok(_) => tracing::warn!(incident = %subject, "halted: undeliverable"),
            // Past the point where it could halt: the phase's deadline speaks for the service that doesn't.
            Err(ExecuteError::Refused(refusal)) => tracing::warn!(incident = %subject, %refusal, "left to its deadline"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advisory(stream: &str, consumer: &str) -> Advisory {
        Advisory {
            kind: AdvisoryKind::Terminated,
            stream: stream.into(),
            consumer: consumer.into(),
            sequence: 7,
            deliveries: 5,
            reason: Some("damaged".into()),
        }
    }

    #[test]
    fn only_what_an_incident_waits_for_halts_it() {
        assert!(is_essential(&advisory(streams::INCIDENTS, "executor")));
        assert!(is_essential(&advisory(streams::INCIDENTS, "orchestrator-resume")));
        assert!(!is_essential(&advisory(streams::INCIDENTS, "notifier")));
        assert!(!is_essential(&advisory(streams::INCIDENTS, "orchestrator-ledger")));
        assert!(!is_essential(&advisory(streams::ALERTS, "orchestrator-alerts")));
    }

    #[test]
    fn the_detail_names_message_consumer_and_reason() {
        assert_eq!(detail(&advisory("S", "executor")), "message 7 of S was given up by executor: damaged");
    }
}
