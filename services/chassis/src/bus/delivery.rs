//! A message in a handler's hands.
//!
//! Guarantee: decoding errors convert into what to do about them ([`HandleError`]). Must not: acknowledge anything.

use contracts::{Envelope, Fact, IncidentSubject, LedgerFact, OccurrenceFact};
use prost::Message;

use super::dead::original;
use super::{HandleError, Stored};

/// A delivered message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message as it was stored; of a replayed dead letter, the original.
    pub stored: Stored,
    /// The stream it was stored in.
    pub stream: String,
    /// How often the server has delivered it, from 1.
    pub deliveries: u64,
    /// Whether it is a dead letter that a person replays.
    pub replayed: bool,
    /// Where to acknowledge.
    pub(super) reply: String,
    /// The sequence in the stream that delivers it.
    pub(super) delivered_sequence: u64,
}

impl Delivery {
    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.stored.subject
    }

    /// The sequence in its stream: what a read must reach.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.stored.sequence
    }

    /// The envelope.
    pub fn envelope(&self) -> Result<Envelope, HandleError> {
        self.stored.envelope().map_err(|error| HandleError::DeadLetter { reason: error.to_string() })
    }

    /// The incident that the subject names (of a fact or a fired timer) and the subject's last token.
    pub fn incident(&self) -> Result<(IncidentSubject, &str), HandleError> {
        IncidentSubject::parse(self.subject()).map_err(|error| HandleError::DeadLetter { reason: error.to_string() })
    }

    /// The incident's fact in it.
    pub fn fact(&self) -> Result<(IncidentSubject, Fact), HandleError> {
        let (incident, event_type) = self.incident()?;
        Ok((incident, Fact::decode(event_type, &self.stored.data)?))
    }

    /// The occurrence fact in it.
    pub fn occurrence_fact(&self) -> Result<OccurrenceFact, HandleError> {
        Ok(OccurrenceFact::decode(self.stored.event_type(), &self.stored.data)?)
    }

    /// The ledger fact in it.
    pub fn ledger_fact(&self) -> Result<LedgerFact, HandleError> {
        Ok(LedgerFact::decode(self.stored.event_type(), &self.stored.data)?)
    }

    /// Any protobuf message, for streams whose subjects do not name a type (alerts).
    pub fn decode<M: Message + Default>(&self) -> Result<M, HandleError> {
        M::decode(self.stored.data.clone())
            .map_err(|error| HandleError::DeadLetter { reason: format!("the bytes do not decode: {error}") })
    }

    /// What messages that must not be handled at the same time share: the incident of facts and fired timers, else the subject.
    #[must_use]
    pub fn default_key(&self) -> String {
        let subject = self.subject();
        let per_incident = IncidentSubject::parse(subject).is_ok() || subject.starts_with("lastgood.occurrence.");
        let subject =
            subject.strip_prefix("lastgood.fired.").or_else(|| subject.strip_prefix("lastgood.incident.")).unwrap_or(subject);
        match subject.rsplit_once('.') {
            Some((key, _)) if per_incident => key.to_owned(),
            _ => subject.to_owned(),
        }
    }

    /// Reads what a pull delivered; `None` when it is not a delivery.
    pub(super) fn read(message: async_nats::Message) -> Option<Self> {
        let reply = message.reply.as_ref()?.to_string();
        let info = AckSubject::parse(&reply)?;
        let stored = Stored {
            subject: message.subject.to_string(),
            sequence: info.sequence,
            at: jiff::Timestamp::from_nanosecond(info.nanos).ok()?,
            headers: message.headers.unwrap_or_default(),
            data: message.payload,
        };
        let (stream, deliveries, delivered_sequence) = (info.stream, info.deliveries, info.sequence);
        match original(&stored) {
            Some((stream, stored)) => Some(Self { stored, stream, deliveries, replayed: true, reply, delivered_sequence }),
            None => Some(Self { stored, stream, deliveries, replayed: false, reply, delivered_sequence }),
        }
    }
}

/// What the acknowledgement's subject tells (`$JS.ACK.…`, nine tokens or eleven and more).
struct AckSubject {
    stream: String,
    deliveries: u64,
    sequence: u64,
    nanos: i128,
}

impl AckSubject {
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let at = if tokens.len() >= 9 { 2 } else { 0 };
        let [stream, _consumer, deliveries, sequence, _consumer_sequence, nanos, ..] = tokens.get(at..)? else { return None };
        Some(Self {
            stream: (*stream).to_owned(),
            deliveries: deliveries.parse().ok()?,
            sequence: sequence.parse().ok()?,
            nanos: nanos.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(subject: &str) -> Delivery {
        let reply = "$JS.ACK.LASTGOOD_INCIDENTS.executor.3.17.20.1795000000000000000.5";
        let mut message = async_nats::Message {
            subject: subject.into(),
            reply: Some(reply.into()),
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        let short = Delivery::read(message.clone()).unwrap();
        message.reply = Some(format!("$JS.ACK._.hash.{}.token", reply.strip_prefix("$JS.ACK.").unwrap()).as_str().into());
        let long = Delivery::read(message).unwrap();
        assert_eq!(
            (short.stream.as_str(), short.deliveries, short.sequence()),
            (long.stream.as_str(), long.deliveries, long.sequence())
        );
        assert_eq!((long.deliveries, long.sequence()), (3, 17));
        long
    }

    #[test]
    fn the_key_is_the_incident_of_facts_and_timers() {
        let path = "default.shop.deployment.web.inc_0190a8a5c3f77b3c8000000000000001";
        assert_eq!(delivery(&format!("lastgood.incident.{path}.pods_ready")).default_key(), path);
        assert_eq!(delivery(&format!("lastgood.fired.{path}.decide")).default_key(), path);
        assert_eq!(delivery("lastgood.alert.alertmanager").default_key(), "lastgood.alert.alertmanager");
        assert_eq!(delivery("lastgood.occurrence.f00.occurrence_opened").default_key(), "lastgood.occurrence.f00");
    }

    #[test]
    fn damage_and_the_unknown_are_told_apart() {
        let path = "default.shop.deployment.web.inc_0190a8a5c3f77b3c8000000000000001";
        let mut known = delivery(&format!("lastgood.incident.{path}.pods_ready"));
        known.stored.data = bytes::Bytes::from_static(b"\xff\xff");
        assert!(matches!(known.fact(), Err(HandleError::DeadLetter { .. })));
        let unknown = delivery(&format!("lastgood.incident.{path}.sung_about"));
        assert!(matches!(unknown.fact(), Err(HandleError::LeaveAlone { .. })));
        assert!(matches!(known.envelope(), Err(HandleError::DeadLetter { .. })));
    }
}
