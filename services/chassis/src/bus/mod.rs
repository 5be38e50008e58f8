//! The bus: NATS JetStream as lastgood uses it. Facts are appended here and nowhere else.
//!
//! Guarantees: every append expects what it read ([`Bus::append`]); reads that lead to an action are as new as the leader's;
//! an outage is an error that says so and never a loss. Must not: know what a fact means.

mod advisories;
mod alerts;
mod append;
mod back;
mod connect;
mod consume;
mod dead;
mod delivery;
mod dial;
mod fullness;
mod objects;
mod pull;
mod read;
mod streams;
mod timers;
mod transport;
mod upkeep;
mod wire;
mod work;

use std::sync::Arc;
use std::time::Duration;

use contracts::{Envelope, EventId};
use tokio::sync::watch;

pub use advisories::{Advisory, AdvisoryKind, decode_advisory};
pub use alerts::AlertPart;
pub use append::{AppendError, Appended, Group, NewEvent};
pub(crate) use back::Place;
pub use connect::ConnectError;
pub use consume::{ConsumerSpec, HandleError, Handler};
pub use dead::{DeadLetterEntry, REDELIVERY_PREFIX, ReplayError, consumer_of};
pub use delivery::Delivery;
pub use objects::{BucketError, Slot};
pub(crate) use read::again;
pub use read::{ReadError, Stored};
pub use transport::{Connection, Outgoing, Subscription, Transport, TransportError};
pub use upkeep::ConsumerState;

use crate::clock::{Clock, Ids};
use crate::config;

/// A connection to NATS with lastgood's streams; clones share it.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    service: String,
    source: String,
    clock: Arc<dyn Clock>,
    ids: Ids,
    config: config::Nats,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("service", &self.inner.service).finish_non_exhaustive()
    }
}

impl Bus {
    /// The clock that envelopes are stamped with.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The maker of event ids.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.inner.ids
    }

    /// The service's name, which its dead letters and durables carry.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// What carries the messages, for what this module has no function for (tests).
    #[must_use]
    pub fn transport(&self) -> &dyn Transport {
        self.inner.transport.as_ref()
    }

    /// The NATS client below, for what this module has no function for (benchmarks, tests); `None` over any other transport.
    #[must_use]
    pub fn client(&self) -> Option<&async_nats::Client> {
        self.inner.transport.client()
    }

    /// Whether the connection is up, and how often it came up; a receiver sees the changes.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.inner.transport.connection()
    }

    /// How long one request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.inner.config.request_timeout
    }

    /// Sends what is buffered; for the end of a process.
    pub async fn flush(&self) {
        // At the end of a process nothing is left to be done about a failure: whoever needed a reply has waited for it.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.inner.transport.flush()).await;
    }

    /// The envelope of a new event of this service, with the trace that is under way.
    fn envelope(&self, id: EventId, ce_type: &str) -> Envelope {
        Envelope {
            id,
            source: self.inner.source.clone(),
            event_type: ce_type.to_owned(),
            time: self.inner.clock.now(),
            traceparent: crate::telemetry::traceparent(),
        }
    }
}
