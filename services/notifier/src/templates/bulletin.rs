//! News about lastgood itself that everybody is to know and that gets nobody up: a pause switch was turned on or off.
//!
//! Guarantees: every value is escaped and cut to the providers' limits. Must not: send.

use contracts::v1::PauseSwitched;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::templates::{ChatMessage, Links};
use crate::text::{inline, line, paragraph};

/// The page under `runbooks/`.
const RUNBOOK: &str = "paused";

/// A switch that was turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulletin {
    /// The same for every try, so that a receiver can drop a repetition.
    pub id: String,
    /// Whether automatic action stops.
    pub paused: bool,
    /// The cluster.
    pub cluster: String,
    /// The namespace; empty for the whole cluster.
    pub namespace: String,
    /// Who turned it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Bulletin {
    /// Of the fact at this place in its stream.
    #[must_use]
    pub fn of(cluster: String, fact: &PauseSwitched, sequence: u64, at: Timestamp) -> Self {
        Self {
            id: format!("switch-{sequence}"),
            paused: fact.paused,
            cluster,
            namespace: fact.namespace.clone(),
            who: fact.who.clone(),
            reason: fact.reason.clone(),
            at,
        }
    }

    /// In one line, unescaped.
    #[must_use]
    pub fn summary(&self) -> String {
        let place = match self.namespace.as_str() {
            "" => format!("in cluster {}", self.cluster),
            namespace => format!("in namespace {namespace} of cluster {}", self.cluster),
        };
        let what = if self.paused { "paused all automatic rollbacks" } else { "let automatic rollbacks go on" };
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{} {what} {place}{why}", self.who)
    }
}

/// PagerDuty's change event; without its routing key.
#[must_use]
pub fn change(bulletin: &Bulletin, links: &Links) -> Value {
    let runbook = links.runbook(RUNBOOK).map(|href| json!({"href": href, "text": "Runbook"}));
    json!({
        "payload": {
            "summary": line(&format!("lastgood: {}", bulletin.summary()), 1024),
            "source": "lastgood",
            "timestamp": bulletin.at.to_string(),
            "custom_details": {
                "cluster": line(&bulletin.cluster, 260),
                "namespace": line(&bulletin.namespace, 260),
                "paused": bulletin.paused,
                "who": line(&bulletin.who, 260),
                "reason": paragraph(&bulletin.reason, 4000),
            },
        },
        "links": runbook.into_iter().collect::<Vec<_>>(),
    })
}

/// The chat's message.
#[must_use]
pub fn chat(bulletin: &Bulletin, links: &Links) -> ChatMessage {
    let sign = if bulletin.paused { '⏸' } else { '▶' };
    let text = format!("{sign} *lastgood*: {}", inline(&bulletin.summary(), 2500));
    let runbook = links.runbook(RUNBOOK).map(|link| format!("<{}|runbook>", inline(&link, 500))).unwrap_or_default();
    ChatMessage::new(&text).section(&text).context(&runbook)
}

/// The webhook's JSON.
#[must_use]
pub fn event(bulletin: &Bulletin, links: &Links) -> Value {
    json!({
        "id": bulletin.id,
        "incident": null,
        "fact": "pause_switched",
        "at": bulletin.at.to_string(),
        "urgency": "inform",
        "reason": if bulletin.paused { "paused" } else { "resumed" },
        "cluster": bulletin.cluster,
        "namespace": bulletin.namespace,
        "who": bulletin.who,
        "summary": paragraph(&bulletin.summary(), 4000),
        "runbook": links.runbook(RUNBOOK),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_did_what_where_and_why() {
        let fact = PauseSwitched { paused: true, who: "ann".into(), reason: "<!channel> drill".into(), namespace: "shop".into() };
        let bulletin = Bulletin::of("eu".into(), &fact, 7, Timestamp::UNIX_EPOCH);
        let links = Links { runbooks: "https://books".into(), chat: None };
        assert_eq!(bulletin.summary(), "ann paused all automatic rollbacks in namespace shop of cluster eu: <!channel> drill");
        assert!(!chat(&bulletin, &links).text.contains("<!channel>"));
        assert_eq!(change(&bulletin, &links)["links"][0]["href"], "https://books/paused.md");
        let resumed = Bulletin { paused: false, namespace: String::new(), reason: String::new(), ..bulletin };
        assert_eq!(resumed.summary(), "ann let automatic rollbacks go on in cluster eu");
        assert_eq!((event(&resumed, &links)["reason"].clone(), resumed.id.as_str()), (json!("resumed"), "switch-7"));
    }
}
