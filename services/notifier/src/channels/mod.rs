//! Ways to reach people, one a file. A new one is its file, its section in `config`, and one line in `registry`.
//!
//! Guarantees: a channel says of each failure whether trying again can help and when; it never retries by itself and never logs a
//! secret. Must not: read the incident log or decide who is told.

pub mod http;
pub mod pagerduty;
pub mod slack;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::Clock;
use contracts::v1::Audience;

use crate::config::{Notifier, Receiver};
use crate::story::{Request, Story};
use crate::templates::ChatMessage;
use crate::templates::alarm::Alarm;
use crate::templates::bulletin::Bulletin;

/// One thing to tell somebody.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The incident so far.
    pub story: &'a Story,
    /// What is asked.
    pub request: &'a Request,
    /// The named receiver that it is for; `None` on the usual way.
    pub receiver: Option<&'a str>,
    /// The channels or receivers that should have carried it and could not.
    pub instead_of: Option<&'a str>,
    /// The names in the policy that stand for nothing in the configuration, where it comes the usual way because of them.
    pub unknown: &'a [String],
}

impl<'a> Notice<'a> {
    /// On the usual way, without a detour.
    #[must_use]
    pub const fn usual(story: &'a Story, request: &'a Request) -> Self {
        Self { story, request, receiver: None, instead_of: None, unknown: &[] }
    }

    /// The same for every try of one delivery, so that the receiver can drop a repetition.
    #[must_use]
    pub fn delivery_id(&self) -> String {
        let to = self.receiver.map(|name| format!("-to-{name}")).unwrap_or_default();
        let instead = self.instead_of.map(|channel| format!("-instead-of-{channel}")).unwrap_or_default();
        format!("{}-{}{to}{instead}", self.story.subject.incident, self.request.sequence)
    }
}

/// What a delivery left behind at the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's key for it; empty where it has none.
    pub dedup_key: String,
}

/// Why a message didn't go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Trying again can help, not before the provider's word where it gave one.
    #[error("{reason}")]
    Retry {
        /// What happened.
        reason: String,
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// Trying the same again can't help.
    #[error("{reason}")]
    Permanent {
        /// What the provider said.
        reason: String,
    },
}

/// A way to reach people.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name in facts, metrics, policies and the configuration's `fallback`.
    fn name(&self) -> &str;

    /// Whether it can reach this audience at all.
    fn reaches(&self, audience: Audience) -> bool;

    /// Whether it is meant for this urgency; a channel that is not can still be the fallback.
    fn suits(&self, request: &Request) -> bool;

    /// Tells them, once.
    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError>;

    /// Tells the team lead of trouble with lastgood itself, once.
    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError>;

    /// How many receivers it has, each of which is told of what concerns everybody.
    fn receivers(&self) -> usize {
        1
    }

    /// Tells one of its receivers, once, of something that concerns everybody and gets nobody up.
    async fn inform(&self, bulletin: &Bulletin, receiver: usize) -> Result<(), SendError>;

    /// The copies that it gets of a notification that another channel answers for; one attempt function each, so that one that
    /// fails is tried again alone.
    fn copies(&self, _request: &Request) -> usize {
        0
    }

    /// Sends that copy, once.
    async fn copy(&self, _notice: &Notice<'_>, _index: usize) -> Result<(), SendError> {
        Ok(())
    }

    /// Closes what `send` opened under this key.
    async fn resolve(&self, _audience: Audience, _dedup_key: &str) -> Result<(), SendError> {
        Ok(())
    }

    /// The threads it keeps, where it is a chat.
    fn chat(&self) -> Option<&dyn Chat> {
        None
    }
}

/// Where an incident has a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRef {
    /// The chat's id of the channel.
    pub channel: String,
    /// The parent message.
    pub thread: String,
}

/// A channel with threads.
#[async_trait]
pub trait Chat: Send + Sync {
    /// Posts the parent message.
    async fn open(&self, message: &ChatMessage) -> Result<ThreadRef, SendError>;

    /// Replaces the parent message.
    async fn edit(&self, thread: &ThreadRef, message: &ChatMessage) -> Result<(), SendError>;

    /// Adds to the thread.
    async fn reply(&self, thread: &ThreadRef, message: &ChatMessage) -> Result<(), SendError>;
}

/// All receivers that are configured for policies to name.
pub fn named(config: &Notifier, clock: &Arc<dyn Clock>) -> Result<Vec<Arc<dyn Channel>>, reqwest::Error> {
    let http = http::client(config.request_timeout)?;
    let links = config.links();
    let make = |(name, receiver): (&String, &Receiver)| -> Option<Arc<dyn Channel>> {
        if let Some(key) = &receiver.pagerduty_routing_key {
            return Some(Arc::new(pagerduty::PagerDuty::named(name, key, config, &http, &links)));
        }
        if let Some(channel) = &receiver.slack_channel {
            return slack::Slack::named(name, channel, config, &http, &links).map(|slack| Arc::new(slack) as Arc<dyn Channel>);
        }
        let target = receiver.webhook.as_ref()?;
        Some(Arc::new(webhook::Webhooks::named(name, target, &http, &links, clock)))
    };
    Ok(config.receivers.iter().filter_map(make).collect())
}

/// All channels that are configured, in the order in which a page looks for one.
pub fn registry(config: &Notifier, clock: &Arc<dyn Clock>) -> Result<Vec<Arc<dyn Channel>>, reqwest::Error> {
    let http = http::client(config.request_timeout)?;
    let links = config.links();
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    channels.extend(pagerduty::PagerDuty::configured(config, &http, &links).map(|c| Arc::new(c) as Arc<dyn Channel>));
    channels.extend(slack::Slack::configured(config, &http, &links).map(|c| Arc::new(c) as Arc<dyn Channel>));
    channels.extend(webhook::Webhooks::configured(config, &http, &links, clock).map(|c| Arc::new(c) as Arc<dyn Channel>));
    Ok(channels)
}
