//! An alarm about lastgood itself: no incident's story, only what went wrong and where to look.
//!
//! Guarantees: every value is escaped and cut to the providers' limits. Must not: send.

use contracts::v1::Audience;
use jiff::Timestamp;
use lastgood_core::words::{audience_code, audience_name};
use serde_json::{Value, json};

use crate::templates::{ChatMessage, Links};
use crate::text::{cut, fenced, inline, line, paragraph};

/// The page under `runbooks/` for all of them.
pub const RUNBOOK: &str = "dead-letter";
/// Who is told.
pub const AUDIENCE: Audience = Audience::TeamLead;

/// Something that lastgood could not process and that no incident's log can tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What makes it the same alarm, for providers that keep one open.
    pub key: String,
    /// One line, unescaped.
    pub summary: String,
    /// More, unescaped; may quote what was damaged.
    pub detail: String,
    /// When it happened.
    pub at: Timestamp,
}

/// PagerDuty's trigger event; without its routing key.
#[must_use]
pub fn trigger(alarm: &Alarm, links: &Links) -> Value {
    let runbook = links.runbook(RUNBOOK).map(|href| json!({"href": href, "text": "Runbook"}));
    json!({
        "event_action": "trigger",
        "dedup_key": cut(&format!("lastgood/{}", line(&alarm.key, 240)), 255),
        "client": "lastgood",
        "payload": {
            "summary": line(&alarm.summary, 1024),
            "source": "lastgood",
            "severity": "critical",
            "timestamp": alarm.at.to_string(),
            "class": "dead_letter",
            "custom_details": {"detail": paragraph(&alarm.detail, 4000)},
        },
        "links": runbook.into_iter().collect::<Vec<_>>(),
    })
}

/// The chat's message.
#[must_use]
pub fn chat(alarm: &Alarm, links: &Links) -> ChatMessage {
    let text = format!("🚨 {} is needed. *lastgood*: {}", audience_name(AUDIENCE), inline(&alarm.summary, 2000));
    let message = ChatMessage::new(&text).section(&text).section(&fenced(&alarm.detail, 2900));
    let runbook = links.runbook(RUNBOOK).map(|link| format!("<{}|runbook>", inline(&link, 500))).unwrap_or_default();
    message.context(&runbook)
}

/// The webhook's JSON.
#[must_use]
pub fn event(alarm: &Alarm, links: &Links) -> Value {
    json!({
        "id": alarm.key,
        "incident": null,
        "fact": "dead_letter",
        "at": alarm.at.to_string(),
        "audience": audience_code(AUDIENCE),
        "urgency": "page",
        "reason": "dead_letter",
        "summary": paragraph(&alarm.summary, 4000),
        "detail": paragraph(&alarm.detail, 8000),
        "runbook": links.runbook(RUNBOOK),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_damaged_stays_text_everywhere() {
        let hostile = "<!channel> `x` <https://evil|ok>\u{202e}\u{7}\n```";
        let (key, summary, detail) = ("executor".to_owned(), hostile.to_owned(), hostile.repeat(2000));
        let alarm = Alarm { key, summary, detail, at: Timestamp::UNIX_EPOCH };
        let links = Links { runbooks: "https://books".into(), chat: None };
        let message = chat(&alarm, &links);
        for text in message.blocks.iter().map(|block| block["text"]["text"].as_str().unwrap_or_default()).chain([&*message.text])
        {
            assert!(!text.contains("<!channel>") && !text.contains("<https://evil") && text.chars().count() <= 4000, "{text}");
        }
        let page = trigger(&alarm, &links);
        assert!(page.to_string().len() < 100_000 && !page["payload"]["summary"].as_str().unwrap().contains('\u{202e}'));
        assert_eq!(page["links"][0]["href"], "https://books/dead-letter.md");
        assert_eq!(event(&alarm, &links)["audience"], "team_lead");
    }
}
