//! The receivers take what the real APIs take, refuse what those refuse, and play their faults.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{
    receivers::{Fault, Outcome, PagerDuty, Slack, Webhook, slack::TOKEN},
    wait,
};

const DEADLINE: Duration = Duration::from_secs(10);
const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn post(url: String, body: &Value) -> (u16, Value) {
    let answer = wait::http().post(url).bearer_auth(TOKEN).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn trigger(dedup_key: &str) -> Value {
    json!({
        "routing_key": KEY, "event_action": "trigger", "dedup_key": dedup_key,
        "payload": { "summary": "checkout halted", "source": "lastgood", "severity": "critical", "custom_details": { "why": "no version" } },
        "links": [{ "href": "http://127.0.0.1/runbook", "text": "runbook" }],
    })
}

#[tokio::test]
async fn one_dedup_key_is_one_page() {
    let receiver = PagerDuty::start().await.unwrap();
    let url = format!("{}/v2/enqueue", receiver.url());
    for _ in 0..2 {
        let (status, body) = post(url.clone(), &trigger("k")).await;
        assert_eq!((status, body["dedup_key"].as_str()), (202, Some("k")));
    }
    let (status, _) = post(url.clone(), &json!({ "routing_key": KEY, "event_action": "resolve", "dedup_key": "k" })).await;
    assert_eq!(status, 202);
    let pages = receiver.pages();
    assert_eq!((pages.len(), pages[0].triggers, pages[0].resolved_at.is_some()), (1, 2, true));
    let change = json!({ "routing_key": KEY, "payload": { "summary": "rolled back" } });
    assert_eq!(post(format!("{}/v2/change/enqueue", receiver.url()), &change).await.0, 202);
    let shown = receiver.render();
    assert!(shown.contains("CRITICAL") && shown.contains("why: no version") && shown.contains("CHANGE  rolled back"), "{shown}");
}

#[tokio::test]
async fn invalid_events_are_refused_with_reasons() {
    let pager = PagerDuty::start().await.unwrap();
    let cases = [
        ("/routing_key", Value::Null, "'routing_key' is missing or blank"),
        ("/routing_key", json!("short"), "32 characters"),
        ("/event_action", json!("shout"), "'event_action' is invalid"),
        ("/payload/summary", json!(""), "'payload.summary' is missing or blank"),
        ("/payload/summary", json!("x".repeat(1025)), "payload.summary"),
        ("/payload/source", Value::Null, "'payload.source'"),
        ("/payload/severity", json!("fatal"), "'payload.severity' is invalid"),
        ("/links/0/href", Value::Null, "href"),
        ("/dedup_key", json!("x".repeat(256)), "dedup_key"),
    ];
    for (pointer, value, expected) in cases {
        let mut event = trigger("k");
        *event.pointer_mut(pointer).unwrap() = value;
        let (status, body) = post(format!("{}/v2/enqueue", pager.url()), &event).await;
        assert!(status == 400 && body["errors"].to_string().contains(expected), "{pointer}: {status} {body}");
    }
    assert!(pager.pages().is_empty());
    assert!(pager.received().iter().all(|received| matches!(received.outcome, Outcome::Refused(_))));
}

#[tokio::test]
async fn a_chat_has_threads_and_edits() {
    let chat = Slack::start().await.unwrap();
    let api = |method: &str| format!("{}/api/{method}", chat.url());
    let blocks = json!([{ "type": "header", "text": { "type": "plain_text", "text": "checkout" } }]);
    let (_, parent) = post(api("chat.postMessage"), &json!({ "channel": "C1", "text": "rolling back", "blocks": blocks })).await;
    assert_eq!(parent["ok"], true);
    let ts = parent["ts"].clone();
    let (_, reply) = post(api("chat.postMessage"), &json!({ "channel": "C1", "text": "pods ready", "thread_ts": ts })).await;
    assert_eq!(reply["ok"], true);
    let (_, edit) = post(api("chat.update"), &json!({ "channel": "C1", "ts": ts, "text": "rolled back" })).await;
    assert_eq!(edit["ok"], true);
    let threads = chat.threads();
    assert_eq!((threads.len(), threads[0].0.text(), threads[0].1.len()), (1, "rolled back", 1));
    let text = chat.render();
    assert!(text.contains("edited 1 times") && text.contains("> pods ready"), "{text}");
}

#[tokio::test]
async fn a_chat_refuses_with_status_200() {
    let chat = Slack::start().await.unwrap();
    let long = |n: usize| json!([{ "type": "section", "text": { "type": "mrkdwn", "text": "x".repeat(n) } }]);
    let divider = json!({ "type": "divider" });
    let cases = [
        ("chat.postMessage", json!({ "text": "x" }), "channel_not_found"),
        ("chat.postMessage", json!({ "channel": "C1" }), "no_text"),
        ("chat.postMessage", json!({ "channel": "C1", "text": "x".repeat(40_001) }), "msg_too_long"),
        ("chat.postMessage", json!({ "channel": "C1", "text": "x", "blocks": long(3001) }), "invalid_blocks"),
        ("chat.postMessage", json!({ "channel": "C1", "text": "x", "blocks": vec![divider; 51] }), "invalid_blocks"),
        ("chat.postMessage", json!({ "channel": "C1", "text": "x", "blocks": [{ "type": "poem" }] }), "invalid_blocks"),
        ("chat.postMessage", json!({ "channel": "C1", "text": "x", "thread_ts": "1.0" }), "thread_not_found"),
        ("chat.update", json!({ "channel": "C1", "text": "x", "ts": "1.0" }), "message_not_found"),
        ("chat.update", json!({ "channel": "C1", "text": "x".repeat(4001), "ts": "1.0" }), "msg_too_long"),
        ("chat.shout", json!({ "channel": "C1" }), "unknown_method"),
    ];
    for (method, body, expected) in cases {
        let (status, answer) = post(format!("{}/api/{method}", chat.url()), &body).await;
        assert_eq!((status, answer["error"].as_str()), (200, Some(expected)), "{answer}");
    }
    let stranger = wait::http().post(format!("{}/api/auth.test", chat.url())).bearer_auth("other").send().await.unwrap();
    assert_eq!(stranger.json::<Value>().await.unwrap()["error"], "invalid_auth");
    assert!(chat.messages().is_empty());
}

#[tokio::test]
async fn faults_happen_in_order_once_each() {
    let pager = PagerDuty::start().await.unwrap();
    let url = format!("{}/v2/enqueue", pager.url());
    pager.fail_next(1, 429, Some(Duration::from_secs(7)));
    pager.lie_next(1);
    pager.hang_next(1);
    pager.lose_next_answers(1);
    let answer = wait::http().post(&url).json(&trigger("k")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    let (status, body) = post(url.clone(), &trigger("k")).await;
    assert_eq!((status, &body["ok"]), (200, &json!(false)));
    assert!(pager.pages().is_empty());
    for pages in [0, 1] {
        let event = trigger("k");
        let hung = wait::http().post(&url).json(&event).timeout(Duration::from_millis(300)).send().await;
        assert!(hung.unwrap_err().is_timeout());
        assert_eq!(pager.pages().len(), pages);
    }
    assert_eq!(post(url, &trigger("k")).await.0, 202);
    let outcomes: Vec<_> = pager.received().into_iter().map(|received| received.outcome).collect();
    assert_eq!(outcomes[2..], [Outcome::Faulted(Fault::Hang), Outcome::Faulted(Fault::LoseAnswer), Outcome::Accepted]);
}

#[tokio::test]
async fn a_webhook_records_headers_and_comes_back_after_an_outage() {
    let hook = Webhook::start().await.unwrap();
    let url = format!("{}/any/path?x=1", hook.url());
    wait::http().post(&url).header("X-Signature", "abc").body("raw").send().await.unwrap();
    let received = hook.wait_for(|received| received.call.path == "/any/path?x=1", DEADLINE).await.unwrap();
    assert_eq!((received.call.headers["x-signature"].as_str(), &received.call.raw[..]), ("abc", &b"raw"[..]));
    hook.go_down().await;
    assert!(wait::http().post(&url).send().await.unwrap_err().is_connect());
    hook.come_back().await.unwrap();
    assert_eq!(wait::http().post(&url).send().await.unwrap().status(), 200);
    assert_eq!(hook.received().len(), 2);
    let missing = hook.wait_for(|received| received.call.path == "/never", Duration::from_millis(100)).await.unwrap_err();
    assert!(missing.to_string().contains("2 calls"), "{missing}");
}
