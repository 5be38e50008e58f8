//! A stand-in for Slack's Web API: posting, replying in a thread and editing, with the checks that make Slack refuse.
//!
//! Guarantee: as with Slack, most refusals are HTTP 200 with `"ok": false`; what is refused changes nothing; edits keep the history.

use std::{fmt::Write, sync::Mutex};

use serde_json::{Value, json};

use super::recorder::{Api, Call, Receiver, Reply};
use crate::{Error, process::lock};

/// A chat that runs. Its Web API is at [`Receiver::url`] + `/api/`.
pub type Slack = Receiver<SlackApi>;

/// The token taken by [`Slack::start`](Receiver::start).
pub const TOKEN: &str = "xoxb-testbed";

/// A message, with all that it has said.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was posted.
    pub channel: String,
    /// Its id, Slack's kind of timestamp.
    pub ts: String,
    /// The message it replies to.
    pub thread_ts: Option<String>,
    /// Its versions, oldest first: when, text, blocks.
    pub versions: Vec<(jiff::Timestamp, String, Value)>,
    /// Its metadata, null if none.
    pub metadata: Value,
}

impl Message {
    /// The text as it stands now.
    #[must_use]
    pub fn text(&self) -> &str {
        self.versions.last().map_or("", |(_, text, _)| text)
    }

    /// The blocks as they stand now; null if none.
    #[must_use]
    pub fn blocks(&self) -> &Value {
        self.versions.last().map_or(&Value::Null, |(_, _, blocks)| blocks)
    }
}

/// The chat's state.
#[derive(Debug)]
pub struct SlackApi {
    token: String,
    messages: Mutex<Vec<Message>>,
}

impl Receiver<SlackApi> {
    /// Starts it with the token [`TOKEN`].
    pub async fn start() -> Result<Self, Error> {
        Self::start_with_token(TOKEN).await
    }

    /// Starts it; only calls with this bearer token are taken.
    pub async fn start_with_token(token: impl Into<String>) -> Result<Self, Error> {
        Self::start_with(SlackApi { token: token.into(), messages: Mutex::default() }).await
    }

    /// All messages, replies too, in the order of posting.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.api().messages).clone()
    }

    /// The messages that are no replies, each with its replies.
    #[must_use]
    pub fn threads(&self) -> Vec<(Message, Vec<Message>)> {
        let (parents, replies): (Vec<_>, Vec<_>) = self.messages().into_iter().partition(|message| message.thread_ts.is_none());
        let of = |parent: &Message| {
            let mine = |reply: &&Message| reply.channel == parent.channel && reply.thread_ts.as_ref() == Some(&parent.ts);
            replies.iter().filter(mine).cloned().collect()
        };
        parents.iter().map(|parent| (parent.clone(), of(parent))).collect()
    }

    /// The threads, as text for people.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (parent, replies) in self.threads() {
            let edits = match parent.versions.len() - 1 {
                0 => String::new(),
                n => format!("  (edited {n} times)"),
            };
            let _ = writeln!(text, "#{}{edits}", parent.channel.trim_start_matches('#'));
            let _ = writeln!(text, "  {}", parent.text().replace('\n', "\n  "));
            for shown in parent.blocks().as_array().into_iter().flatten().filter_map(block_text) {
                let _ = writeln!(text, "  | {}", shown.replace('\n', "\n  | "));
            }
            for reply in replies {
                let _ = writeln!(text, "    > {}", reply.text().replace('\n', "\n    > "));
            }
        }
        text
    }
}

/// What a block says.
fn block_text(block: &Value) -> Option<String> {
    let say = |value: &Value| value["text"].as_str().or(value["text"]["text"].as_str()).map(str::to_owned);
    let list = |name: &str| block[name].as_array().into_iter().flatten().filter_map(say).collect::<Vec<_>>().join("   ");
    match block["type"].as_str()? {
        "actions" => Some(format!("[{}]", list("elements").replace("   ", "] ["))),
        "context" => Some(list("elements")),
        "divider" => Some("---".to_owned()),
        _ => Some([say(block).unwrap_or_default(), list("fields")].join("\n").trim().to_owned()),
    }
}

impl Api for SlackApi {
    fn answer(&self, call: &Call) -> Reply {
        match self.act(call) {
            Ok(body) => Reply::accepted(200, body),
            Err((error, detail)) => {
                let body =
                    json!({ "ok": false, "error": error, "errors": [detail], "response_metadata": { "messages": [detail] } });
                Reply::refused(200, body, vec![error.to_owned(), detail])
            }
        }
    }

    fn lie(&self) -> Value {
        json!({ "ok": false, "error": "fatal_error" })
    }
}

