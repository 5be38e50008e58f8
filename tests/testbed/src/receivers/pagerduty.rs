//! A stand-in for PagerDuty's Events API v2, with the checks that make the real one refuse an event.
//!
//! Guarantee: events with one dedup key make one page, as at PagerDuty; what is refused changes nothing.

use std::{fmt::Write, sync::Mutex};

use serde_json::{Value, json};

use super::recorder::{Api, Call, Receiver, Reply};
use crate::{Error, process::lock};

/// A pager that runs. Its Events API is at [`Receiver::url`] + `/v2/enqueue`.
pub type PagerDuty = Receiver<PagerDutyApi>;

/// Somebody's page: all events with one routing key and one dedup key.
#[derive(Debug, Clone)]
pub struct Page {
    /// Whose page.
    pub routing_key: String,
    /// What makes it one page.
    pub dedup_key: String,
    /// The payload of the last trigger.
    pub payload: Value,
    /// The links of the last trigger.
    pub links: Value,
    /// When it was triggered first.
    pub triggered_at: jiff::Timestamp,
    /// How many triggers came; a person was called once.
    pub triggers: usize,
    /// When it was acknowledged.
    pub acknowledged_at: Option<jiff::Timestamp>,
    /// When it was resolved; a trigger after that makes a new page.
    pub resolved_at: Option<jiff::Timestamp>,
}

impl Page {
    /// The summary that the phone reads out.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.payload["summary"].as_str().unwrap_or_default()
    }
}

/// A change event: not a page, a note on the timeline.
#[derive(Debug, Clone)]
pub struct Change {
    /// When it came.
    pub at: jiff::Timestamp,
    /// Whose timeline.
    pub routing_key: String,
    /// The payload.
    pub payload: Value,
}

/// The pager's state.
#[derive(Debug, Default)]
pub struct PagerDutyApi {
    state: Mutex<(Vec<Page>, Vec<Change>)>,
}

impl Receiver<PagerDutyApi> {
    /// Starts it.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(PagerDutyApi::default()).await
    }

    /// The pages so far, in the order of their first trigger.
    #[must_use]
    pub fn pages(&self) -> Vec<Page> {
        lock(&self.api().state).0.clone()
    }

    /// The change events so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.api().state).1.clone()
    }

    /// Pages and changes, as text for people.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for page in self.pages() {
            let severity = page.payload["severity"].as_str().unwrap_or_default().to_uppercase();
            let _ = writeln!(text, "PAGE  {severity}  {}", page.summary());
            let _ =
                writeln!(text, "      source {}  key {}", page.payload["source"].as_str().unwrap_or_default(), page.dedup_key);
            for (key, value) in page.payload["custom_details"].as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace('\n', "\n        ");
                let _ = writeln!(text, "      {key}: {value}");
            }
            for link in page.links.as_array().into_iter().flatten() {
                let (name, href) = (link["text"].as_str().unwrap_or("link"), link["href"].as_str().unwrap_or_default());
                let _ = writeln!(text, "      {name}: {href}");
            }
            for (what, at) in [("acknowledged", page.acknowledged_at), ("resolved", page.resolved_at)] {
                if let Some(at) = at {
                    let _ = writeln!(text, "      {what} {at:.0}");
                }
            }
        }
        for change in self.changes() {
            let _ = writeln!(text, "CHANGE  {}", change.payload["summary"].as_str().unwrap_or_default());
        }
        text
    }
}

impl Api for PagerDutyApi {
    fn answer(&self, call: &Call) -> Reply {
        let errors = match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/v2/enqueue") => event_errors(call),
            ("POST", "/v2/change/enqueue") => change_errors(call),
            _ => {
                let reason = format!("{} {} is not part of the Events API", call.method, call.path);
                return Reply::refused(404, json!({ "message": "Not Found" }), vec![reason]);
            }
        };
        if call.raw.len() > 512 * 1024 {
            return Reply::refused(413, json!({ "message": "Payload Too Large" }), vec!["larger than 512 KB".to_owned()]);
        }
        if !errors.is_empty() {
            let body = json!({ "status": "invalid event", "message": "Event object is invalid", "errors": errors });
            return Reply::refused(400, body, errors);
        }
        if call.path == "/v2/change/enqueue" {
            let change =
                Change { at: call.at, routing_key: field(&call.body, "routing_key"), payload: call.body["payload"].clone() };
            lock(&self.state).1.push(change);
            return Reply::accepted(202, json!({ "status": "success", "message": "Change event processed" }));
        }
        let dedup_key = apply(&mut lock(&self.state).0, call);
        Reply::accepted(202, json!({ "status": "success", "message": "Event processed", "dedup_key": dedup_key }))
    }

    fn lie(&self) -> Value {
        json!({ "ok": false, "status": "invalid event", "message": "Event object is invalid", "error": "scripted lie" })
    }
}

