//! Slack by `chat.postMessage` and `chat.update`: one thread an incident.
//!
//! Guarantees: a 200 that says `"ok": false` is an error; a message whose blocks Slack refuses goes out as plain text rather than
//! not at all. Must not: retry, or remember threads; the log does.

use std::time::Duration;

use async_trait::async_trait;
use chassis::config::Secret;
use contracts::v1::{Audience, Urgency};
use serde_json::{Value, json};

use crate::channels::{Channel, Chat, Notice, Receipt, SendError, ThreadRef, http};
use crate::config::Notifier;
use crate::story::Request;
use crate::templates::alarm::{self, Alarm};
use crate::templates::bulletin::{self, Bulletin};
use crate::templates::{ChatMessage, Links, notice};
use crate::text::cut;

/// Slack's errors that pass; all others stay until a person changes something.
const PASSING: &[&str] = &[
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
    "accesslimited",
];
/// Slack's errors about the message's shape.
const SHAPE: &[&str] = &["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"];
/// The text of a message that goes out without its blocks.
const PLAIN: usize = 3_000;
/// The wait where Slack limits the rate and gives none.
const LIMITED: Duration = Duration::from_secs(5);

/// The channel.
#[derive(Debug)]
pub struct Slack {
    name: String,
    http: reqwest::Client,
    base: String,
    token: Secret,
    channel: String,
    /// Whether it keeps the incidents' threads, and tells in them.
    threads: bool,
    links: Links,
}

impl Slack {
    /// The channel, if a token is given.
    #[must_use]
    pub fn configured(config: &Notifier, http: &reqwest::Client, links: &Links) -> Option<Self> {
        let of_its_channel = Self::named("slack", &config.slack.channel, config, http, links)?;
        Some(Self { threads: true, ..of_its_channel })
    }

    /// A receiver that policies name: another channel of the same workspace, without threads.
    #[must_use]
    pub fn named(name: &str, channel: &str, config: &Notifier, http: &reqwest::Client, links: &Links) -> Option<Self> {
        let section = &config.slack;
        Some(Self {
            name: name.to_owned(),
            http: http.clone(),
            base: section.base_url.as_str().trim_end_matches('/').to_owned(),
            token: section.token.clone()?,
            channel: channel.to_owned(),
            threads: false,
            links: links.clone(),
        })
    }

    async fn post(&self, thread: Option<&ThreadRef>, message: &ChatMessage) -> Result<ThreadRef, SendError> {
        let channel = thread.map_or(self.channel.as_str(), |thread| thread.channel.as_str());
        let mut body = json!({"channel": channel, "unfurl_links": false, "unfurl_media": false});
        if let Some(thread) = thread {
            body["thread_ts"] = json!(thread.thread);
            if message.broadcast {
                body["reply_broadcast"] = json!(true);
            }
        }
        let said = self.call("chat.postMessage", body, message).await?;
        let text = |field: &str| said[field].as_str().map(ToOwned::to_owned);
        match text("ts") {
            Some(ts) => Ok(ThreadRef { channel: text("channel").unwrap_or_else(|| channel.to_owned()), thread: ts }),
            None => Err(SendError::Retry { reason: "Slack's answer has no `ts`".to_owned(), after: None }),
        }
    }

    /// With blocks; when Slack doesn't like their shape, once more as text alone.
    async fn call(&self, method: &str, mut body: Value, message: &ChatMessage) -> Result<Value, SendError> {
        body["text"] = json!(message.text);
        body["blocks"] = json!(message.blocks);
        match self.call_once(method, &body).await {
            Err(SendError::Permanent { reason }) if SHAPE.contains(&reason.as_str()) => {
                tracing::error!(error = reason, "Slack refuses a message's blocks; sending its text alone");
                body["text"] = json!(cut(&message.text, PLAIN));
                body["blocks"] = json!([]);
                self.call_once(method, &body).await
            }
            other => other,
        }
    }

    async fn call_once(&self, method: &str, body: &Value) -> Result<Value, SendError> {
        let request = self.http.post(format!("{}/api/{method}", self.base)).bearer_auth(self.token.expose()).json(body);
        let answer = http::send(request).await?;
        let Ok(said) = serde_json::from_slice::<Value>(&answer.body) else {
            let reason = format!("an answer that is not Slack's: {}", http::excerpt(&answer.body));
            return Err(SendError::Retry { reason, after: None });
        };
        if said["ok"] == Value::Bool(true) {
            return Ok(said);
        }
        Err(refused(said["error"].as_str().unwrap_or("no reason given"), http::retry_after(&answer.headers)))
    }
}

/// What Slack's error word means.
fn refused(error: &str, after: Option<Duration>) -> SendError {
    let reason = error.to_owned();
    if !PASSING.contains(&error) {
        return SendError::Permanent { reason };
    }
    let limited = error.contains("limit");
    SendError::Retry { reason, after: after.or(limited.then_some(LIMITED)) }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    fn reaches(&self, _audience: Audience) -> bool {
        true
    }

    fn suits(&self, request: &Request) -> bool {
        request.urgency != Urgency::Page
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        let thread = notice.story.thread.as_ref().filter(|_| self.threads);
        let thread = thread.map(|thread| ThreadRef { channel: thread.channel.clone(), thread: thread.thread.clone() });
        let message = notice::chat(notice, &self.links);
        let posted = self.post(thread.as_ref(), &message).await?;
        Ok(Receipt { dedup_key: posted.thread })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.post(None, &alarm::chat(alarm, &self.links)).await.map(drop)
    }

    async fn inform(&self, bulletin: &Bulletin, _receiver: usize) -> Result<(), SendError> {
        self.post(None, &bulletin::chat(bulletin, &self.links)).await.map(drop)
    }

    fn chat(&self) -> Option<&dyn Chat> {
        self.threads.then_some(self as &dyn Chat)
    }
}

#[async_trait]
impl Chat for Slack {
    async fn open(&self, message: &ChatMessage) -> Result<ThreadRef, SendError> {
        self.post(None, message).await
    }

    async fn edit(&self, thread: &ThreadRef, message: &ChatMessage) -> Result<(), SendError> {
        let body = json!({"channel": thread.channel, "ts": thread.thread});
        self.call("chat.update", body, message).await.map(drop)
    }

    async fn reply(&self, thread: &ThreadRef, message: &ChatMessage) -> Result<(), SendError> {
        self.post(Some(thread), message).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_errors_are_sorted() {
        let retry = |reason: &str, after| SendError::Retry { reason: reason.to_owned(), after };
        let wish = Some(Duration::from_secs(9));
        assert_eq!(refused("ratelimited", wish), retry("ratelimited", wish));
        assert_eq!(refused("ratelimited", None), retry("ratelimited", Some(LIMITED)));
        assert_eq!(refused("internal_error", None), retry("internal_error", None));
        for stays in ["invalid_auth", "channel_not_found", "not_in_channel", "token_revoked", "something new"] {
            assert_eq!(refused(stays, wish), SendError::Permanent { reason: stays.to_owned() });
        }
    }
}