type Refusal = (&'static str, String);

impl SlackApi {
    fn act(&self, call: &Call) -> Result<Value, Refusal> {
        let refuse = |error, detail: &str| Err((error, detail.to_owned()));
        match call.headers.get("authorization") {
            None => return refuse("not_authed", "no Authorization header"),
            Some(given) if *given != format!("Bearer {}", self.token) => return refuse("invalid_auth", "another token"),
            Some(_) => {}
        }
        if call.path == "/api/auth.test" {
            return Ok(json!({ "ok": true, "team": "testbed", "user": "lastgood", "bot_id": "B0TESTBED" }));
        }
        if !call.headers.get("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
            return refuse("invalid_post_type", "the testbed takes application/json");
        }
        if !call.body.is_object() {
            return refuse("invalid_json", "the body is no JSON object");
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/api/chat.postMessage") => self.post(call),
            ("POST", "/api/chat.update") => self.update(call),
            _ => refuse("unknown_method", &format!("{} {}", call.method, call.path)),
        }
    }

    fn post(&self, call: &Call) -> Result<Value, Refusal> {
        let channel = text_of(call, "channel").ok_or(("channel_not_found", "no channel".to_owned()))?;
        // 40,000 characters is where Slack cuts a text off; here that is a fault to be found.
        let text = checked_text(call, 40_000)?;
        let mut messages = lock(&self.messages);
        let thread_ts = text_of(call, "thread_ts");
        if let Some(parent) = &thread_ts
            && !messages.iter().any(|message| message.channel == channel && message.ts == *parent && message.thread_ts.is_none())
        {
            return Err(("thread_not_found", format!("no message {parent} in {channel}")));
        }
        let ts = format!("{}.{:06}", call.at.as_second(), messages.len() + 1);
        let versions = vec![(call.at, text.clone(), call.body["blocks"].clone())];
        let metadata = call.body["metadata"].clone();
        messages.push(Message { channel: channel.clone(), ts: ts.clone(), thread_ts: thread_ts.clone(), versions, metadata });
        let message = json!({ "type": "message", "text": text, "ts": ts, "thread_ts": thread_ts, "blocks": call.body["blocks"] });
        Ok(json!({ "ok": true, "channel": channel, "ts": ts, "message": message }))
    }

    fn update(&self, call: &Call) -> Result<Value, Refusal> {
        let channel = text_of(call, "channel").ok_or(("channel_not_found", "no channel".to_owned()))?;
        let ts = text_of(call, "ts").ok_or(("message_not_found", "no ts".to_owned()))?;
        let text = checked_text(call, 4_000)?;
        let mut messages = lock(&self.messages);
        let message = messages.iter_mut().find(|message| message.channel == channel && message.ts == ts);
        let message = message.ok_or_else(|| ("message_not_found", format!("no message {ts} in {channel}")))?;
        message.versions.push((call.at, text.clone(), call.body["blocks"].clone()));
        Ok(json!({ "ok": true, "channel": channel, "ts": ts, "text": text }))
    }
}

fn text_of(call: &Call, name: &str) -> Option<String> {
    call.body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The text, once text and blocks are within Slack's limits.
fn checked_text(call: &Call, limit: usize) -> Result<String, Refusal> {
    let text = text_of(call, "text");
    let blocks = &call.body["blocks"];
    if text.is_none() && blocks.as_array().is_none_or(Vec::is_empty) {
        return Err(("no_text", "neither text nor blocks".to_owned()));
    }
    if text.as_ref().is_some_and(|text| text.chars().count() > limit) {
        return Err(("msg_too_long", format!("more than {limit} characters")));
    }
    check_blocks(blocks).map_err(|detail| ("invalid_blocks", detail))?;
    Ok(text.unwrap_or_default())
}

/// Slack's limits on blocks.
fn check_blocks(blocks: &Value) -> Result<(), String> {
    let blocks = match blocks {
        Value::Null => return Ok(()),
        Value::Array(blocks) if blocks.len() <= 50 => blocks,
        Value::Array(blocks) => return Err(format!("{} blocks, 50 are allowed", blocks.len())),
        _ => return Err("blocks are no array".to_owned()),
    };
    blocks
        .iter()
        .enumerate()
        .try_for_each(|(index, block)| check_block(block).map_err(|detail| format!("{detail} [/blocks/{index}]")))
}

fn check_block(block: &Value) -> Result<(), String> {
    let list = |name: &str| block[name].as_array().map_or(&[][..], Vec::as_slice);
    if block["block_id"].as_str().is_some_and(|id| id.chars().count() > 255) {
        return Err("block_id is longer than 255 characters".to_owned());
    }
    match block["type"].as_str().unwrap_or_default() {
        "section" => {
            if block["text"].is_null() && list("fields").is_empty() {
                return Err("a section needs text or fields".to_owned());
            }
            if !block["text"].is_null() {
                text_object(&block["text"], 3000, false)?;
            }
            at_most(list("fields"), 10, "fields")?;
            list("fields").iter().try_for_each(|field| text_object(field, 2000, false))
        }
        "header" => text_object(&block["text"], 150, true),
        "context" => {
            at_most(list("elements"), 10, "elements")?;
            let texts = list("elements").iter().filter(|element| element["type"] != "image");
            texts.into_iter().try_for_each(|element| text_object(element, 3000, false))
        }
        "actions" => {
            at_most(list("elements"), 25, "elements")?;
            list("elements").iter().try_for_each(check_button)
        }
        "divider" | "image" | "markdown" | "rich_text" | "table" => Ok(()),
        other => Err(format!("unsupported type: {other}")),
    }
}

fn check_button(element: &Value) -> Result<(), String> {
    if element["type"] != "button" {
        return Ok(());
    }
    for (name, limit) in [("action_id", 255), ("value", 2000), ("url", 3000)] {
        if element[name].as_str().is_some_and(|text| text.chars().count() > limit) {
            return Err(format!("{name} is longer than {limit} characters"));
        }
    }
    text_object(&element["text"], 75, true)
}

fn at_most(list: &[Value], limit: usize, name: &str) -> Result<(), String> {
    if list.len() > limit { Err(format!("{} {name}, {limit} are allowed", list.len())) } else { Ok(()) }
}

fn text_object(object: &Value, limit: usize, plain: bool) -> Result<(), String> {
    let kind = object["type"].as_str().unwrap_or_default();
    if kind != "plain_text" && (plain || kind != "mrkdwn") {
        return Err(format!("text of type {kind:?} is not allowed here"));
    }
    match object["text"].as_str().map(|text| text.chars().count()) {
        None | Some(0) => Err("text is missing or empty".to_owned()),
        Some(length) if length > limit => Err(format!("text has {length} characters, {limit} are allowed")),
        Some(_) => Ok(()),
    }
}
