//! A bus over a transport: refuses a server that is too old, and sees to the streams.
//!
//! Guarantees: an error is one that waiting does not mend, and being away is only logged, except for a command ([`Bus::attach`]), which a person
//! waits for. Must not: give up on an outage otherwise.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use serde::Deserialize;

use super::dial::{dial, dial_once};
use super::transport::{Transport, TransportError};
use super::wire::{ApiError, CallError};
use super::{Bus, Inner, streams};
use crate::clock::{Clock, Ids};
use crate::config;

/// The oldest server that has atomic batches and scheduled messages.
const OLDEST: (u32, u32) = (2, 12);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why there can't be a bus.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server is too old.
    #[error("nats-server {found} is too old: lastgood needs 2.12 or newer (atomic batches and scheduled messages)")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// A file that the configuration names.
    #[error("can't use `{key}`")]
    File {
        /// The configuration key.
        key: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A key without its companion.
    #[error("`{key}` is of no use without `{needs}`")]
    Incomplete {
        /// The configuration key that is there.
        key: &'static str,
        /// The one that is missing.
        needs: &'static str,
    },
    /// An address.
    #[error("`nats.urls`: `{url}` is not an address of a NATS server: {reason}")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server refuses a stream for good.
    #[error("stream {stream} can't be made: {reason}")]
    Stream {
        /// Which.
        stream: String,
        /// What the server said.
        reason: String,
    },
    /// Nobody is there, for a command that does not wait.
    #[error(
        "NATS can't be reached at {urls}: {reason} (configuration key `nats.urls`, environment variable LASTGOOD_NATS__URLS)"
    )]
    Away {
        /// The addresses, without what they may say of a user.
        urls: String,
        /// What went wrong.
        reason: String,
    },
    /// A stream is missing, for a command that makes none.
    #[error(
        "the NATS server at {urls} has no stream {stream}: either it is not the one that lastgood uses (configuration key `nats.urls`), \
             or lastgood never ran with it"
    )]
    NoStream {
        /// The addresses, without what they may say of a user.
        urls: String,
        /// Which.
        stream: String,
    },
}

impl Bus {
    /// Connects and makes the streams. While NATS is away this waits, logging; drop the future to give up.
    pub async fn connect(config: &config::Nats, service: &str, clock: Arc<dyn Clock>, ids: Ids) -> Result<Self, ConnectError> {
        Self::over(dial(config, service).await?, config, service, clock, ids).await
    }

