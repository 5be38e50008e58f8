//! What the notifier does about a fact: one file for each durable consumer.
//!
//! Guarantees: every handler loads the log before it acts and records afterwards, so a redelivered message, or one that another
//! replica handled, is harmless. Must not: keep anything between messages that correctness needs.

pub mod alarm;
pub mod announce;
pub mod copies;
pub mod notify;
mod receivers;
pub mod resolve;
pub mod switched;
pub mod thread;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::HandleError;
use chassis::clock::Clock;
use contracts::IncidentSubject;
use jiff::Timestamp;
use lastgood_core::incident::{Command, Recorded};
use tokio::sync::Semaphore;

use crate::channels::{Channel, Chat};
use crate::deliver::{Persistence, Undelivered};
use crate::story::Story;

/// The incident log, as much of it as the notifier needs.
#[async_trait]
pub trait Log: Send + Sync {
    /// The incident's facts, up to this sequence at least.
    async fn facts(&self, subject: &IncidentSubject, at_least: u64) -> Result<Vec<Recorded>, HandleError>;

    /// Appends what the command makes; a refusal that says "already so" is a success.
    async fn record(&self, subject: &IncidentSubject, at_least: u64, command: &Command) -> Result<(), HandleError>;
}

/// What all handlers share.
pub struct Desk {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The channels that are configured.
    pub channels: Vec<Arc<dyn Channel>>,
    /// The receivers that policies name, beside the channels.
    pub named: Vec<Arc<dyn Channel>>,
    /// The configured fallback.
    pub fallback: Option<&'static str>,
    /// Where messages link to.
    pub links: crate::templates::Links,
    /// For how long one channel is tried.
    pub give_up_after: Duration,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The tries.
    pub persistence: Persistence,
    /// How many pages that no channel took may be kept in hand.
    pub owed: Semaphore,
}

/// Pages that are kept in hand while no channel answers; with more, the others are given up, so that there are hands left for what comes.
pub const OWED: usize = 128;

impl Desk {
    async fn story(&self, subject: &IncidentSubject, at_least: u64) -> Result<Story, HandleError> {
        Ok(tell(subject, &self.log.facts(subject, at_least).await?))
    }

    fn channels(&self) -> Vec<&dyn Channel> {
        self.channels.iter().map(AsRef::as_ref).collect()
    }

    fn chat(&self) -> Option<&dyn Chat> {
        self.channels.iter().find_map(|channel| channel.chat())
    }

    /// What is left of the time for something that was asked for then, `least` at any rate.
    fn budget(&self, asked_at: Timestamp, least: Duration) -> Duration {
        let gone = Duration::try_from(self.clock.now().duration_since(asked_at)).unwrap_or_default();
        self.give_up_after.saturating_sub(gone).max(least.min(self.give_up_after))
    }
}

/// The story of these facts.
fn tell(subject: &IncidentSubject, facts: &[Recorded]) -> Story {
    Story::of(subject.clone(), facts.iter().map(|recorded| (recorded.sequence, recorded.at, &recorded.fact)))
}

/// An error that hands the message back for another replica, or for the next start. Not an outage: those are kept in hand.
fn stopping() -> HandleError {
    HandleError::retry(Duration::ZERO, Undelivered::Stopping)
}
