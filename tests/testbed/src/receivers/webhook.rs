//! A webhook receiver: it takes anything and records it.
//!
//! Guarantee: body bytes and headers are kept as they came, so that signatures can be verified.

use serde_json::{Value, json};

use super::recorder::{Api, Call, Receiver, Reply};
use crate::Error;

/// A webhook receiver that runs.
pub type Webhook = Receiver<WebhookApi>;

/// Answers 200 with an empty object.
#[derive(Debug, Default)]
pub struct WebhookApi;

impl Api for WebhookApi {
    fn answer(&self, _call: &Call) -> Reply {
        Reply::accepted(200, json!({}))
    }

    fn lie(&self) -> Value {
        json!({ "ok": false, "error": "scripted lie" })
    }
}

impl Receiver<WebhookApi> {
    /// Starts it.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(WebhookApi).await
    }

    /// What was received, as text for people: one call a line.
    #[must_use]
    pub fn render(&self) -> String {
        let line = |received: super::Received| {
            format!("{} {} {} {}\n", received.call.at, received.call.method, received.call.path, received.call.body)
        };
        self.received().into_iter().map(line).collect()
    }
}
