//! The end of an incident: closes the pages that it had opened, when they are settled.
//!
//! Guarantees: only keys of pages that the log says were told (of several receivers each one's), and only those that were asked for before the
//! end; a page that was delivered late is closed as well. Must not: close what a person still has to look at (a halt, a failure, an alert that goes on).

use std::collections::BTreeSet;
use std::time::Duration;

use chassis::bus::HandleError;
use contracts::IncidentSubject;
use contracts::v1::Audience;

use super::{Desk, stopping};
use crate::channels::{Channel, Notice};
use crate::deliver::Undelivered;
use crate::story::Story;
use crate::templates::page;

/// The facts after which something may be settled.
pub const FACTS: &[&str] =
    &["incident_closed", "superseded", "on_call_notified", "escalated", "person_acted", "deadline_passed", "rollback_halted"];

/// The least time for tries.
const LEAST: Duration = Duration::from_secs(30);

impl Desk {
    /// Closes the settled pages of this incident, of which the fact at `sequence` told us.
    pub async fn resolve(&self, subject: &IncidentSubject, sequence: u64) -> Result<(), HandleError> {
        let facts = self.log.facts(subject, sequence).await?;
        let Some(recorded) = facts.iter().find(|recorded| recorded.sequence == sequence) else { return Ok(()) };
        let story = super::tell(subject, &facts);
        let named = self.named.iter().map(|receiver| (Some(receiver.name()), receiver.as_ref()));
        for (receiver, channel) in self.channels().into_iter().map(|channel| (None, channel)).chain(named) {
            for (audience, key) in settled(&story, receiver, channel) {
                let what = format!("resolving {key} over {}", channel.name());
                let budget = self.budget(recorded.at, LEAST);
                match self.persistence.persist(&what, budget, || channel.resolve(audience, &key)).await {
                    Ok(()) => tracing::info!(incident = %subject, channel = channel.name(), key, "resolved"),
                    Err(Undelivered::Stopping) => return Err(stopping()),
                    Err(error) => {
                        tracing::error!(incident = %subject, channel = channel.name(), key, %error, "can't resolve");
                        metrics::counter!("lastgood_resolves_failed_total", "channel" => channel.name().to_owned()).increment(1);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The keys that this channel opened, or as a receiver that the policy names was to open, and that are settled.
fn settled(story: &Story, receiver: Option<&str>, channel: &dyn Channel) -> BTreeSet<(Audience, String)> {
    let key = |request| (request, page::dedup_key(&Notice { receiver, ..Notice::usual(story, request) }));
    let routed = story.settled_for(channel.name()).map(key).map(|(request, key)| (request.audience, key));
    story.settled_keys(channel.name()).into_iter().chain(routed).collect()
}
