//! The pause switches: that one was turned is told to everybody, at once and over every channel.
//!
//! Guarantees: each channel is tried on its own until the deadline; one that fails is counted and logged. Told twice only after a crash. A
//! switch that was turned long ago (a notifier that is new here hears of all of them) is not news. Must not: page.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler};
use contracts::LedgerFact;
use contracts::subjects::cluster_of_switch;
use futures::future::join_all;

use super::{Desk, stopping};
use crate::channels::Channel;
use crate::deliver::Undelivered;
use crate::templates::bulletin::Bulletin;

/// The facts that it hears.
pub const FACTS: [&str; 2] = ["lastgood.switch.*.pause_switched", "lastgood.namespace_switch.*.*.pause_switched"];

/// The least time for tries.
const LEAST: Duration = Duration::from_secs(30);

/// Tells of the switches.
pub struct Switched {
    desk: Arc<Desk>,
}

impl Switched {
    /// Over the channels of this desk.
    #[must_use]
    pub const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    async fn tell(&self, channel: &dyn Channel, receiver: usize, bulletin: &Bulletin) -> Result<(), Undelivered> {
        let what = format!("that a switch was turned, to receiver {receiver} of {}", channel.name());
        let budget = self.desk.budget(bulletin.at, LEAST);
        let told = self.desk.persistence.persist(&what, budget, || channel.inform(bulletin, receiver)).await;
        if let Err(error @ (Undelivered::GaveUp { .. } | Undelivered::Refused { .. })) = &told {
            tracing::error!(channel = channel.name(), receiver, %error, "nobody could be told that a switch was turned");
            metrics::counter!("lastgood_bulletins_failed_total", "channel" => channel.name().to_owned()).increment(1);
        }
        told
    }
}

#[async_trait]
impl Handler for Switched {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let LedgerFact::PauseSwitched(fact) = delivery.ledger_fact()? else { return Ok(()) };
        let (sequence, at) = (delivery.sequence(), delivery.stored.at);
        let bulletin = Bulletin::of(cluster_of_switch(delivery.subject()).unwrap_or_default(), &fact, sequence, at);
        let age = Duration::try_from(self.desk.clock.now().duration_since(at)).unwrap_or_default();
        if age > self.desk.give_up_after {
            tracing::info!(summary = bulletin.summary(), ?age, "a switch was turned long ago; that is no news");
            return Ok(());
        }
        let channels = self.desk.channels();
        let receivers = channels.iter().flat_map(|channel| (0..channel.receivers()).map(move |receiver| (*channel, receiver)));
        let told = join_all(receivers.map(|(channel, receiver)| self.tell(channel, receiver, &bulletin))).await;
        if told.into_iter().any(|told| told == Err(Undelivered::Stopping)) {
            return Err(stopping());
        }
        tracing::info!(summary = bulletin.summary(), "everybody was told that a switch was turned");
        Ok(())
    }
}
