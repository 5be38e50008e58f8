//! What people got: a page and a chat thread, as lines for the terminal. Pure.
//!
//! Guarantees: what is shown is what the receivers recorded, with the chat's markup taken as a chat takes it. Must not: add words
//! of its own to a message.

use serde_json::Value;

use super::look::{Look, Tone, quoted};
use super::steps::words;
use crate::receivers::pagerduty::{Change, Page};
use crate::receivers::slack::Message;

/// What of a page's details is shown, in this order.
const DETAILS: [(&str, &str); 8] = [
    ("from", "from"),
    ("to", "to"),
    ("would_do", "would do"),
    ("failed", "failed"),
    ("verification", "verification"),
    ("failed_checks", "checks"),
    ("pods", "pods"),
    ("serving_pods", "serving now"),
];
/// Log lines of a pod that are shown.
const LOG_LINES: usize = 3;
/// Lines of one reply.
const REPLY: usize = 16;

/// Whom a page was for and why, read off its dedup key `lastgood/<incident>/<audience>/<reason>`.
#[must_use]
pub fn addressed(page: &Page) -> (String, String) {
    let mut parts = page.dedup_key.splitn(4, '/').skip(2).map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A page as its receiver reads it.
#[must_use]
pub fn page(page: &Page, look: Look) -> Vec<String> {
    let (audience, reason) = addressed(page);
    let severity = page.payload["severity"].as_str().unwrap_or_default();
    let head =
        format!("PAGE to the {} · {severity} · {}", words(&audience).replace("on call", "on-call engineer"), words(&reason));
    let mut text = vec![page.summary().to_owned()];
    let details = &page.payload["custom_details"];
    for (key, shown) in DETAILS {
        match &details[key] {
            Value::String(value) => text.push(format!("{shown}: {value}")),
            Value::Array(items) => {
                text.push(format!("{shown}:"));
                text.extend(items.iter().flat_map(item).map(|line| format!("  {line}")));
            }
            _ => {}
        }
    }
    for link in page.links.as_array().into_iter().flatten() {
        let say = |key: &str| link[key].as_str().unwrap_or_default();
        text.push(format!("{}: {}", say("text"), say("href")));
    }
    let mut lines = quoted(&head, 2, Tone::Bad, look);
    lines.extend(quoted(&text.join("\n"), 2, Tone::Plain, look));
    lines
}

/// One element of a page's list: a pod, a check or a name.
fn item(value: &Value) -> Vec<String> {
    let say = |key: &str| value[key].as_str().unwrap_or_default();
    if let Some(name) = value.as_str() {
        vec![name.to_owned()]
    } else if value["pod"].is_string() {
        let head = format!("{}: {} ({} restarts)", say("pod"), say("reason"), value["restarts"]);
        let logs = match &value["last_log_lines"] {
            Value::String(lines) => lines.lines().collect(),
            lines => lines.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>(),
        };
        let logs = folded(logs.into_iter());
        let last = logs[logs.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("  log: {line}"));
        std::iter::once(head).chain(last).collect()
    } else {
        vec![format!("{} {}: {}", say("check"), say("verdict"), say("evidence"))]
    }
}

/// The lines, with those that repeat the one before counted instead.
fn folded<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for line in lines {
        match counted.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => counted.push((line, 1)),
        }
    }
    counted.into_iter().map(|(line, times)| if times > 1 { format!("{line} (×{times})") } else { line.to_owned() }).collect()
}

/// A change event.
#[must_use]
pub fn change(change: &Change, look: Look) -> Vec<String> {
    let summary = change.payload["summary"].as_str().unwrap_or_default();
    quoted(&format!("CHANGE EVENT (nobody is paged) · {summary}"), 2, Tone::Good, look)
}

/// A thread as the channel shows it.
#[must_use]
pub fn thread(parent: &Message, replies: &[Message], look: Look) -> Vec<String> {
    let head =
        format!("CHAT {} · one thread, edited {} times, {} replies", parent.channel, parent.versions.len() - 1, replies.len());
    let mut lines = quoted(&head, 2, Tone::People, look);
    lines.extend(quoted(&spoken(parent), 2, Tone::Plain, look));
    for reply in replies {
        let text = spoken(reply);
        let mut shown = folded(text.lines());
        let total = shown.len();
        shown.truncate(REPLY);
        if total > REPLY {
            shown.push(format!("… {} more lines", total - REPLY));
        }
        for (number, line) in shown.iter().enumerate() {
            let mark = if number == 0 { "↳ " } else { "  " };
            lines.extend(quoted(&format!("  {mark}{line}"), 2, Tone::Plain, look));
        }
    }
    lines
}

