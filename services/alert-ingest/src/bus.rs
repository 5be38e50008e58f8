//! The edges of this service on the real bus: alerts are published, persons' acts appended, the detector's past read.
//!
//! Guarantees: as the traits say. Must not: hold state.

use async_trait::async_trait;
use chassis::bus::{AlertPart, AppendError};
use chassis::{Bus, ExecuteError};
use contracts::IncidentId;
use contracts::subjects::{self, streams};
use contracts::v1::{AlertNotification, PersonActed};
use lastgood_core::incident::{Command, Refusal};
use prost::Message;

use crate::detectors::rollout::SOURCE;
use crate::detectors::rollout::history::{History, HistoryError};
use crate::parts::Part;
use crate::sources::acknowledge::{AcknowledgeError, Acknowledged, Incidents};
use crate::store::{Store, StoreError};

#[async_trait]
impl Store for Bus {
    async fn store(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        let parts: Vec<AlertPart> =
            parts.into_iter().map(|part| AlertPart { id: part.msg_id, notification: part.notification }).collect();
        self.publish_alerts(&parts).await.map_err(|error| match error {
            AppendError::Full(_) => StoreError::Full,
            AppendError::Unavailable(reason) => StoreError::Unavailable(reason),
            AppendError::Lost => StoreError::Unavailable(error.to_string()),
            AppendError::Refused(reason) => StoreError::Refused(reason),
        })
    }
}

#[async_trait]
impl Incidents for chassis::Incidents {
    async fn act(&self, incident: IncidentId, act: PersonActed) -> Result<Acknowledged, AcknowledgeError> {
        let away = |error: ExecuteError| AcknowledgeError::Unavailable(error.to_string());
        let found = self.find(incident).await.map_err(|error| away(error.into()))?;
        let Some((subject, _)) = found else { return Err(AcknowledgeError::Unknown(incident)) };
        let now = self.bus().clock().now();
        match self.execute(&subject, None, &Command::PersonAct(act), now).await {
            Ok(_) => Ok(Acknowledged::Recorded),
            Err(ExecuteError::Refused(Refusal::AlreadySo)) => Ok(Acknowledged::Already),
            Err(ExecuteError::Refused(refusal)) => Err(AcknowledgeError::Refused(refusal.to_string())),
            Err(error) => Err(away(error)),
        }
    }
}

#[async_trait]
impl History for Bus {
    async fn newest(&self) -> Result<Option<u64>, HistoryError> {
        let last = self.last(streams::ALERTS, &subjects::alert(SOURCE)).await;
        Ok(last.map_err(|error| HistoryError(error.to_string()))?.map(|stored| stored.sequence))
    }

    async fn since(&self, from: u64, newest: u64) -> Result<Vec<AlertNotification>, HistoryError> {
        let stored = self.read(streams::ALERTS, &subjects::alert(SOURCE), from, Some(newest)).await;
        let stored = stored.map_err(|error| HistoryError(error.to_string()))?;
        // What does not decode is another's to complain about: the orchestrator's consumer sends it to the dead letters.
        Ok(stored.iter().filter_map(|message| AlertNotification::decode(message.data.clone()).ok()).collect())
    }
}