    /// A bus over a transport that is there; makes the streams, waiting as long as that takes.
    pub async fn over(
        transport: Arc<dyn Transport>,
        config: &config::Nats,
        service: &str,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> Result<Self, ConnectError> {
        check_version(&transport.server_version())?;
        let bus = Self::on(transport, config, service, clock, ids);
        for stream in streams::wanted(config) {
            bus.ensure(&stream).await?;
        }
        Ok(bus)
    }

    fn on(transport: Arc<dyn Transport>, config: &config::Nats, service: &str, clock: Arc<dyn Clock>, ids: Ids) -> Self {
        let (service, source) = (service.to_owned(), format!("lastgood/{service}"));
        Self { inner: Arc::new(Inner { transport, service, source, clock, ids, config: config.clone() }) }
    }

    /// Joins a bus that the services run on, for one command: tries once, within two request timeouts, and neither makes a stream nor changes
    /// one by a configuration that need not be the services'.
    pub async fn attach(config: &config::Nats, service: &str, clock: Arc<dyn Clock>, ids: Ids) -> Result<Self, ConnectError> {
        let limit = config.request_timeout.saturating_mul(2);
        let in_vain = || ConnectError::Away { urls: addresses_of(config), reason: format!("no answer within {limit:?}") };
        let attaching = async {
            let away = |reason| ConnectError::Away { urls: addresses_of(config), reason };
            let transport = dial_once(config, service).await?.map_err(away)?;
            check_version(&transport.server_version())?;
            let bus = Self::on(transport, config, service, clock, ids);
            for stream in streams::wanted(config) {
                match bus.stream_call("INFO", &stream.name, &serde_json::json!({})).await {
                    Ok(_) => {}
                    Err(CallError::Api(error)) if error.err_code == ApiError::NO_STREAM => {
                        return Err(ConnectError::NoStream { urls: addresses_of(config), stream: stream.name });
                    }
                    Err(error) => return Err(away(error.to_string())),
                }
            }
            Ok(bus)
        };
        tokio::time::timeout(limit, attaching).await.map_err(|_| in_vain())?
    }

    /// Makes what is missing of the streams, once: the server has come back without its storage. Whoever needs them tries again.
    pub(super) async fn remake_streams(&self) {
        for want in streams::wanted(&self.inner.config) {
            if let Err(Refusal::ForGood(reason) | Refusal::ForNow(reason)) = self.ensure_once(&want).await {
                tracing::warn!(stream = want.name, reason, "the stream can't be made again yet");
            }
        }
    }

    /// Makes or completes one stream, waiting while that is not possible yet.
    pub(super) async fn ensure(&self, want: &Config) -> Result<(), ConnectError> {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.ensure_once(want).await {
                Ok(()) => return Ok(()),
                Err(Refusal::ForGood(reason)) => return Err(ConnectError::Stream { stream: want.name.clone(), reason }),
                Err(Refusal::ForNow(reason)) => {
                    tracing::warn!(stream = want.name, reason, "the stream can't be made yet; trying again");
                }
            }
            tokio::time::sleep(self.inner.ids.jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn ensure_once(&self, want: &Config) -> Result<(), Refusal> {
        let have = match self.stream_call("INFO", &want.name, &serde_json::json!({})).await {
            Ok(have) => have,
            Err(CallError::Api(error)) if error.err_code == ApiError::NO_STREAM => {
                self.stream_call("CREATE", &want.name, &body(want)?).await.map_err(|error| refusal(&error))?;
                tracing::info!(stream = want.name, "stream made");
                return Ok(());
            }
            Err(other) => return Err(Refusal::ForNow(other.to_string())),
        };
        let mut drift = Vec::new();
        let additions = streams::additions(&have, want, &mut drift);
        if !drift.is_empty() {
            tracing::warn!(stream = want.name, ?drift, "the stream differs from the configuration; this is left alone");
        }
        if let Some(next) = additions {
            self.stream_call("UPDATE", &want.name, &body(&next)?).await.map_err(|error| refusal(&error))?;
            tracing::info!(stream = want.name, "stream completed");
        }
        Ok(())
    }

    /// Asks for, makes or changes a stream; gives its configuration.
    pub(super) async fn stream_call(&self, verb: &str, stream: &str, body: &serde_json::Value) -> Result<Config, CallError> {
        let reply: StreamReply = self.api(&format!("STREAM.{verb}.{stream}"), body).await?;
        match (reply.error, reply.config) {
            (Some(error), _) => Err(error.into()),
            (None, Some(config)) => Ok(config),
            (None, None) => Err(TransportError::Bad("a stream without a configuration".to_owned()).into()),
        }
    }
}

#[derive(Deserialize)]
struct StreamReply {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    config: Option<Config>,
}

enum Refusal {
    ForGood(String),
    ForNow(String),
}

fn body(config: &Config) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(config).map_err(|error| Refusal::ForGood(error.to_string()))
}

fn refusal(error: &CallError) -> Refusal {
    match error {
        // 10005/10008/10023 pass when a cluster has formed; 10058: another service has just made it.
        CallError::Api(reply) => match reply.err_code {
            10004 | 10005 | 10008 | 10009 | 10041 | 10058 => Refusal::ForNow(error.to_string()),
            _ => Refusal::ForGood(error.to_string()),
        },
        CallError::Transport(_) => Refusal::ForNow(error.to_string()),
    }
}

/// Where NATS is looked for, for people: without user and password.
fn addresses_of(config: &config::Nats) -> String {
    let plain = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    let urls = config.urls.iter().flat_map(|urls| urls.split(','));
    urls.map(|url| plain(url.trim())).collect::<Vec<_>>().join(", ")
}

fn check_version(version: &str) -> Result<(), ConnectError> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST { Err(ConnectError::TooOld { found: version.to_owned() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_their_users() {
        let urls = vec!["nats://ann:secret@one:4222,tls://two:4222".to_owned(), "token@three".to_owned()];
        let config = config::Nats { urls, ..config::Nats::default() };
        assert_eq!(addresses_of(&config), "nats://one:4222, tls://two:4222, three");
    }

    #[test]
    fn old_servers_are_refused() {
        for (version, good) in [("2.11.9", false), ("2.12.0", true), ("2.15.1-beta", true), ("3.0.0", true), ("1.4.1", false)] {
            assert_eq!(check_version(version).is_ok(), good, "{version}");
        }
        let said = check_version("2.10.1").unwrap_err().to_string();
        assert!(said.contains("2.10.1") && said.contains("2.12"), "{said}");
    }
}
