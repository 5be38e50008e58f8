//! Connecting: waits for NATS as long as it takes, refuses one that is too old, and sees to the streams.
//!
//! Guarantees: an error is one that waiting does not mend; being away is only logged. Must not: give up on an outage.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::Config;
use async_nats::{ConnectOptions, Event, jetstream};
use tokio::sync::watch;

use super::{Bus, Inner, streams};
use crate::clock::{Clock, Ids};
use crate::config;

/// The oldest server that has atomic batches and scheduled messages.
const OLDEST: (u32, u32) = (2, 12);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connection {
    /// Whether it is up.
    pub up: bool,
    /// How often it came up.
    pub times: u64,
}

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
}

impl Bus {
    /// Connects and makes the streams. While NATS is away this waits, logging; drop the future to give up.
    pub async fn connect(config: &config::Nats, service: &str, clock: Arc<dyn Clock>, ids: Ids) -> Result<Self, ConnectError> {
        let (state, connection) = watch::channel(Connection::default());
        let client = dial(config, service, Arc::new(state)).await?;
        check_version(&client.server_info().version)?;
        let jetstream = jetstream::ContextBuilder::new().timeout(config.request_timeout).build(client.clone());
        let bus = Self {
            inner: Arc::new(Inner {
                client,
                jetstream,
                service: service.to_owned(),
                source: format!("lastgood/{service}"),
                clock,
                ids,
                config: config.clone(),
                connection,
            }),
        };
        for stream in streams::wanted(config) {
            bus.ensure(&stream).await?;
        }
        Ok(bus)
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
    async fn ensure(&self, want: &Config) -> Result<(), ConnectError> {
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
        let have = match self.inner.jetstream.get_stream(&want.name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(reply) if reply.code() == 404 => {
                        let made = self.inner.jetstream.create_stream(want.clone()).await;
                        made.map(|_| tracing::info!(stream = want.name, "stream made")).map_err(|e| refusal(&e.kind()))
                    }
                    other => Err(Refusal::ForNow(other.to_string())),
                };
            }
        };
        let mut drift = Vec::new();
        let additions = streams::additions(&have, want, &mut drift);
        if !drift.is_empty() {
            tracing::warn!(stream = want.name, ?drift, "the stream differs from the configuration; this is left alone");
        }
        if let Some(next) = additions {
            self.inner.jetstream.update_stream(next).await.map_err(|error| refusal(&error.kind()))?;
            tracing::info!(stream = want.name, "stream completed");
        }
        Ok(())
    }
}

enum Refusal {
    ForGood(String),
    ForNow(String),
}

fn refusal(kind: &CreateStreamErrorKind) -> Refusal {
    match kind {
        // 10005/10008/10023 pass when a cluster has formed; 10058: another service has just made it.
        CreateStreamErrorKind::JetStream(error) => match error.error_code().0 {
            10004 | 10005 | 10008 | 10009 | 10041 | 10058 => Refusal::ForNow(error.to_string()),
            _ => Refusal::ForGood(error.to_string()),
        },
        other => Refusal::ForNow(other.to_string()),
    }
}

/// Connects, trying until it succeeds.
async fn dial(
    config: &config::Nats,
    service: &str,
    state: Arc<watch::Sender<Connection>>,
) -> Result<async_nats::Client, ConnectError> {
    let addresses = addresses(config)?;
    let mut pause = Duration::from_millis(100);
    loop {
        let options = options(config, service, Arc::clone(&state)).await?;
        match options.connect(addresses.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) => tracing::warn!(urls = ?config.urls, error = chain(&error), "can't connect to NATS; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn addresses(config: &config::Nats) -> Result<Vec<async_nats::ServerAddr>, ConnectError> {
    let texts = config.urls.iter().flat_map(|urls| urls.split(',')).map(str::trim).filter(|url| !url.is_empty());
    let addresses = texts
        .map(|url| {
            url.parse().map_err(|error: std::io::Error| ConnectError::Address { url: url.into(), reason: error.to_string() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(ConnectError::Address { url: String::new(), reason: "there must be at least one".into() });
    }
    Ok(addresses)
}

async fn options(
    config: &config::Nats,
    service: &str,
    state: Arc<watch::Sender<Connection>>,
) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(format!("lastgood/{service}"))
        .connection_timeout(config.request_timeout)
        .ping_interval(Duration::from_secs(10))
        .max_reconnects(None)
        .reconnect_delay_callback(|tries| Duration::from_millis(50 * 2_u64.pow(u32::try_from(tries.min(6)).unwrap_or(6))))
        .request_timeout(Some(config.request_timeout))
        .event_callback(move |event| {
            let state = Arc::clone(&state);
            async move { note(&state, &event) }
        });
    if let Some(path) = &config.credentials_file {
        let file = |source| ConnectError::File { key: "nats.credentials_file", source };
        options = options.credentials_file(path).await.map_err(file)?;
    }
    if let Some((user, password)) = both(("nats.user", &config.user), ("nats.password", &config.password))? {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    if let Some(path) = &config.tls.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((cert, key)) = both(("nats.tls.cert_file", &config.tls.cert_file), ("nats.tls.key_file", &config.tls.key_file))? {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options.require_tls(config.tls.required))
}

/// Both of two keys, or neither.
fn both<'a, A, B>(
    one: (&'static str, &'a Option<A>),
    other: (&'static str, &'a Option<B>),
) -> Result<Option<(&'a A, &'a B)>, ConnectError> {
    match (one.1, other.1) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConnectError::Incomplete { key: one.0, needs: other.0 }),
        (None, Some(_)) => Err(ConnectError::Incomplete { key: other.0, needs: one.0 }),
    }
}

fn note(state: &watch::Sender<Connection>, event: &Event) {
    match event {
        Event::Connected => {
            state.send_modify(|connection| *connection = Connection { up: true, times: connection.times + 1 });
            tracing::info!("connected to NATS");
        }
        Event::Disconnected | Event::Closed => {
            state.send_modify(|connection| connection.up = false);
            tracing::warn!("the connection to NATS is down");
        }
        Event::SlowConsumer(_) => {
            metrics::counter!("lastgood_nats_slow_consumer_total").increment(1);
            tracing::warn!("messages from NATS were dropped: a subscription was too slow");
        }
        other => tracing::warn!(event = %other, "NATS"),
    }
    metrics::gauge!("lastgood_nats_connected").set(if state.borrow().up { 1.0 } else { 0.0 });
}

fn check_version(version: &str) -> Result<(), ConnectError> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST { Err(ConnectError::TooOld { found: version.to_owned() }) } else { Ok(()) }
}

/// An error with its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused() {
        for (version, good) in [("2.11.9", false), ("2.12.0", true), ("2.15.1-beta", true), ("3.0.0", true), ("1.4.1", false)] {
            assert_eq!(check_version(version).is_ok(), good, "{version}");
        }
        let said = check_version("2.10.1").unwrap_err().to_string();
        assert!(said.contains("2.10.1") && said.contains("2.12"), "{said}");
    }

    #[test]
    fn several_urls_in_one_text() {
        let config = config::Nats { urls: vec!["nats://127.0.0.1:1,nats://127.0.0.1:2".into()], ..config::Nats::default() };
        assert_eq!(addresses(&config).unwrap().len(), 2);
        let empty = config::Nats { urls: vec![], ..config::Nats::default() };
        assert!(addresses(&empty).is_err());
    }
}
