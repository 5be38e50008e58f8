//! `JetStream`'s API: requests in JSON, replies in JSON, on the streams in memory.
//!
//! Guarantee: what `chassis::bus` asks is answered as nats-server 2.15 answers it, errors included. Must not: be sent anything that the
//! bus does not send; that is answered with an error, so that it shows.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chassis::bus::Stored;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::consumers_api::{consumer_info, create_consumer, list_consumers};
use super::stream::{Refused, Stream, completed};
use super::subjects::overlap;

/// What an API request did beside its reply.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Consumers of this stream may have something to deliver or to wait for.
    pub(super) touched: Option<String>,
}

/// All streams by name.
pub(super) type Streams = BTreeMap<String, Stream>;

pub(super) fn bad_request(error: impl std::fmt::Display) -> Refused {
    Refused::new(400, 10025, format!("invalid JSON: {error}"))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body }).map_err(bad_request)
}

pub(super) fn get<'a>(streams: &'a mut Streams, name: &str) -> Result<&'a mut Stream, Refused> {
    streams.get_mut(name).ok_or_else(|| Refused::new(404, 10059, "stream not found"))
}

/// Answers one request; `call` is the subject behind `$JS.API.`. `None`: nobody listens there.
pub(super) fn answer(
    streams: &mut Streams,
    call: &str,
    body: &[u8],
    (at, now): (Timestamp, Instant),
    effects: &mut Effects,
) -> Option<Result<Value, Refused>> {
    let mut tokens = call.splitn(4, '.');
    let (group, verb, name, rest) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next());
    let answer = match (group, verb, name) {
        ("STREAM", "INFO", name) => info(streams, name, body, at),
        ("STREAM", "CREATE", name) => create(streams, name, body, at),
        ("STREAM", "UPDATE", name) => update(streams, name, body),
        ("STREAM", "DELETE", name) => get(streams, name).map(drop).map(|()| {
            streams.remove(name);
            json!({ "success": true })
        }),
        ("STREAM", "PURGE", name) => purge(streams, name, body, effects),
        ("STREAM", "MSG", "GET") => message(streams, rest?, body),
        ("CONSUMER", "CREATE", stream) => {
            effects.touched = Some(stream.to_owned());
            create_consumer(streams, stream, rest?.split('.').next()?, body, now)
        }
        ("CONSUMER", "INFO", stream) => consumer_info(streams, stream, rest?),
        ("CONSUMER", "LIST", stream) => list_consumers(streams, stream, body),
        _ => return None,
    };
    Some(answer)
}

#[derive(Deserialize)]
struct InfoRequest {
    #[serde(default)]
    subjects_filter: Option<String>,
}

fn described(stream: &Stream, subjects: Option<&str>) -> Value {
    let log = &stream.log;
    let time = |sequence: Option<u64>| {
        sequence.and_then(|sequence| log.get(sequence)).map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |s| s.at.to_string())
    };
    let (first, last) = (log.first(), log.last);
    let mut state = json!({
        "messages": log.len(), "bytes": log.bytes, "first_seq": first.unwrap_or(if last == 0 { 0 } else { last + 1 }), "first_ts": time(first),
        "last_seq": last, "last_ts": time(Some(last)), "consumer_count": stream.consumers.len(),
    });
    if let Some(filter) = subjects.filter(|_| log.len() > 0) {
        state["subjects"] = log.on(filter).map(|(subject, sequences)| (subject.clone(), json!(sequences.len()))).collect();
    }
    json!({ "config": stream.config, "created": stream.created.to_string(), "state": state, "cluster": { "leader": "memory" } })
}

fn info(streams: &mut Streams, name: &str, body: &[u8], at: Timestamp) -> Result<Value, Refused> {
    let request: InfoRequest = if body == b"null" { InfoRequest { subjects_filter: None } } else { parse(body)? };
    let mut info = described(get(streams, name)?, request.subjects_filter.as_deref());
    info["ts"] = at.to_string().into();
    Ok(info)
}

fn same(one: &stream::Config, other: &stream::Config) -> bool {
    serde_json::to_value(one).ok() == serde_json::to_value(other).ok()
}

fn create(streams: &mut Streams, name: &str, body: &[u8], at: Timestamp) -> Result<Value, Refused> {
    let config = completed(parse::<stream::Config>(body)?);
    if let Some(there) = streams.get(name) {
        if same(&there.config, &config) {
            return Ok(described(there, None));
        }
        return Err(Refused::new(400, 10058, "stream name already in use with a different configuration"));
    }
    let overlaps = |filter: &String| streams.values().flat_map(|s| &s.config.subjects).any(|taken| overlap(filter, taken));
    if config.subjects.iter().any(overlaps) {
        return Err(Refused::new(400, 10065, "subjects overlap with an existing stream"));
    }
    let stream = Stream::new(config, at);
    let described = described(&stream, None);
    streams.insert(name.to_owned(), stream);
    Ok(described)
}

