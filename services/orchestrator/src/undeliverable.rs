//! Messages that the server gave up on, because no service ever reported on them: each becomes a dead letter like those that services give
//! up on themselves, so that people hear of it and can replay it. Our own consumers have no such limit: the chassis counts their deliveries
//! (`bus::work`). This is for limits that somebody set by hand, and for what an earlier release's consumers left.
//!
//! Guarantees: no message is off its consumer without being in the dead-letter stream. Must not: judge what a message is about;
//! `dead_letters` does.

use async_trait::async_trait;
use chassis::bus::{AdvisoryKind, Bus, Delivery, HandleError, Handler, decode_advisory};

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
        self.bus.dead_letter_of(&advisory, &stored, &advisory.never_reported_on()).await?;
        Ok(())
    }
}
