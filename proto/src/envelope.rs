//! The envelope: `CloudEvents` 1.0 in binary mode (its NATS binding: attributes as `ce-*` headers) around protobuf data, with W3C
//! `traceparent`.
//!
//! Guarantees: `from_headers` reads what `headers` writes; what is missing is named. Must not: know NATS; headers are plain pairs.

use jiff::Timestamp;

use crate::ids::EventId;

/// The data's media type.
pub const CONTENT_TYPE: &str = "application/protobuf";

/// The attributes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `ce-id`: also how a writer knows its own event again.
    pub id: EventId,
    /// `ce-source`: the service, `lastgood/<service>`.
    pub source: String,
    /// `ce-type`: `lastgood.v1.<Message>`.
    pub event_type: String,
    /// `ce-time`: the writer's clock, for people; decisions use the stream's stored time.
    pub time: Timestamp,
    /// W3C trace context, where there is one.
    pub traceparent: Option<String>,
}

/// What is wrong with an event's headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A required attribute is missing.
    #[error("header `{0}` is missing")]
    Missing(&'static str),
    /// An attribute does not parse.
    #[error("header `{header}` has the bad value `{value}`")]
    Bad {
        /// Which header.
        header: &'static str,
        /// What it said.
        value: String,
    },
}

impl Envelope {
    /// The headers to send.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", self.id.to_string()),
            ("ce-source", self.source.clone()),
            ("ce-type", self.event_type.clone()),
            ("ce-time", self.time.to_string()),
            ("content-type", CONTENT_TYPE.to_owned()),
        ];
        if let Some(traceparent) = &self.traceparent {
            headers.push(("traceparent", traceparent.clone()));
        }
        headers
    }

    /// Reads them back; `get` looks a header up.
    pub fn from_headers<'a>(get: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, EnvelopeError> {
        let need = |header| get(header).ok_or(EnvelopeError::Missing(header));
        let bad = |header, value: &str| EnvelopeError::Bad { header, value: value.to_owned() };
        let version = need("ce-specversion")?;
        if version != "1.0" {
            return Err(bad("ce-specversion", version));
        }
        let (id, time) = (need("ce-id")?, need("ce-time")?);
        Ok(Self {
            id: id.parse().map_err(|_| bad("ce-id", id))?,
            source: need("ce-source")?.to_owned(),
            event_type: need("ce-type")?.to_owned(),
            time: time.parse().map_err(|_| bad("ce-time", time))?,
            traceparent: get("traceparent").map(ToOwned::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            id: EventId::from_uuid(Uuid::from_u128(7)),
            source: "lastgood/executor".into(),
            event_type: "lastgood.v1.PodsReady".into(),
            time: "2026-11-21T10:00:00.5Z".parse().expect("a timestamp"),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        }
    }

    #[test]
    fn headers_read_back() {
        let headers = envelope().headers();
        let get = |name: &'static str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(Envelope::from_headers(get), Ok(envelope()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let headers = envelope().headers();
        let get = |name: &'static str| headers.iter().find(|(n, _)| *n == name && name != "ce-id").map(|(_, v)| v.as_str());
        assert_eq!(Envelope::from_headers(get), Err(EnvelopeError::Missing("ce-id")));
    }
}
