//! `notifier.receivers`: what the names in policies stand for, beside the channels `pagerduty`, `slack` and `webhook`.
//!
//! Guarantees: a name stands for one receiver, and none for a channel's. Must not: be the only way to tell anybody: what no policy routes, and
//! what names nobody known, goes over the channels.

use std::collections::BTreeMap;

use chassis::config::Secret;
use serde::Deserialize;

use super::{ChannelName, ConfigProblem, Webhook};

/// The longest name that a policy may use, in characters.
const NAME: usize = 63;

/// One receiver: exactly one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receiver {
    /// A PagerDuty integration's key.
    pub pagerduty_routing_key: Option<Secret>,
    /// A Slack channel's id or name; the bot's token is that of `notifier.slack`.
    pub slack_channel: Option<String>,
    /// Where signed JSON is posted.
    pub webhook: Option<Webhook>,
}

/// Whether each can be one.
pub(super) fn check(receivers: &BTreeMap<String, Receiver>, slack: bool) -> Result<(), ConfigProblem> {
    let problem = receivers.iter().find_map(|(name, receiver)| Some((name, problem(name, receiver, slack)?)));
    problem.map_or(Ok(()), |(name, reason)| Err(ConfigProblem::Receiver { name: name.clone(), reason }))
}

fn problem(name: &str, receiver: &Receiver, slack: bool) -> Option<&'static str> {
    let channels = [ChannelName::PagerDuty, ChannelName::Slack, ChannelName::Webhook].map(ChannelName::as_str);
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let channel = receiver.slack_channel.as_deref();
    let ways = [receiver.pagerduty_routing_key.is_some(), channel.is_some(), receiver.webhook.is_some()];
    if channels.contains(&name) {
        Some("has the name of a channel, which policies may use as it is; take another")
    } else if name.is_empty() || name.len() > NAME || !name.bytes().all(is_plain) {
        Some("is no name: 63 lower-case letters, digits, `-`, `_` and `.` at most")
    } else if ways.iter().filter(|given| **given).count() != 1 {
        Some("needs exactly one of pagerduty_routing_key, slack_channel and webhook")
    } else if channel.is_some_and(|channel| channel.trim().is_empty()) {
        Some("has an empty slack_channel")
    } else if channel.is_some() && !slack {
        Some("is a Slack channel, and notifier.slack.token is not given")
    } else if receiver.webhook.as_ref().is_some_and(|webhook| !matches!(webhook.url.scheme(), "http" | "https")) {
        Some("has a webhook whose url is none of http or https")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::load_from;

    use super::super::{Config, Notifier};

    fn read(receivers: &str, more: &[(&str, &str)]) -> Result<Notifier, String> {
        let given = [("RECEIVERS", receivers), ("ALLOW_SILENT", "true")].into_iter().chain(more.iter().copied());
        let environment = given.map(|(key, value)| (format!("LASTGOOD_NOTIFIER__{key}"), value.to_owned()));
        let config: Config = load_from(None, environment).map_err(|error| error.to_string())?;
        config.notifier.check().map_err(|error| error.to_string())?;
        Ok(config.notifier)
    }

    #[test]
    fn each_way_can_have_names() {
        let slack = [("SLACK__TOKEN", "xoxb-1"), ("SLACK__CHANNEL", "C1")];
        let text =
            "{shop-release: {pagerduty_routing_key: R1}, shop-chat: {slack_channel: C2}, hook: {webhook: {url: 'https://x/y'}}}";
        let config = read(text, &slack).unwrap();
        assert_eq!(config.receivers.keys().collect::<Vec<_>>(), ["hook", "shop-chat", "shop-release"]);
        assert!(!format!("{config:?}").contains("R1"), "secrets don't print");
    }

    #[test]
    fn what_can_be_no_receiver_is_refused_with_its_name() {
        for (text, word) in [
            ("{slack: {slack_channel: C2}}", "name of a channel"),
            ("{Shop: {pagerduty_routing_key: R1}}", "is no name"),
            ("{a/b: {pagerduty_routing_key: R1}}", "is no name"),
            ("{shop: {}}", "exactly one"),
            ("{shop: {pagerduty_routing_key: R1, slack_channel: C2}}", "exactly one"),
            ("{shop: {slack_channel: C2}}", "slack.token"),
            ("{shop: {webhook: {url: 'ftp://x'}}}", "http"),
            ("{shop: {pagerdty: R1}}", "pagerdty"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
