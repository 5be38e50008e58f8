//! Messages that the server gave up on, because no service ever reported on them: each becomes a dead letter like those that services give
//! up on themselves, so that people hear of it and can replay it.
//!
//! Guarantees: no message is off its consumer without being in the dead-letter stream. Must not: judge what a message is about;
//! `dead_letters` does.

use async_trait::async_trait;
use chassis::bus::{Advisory, AdvisoryKind, Bus, Delivery, HandleError, Handler, Stored, decode_advisory};
use contracts::subjects::streams;
use contracts::v1::DeadLetter;
use prost::Message;

/// Handles captured advisories.
pub struct Undeliverable {
    bus: Bus,
}

impl Undeliverable {
    /// On this bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }
}

/// Whether the message is a dead letter that is about a dead letter: one more would be about the same again.
fn goes_in_circles(advisory: &Advisory, stored: &Stored) -> bool {
    let is_letter = |subject: &str| subject.starts_with("lastgood.dead.");
    advisory.stream == streams::DEAD
        && is_letter(&stored.subject)
        && DeadLetter::decode(stored.data.clone()).is_ok_and(|letter| is_letter(&letter.subject))
}

fn reason(advisory: &Advisory) -> String {
    format!("delivered {} times and never reported on: each time the process ended, or was cut off", advisory.deliveries)
}

#[async_trait]
impl Handler for Undeliverable {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let advisory = decode_advisory(delivery)?;
        let (stream, consumer, sequence) = (&advisory.stream, &advisory.consumer, advisory.sequence);
        tracing::error!(stream, consumer, sequence, reason = advisory.reason, "a message is undeliverable");
        metrics::counter!("lastgood_undeliverable_total", "stream" => stream.clone(), "consumer" => consumer.clone())
            .increment(1);
        // What a service gave up on is a dead letter already.
        if advisory.kind == AdvisoryKind::Terminated {
            return Ok(());
        }
        let Some(stored) = self.bus.message(stream, sequence).await? else { return Ok(()) };
        if !goes_in_circles(&advisory, &stored) {
            self.bus.dead_letter_of(&advisory, &stored, &reason(&advisory)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_about_a_letter_is_the_last_one() {
        let advisory = Advisory {
            kind: AdvisoryKind::MaxDeliveries,
            stream: streams::DEAD.into(),
            consumer: "notifier-dead-letters".into(),
            sequence: 7,
            deliveries: 20,
            reason: None,
        };
        let about = |subject: &str| Stored {
            subject: "lastgood.dead.executor".into(),
            sequence: 7,
            at: jiff::Timestamp::UNIX_EPOCH,
            headers: async_nats::HeaderMap::default(),
            data: DeadLetter { subject: subject.into(), ..DeadLetter::default() }.encode_to_vec().into(),
        };
        assert!(!goes_in_circles(&advisory, &about("lastgood.alert.alertmanager")));
        assert!(goes_in_circles(&advisory, &about("lastgood.dead.executor")));
        assert!(reason(&advisory).contains("20 times"));
    }
}
