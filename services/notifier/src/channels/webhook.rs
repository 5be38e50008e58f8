//! The generic webhook: signed JSON to each configured URL.
//!
//! Header `X-Lastgood-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`, and `X-Lastgood-Delivery: <id>`, the same
//! for every try, so that the receiver can check who sent it, how old it is, and whether it has it already.
//! Guarantees: what is signed is what is sent, byte for byte. Must not: retry, or print a URL, which may hold a secret.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::clock::Clock;
use chassis::config::Secret;
use contracts::v1::{Audience, Urgency};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::channels::{Channel, Notice, Receipt, SendError, http};
use crate::config::{Notifier, Webhook};
use crate::story::Request;
use crate::templates::alarm::{self, Alarm};
use crate::templates::bulletin::{self, Bulletin};
use crate::templates::{Links, event};

/// Says who sent it and when.
pub const SIGNATURE: &str = "X-Lastgood-Signature";
/// Says which delivery it is.
pub const DELIVERY: &str = "X-Lastgood-Delivery";

struct Target {
    url: url::Url,
    secret: Option<Secret>,
}

/// The channel: all configured receivers.
pub struct Webhooks {
    name: String,
    http: reqwest::Client,
    targets: Vec<Target>,
    links: Links,
    clock: Arc<dyn Clock>,
    /// Whether this is all there is, so that it answers for what another channel would.
    alone: bool,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("targets", &self.targets.len()).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// The channel, if there is any receiver.
    #[must_use]
    pub fn configured(config: &Notifier, http: &reqwest::Client, links: &Links, clock: &Arc<dyn Clock>) -> Option<Self> {
        let alone = config.slack.token.is_none();
        (!config.webhook.is_empty()).then(|| Self { alone, ..Self::to("webhook", &config.webhook, http, links, clock) })
    }

    /// A receiver that policies name.
    #[must_use]
    pub fn named(name: &str, target: &Webhook, http: &reqwest::Client, links: &Links, clock: &Arc<dyn Clock>) -> Self {
        Self::to(name, std::slice::from_ref(target), http, links, clock)
    }

    fn to(name: &str, targets: &[Webhook], http: &reqwest::Client, links: &Links, clock: &Arc<dyn Clock>) -> Self {
        let target = |section: &Webhook| Target { url: section.url.clone(), secret: section.secret.clone() };
        let targets = targets.iter().map(target).collect();
        let (name, http, links, clock) = (name.to_owned(), http.clone(), links.clone(), Arc::clone(clock));
        Self { name, http, targets, links, clock, alone: false }
    }

    async fn post(&self, notice: &Notice<'_>, target: &Target) -> Result<(), SendError> {
        self.post_body(event::notification(notice, &self.links).to_string(), &notice.delivery_id(), target).await
    }

    /// To the first receiver that takes it.
    async fn post_to_any(&self, body: &str, delivery_id: &str) -> Result<(), SendError> {
        let mut last = None;
        for target in &self.targets {
            match self.post_body(body.to_owned(), delivery_id, target).await {
                Ok(()) => return Ok(()),
                // One that may come to itself says more than one that never will.
                Err(error @ SendError::Retry { .. }) => last = Some(error),
                Err(error) => last = last.or(Some(error)),
            }
        }
        Err(last.unwrap_or(SendError::Permanent { reason: "there is no receiver".to_owned() }))
    }

    async fn post_body(&self, body: String, delivery_id: &str, target: &Target) -> Result<(), SendError> {
        let mut request = self
            .http
            .post(target.url.clone())
            .header(::http::header::CONTENT_TYPE, "application/json")
            .header(DELIVERY, delivery_id);
        if let Some(secret) = &target.secret {
            request = request.header(SIGNATURE, sign(secret.expose().as_bytes(), self.clock.now(), body.as_bytes()));
        }
        http::send(request.body(body)).await.map(drop)
    }
}

/// The signature header of a body sent at this instant.
#[must_use]
pub fn sign(secret: &[u8], at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_second();
    // Keys longer than a block are hashed first, as RFC 2104 says; this can't fail, and an empty MAC would verify nowhere.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[async_trait]
impl Channel for Webhooks {
    fn name(&self) -> &str {
        &self.name
    }

    fn reaches(&self, _audience: Audience) -> bool {
        true
    }

    fn suits(&self, request: &Request) -> bool {
        request.urgency != Urgency::Page && self.alone
    }

    /// Reached when one of the receivers took it; the copies see to the others.
    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        self.post_to_any(&event::notification(notice, &self.links).to_string(), &notice.delivery_id()).await?;
        Ok(Receipt { dedup_key: notice.delivery_id() })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.post_to_any(&alarm::event(alarm, &self.links).to_string(), &alarm.key).await
    }

    fn receivers(&self) -> usize {
        self.targets.len()
    }

    async fn inform(&self, bulletin: &Bulletin, receiver: usize) -> Result<(), SendError> {
        let Some(target) = self.targets.get(receiver) else { return Ok(()) };
        self.post_body(bulletin::event(bulletin, &self.links).to_string(), &bulletin.id, target).await
    }

    fn copies(&self, _request: &Request) -> usize {
        self.targets.len()
    }

    async fn copy(&self, notice: &Notice<'_>, index: usize) -> Result<(), SendError> {
        match self.targets.get(index) {
            Some(target) => self.post(notice, target).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_documented_one() {
        // Computed with: printf '1795428000.{"a":1}' | openssl dgst -sha256 -hmac key
        let at = Timestamp::from_second(1_795_428_000).unwrap();
        let signature = sign(b"key", at, br#"{"a":1}"#);
        assert_eq!(signature, "t=1795428000,v1=773467eb74ab6456cb503b2819dcc38bdf6cd4b792f21de401083d57181fb3ff");
    }
}