/// A message's blocks as plain text; its text where it has none.
fn spoken(message: &Message) -> String {
    let blocks: Vec<_> = message.blocks().as_array().into_iter().flatten().map(block).filter(|text| !text.is_empty()).collect();
    if blocks.is_empty() { plain(message.text()) } else { blocks.join("\n") }
}

fn block(block: &Value) -> String {
    let own = block["text"]["text"].as_str().into_iter();
    let elements = block["elements"].as_array().into_iter().flatten().filter_map(|element| element["text"].as_str());
    own.chain(elements).map(plain).collect::<Vec<_>>().join(" ")
}

/// Chat markup as a chat shows it: emphasis and code signs are not text, links are their names, entities are signs.
fn plain(markup: &str) -> String {
    let mut text = String::new();
    let mut rest = markup;
    while let Some((before, link)) = rest.split_once('<') {
        text.push_str(before);
        let (link, after) = link.split_once('>').unwrap_or((link, ""));
        text.push_str(link.rsplit('|').next().unwrap_or(link));
        rest = after;
    }
    text.push_str(rest);
    let lines = text.replace("```", "").replace(['`', '*'], "");
    let lines = lines.lines().filter(|line| !line.trim().is_empty()).map(|line| match line.split_once("  _+") {
        Some((step, after)) => format!("{step}  +{}", after.trim_end_matches('_')),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn wide() -> Look {
        Look::new(120, false)
    }

    #[test]
    fn a_page_names_its_reader_its_pods_and_its_runbook() {
        let got = Page {
            routing_key: String::new(),
            dedup_key: "lastgood/inc_1/on_call/failed.pods_not_ready".into(),
            payload: json!({"summary": "shop/web: it failed", "severity": "critical", "custom_details": {
                "pods": [{"pod": "web-1", "reason": "not ready", "restarts": 2, "last_log_lines": "a\nb\nc\nc\nd"}],
                "serving_pods": ["web-0"], "failed_checks": [{"check": "smoke", "verdict": "failed", "evidence": "500"}],
            }}),
            links: json!([{"text": "Runbook", "href": "runbooks/pods-not-ready.md"}]),
            triggered_at: Timestamp::UNIX_EPOCH,
            triggers: 1,
            acknowledged_at: None,
            resolved_at: None,
        };
        assert_eq!(addressed(&got), ("on_call".to_owned(), "failed.pods_not_ready".to_owned()));
        assert_eq!(
            page(&got, wide()),
            [
                "  │ PAGE to the on-call engineer · critical · failed: pods not ready",
                "  │ shop/web: it failed",
                "  │ checks:",
                "  │   smoke failed: 500",
                "  │ pods:",
                "  │   web-1: not ready (2 restarts)",
                "  │     log: b",
                "  │     log: c (×2)",
                "  │     log: d",
                "  │ serving now:",
                "  │   web-0",
                "  │ Runbook: runbooks/pods-not-ready.md",
            ]
        );
    }

    #[test]
    fn markup_reads_as_a_chat_shows_it() {
        for (markup, expected) in [
            ("*Halted:* `a &lt; b` &amp; c", "Halted: a < b & c"),
            ("see <http://x/y.md|runbook> now", "see runbook now"),
            ("✅ Pods ready (2/2)  _+1.2s_\n\n```\n- x\n```", "✅ Pods ready (2/2)  +1.2s\n- x"),
            ("a_name_with_lines", "a_name_with_lines"),
        ] {
            assert_eq!(plain(markup), expected);
        }
    }

    #[test]
    fn a_thread_shows_its_last_version_and_its_replies() {
        let message = |texts: &[&str], blocks: Value| Message {
            channel: "C1".into(),
            ts: "1.0".into(),
            thread_ts: None,
            versions: texts.iter().map(|text| (Timestamp::UNIX_EPOCH, (*text).to_owned(), blocks.clone())).collect(),
            metadata: Value::Null,
        };
        let blocks = json!([{"type": "header", "text": {"type": "plain_text", "text": "the title"}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "small print"}]}]);
        let long = ["a line", "another"].repeat(10).join("\n");
        let lines = thread(
            &message(&["old", "new"], blocks),
            &[message(&["reply"], Value::Null), message(&[&long], Value::Null)],
            wide(),
        );
        assert_eq!(
            lines[..4],
            ["  │ CHAT C1 · one thread, edited 1 times, 2 replies", "  │ the title", "  │ small print", "  │   ↳ reply",]
        );
        assert_eq!(lines.last().map(String::as_str), Some("  │     … 4 more lines"));
    }
}
