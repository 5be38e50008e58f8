//! How full the streams are: measured, shown, and said loudly long before they refuse.
//!
//! Guarantee: a stream above three quarters of its limit is an error line every minute and a metric always; one that is gone (the server
//! lost its storage) is an error line and made again, for services that only publish as well. Must not: make room.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::wire::ApiError;
use super::{Bus, ReadError, streams};
use crate::lifecycle::Lifecycle;

/// How often the streams are looked at.
const PERIOD: Duration = Duration::from_mins(1);
/// From here on people are told.
const LOUD: f64 = 0.75;

#[derive(Deserialize)]
struct InfoReply {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    config: Option<Limits>,
    #[serde(default)]
    state: Option<State>,
}

#[derive(Deserialize)]
struct Limits {
    #[serde(default)]
    max_bytes: i64,
}

#[derive(Deserialize)]
struct State {
    bytes: u64,
    last_seq: u64,
}

impl Bus {
    /// The last sequence of a stream, as its leader has it.
    pub async fn last_sequence(&self, stream: &str) -> Result<u64, ReadError> {
        Ok(self.info(stream).await?.1.last_seq)
    }

    async fn info(&self, stream: &str) -> Result<(Limits, State), ReadError> {
        let reply: InfoReply = self.api(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        match (reply.error, reply.config, reply.state) {
            (Some(error), _, _) => Err(error.into()),
            (None, Some(limits), Some(state)) => Ok((limits, state)),
            _ => Err(ReadError::Refused(format!("the information on {stream} is not understood"))),
        }
    }

    /// Watches all streams for the rest of the process's life.
    pub fn watch_fullness(&self, life: &Lifecycle) {
        let (bus, stopping) = (self.clone(), life.stopping());
        life.spawn("watch of the streams", async move {
            loop {
                for stream in streams::wanted(&bus.inner.config) {
                    bus.measure(&stream.name).await;
                }
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return Ok::<_, String>(()),
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
    pub(super) async fn measure(&self, stream: &str) {
        match self.info(stream).await {
            Ok((limits, state)) => {
                let used = if limits.max_bytes > 0 { state.bytes as f64 / limits.max_bytes as f64 } else { 0.0 };
                metrics::gauge!("lastgood_stream_used_ratio", "stream" => stream.to_owned()).set(used);
                if used >= LOUD {
                    tracing::error!(stream, used, "the stream is nearly full; it will refuse new messages");
                }
            }
            Err(ReadError::Refused(reason)) if reason.contains(&format!("error {}", ApiError::NO_STREAM)) => {
                tracing::error!(stream, "the stream is gone, and what was in it; making it again");
                self.remake_streams().await;
            }
            // While NATS is away there is nothing to measure, and the connection's own metric says so.
            Err(_) => {}
        }
    }
}
