//! The people's side of paging and chat: what they get, and how it fails on the way.
//!
//! Guarantees: what a person got is in the history, also when the sender was told that it failed; one that never arrived is not. Must not:
//! answer more kindly than a provider would.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::v1::{Audience, Urgency};
use notifier::channels::{Channel, Chat, Notice, Receipt, SendError, ThreadRef};
use notifier::story::Request;
use notifier::templates::ChatMessage;
use notifier::templates::alarm::Alarm;
use notifier::templates::bulletin::Bulletin;
use tokio::time::Instant;

use super::Shared;
use super::dice::Dice;
use super::gate::Gate;
use super::history::{Told, What};
use super::sabotage::Sabotage;
use super::weather::{Weather, is_away};

/// How long the notifier's HTTP client waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What both providers share.
struct Provider {
    name: &'static str,
    world: Shared,
    gate: Arc<Gate>,
    dice: Dice,
}

/// The pager, the chat and the webhooks' receiver of one notifier.
#[must_use]
pub fn channels(world: &Shared, gate: &Arc<Gate>, dice: &Dice) -> Vec<Arc<dyn Channel>> {
    let provider = |name| Provider { name, world: Arc::clone(world), gate: Arc::clone(gate), dice: dice.clone() };
    vec![Arc::new(Pager(provider("pagerduty"))), Arc::new(ChatRoom(provider("slack"))), Arc::new(Receiver(provider("webhook")))]
}

impl Provider {
    fn away(&self, weather: &Weather) -> Option<Instant> {
        match self.name {
            "slack" => weather.chat_away,
            "pagerduty" => weather.pager_away,
            _ => None,
        }
    }

    /// One call: `arrives` is what happens at the provider; its answer may be lost.
    async fn call<T>(&self, operation: &str, arrives: impl FnOnce(bool) -> T + Send) -> Result<T, SendError>
    where
        T: Send,
    {
        let operation = format!("{operation} {}", self.name);
        self.gate.before(&operation).await;
        tokio::time::sleep(self.dice.millis(20, 200)).await;
        let weather = self.world.sky();
        if is_away(self.away(&weather)) {
            self.world.count("provider: away");
            if self.dice.chance(0.3) {
                tokio::time::sleep(PATIENCE).await;
            }
            return Err(retry("can't connect", None));
        }
        if self.dice.chance(weather.send_error) {
            return Err(self.failure().await);
        }
        let lost = self.world.befalls("provider: answer lost", &self.dice, weather.send_lost_answer);
        let got = arrives(lost);
        self.gate.after(&operation).await;
        tokio::time::sleep(self.dice.millis(5, 50)).await;
        if lost {
            return Err(retry("the connection failed", None));
        }
        Ok(got)
    }

    async fn failure(&self) -> SendError {
        let (kind, reason) = match self.dice.between(0, 3) {
            0 => ("provider: 429", "429 Too Many Requests"),
            1 => ("provider: 500", "500 Internal Server Error"),
            2 => ("provider: nonsense", "an answer that is not the provider's: <html>"),
            _ => ("provider: hangs", "no answer in time"),
        };
        self.world.count(kind);
        if kind == "provider: hangs" {
            tokio::time::sleep(PATIENCE).await;
        }
        retry(reason, (kind == "provider: 429").then(|| self.dice.millis(1_000, 8_000)))
    }

    async fn tell(&self, notice: &Notice<'_>) -> Result<(), SendError> {
        let told = Told {
            process: self.gate.process().to_owned(),
            channel: self.name,
            incident: notice.story.subject.incident.to_string(),
            audience: notice.request.audience,
            urgency: notice.request.urgency,
            reason: notice.request.reason.clone(),
            answer_lost: false,
        };
        let send = || self.call("send", |answer_lost| self.world.record(What::Told(Told { answer_lost, ..told.clone() })));
        let outcome = send().await;
        if self.world.saboteur.makes(Sabotage::SentTwice) {
            return send().await;
        }
        if self.world.saboteur.makes(Sabotage::FailureTakenForSent) { Ok(()) } else { outcome }
    }
}

impl Provider {
    async fn inform(&self, bulletin: &Bulletin) -> Result<(), SendError> {
        let note = format!("told over {}: {bulletin:?}", self.name);
        self.call("inform", |_| self.world.note(note)).await
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        let note = format!("alarm over {}: {alarm:?}", self.name);
        self.call("alarm", |_| self.world.note(note)).await
    }
}

fn retry(reason: &str, after: Option<Duration>) -> SendError {
    SendError::Retry { reason: reason.to_owned(), after }
}

/// Pages, and resolves them by their key.
struct Pager(Provider);

#[async_trait]
impl Channel for Pager {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn reaches(&self, _audience: Audience) -> bool {
        true
    }

    fn suits(&self, request: &Request) -> bool {
        request.urgency == Urgency::Page
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        self.0.tell(notice).await?;
        Ok(Receipt { dedup_key: notice.delivery_id() })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.0.alarm(alarm).await
    }

    async fn inform(&self, bulletin: &Bulletin, _receiver: usize) -> Result<(), SendError> {
        self.0.inform(bulletin).await
    }

    async fn resolve(&self, _audience: Audience, dedup_key: &str) -> Result<(), SendError> {
        let note = format!("page {dedup_key} resolved");
        self.0.call("resolve", |_| self.0.world.note(note)).await
    }
}

/// Threads, and notices that nobody has to get up for.
struct ChatRoom(Provider);

impl ChatRoom {
    fn thread(&self) -> ThreadRef {
        ThreadRef { channel: "C1".to_owned(), thread: format!("{}.000100", self.0.world.time.millis()) }
    }
}

#[async_trait]
impl Channel for ChatRoom {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn reaches(&self, _audience: Audience) -> bool {
        true
    }

    fn suits(&self, request: &Request) -> bool {
        request.urgency != Urgency::Page
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        self.0.tell(notice).await?;
        Ok(Receipt { dedup_key: self.thread().thread })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.0.alarm(alarm).await
    }

    async fn inform(&self, bulletin: &Bulletin, _receiver: usize) -> Result<(), SendError> {
        self.0.inform(bulletin).await
    }

    fn chat(&self) -> Option<&dyn Chat> {
        Some(self)
    }
}

#[async_trait]
impl Chat for ChatRoom {
    async fn open(&self, _message: &ChatMessage) -> Result<ThreadRef, SendError> {
        self.0.call("open", |_| self.thread()).await
    }

    async fn edit(&self, _thread: &ThreadRef, _message: &ChatMessage) -> Result<(), SendError> {
        self.0.call("edit", |_| ()).await
    }

    async fn reply(&self, _thread: &ThreadRef, _message: &ChatMessage) -> Result<(), SendError> {
        self.0.call("reply", |_| ()).await
    }
}

/// A receiver of webhooks, which gets a copy of everything.
struct Receiver(Provider);

#[async_trait]
impl Channel for Receiver {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn reaches(&self, _audience: Audience) -> bool {
        true
    }

    fn suits(&self, _request: &Request) -> bool {
        false
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        self.0.tell(notice).await?;
        Ok(Receipt { dedup_key: notice.delivery_id() })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.0.alarm(alarm).await
    }

    async fn inform(&self, bulletin: &Bulletin, _receiver: usize) -> Result<(), SendError> {
        self.0.inform(bulletin).await
    }

    fn copies(&self, _request: &Request) -> usize {
        1
    }

    async fn copy(&self, notice: &Notice<'_>, _index: usize) -> Result<(), SendError> {
        let note = format!("copy {}", notice.delivery_id());
        self.0.call("copy", |_| self.0.world.note(note)).await
    }
}
