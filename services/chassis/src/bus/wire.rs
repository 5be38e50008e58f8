//! The wire's small change: requests with a deadline, JetStream's replies and errors, headers.
//!
//! Guarantee: an error tells "away" from "refused". Must not: retry; its callers know what that means.

use async_nats::HeaderMap;
use bytes::Bytes;
use contracts::Envelope;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Bus;
use super::transport::{Outgoing, TransportError};

/// JetStream's error object.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

impl ApiError {
    /// No such message.
    pub(super) const NO_MESSAGE: u32 = 10037;
    /// No such stream.
    pub(super) const NO_STREAM: u32 = 10059;

    /// Whether the same request may succeed later.
    pub(super) const fn is_temporary(&self) -> bool {
        // 10008 not available, 10023 insufficient resources, 10039/10076 while JetStream starts, 10176 parts of the batch are gone (the
        // connection, the server or its leader changed on the way), 10211 too many batches in flight.
        matches!(self.code, 503)
            || matches!(self.err_code, 10004 | 10005 | 10008 | 10009 | 10041 | 10076 | 10118 | 10176 | 10210 | 10211)
    }

    /// Whether the stream, its account or the disk is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.err_code, 10002 | 10023 | 10028 | 10047)
            || (self.err_code == 10077 && self.description.contains("exceeded"))
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (JetStream error {})", self.description, self.err_code)
    }
}

/// A reply of a publish or commit.
#[derive(Debug, Deserialize)]
pub(super) struct PubAck {
    #[serde(default)]
    pub(super) error: Option<ApiError>,
    #[serde(default)]
    pub(super) seq: u64,
}

/// Why a call of `JetStream`'s API has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It was not answered.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It was refused.
    #[error("{0}")]
    Api(ApiError),
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Bus {
    /// One request and its reply, within the request timeout.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Bytes, TransportError> {
        let message = Outgoing { subject, reply: None, headers, payload };
        self.transport().request(message, self.inner.config.request_timeout).await
    }

    /// A request to JetStream's API, JSON both ways.
    pub(super) async fn api<T: DeserializeOwned>(&self, call: &str, body: &serde_json::Value) -> Result<T, TransportError> {
        let reply = self.request(format!("$JS.API.{call}"), None, body.to_string().into()).await?;
        serde_json::from_slice(&reply)
            .map_err(|error| TransportError::Bad(format!("the reply to {call} is not understood: {error}")))
    }
}

/// The envelope as NATS headers.
pub(super) fn envelope_headers(envelope: &Envelope) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in envelope.headers() {
        headers.insert(name, value.as_str());
    }
    headers
}

/// Reads a header block as it is stored, `NATS/1.0` line first.
pub(super) fn parse_headers(block: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(block).split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            headers.append(name, value.trim());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_block_reads_back() {
        let headers = parse_headers(b"NATS/1.0\r\nce-id: evt_1\r\nEmpty:\r\n\r\n");
        assert_eq!(headers.get("ce-id").map(async_nats::HeaderValue::as_str), Some("evt_1"));
        assert_eq!(headers.get("Empty").map(async_nats::HeaderValue::as_str), Some(""));
    }

    #[test]
    fn a_full_stream_is_told_from_an_absent_one() {
        let error = |err_code, description: &str| ApiError { code: 0, err_code, description: description.into() };
        assert!(error(10077, "maximum bytes exceeded").is_full());
        assert!(!error(10071, "wrong last sequence: 7").is_full());
        assert!(error(10008, "not available").is_temporary());
        assert!(error(10176, "atomic publish batch is incomplete").is_temporary(), "a broken connection is no refusal");
    }
}
