//! Timers: messages that the server stores now and shows at their time.
//!
//! Guarantees: one timer for each incident and deadline, a newer one replaces it; it survives restarts of everything; one in the
//! past fires at once. Must not: decide what a deadline means: its handler reads the log again.

use contracts::subjects::streams;
use contracts::{DeadlineKind, IncidentSubject};
use jiff::Timestamp;
use serde_json::json;

use super::wire::{PubAck, envelope_headers};
use super::{AppendError, Bus};

impl Bus {
    /// Sets (or moves) a deadline's timer: at that time `lastgood.fired.….<deadline>` appears in the timers' stream, where
    /// [`contracts::IncidentSubject::parse`] reads its subject.
    pub async fn schedule(&self, incident: &IncidentSubject, deadline: DeadlineKind, at: Timestamp) -> Result<(), AppendError> {
        let mut headers = envelope_headers(&self.envelope(self.ids().event(), "lastgood.v1.TimerFired"));
        headers.insert("Nats-Schedule", format!("@at {at}").as_str());
        headers.insert("Nats-Schedule-Target", incident.fired(deadline.code()).as_str());
        headers.insert("Nats-Schedule-TTL", format!("{}s", self.inner.config.keep.as_secs().max(1)).as_str());
        self.store(incident.timer(deadline.code()), headers, bytes::Bytes::new()).await.map(drop)
    }

    /// Takes a deadline's timer away; fine when there is none. One that fires meanwhile still fires.
    pub async fn cancel_timer(&self, incident: &IncidentSubject, deadline: DeadlineKind) -> Result<(), AppendError> {
        self.purge_timers(&incident.timer(deadline.code())).await
    }

    /// Takes all of an incident's timers away.
    pub async fn cancel_timers(&self, incident: &IncidentSubject) -> Result<(), AppendError> {
        self.purge_timers(&incident.timer("*")).await
    }

    async fn purge_timers(&self, filter: &str) -> Result<(), AppendError> {
        let call = format!("STREAM.PURGE.{}", streams::TIMERS);
        let reply: PubAck = self.api(&call, &json!({ "filter": filter })).await?;
        reply.error.map_or(Ok(()), |error| Err(error.into()))
    }
}
