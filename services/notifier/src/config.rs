//! The section `notifier` of the configuration, and what is refused before anything starts.
//!
//! Guarantees: a notifier that could tell nobody doesn't start unless it is told to be silent. Must not: hold a default secret.

mod receivers;

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::config::{Admin, Nats, Secret, Telemetry};
use serde::Deserialize;
use url::Url;

pub use self::receivers::Receiver;
use crate::templates::{ChatLink, Links};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How NATS is reached.
    #[serde(default)]
    pub nats: Nats,
    /// The admin server.
    #[serde(default)]
    pub admin: Admin,
    /// Logs, traces, metrics.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// Whom to tell, and how.
    #[serde(default)]
    pub notifier: Notifier,
}

/// Whom to tell, and how. What is not configured is off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notifier {
    /// Pages.
    pub pagerduty: PagerDuty,
    /// The chat.
    pub slack: Slack,
    /// Receivers of every notification as signed JSON.
    pub webhook: Vec<Webhook>,
    /// What the names in policies stand for, beside the channels' own.
    pub receivers: BTreeMap<String, Receiver>,
    /// Which channel takes what another could not deliver; without it, any other that is configured.
    pub fallback: Option<ChannelName>,
    /// The folder of the runbook pages.
    pub runbook_base_url: Url,
    /// For how long one channel is tried before the fallback is.
    #[serde(with = "chassis::config::duration")]
    pub give_up_after: Duration,
    /// How long one answer of a provider may take.
    #[serde(with = "chassis::config::duration")]
    pub request_timeout: Duration,
    /// The least time between two edits of a chat's parent message; providers allow about one a second.
    #[serde(with = "chassis::config::duration")]
    pub edit_interval: Duration,
    /// Start even though nobody can be told.
    pub allow_silent: bool,
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            pagerduty: PagerDuty::default(),
            slack: Slack::default(),
            webhook: Vec::new(),
            receivers: BTreeMap::new(),
            fallback: None,
            runbook_base_url: fixed("https://github.com/lastgood/lastgood/blob/main/runbooks"),
            give_up_after: Duration::from_mins(2),
            request_timeout: Duration::from_secs(10),
            edit_interval: Duration::from_secs(1),
            allow_silent: false,
        }
    }
}

/// A channel's name in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    /// `slack`
    Slack,
    /// `webhook`
    Webhook,
    /// `pagerduty`
    PagerDuty,
}

impl ChannelName {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::PagerDuty => "pagerduty",
        }
    }
}

/// PagerDuty's Events API v2.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDuty {
    /// Its address.
    pub base_url: Url,
    /// The on-call engineer's integration key.
    pub on_call_routing_key: Option<Secret>,
    /// The team lead's integration key.
    pub team_lead_routing_key: Option<Secret>,
}

impl Default for PagerDuty {
    fn default() -> Self {
        Self { base_url: fixed("https://events.pagerduty.com"), on_call_routing_key: None, team_lead_routing_key: None }
    }
}

/// Slack's Web API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// Its address.
    pub base_url: Url,
    /// The bot's token, with the scope `chat:write`.
    pub token: Option<Secret>,
    /// Where the threads open: a channel's id or name.
    pub channel: String,
    /// The workspace's address for people (`https://acme.slack.com`), for links to a thread.
    pub workspace_url: Option<Url>,
}

impl Default for Slack {
    fn default() -> Self {
        Self { base_url: fixed("https://slack.com"), token: None, channel: String::new(), workspace_url: None }
    }
}

/// One receiver of signed JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post.
    pub url: Url,
    /// What to sign with; unsigned without.
    #[serde(default)]
    pub secret: Option<Secret>,
}

fn fixed(url: &str) -> Url {
    Url::parse(url).expect("a constant")
}

