//! All facts: replies for the important ones, and the parent message edited so that it always ends up showing the last state.
//!
//! Guarantees: at most one edit of an incident in `interval`; a message is acknowledged only after an edit that covers it. Facts
//! from before the thread opened are replied when it opens. Must not: hold up pages; those have a consumer of their own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::bus::HandleError;
use contracts::{IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::Recorded;
use tokio::time::Instant;

use super::{Desk, stopping, tell};
use crate::channels::{Chat, SendError, ThreadRef};
use crate::deliver::Undelivered;
use crate::story::Story;
use crate::templates::{ChatMessage, reply, thread::parent};

/// How many incidents' last edits are remembered; forgetting one costs an edit that changes nothing.
const REMEMBERED: usize = 4096;

/// The last edit of an incident.
#[derive(Debug, Clone, Copy)]
struct Edit {
    covers: u64,
    at: Instant,
    shown: u64,
}

/// Keeps the threads.
pub struct Threads {
    desk: Arc<Desk>,
    interval: Duration,
    edits: Mutex<HashMap<IncidentId, Edit>>,
}

impl Threads {
    /// Threads whose parents are edited at most once in `interval`.
    #[must_use]
    pub fn new(desk: Arc<Desk>, interval: Duration) -> Self {
        Self { desk, interval, edits: Mutex::default() }
    }

    /// Tells the thread of the fact at this place in the stream. Calls for one incident must come one at a time, in order.
    pub async fn tell(&self, subject: &IncidentSubject, sequence: u64) -> Result<(), HandleError> {
        let Some(chat) = self.desk.chat() else { return Ok(()) };
        let facts = self.desk.log.facts(subject, sequence).await?;
        let story = tell(subject, &facts);
        // Before the thread is open there is nothing to do: the fact that announces it brings the whole story.
        let Some(opened) = story.thread.as_ref().filter(|thread| thread.sequence <= sequence) else { return Ok(()) };
        let thread = ThreadRef { channel: opened.channel.clone(), thread: opened.thread.clone() };
        let due = |recorded: &&Recorded| match recorded.sequence {
            this if this == sequence => true,
            earlier => sequence == opened.sequence && earlier < sequence,
        };
        let mut at = None;
        for recorded in facts.iter().filter(due) {
            at = Some(recorded.at);
            if let Some(message) = reply(&story, &recorded.fact) {
                self.call("reply", recorded.at, || chat.reply(&thread, &message)).await?;
            }
        }
        match at {
            Some(at) => self.edit(chat, &thread, story, sequence, at).await,
            None => Ok(()),
        }
    }

    /// Edits until the parent shows what the log says: with two replicas the slower one's edit can overwrite a newer one, so
    /// whoever edits looks again afterwards.
    async fn edit(
        &self,
        chat: &dyn Chat,
        thread: &ThreadRef,
        mut story: Story,
        sequence: u64,
        at: Timestamp,
    ) -> Result<(), HandleError> {
        let subject = story.subject.clone();
        loop {
            let last = self.last(subject.incident);
            if last.is_some_and(|last| last.covers >= story.last_sequence.max(sequence)) {
                return Ok(());
            }
            let rest = last.map(|last| (last.at + self.interval).saturating_duration_since(Instant::now())).unwrap_or_default();
            if !rest.is_zero() {
                self.desk.persistence.pause(rest).await;
                story = self.desk.story(&subject, sequence).await?;
            }
            let message = parent(&story, &self.desk.links);
            let (covers, shown) = (story.last_sequence, fingerprint(&message));
            if last.is_some_and(|last| last.shown == shown) {
                self.remember(subject.incident, Edit { covers, at: last.map_or_else(Instant::now, |last| last.at), shown });
                return Ok(());
            }
            self.call("edit", at, || chat.edit(thread, &message)).await?;
            self.remember(subject.incident, Edit { covers, at: Instant::now(), shown });
            story = self.desk.story(&subject, sequence).await?;
        }
    }

    /// Tries until the fact is too old to be worth it; the thread is a courtesy, the notifications are not.
    async fn call<F, A>(&self, call: &'static str, at: Timestamp, attempt: A) -> Result<(), HandleError>
    where
        F: Future<Output = Result<(), SendError>> + Send,
        A: FnMut() -> F + Send,
    {
        let budget = self.desk.budget(at, Duration::ZERO);
        match self.desk.persistence.persist(call, budget, attempt).await {
            Ok(()) => Ok(()),
            Err(Undelivered::Stopping) => Err(stopping()),
            Err(error) => {
                tracing::error!(call, %error, "the chat thread could not be told");
                metrics::counter!("lastgood_chat_failed_total", "call" => call).increment(1);
                Ok(())
            }
        }
    }

    fn last(&self, incident: IncidentId) -> Option<Edit> {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner).get(&incident).copied()
    }

    fn remember(&self, incident: IncidentId, edit: Edit) {
        let mut edits = self.edits.lock().unwrap_or_else(PoisonError::into_inner);
        if edits.len() >= REMEMBERED && !edits.contains_key(&incident) {
            let oldest = edits.iter().min_by_key(|(_, edit)| edit.at).map(|(incident, _)| *incident);
            if let Some(oldest) = oldest {
                edits.remove(&oldest);
            }
        }
        edits.insert(incident, edit);
    }
}

fn fingerprint(message: &ChatMessage) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.text.hash(&mut hasher);
    for block in &message.blocks {
        block.to_string().hash(&mut hasher);
    }
    hasher.finish()
}
