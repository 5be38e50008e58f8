//! The part of `JetStream`'s API that is about consumers.
//!
//! Guarantee: as `api`. Must not: deliver.

use std::time::Duration;

use async_nats::jetstream::consumer;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Streams, bad_request, get, parse};
use super::consumer::Consumer;
use super::stream::Refused;

#[derive(Deserialize)]
struct ConsumerRequest {
    config: consumer::Config,
}

pub(super) fn create_consumer(
    streams: &mut Streams,
    stream: &str,
    name: &str,
    body: &[u8],
    now: Instant,
) -> Result<Value, Refused> {
    let mut request: Value = parse(body)?;
    if request["config"].get("deliver_policy").is_none() {
        request["config"]["deliver_policy"] = "all".into();
    }
    let request: ConsumerRequest = serde_json::from_value(request).map_err(bad_request)?;
    let consumers = &mut get(streams, stream)?.consumers;
    match consumers.get_mut(name) {
        Some(there) => there.config = request.config,
        None => drop(consumers.insert(name.to_owned(), Consumer::new(name, request.config, now))),
    }
    consumer_info(streams, stream, name)
}

#[derive(Deserialize)]
struct ListRequest {
    #[serde(default)]
    offset: usize,
}

/// How many consumers nats-server lists at once.
const LISTED: usize = 256;

pub(super) fn list_consumers(streams: &mut Streams, stream: &str, body: &[u8]) -> Result<Value, Refused> {
    let request: ListRequest = parse(body)?;
    let names: Vec<String> = get(streams, stream)?.consumers.keys().cloned().collect();
    let page = names.iter().skip(request.offset).take(LISTED);
    let consumers = page.map(|name| consumer_info(streams, stream, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "total": names.len(), "offset": request.offset, "limit": LISTED, "consumers": consumers }))
}

pub(super) fn consumer_info(streams: &mut Streams, stream: &str, name: &str) -> Result<Value, Refused> {
    let there = get(streams, stream)?;
    let consumer = there.consumers.get(name).ok_or_else(|| Refused::new(404, 10014, "consumer not found"))?;
    let (out, waiting) = consumer.pending(&there.log);
    Ok(json!({
        "stream_name": stream, "name": name, "config": consumer.config, "num_ack_pending": out, "num_pending": waiting,
        "num_waiting": consumer.pulls.len(), "ack_floor": { "stream_seq": consumer.floor() },
    }))
}

/// What a pull asks for.
#[derive(Deserialize)]
pub(super) struct PullRequest {
    #[serde(default)]
    pub(super) batch: usize,
    #[serde(default)]
    expires: u64,
    #[serde(default)]
    idle_heartbeat: u64,
}

impl PullRequest {
    /// Reads one.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refused> {
        parse(body)
    }

    /// How long it lasts.
    pub(super) fn expires(&self) -> Option<Duration> {
        (self.expires > 0).then(|| Duration::from_nanos(self.expires))
    }

    /// How often it wants a sign of life.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        (self.idle_heartbeat > 0).then(|| Duration::from_nanos(self.idle_heartbeat))
    }
}
