//! Wires the handlers to the bus: which durable consumer wakes which of them.
//!
//! Guarantees: pages, chat and copies have consumers of their own, so that a chat or a receiver that is away holds up no page.
//! Must not: decide anything.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Bus, ConsumerSpec, Delivery, HandleError, Handler};
use chassis::clock::{Clock, Ids};
use chassis::incidents::{ExecuteError, Incidents};
use chassis::lifecycle::Lifecycle;
use contracts::IncidentSubject;
use contracts::subjects::{ALL_DEAD, ALL_INCIDENTS, facts_of_type, streams};
use lastgood_core::incident::{Command, Recorded, Refusal};
use tokio::time::Instant;

use super::alarm::Alarms;
use super::switched::{self, Switched};
use super::thread::Threads;
use super::{Desk, Log, resolve};

/// For how long a record of what was sent is tried in place: handing the message back would send it again.
const RECORDING: Duration = Duration::from_mins(2);
/// What a killed notifier had in hand comes to another one after this long: a page must not wait for half a minute.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Messages in hand at a time: each waits most of its time for a provider.
const IN_FLIGHT: usize = 256;

/// The incident log on the bus.
pub struct BusLog {
    incidents: Incidents,
    clock: Arc<dyn Clock>,
    ids: Ids,
}

impl BusLog {
    /// The log on this bus.
    #[must_use]
    pub fn new(bus: Bus, clock: Arc<dyn Clock>, ids: Ids) -> Self {
        Self { incidents: Incidents::new(bus), clock, ids }
    }
}

#[async_trait]
impl Log for BusLog {
    async fn facts(&self, subject: &IncidentSubject, at_least: u64) -> Result<Vec<Recorded>, HandleError> {
        // People are told on what can be known: a damaged fact must not keep a page back.
        let salvaged = self.incidents.salvage(subject, Some(at_least)).await?;
        if let Some(damage) = salvaged.damage.first() {
            tracing::warn!(incident = %subject, %damage, "a part of the log is damaged; telling what the rest says");
        }
        Ok(salvaged.loaded.facts)
    }

    async fn record(&self, subject: &IncidentSubject, at_least: u64, command: &Command) -> Result<(), HandleError> {
        let deadline = Instant::now() + RECORDING;
        loop {
            let error = match self.incidents.execute_salvaged(subject, Some(at_least), command, self.clock.now()).await {
                Ok(_) | Err(ExecuteError::Refused(Refusal::AlreadySo)) => return Ok(()),
                Err(ExecuteError::Refused(refusal)) => {
                    tracing::error!(incident = %subject, command = command.name(), %refusal, "the log refuses it");
                    return Ok(());
                }
                Err(error @ (ExecuteError::Unavailable(_) | ExecuteError::Contended(_))) => error,
                Err(error) => return Err(error.into()),
            };
            if Instant::now() >= deadline {
                return Err(error.into());
            }
            tracing::warn!(incident = %subject, command = command.name(), %error, "not recorded yet");
            tokio::time::sleep(self.ids.jitter(Duration::from_millis(500))).await;
        }
    }
}

/// What a consumer's messages are for.
enum Job {
    Announce(Arc<Desk>),
    Notify(Arc<Desk>),
    Copy(Arc<Desk>),
    Resolve(Arc<Desk>),
    Tell(Threads),
}

#[async_trait]
impl Handler for Job {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        // A fact of a newer binary, or a damaged one, is the chassis' business: the conversion of the error says which.
        let (subject, _) = delivery.fact()?;
        let sequence = delivery.sequence();
        match self {
            Self::Announce(desk) => desk.announce(&subject, sequence).await,
            Self::Notify(desk) => desk.notify(&subject, sequence).await,
            Self::Copy(desk) => desk.copy(&subject, sequence).await,
            Self::Resolve(desk) => desk.resolve(&subject, sequence).await,
            Self::Tell(threads) => threads.tell(&subject, sequence).await,
        }
    }

    fn key(&self, delivery: &Delivery) -> String {
        match self {
            // Two requests of one incident (on-call and team lead) don't wait for each other.
            Self::Notify(_) | Self::Copy(_) => format!("{}#{}", delivery.default_key(), delivery.sequence()),
            _ => delivery.default_key(),
        }
    }
}

/// Starts all consumers as critical tasks.
pub fn start(bus: &Bus, desk: &Arc<Desk>, edit_interval: Duration, life: &Lifecycle) {
    let requests = || vec![facts_of_type("notification_requested")];
    let ends = resolve::FACTS.iter().map(|fact| facts_of_type(fact)).collect();
    let jobs = [
        ("notifier-announce", vec![facts_of_type("anomaly_detected")], Job::Announce(Arc::clone(desk))),
        ("notifier", requests(), Job::Notify(Arc::clone(desk))),
        ("notifier-copies", requests(), Job::Copy(Arc::clone(desk))),
        ("notifier-resolve", ends, Job::Resolve(Arc::clone(desk))),
        ("notifier-chat", vec![ALL_INCIDENTS.to_owned()], Job::Tell(Threads::new(Arc::clone(desk), edit_interval))),
    ];
    for (durable, filters, job) in jobs {
        let spec = ConsumerSpec {
            ack_wait: ACK_WAIT,
            max_in_flight: IN_FLIGHT,
            ..ConsumerSpec::new(streams::INCIDENTS, durable, filters)
        };
        bus.consume(spec, Arc::new(job), life);
    }
    let switches = ConsumerSpec::new(streams::LEDGER, "notifier-switches", switched::FACTS.map(str::to_owned).to_vec());
    bus.consume(ConsumerSpec { ack_wait: ACK_WAIT, ..switches }, Arc::new(Switched::new(Arc::clone(desk))), life);
    let letters = ConsumerSpec::new(streams::DEAD, "notifier-dead-letters", vec![ALL_DEAD.to_owned()]);
    bus.consume(ConsumerSpec { ack_wait: ACK_WAIT, ..letters }, Arc::new(Alarms::new(Arc::clone(desk))), life);
}
