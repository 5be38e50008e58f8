//! What this detector told before it was restarted.
//!
//! Guarantees: what was firing is found again from its own messages on the alert stream: it reads back from the newest until one that says
//! it lists everything, so that it holds a bounded part of the stream. Must not: read other sources' messages.

use std::collections::BTreeMap;

use async_trait::async_trait;
use contracts::v1::{Alert, AlertNotification, AlertStatus};

/// In `receiver`: the notification lists everything that fires in its group.
pub const COMPLETE: &str = "complete";
/// In `receiver`: it lists only what changed.
pub const CHANGES: &str = "changes";

/// Why the past could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the alert stream can't be read: {0}")]
pub struct HistoryError(pub String);

/// Reads the detector's own messages.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// The sequence of the newest, if there is one.
    async fn newest(&self) -> Result<Option<u64>, HistoryError>;
    /// All from a sequence on, oldest first, at least up to `newest`.
    async fn since(&self, from: u64, newest: u64) -> Result<Vec<AlertNotification>, HistoryError>;
}

/// Everything that the group's messages say is firing.
pub async fn firing(history: &dyn History, group: &str) -> Result<Vec<Alert>, HistoryError> {
    let Some(newest) = history.newest().await? else { return Ok(Vec::new()) };
    let mut back = 64;
    loop {
        let from = newest.saturating_sub(back).max(1);
        let (found, firing) = fold(history.since(from, newest).await?, group);
        if found || from == 1 {
            return Ok(firing);
        }
        back = back.saturating_mul(16);
    }
}

/// What fires after these messages, and whether one of them listed everything.
fn fold(messages: Vec<AlertNotification>, group: &str) -> (bool, Vec<Alert>) {
    let (mut found, mut firing) = (false, BTreeMap::new());
    for message in messages.into_iter().filter(|message| message.group_key == group) {
        if message.receiver == COMPLETE && message.part == 1 {
            found = true;
            firing.clear();
        }
        for alert in message.alerts {
            if alert.status() == AlertStatus::Resolved {
                firing.remove(&alert.fingerprint);
            } else {
                firing.insert(alert.fingerprint.clone(), alert);
            }
        }
    }
    (found, firing.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(receiver: &str, alerts: &[(&str, AlertStatus)]) -> AlertNotification {
        let alert = |(print, status): &(&str, AlertStatus)| Alert {
            fingerprint: (*print).to_owned(),
            status: (*status).into(),
            ..Alert::default()
        };
        AlertNotification {
            group_key: "g".into(),
            receiver: receiver.into(),
            alerts: alerts.iter().map(alert).collect(),
            part: 1,
            parts: 1,
            ..AlertNotification::default()
        }
    }

    fn prints(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.fingerprint.as_str()).collect()
    }

    struct Log(Vec<AlertNotification>);

    #[async_trait]
    impl History for Log {
        async fn newest(&self) -> Result<Option<u64>, HistoryError> {
            Ok((!self.0.is_empty()).then_some(self.0.len() as u64))
        }

        async fn since(&self, from: u64, _newest: u64) -> Result<Vec<AlertNotification>, HistoryError> {
            Ok(self.0[usize::try_from(from).unwrap() - 1..].to_vec())
        }
    }

    #[tokio::test]
    async fn it_reads_back_to_what_is_complete_or_to_the_beginning() {
        use AlertStatus::{Firing, Resolved};
        assert!(firing(&Log(vec![]), "g").await.unwrap().is_empty());
        let mut log = vec![message(CHANGES, &[("a", Firing)])];
        log.extend((0..200).map(|_| message(CHANGES, &[("b", Firing)])));
        assert_eq!(prints(&firing(&Log(log.clone()), "g").await.unwrap()), ["a", "b"]);
        log.push(message(COMPLETE, &[("c", Firing), ("b", Resolved)]));
        log.push(message(CHANGES, &[("d", Firing)]));
        assert_eq!(prints(&firing(&Log(log.clone()), "g").await.unwrap()), ["c", "d"]);
        assert!(firing(&Log(log), "another").await.unwrap().is_empty());
    }
}
