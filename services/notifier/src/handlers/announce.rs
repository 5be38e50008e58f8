//! `anomaly_detected`: opens the chat thread before the first write.
//!
//! Guarantees: `Announced` is in the log well before the incident's announce deadline, with the thread or without, so that nothing
//! waits for a chat that is away; a thread that opens later is announced then. Must not: open a second thread when one is recorded.

use std::time::Duration;

use chassis::bus::HandleError;
use contracts::IncidentSubject;
use contracts::v1::Announced;
use lastgood_core::incident::Command;

use super::{Desk, stopping};
use crate::channels::ThreadRef;
use crate::deliver::Undelivered;
use crate::story::Story;
use crate::templates::thread::parent;

/// The least time that the chat gets before nothing waits for it any more.
const LEAST_WAIT: Duration = Duration::from_millis(500);
/// The least time for tries.
const LEAST: Duration = Duration::from_secs(30);

impl Desk {
    /// Opens the thread of the incident whose opening fact is at this place in the stream.
    pub async fn announce(&self, subject: &IncidentSubject, sequence: u64) -> Result<(), HandleError> {
        // The executor waits for this fact: without a chat there is nothing to look up first.
        let Some(chat) = self.chat() else { return self.announced(subject, sequence, None).await };
        let story = self.story(subject, sequence).await?;
        let Some(opened_at) = story.opened_at.filter(|_| story.thread.is_none()) else { return Ok(()) };
        let message = parent(&story, &self.links);
        let budget = self.budget(opened_at, LEAST);
        let opening = self.persistence.persist("opening the chat thread", budget, || chat.open(&message));
        tokio::pin!(opening);
        let mut announced = story.announced;
        let opened = tokio::select! {
            biased;
            opened = &mut opening => opened,
            () = tokio::time::sleep(self.patience(&story)), if !announced => {
                tracing::warn!(incident = %subject, "the chat is slow or away; nobody waits for it");
                self.announced(subject, sequence, None).await?;
                announced = true;
                opening.await
            }
        };
        match opened {
            Ok(thread) => self.announced(subject, sequence, Some(thread)).await,
            Err(Undelivered::Stopping) => Err(stopping()),
            Err(error) => {
                tracing::error!(incident = %subject, %error, "the chat thread can't be opened");
                metrics::counter!("lastgood_chat_failed_total", "call" => "open").increment(1);
                if announced { Ok(()) } else { self.announced(subject, sequence, None).await }
            }
        }
    }

    /// For how long the chat may keep others waiting: three quarters of the deadline, counted from the opening.
    fn patience(&self, story: &Story) -> Duration {
        let opened_at = story.opened_at.unwrap_or_else(|| self.clock.now());
        let gone = Duration::try_from(self.clock.now().duration_since(opened_at)).unwrap_or_default();
        (story.announce_within * 3 / 4).saturating_sub(gone).max(LEAST_WAIT.min(story.announce_within / 2))
    }

    async fn announced(&self, subject: &IncidentSubject, sequence: u64, thread: Option<ThreadRef>) -> Result<(), HandleError> {
        let ThreadRef { channel, thread } = thread.unwrap_or(ThreadRef { channel: String::new(), thread: String::new() });
        self.log.record(subject, sequence, &Command::Announce(Announced { channel, thread })).await
    }
}
