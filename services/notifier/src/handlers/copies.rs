//! `notification_requested`, once more: the copies that go out beside the answer (webhooks always, a change event for a success).
//!
//! Guarantees: each copy is tried on its own until the deadline, with the same delivery id; one that fails is counted and logged.
//! Must not: record anything; the answer's consumer does.

use std::time::Duration;

use chassis::bus::HandleError;
use contracts::IncidentSubject;
use futures::future::join_all;

use super::{Desk, stopping};
use crate::channels::{Channel, Notice};
use crate::deliver::Undelivered;
use crate::rules;

/// The least time for tries.
const LEAST: Duration = Duration::from_secs(30);

impl Desk {
    /// Sends the copies of the request at this place in the stream.
    pub async fn copy(&self, subject: &IncidentSubject, sequence: u64) -> Result<(), HandleError> {
        let channels = self.channels();
        if channels.is_empty() {
            return Ok(());
        }
        let story = self.story(subject, sequence).await?;
        let Some(request) = story.request(sequence) else { return Ok(()) };
        let route = rules::route(&channels, self.fallback, request);
        let budget = self.budget(request.at, LEAST);
        let notice = Notice::usual(&story, request);
        let copies = channels
            .iter()
            .flat_map(|channel| (0..rules::copies(*channel, &route, request)).map(move |index| (*channel, index)))
            .map(|(channel, index)| self.one_copy(channel, index, notice, budget));
        if join_all(copies).await.into_iter().any(|result| result == Err(Undelivered::Stopping)) {
            return Err(stopping());
        }
        Ok(())
    }

    async fn one_copy(
        &self,
        channel: &dyn Channel,
        index: usize,
        notice: Notice<'_>,
        budget: Duration,
    ) -> Result<(), Undelivered> {
        let what = format!("copy {index} of {} over {}", notice.request.reason, channel.name());
        let result = self.persistence.persist(&what, budget, || channel.copy(&notice, index)).await;
        if let Err(error @ (Undelivered::GaveUp { .. } | Undelivered::Refused { .. })) = &result {
            tracing::error!(channel = channel.name(), index, %error, "a copy could not be delivered");
            metrics::counter!("lastgood_notification_copies_failed_total", "channel" => channel.name().to_owned()).increment(1);
        }
        result
    }
}
