//! Storing what alert sources say, and other messages that need no expectation.
//!
//! Guarantee: `Ok` means that every part is stored, now or by an earlier try. Must not: store facts, which need an expectation.

use async_nats::HeaderMap;
use bytes::Bytes;
use contracts::{subjects, v1};
use prost::Message;

use super::transport::{Outgoing, TransportError};
use super::wire::{ApiError, PubAck, envelope_headers};
use super::{AppendError, Bus};

/// JetStream's "this batch holds a duplicate".
const DUPLICATE_IN_BATCH: u32 = 10201;

/// One part of a notification.
#[derive(Debug, Clone)]
pub struct AlertPart {
    /// `Nats-Msg-Id`: the same for the same alerts, whoever sent them.
    pub id: String,
    /// What was heard.
    pub notification: v1::AlertNotification,
}

impl From<ApiError> for AppendError {
    fn from(error: ApiError) -> Self {
        if error.is_full() {
            Self::Full(error.to_string())
        } else if error.is_temporary() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl From<TransportError> for AppendError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Away(reason) => Self::Unavailable(reason),
            TransportError::Bad(reason) => Self::Refused(reason),
        }
    }
}

impl Bus {
    /// Stores all parts of a notification: several in one atomic batch. A part that is stored already counts as stored.
    pub async fn publish_alerts(&self, parts: &[AlertPart]) -> Result<(), AppendError> {
        let messages: Vec<_> = parts.iter().map(|part| self.alert_message(part)).collect();
        let batched = match messages.as_slice() {
            [] => return Ok(()),
            [_] => false,
            many => self.alert_batch(many).await?,
        };
        if !batched {
            // One part; or a part of the batch is known, and the server knows each of the others by its id too.
            for (subject, headers, data) in messages {
                self.store(subject, headers, data).await?;
            }
        }
        Ok(())
    }

    fn alert_message(&self, part: &AlertPart) -> (String, HeaderMap, Bytes) {
        let mut headers = envelope_headers(&self.envelope(self.ids().event(), "lastgood.v1.AlertNotification"));
        headers.insert("Nats-Msg-Id", part.id.as_str());
        (subjects::alert(&part.notification.source), headers, part.notification.encode_to_vec().into())
    }

    /// True when the whole batch was stored; false when a part of it is stored already.
    async fn alert_batch(&self, messages: &[(String, HeaderMap, Bytes)]) -> Result<bool, AppendError> {
        let id = self.ids().event().to_string();
        let last = messages.len() - 1;
        for (index, (subject, headers, data)) in messages.iter().enumerate() {
            let (subject, data, mut headers) = (subject.clone(), data.clone(), headers.clone());
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string().as_str());
            if index > 0 && index < last {
                let sent = self.transport().publish(Outgoing::new(subject, data).with_headers(headers)).await;
                sent.map_err(|error| AppendError::Unavailable(error.to_string()))?;
                continue;
            }
            if index == last {
                headers.insert("Nats-Batch-Commit", "1");
            }
            let body = self.request(subject, Some(headers), data).await?;
            if index == 0 && body.is_empty() {
                continue;
            }
            match ack(&body)?.error {
                None => {}
                Some(error) if error.err_code == DUPLICATE_IN_BATCH => return Ok(false),
                Some(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Publishes one message to its stream and waits until it is stored (or known already); gives its sequence.
    pub(super) async fn store(&self, subject: String, headers: HeaderMap, data: Bytes) -> Result<u64, AppendError> {
        let ack = ack(&self.request(subject, Some(headers), data).await?)?;
        ack.error.map_or(Ok(ack.seq), |error| Err(error.into()))
    }
}

fn ack(body: &[u8]) -> Result<PubAck, AppendError> {
    serde_json::from_slice(body).map_err(|error| AppendError::Unavailable(format!("the reply is not understood: {error}")))
}
