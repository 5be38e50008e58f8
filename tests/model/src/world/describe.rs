//! Events in words: what a failing seed prints.
//!
//! Guarantees: one line an event. Must not: judge.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::Value;

use super::history::{Event, Message, What, Write};

/// An event on one line.
#[must_use]
pub fn describe(event: &Event) -> String {
    let what = match &event.what {
        What::Stored(message) => stored(message),
        What::Wrote(write) => wrote(write),
        What::Heard(heard) => {
            let word = if heard.firing { "firing" } else { "resolved" };
            format!("heard  {} {word} since {}", heard.fingerprint, heard.starts_at)
        }
        What::Told(told) => {
            let lost = if told.answer_lost { " (the answer was lost)" } else { "" };
            let (channel, reason, audience) = (told.channel, &told.reason, told.audience.as_str_name());
            format!("told   {} {reason} to {audience} over {channel} by {}{lost}", told.incident, told.process)
        }
        What::Looked { process, namespace } => format!("looked {process} at the pods of {namespace}"),
        What::Probed { address, path, good, app } => format!("probed {address}{path} of {app}: {good}"),
        What::Asked { process, firing } => format!("asked  {process}: {firing:?} fire"),
        What::Handled { process, stream, sequence, handling } => format!("handle {process} {stream} {sequence}: {handling:?}"),
        What::Started(process) => format!("start  {process}"),
        What::Ended(process, why) => format!("end    {process}: {why}"),
        What::Noted(note) => format!("note   {note}"),
        What::Replayed(messages) => format!("replay {messages:?}"),
        What::Calm => "calm".to_owned(),
    };
    format!("{:>5} {} {what}", event.number, event.at.strftime("%H:%M:%S%.3f"))
}

fn stored(message: &Message) -> String {
    let mut hasher = DefaultHasher::new();
    message.data.hash(&mut hasher);
    let short = hasher.finish() & 0xffff;
    let subject = message.subject.strip_prefix("lastgood.").unwrap_or(&message.subject);
    let stream = message.stream.strip_prefix("LASTGOOD_").unwrap_or(&message.stream);
    format!("stored {stream} {} {subject} {short:04x}", message.sequence)
}

fn wrote(write: &Write) -> String {
    let who = write.process.as_deref().unwrap_or("a person");
    let side = |object: &Option<Arc<Value>>| {
        object.as_ref().map_or_else(
            || "nothing".to_owned(),
            |object| {
                let image = object.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap_or("-");
                format!("g{} {image}", object["metadata"]["generation"])
            },
        )
    };
    let (before, after) = (side(&write.before), side(&write.after));
    format!("wrote  {who} {} {}/{}: {before} -> {after}", write.resource, write.namespace, write.name)
}