/// Why the section is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// Nobody could be told of anything.
    #[error(
        "no channel is configured (notifier.pagerduty, notifier.slack, notifier.webhook), so nobody would be told of anything; \
         set notifier.allow_silent to start all the same"
    )]
    Silent,
    /// A token without a channel.
    #[error("notifier.slack.token is given and notifier.slack.channel is not")]
    NoSlackChannel,
    /// The fallback is a channel that is off.
    #[error("notifier.fallback is `{0}`, which is not configured")]
    NoFallback(&'static str),
    /// A URL that no HTTP client can post to.
    #[error("`{0}` must be an http or https URL")]
    NotHttp(&'static str),
    /// A receiver that can't be one.
    #[error("notifier.receivers.{name} {reason}")]
    Receiver {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Notifier {
    /// The names of the channels that are configured.
    #[must_use]
    pub fn configured(&self) -> Vec<&'static str> {
        let pagerduty = self.pagerduty.on_call_routing_key.is_some() || self.pagerduty.team_lead_routing_key.is_some();
        let all = [("pagerduty", pagerduty), ("slack", self.slack.token.is_some()), ("webhook", !self.webhook.is_empty())];
        all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
    }

    /// Whether it can be run with.
    pub fn check(&self) -> Result<(), ConfigProblem> {
        let http = |url: &Url| matches!(url.scheme(), "http" | "https");
        let urls = [
            ("notifier.pagerduty.base_url", http(&self.pagerduty.base_url)),
            ("notifier.slack.base_url", http(&self.slack.base_url)),
            ("notifier.slack.workspace_url", self.slack.workspace_url.as_ref().is_none_or(http)),
            ("notifier.webhook[].url", self.webhook.iter().all(|webhook| http(&webhook.url))),
            ("notifier.runbook_base_url", http(&self.runbook_base_url)),
        ];
        if let Some((key, _)) = urls.iter().find(|(_, good)| !good) {
            return Err(ConfigProblem::NotHttp(key));
        }
        let configured = self.configured();
        if configured.is_empty() && !self.allow_silent {
            return Err(ConfigProblem::Silent);
        }
        if self.slack.token.is_some() && self.slack.channel.trim().is_empty() {
            return Err(ConfigProblem::NoSlackChannel);
        }
        receivers::check(&self.receivers, self.slack.token.is_some())?;
        match self.fallback.map(ChannelName::as_str) {
            Some(name) if !configured.contains(&name) => Err(ConfigProblem::NoFallback(name)),
            _ => Ok(()),
        }
    }

    /// Says at start-up who can be told over what, and warns of who can't.
    pub fn log_what_is_on(&self) {
        tracing::info!(channels = ?self.configured(), fallback = self.fallback.map(ChannelName::as_str), "channels that are on");
        tracing::info!(receivers = ?self.receivers.keys().collect::<Vec<_>>(), "receivers that policies may name, beside these channels");
        let keys = [("on_call", &self.pagerduty.on_call_routing_key), ("team_lead", &self.pagerduty.team_lead_routing_key)];
        for (audience, _) in keys.iter().filter(|(_, key)| key.is_none()) {
            tracing::warn!(audience, "no PagerDuty routing key: their pages go over another channel, or nowhere");
        }
        for webhook in self.webhook.iter().filter(|webhook| webhook.secret.is_none()) {
            tracing::warn!(host = webhook.url.host_str(), "this webhook has no secret: its receiver can't tell who posts");
        }
    }

    /// Where messages link to.
    #[must_use]
    pub fn links(&self) -> Links {
        let chat = self.slack.token.as_ref().map(|_| match &self.slack.workspace_url {
            Some(url) => ChatLink::Workspace(url.to_string()),
            None => ChatLink::Provider(self.slack.base_url.to_string()),
        });
        Links { runbooks: self.runbook_base_url.to_string(), chat }
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::load_from;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Notifier, String> {
        let environment = pairs.iter().map(|(key, value)| (format!("LASTGOOD_NOTIFIER__{key}"), (*value).to_owned()));
        let config: Config = load_from(None, environment).map_err(|error| error.to_string())?;
        config.notifier.check().map_err(|error| error.to_string())?;
        Ok(config.notifier)
    }

    #[test]
    fn nobody_to_tell_is_refused_unless_asked_for() {
        assert!(read(&[]).unwrap_err().contains("allow_silent"));
        assert!(read(&[("ALLOW_SILENT", "true")]).is_ok());
    }

    #[test]
    fn sections_are_read_and_bad_ones_named() {
        let good = [
            ("SLACK__TOKEN", "xoxb-1"),
            ("SLACK__CHANNEL", "C1"),
            ("PAGERDUTY__ON_CALL_ROUTING_KEY", "R1"),
            ("WEBHOOK", r#"[{"url": "http://127.0.0.1:1/x", "secret": "s"}]"#),
            ("FALLBACK", "slack"),
            ("GIVE_UP_AFTER", "90s"),
        ];
        let config = read(&good).unwrap();
        assert_eq!(config.configured(), ["pagerduty", "slack", "webhook"]);
        assert_eq!(config.give_up_after, Duration::from_secs(90));
        assert!(!format!("{config:?}").contains("xoxb-1"), "secrets don't print");
        for (pairs, word) in [
            (&[("SLACK__TOKEN", "t")][..], "slack.channel"),
            (&[("SLACK__TOKEN", "t"), ("SLACK__CHANNEL", "c"), ("FALLBACK", "webhook")][..], "webhook"),
            (&[("SLACK__BASE_URL", "ftp://x")][..], "slack.base_url"),
            (&[("FALLBACK", "pigeon")][..], "pigeon"),
            (&[("SLACK__TOCKEN", "t")][..], "tocken"),
        ] {
            let error = read(pairs).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