fn update(streams: &mut Streams, name: &str, body: &[u8]) -> Result<Value, Refused> {
    let config = completed(parse(body)?);
    let stream = get(streams, name)?;
    stream.config = config;
    Ok(described(stream, None))
}

#[derive(Deserialize)]
struct PurgeRequest {
    #[serde(default)]
    filter: Option<String>,
    /// Only what is below this sequence.
    #[serde(default)]
    seq: Option<u64>,
}

fn purge(streams: &mut Streams, name: &str, body: &[u8], effects: &mut Effects) -> Result<Value, Refused> {
    let request: PurgeRequest = parse(body)?;
    let stream = get(streams, name)?;
    let mut sequences = stream.log.sequences(request.filter.as_deref().unwrap_or(">"), 1);
    sequences.retain(|sequence| request.seq.is_none_or(|below| *sequence < below));
    for sequence in &sequences {
        stream.forget(*sequence);
    }
    effects.touched = Some(name.to_owned());
    Ok(json!({ "success": true, "purged": sequences.len() }))
}

#[derive(Deserialize)]
struct GetRequest {
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    last_by_subj: Option<String>,
    #[serde(default)]
    next_by_subj: Option<String>,
}

fn message(streams: &mut Streams, name: &str, body: &[u8]) -> Result<Value, Refused> {
    let request: GetRequest = parse(body)?;
    let log = &get(streams, name)?.log;
    let found = match (request.seq, request.last_by_subj, request.next_by_subj) {
        (_, Some(filter), _) => log.last_on(&filter),
        (from, None, Some(filter)) => log.next_on(&filter, from.unwrap_or(1)),
        (Some(sequence), None, None) => log.get(sequence),
        (None, None, None) => None,
    };
    let stored = found.ok_or_else(|| Refused::new(404, 10037, "no message found"))?;
    let mut message = json!({ "subject": stored.subject, "seq": stored.sequence, "time": stored.at.to_string() });
    if !stored.headers.is_empty() {
        message["hdrs"] = STANDARD.encode(block(&stored.headers)).into();
    }
    if !stored.data.is_empty() {
        message["data"] = STANDARD.encode(&stored.data).into();
    }
    Ok(json!({ "message": message }))
}

/// Headers as they are stored, by name.
fn block(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {}\r\n", value.as_str())))
        .collect();
    lines.sort();
    format!("NATS/1.0\r\n{}\r\n", lines.concat())
}

#[derive(Deserialize)]
struct DirectRequest {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    start_time: Option<Timestamp>,
    next_by_subj: String,
    batch: usize,
}

/// A message of a batched direct get: its headers and body.
pub(super) type Part = (HeaderMap, Bytes);

/// Answers a batched direct get, as a replica that has only what was stored until `seen`. Gives the messages, and how many are left.
pub(super) fn direct(stream: &Stream, name: &str, body: &[u8], seen: Timestamp) -> Result<(Vec<Part>, usize), Refused> {
    let request: DirectRequest = parse(body)?;
    let log = &stream.log;
    let sequences = log.sequences(&request.next_by_subj, request.seq.max(1));
    let wanted =
        |stored: &&std::sync::Arc<Stored>| stored.at <= seen && request.start_time.is_none_or(|since| stored.at >= since);
    let all: Vec<_> = sequences.iter().filter_map(|sequence| log.get(*sequence)).filter(wanted).collect();
    let count = all.len();
    let mut last = 0;
    let parts = all.into_iter().take(request.batch.max(1)).enumerate().map(|(index, stored)| {
        let mut headers = stored.headers.clone();
        headers.insert("Nats-Stream", name);
        headers.insert("Nats-Subject", stored.subject.as_str());
        headers.insert("Nats-Sequence", stored.sequence.to_string().as_str());
        headers.insert("Nats-Time-Stamp", stored.at.to_string().as_str());
        headers.insert("Nats-Num-Pending", (count - index - 1).to_string().as_str());
        headers.insert("Nats-Last-Sequence", std::mem::replace(&mut last, stored.sequence).to_string().as_str());
        (headers, stored.data.clone())
    });
    let parts: Vec<Part> = parts.collect();
    let left = count - parts.len();
    Ok((parts, left))
}
