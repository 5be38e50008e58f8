//! The real transport: a NATS client, dialled until NATS is there.
//!
//! Guarantees: an error is one that waiting does not mend; being away is only logged. Must not: give up on an outage.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind, Request, RequestErrorKind};
use async_nats::{ConnectOptions, Event};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::ConnectError;
use super::transport::{Connection, Outgoing, Subscription, Transport, TransportError};
use crate::config;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A NATS client as a transport.
struct Client {
    client: async_nats::Client,
    connection: watch::Receiver<Connection>,
}

fn away(error: &dyn std::fmt::Display) -> TransportError {
    TransportError::Away(error.to_string())
}

#[async_trait]
impl Subscription for async_nats::Subscriber {
    async fn drain(&mut self) -> Result<(), TransportError> {
        Self::drain(self).await.map_err(|error| away(&error))
    }
}

#[async_trait]
impl Transport for Client {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        let Outgoing { subject, reply, headers, payload } = message;
        let sent = match (reply, headers) {
            (None, None) => self.client.publish(subject, payload).await,
            (None, Some(headers)) => self.client.publish_with_headers(subject, headers, payload).await,
            (Some(reply), None) => self.client.publish_with_reply(subject, reply, payload).await,
            (Some(reply), Some(headers)) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
        };
        sent.map_err(|error: PublishError| match error.kind() {
            PublishErrorKind::InvalidSubject | PublishErrorKind::MaxPayloadExceeded => TransportError::Bad(error.to_string()),
            PublishErrorKind::Send => away(&error),
        })
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        let mut request = Request::new().payload(message.payload).timeout(Some(timeout));
        if let Some(headers) = message.headers {
            request = request.headers(headers);
        }
        // The client's own timeout begins after the request is queued; ours is for the whole.
        match tokio::time::timeout(timeout, self.client.send_request(message.subject, request)).await {
            Ok(Ok(reply)) => Ok(reply.payload),
            Ok(Err(error)) if matches!(error.kind(), RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded) => {
                Err(TransportError::Bad(error.to_string()))
            }
            Ok(Err(error)) => Err(away(&error)),
            Err(_) => Err(TransportError::Away(format!("no reply within {timeout:?}"))),
        }
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        let subscriber = self.client.subscribe(subject).await.map_err(|error| away(&error))?;
        Ok(Box::new(subscriber))
    }

    fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }

    async fn flush(&self) -> Result<(), TransportError> {
        self.client.flush().await.map_err(|error| away(&error))
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    fn server_version(&self) -> String {
        self.client.server_info().version
    }

    fn client(&self) -> Option<&async_nats::Client> {
        Some(&self.client)
    }
}

/// Connects, trying until it succeeds.
pub(super) async fn dial(config: &config::Nats, service: &str) -> Result<Arc<dyn Transport>, ConnectError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match dial_once(config, service).await? {
            Ok(transport) => return Ok(transport),
            Err(reason) => tracing::warn!(urls = ?config.urls, error = reason, "can't connect to NATS; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tries to connect; within, why nobody is there now.
pub(super) async fn dial_once(config: &config::Nats, service: &str) -> Result<Result<Arc<dyn Transport>, String>, ConnectError> {
    let (state, connection) = watch::channel(Connection::default());
    let options = options(config, service, Arc::new(state)).await?;
    Ok(match options.connect(addresses(config)?).await {
        Ok(client) => Ok(Arc::new(Client { client, connection })),
        Err(error) => Err(chain(&error)),
    })
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
    fn several_urls_in_one_text() {
        let config = config::Nats { urls: vec!["nats://127.0.0.1:1,nats://127.0.0.1:2".into()], ..config::Nats::default() };
        assert_eq!(addresses(&config).unwrap().len(), 2);
        let empty = config::Nats { urls: vec![], ..config::Nats::default() };
        assert!(addresses(&empty).is_err());
    }
}
