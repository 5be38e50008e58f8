//! PagerDuty by its Events API v2: pages, their resolution, and change events.
//!
//! Guarantees: the routing key of the audience that is asked for and no other; only 202 counts as accepted. Must not: retry.

use async_trait::async_trait;
use chassis::config::Secret;
use contracts::v1::{Audience, Urgency};
use serde_json::{Value, json};

use crate::channels::{Channel, Notice, Receipt, SendError, http};
use crate::config::Notifier;
use crate::story::Request;
use crate::templates::alarm::{self, Alarm};
use crate::templates::bulletin::{self, Bulletin};
use crate::templates::{Links, page};

/// The channel.
#[derive(Debug)]
pub struct PagerDuty {
    name: String,
    http: reqwest::Client,
    base: String,
    on_call: Option<Secret>,
    team_lead: Option<Secret>,
    links: Links,
    /// Whether someone else is there for what is only news.
    others_inform: bool,
}

impl PagerDuty {
    /// The channel, if any routing key is given.
    #[must_use]
    pub fn configured(config: &Notifier, http: &reqwest::Client, links: &Links) -> Option<Self> {
        let section = &config.pagerduty;
        if section.on_call_routing_key.is_none() && section.team_lead_routing_key.is_none() {
            return None;
        }
        let others_inform = config.slack.token.is_some() || !config.webhook.is_empty();
        let (on_call, team_lead) = (section.on_call_routing_key.clone(), section.team_lead_routing_key.clone());
        Some(Self { on_call, team_lead, others_inform, ..Self::without_key("pagerduty", config, http, links) })
    }

    /// A receiver that policies name: whoever is asked for, it is this key.
    #[must_use]
    pub fn named(name: &str, key: &Secret, config: &Notifier, http: &reqwest::Client, links: &Links) -> Self {
        let (on_call, team_lead) = (Some(key.clone()), Some(key.clone()));
        Self { on_call, team_lead, ..Self::without_key(name, config, http, links) }
    }

    fn without_key(name: &str, config: &Notifier, http: &reqwest::Client, links: &Links) -> Self {
        let base = config.pagerduty.base_url.as_str().trim_end_matches('/').to_owned();
        let (name, http, links) = (name.to_owned(), http.clone(), links.clone());
        Self { name, http, base, on_call: None, team_lead: None, links, others_inform: false }
    }

    const fn key(&self, audience: Audience) -> Option<&Secret> {
        match audience {
            Audience::TeamLead => self.team_lead.as_ref(),
            Audience::OnCall | Audience::Unspecified => self.on_call.as_ref(),
        }
    }

    async fn post(&self, path: &str, audience: Audience, mut body: Value) -> Result<(), SendError> {
        let Some(key) = self.key(audience) else {
            return Err(SendError::Permanent { reason: "no routing key is configured for this audience".to_owned() });
        };
        body["routing_key"] = json!(key.expose());
        let answer = http::send(self.http.post(format!("{}{path}", self.base)).json(&body)).await?;
        // A success that isn't PagerDuty's (a proxy's login page, for instance) must not count as a page.
        let status =
            serde_json::from_slice::<Value>(&answer.body).ok().and_then(|said| said["status"].as_str().map(str::to_owned));
        if status.as_deref() == Some("success") {
            return Ok(());
        }
        let reason = format!("an answer that is not PagerDuty's: {}", http::excerpt(&answer.body));
        Err(SendError::Retry { reason, after: http::retry_after(&answer.headers) })
    }
}

#[async_trait]
impl Channel for PagerDuty {
    fn name(&self) -> &str {
        &self.name
    }

    fn reaches(&self, audience: Audience) -> bool {
        self.key(audience).is_some()
    }

    fn suits(&self, request: &Request) -> bool {
        request.urgency == Urgency::Page || !self.others_inform
    }

    async fn send(&self, notice: &Notice<'_>) -> Result<Receipt, SendError> {
        let audience = notice.request.audience;
        // News never wakes anybody, not even where this is the only channel.
        if notice.request.urgency != Urgency::Page {
            return self
                .post("/v2/change/enqueue", audience, page::change(notice, &self.links))
                .await
                .map(|()| Receipt::default());
        }
        self.post("/v2/enqueue", audience, page::trigger(notice, &self.links)).await?;
        Ok(Receipt { dedup_key: page::dedup_key(notice) })
    }

    async fn alarm(&self, alarm: &Alarm) -> Result<(), SendError> {
        self.post("/v2/enqueue", alarm::AUDIENCE, alarm::trigger(alarm, &self.links)).await
    }

    /// A change event: the on-call sees it beside what happens next.
    async fn inform(&self, bulletin: &Bulletin, _receiver: usize) -> Result<(), SendError> {
        let audience = if self.reaches(Audience::OnCall) { Audience::OnCall } else { Audience::TeamLead };
        self.post("/v2/change/enqueue", audience, bulletin::change(bulletin, &self.links)).await
    }

    fn copies(&self, request: &Request) -> usize {
        usize::from(request.reason == page::COMPLETED && self.reaches(request.audience))
    }

    async fn copy(&self, notice: &Notice<'_>, _index: usize) -> Result<(), SendError> {
        self.post("/v2/change/enqueue", notice.request.audience, page::change(notice, &self.links)).await
    }

    async fn resolve(&self, audience: Audience, dedup_key: &str) -> Result<(), SendError> {
        self.post("/v2/enqueue", audience, page::resolve(dedup_key)).await
    }
}