fn field(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

/// Folds a valid event into the pages; returns its dedup key.
fn apply(pages: &mut Vec<Page>, call: &Call) -> String {
    let (routing_key, mut dedup_key) = (field(&call.body, "routing_key"), field(&call.body, "dedup_key"));
    if dedup_key.is_empty() {
        dedup_key = format!("generated-{}", pages.len() + 1);
    }
    let mine = |page: &&mut Page| page.routing_key == routing_key && page.dedup_key == dedup_key && page.resolved_at.is_none();
    let page = pages.iter_mut().find(mine);
    match (field(&call.body, "event_action").as_str(), page) {
        ("trigger", Some(page)) => {
            page.triggers += 1;
            page.payload = call.body["payload"].clone();
            page.links = call.body["links"].clone();
        }
        ("trigger", None) => pages.push(Page {
            routing_key,
            dedup_key: dedup_key.clone(),
            payload: call.body["payload"].clone(),
            links: call.body["links"].clone(),
            triggered_at: call.at,
            triggers: 1,
            acknowledged_at: None,
            resolved_at: None,
        }),
        ("acknowledge", Some(page)) => page.acknowledged_at = page.acknowledged_at.or(Some(call.at)),
        ("resolve", Some(page)) => page.resolved_at = Some(call.at),
        // PagerDuty takes an acknowledgement or a resolution of what it doesn't know, and does nothing.
        _ => {}
    }
    dedup_key
}

/// What is wrong with an event, in PagerDuty's words.
fn event_errors(call: &Call) -> Vec<String> {
    let body = &call.body;
    let mut errors = routing_errors(body);
    match body["event_action"].as_str() {
        Some("trigger") => {
            for name in ["summary", "source", "severity"] {
                require(&body["payload"], name, &format!("payload.{name}"), &mut errors);
            }
            limit(&body["payload"]["summary"], "payload.summary", 1024, &mut errors);
            let severity = body["payload"]["severity"].as_str();
            if severity.is_some_and(|severity| !["critical", "warning", "error", "info"].contains(&severity)) {
                errors.push(
                    "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
                        .to_owned(),
                );
            }
            let links = body["links"].as_array().into_iter().flatten();
            if links.clone().any(|link| link["href"].as_str().is_none_or(str::is_empty)) {
                errors.push("'links[].href' is missing or blank".to_owned());
            }
        }
        Some("acknowledge" | "resolve") => require(body, "dedup_key", "dedup_key", &mut errors),
        Some(_) => errors
            .push("'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')".to_owned()),
        None => errors.push("'event_action' is missing or blank".to_owned()),
    }
    limit(&body["dedup_key"], "dedup_key", 255, &mut errors);
    errors
}

fn change_errors(call: &Call) -> Vec<String> {
    let mut errors = routing_errors(&call.body);
    require(&call.body["payload"], "summary", "payload.summary", &mut errors);
    limit(&call.body["payload"]["summary"], "payload.summary", 1024, &mut errors);
    errors
}

fn routing_errors(body: &Value) -> Vec<String> {
    match body["routing_key"].as_str() {
        Some(key) if key.len() == 32 => Vec::new(),
        Some(key) if !key.is_empty() => vec!["Length of 'routing_key' is incorrect (should be 32 characters)".to_owned()],
        _ => vec!["'routing_key' is missing or blank".to_owned()],
    }
}

fn require(object: &Value, name: &str, shown: &str, errors: &mut Vec<String>) {
    if object[name].as_str().is_none_or(|text| text.trim().is_empty()) {
        errors.push(format!("'{shown}' is missing or blank"));
    }
}

fn limit(value: &Value, shown: &str, characters: usize, errors: &mut Vec<String>) {
    if value.as_str().is_some_and(|text| text.chars().count() > characters) {
        errors.push(format!("Length of '{shown}' is incorrect (should be at most {characters} characters)"));
    }
}
