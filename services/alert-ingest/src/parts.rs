//! Cuts a notification into messages that the bus takes, and names them.
//!
//! Guarantees: the same alerts give the same parts with the same names from whichever Alertmanager peer they come: alerts are sorted, cuts
//! are made by halving (so that texts which differ between peers seldom move one), and a name is made of every alert's identity in the
//! *whole* notification and the part's place in it. So a refused name means that all of the notification's alerts are stored already, never
//! only those of one part. A name also holds the time, rounded down to a window (a minute by default): peers and retries, which are seconds
//! apart, are stored once (twice where they lie around its edge, which harms nothing), while a repeat minutes later is stored again, because it
//! is the only sign that an alert is still firing. Must not: drop or change an alert.

use std::time::Duration;

use contracts::v1::{Alert, AlertNotification};
use jiff::Timestamp;
use prost::Message;
use sha2::{Digest, Sha256};

/// What the alerts of one part may weigh in protobuf; nats-server takes 1 MiB with headers.
pub const PART_BYTES: usize = 900 * 1024;
/// What the rest of a notification (group key, receiver, URL) may weigh.
pub const HEADER_BYTES: usize = 64 * 1024;
/// Messages that nats-server takes in one atomic batch.
pub const MAX_PARTS: usize = 1000;

/// One message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its `Nats-Msg-Id`.
    pub msg_id: String,
    /// What it says.
    pub notification: AlertNotification,
}

/// Why a notification can't be cut into messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// One alert is larger than a message.
    #[error("the alert {fingerprint} weighs {bytes} bytes; one message takes {PART_BYTES}")]
    AlertTooLarge {
        /// Which.
        fingerprint: String,
        /// How much.
        bytes: usize,
    },
    /// What surrounds the alerts is larger than it may be.
    #[error("receiver, group key and external URL weigh {bytes} bytes together; {HEADER_BYTES} are taken")]
    HeaderTooLarge {
        /// How much.
        bytes: usize,
    },
    /// More messages than one atomic batch takes.
    #[error("the notification needs {parts} messages; one atomic batch takes {MAX_PARTS}")]
    TooManyParts {
        /// How many.
        parts: usize,
    },
}

/// The messages of a notification that was heard `now`, at least one; the same one within `window` has the same names.
pub fn split(notification: AlertNotification, now: Timestamp, window: Duration) -> Result<Vec<Part>, SplitError> {
    let seconds = i64::try_from(window.as_secs()).unwrap_or(i64::MAX).max(1);
    split_at(notification, now.as_second().div_euclid(seconds), PART_BYTES)
}

fn split_at(mut notification: AlertNotification, window: i64, part_bytes: usize) -> Result<Vec<Part>, SplitError> {
    let mut alerts = std::mem::take(&mut notification.alerts);
    let bytes = notification.encoded_len();
    if bytes > HEADER_BYTES {
        return Err(SplitError::HeaderTooLarge { bytes });
    }
    alerts.sort_by(|a, b| identity(a).cmp(&identity(b)));
    let sizes: Vec<usize> = alerts.iter().map(weight).collect();
    if let Some(at) = sizes.iter().position(|size| *size > part_bytes) {
        return Err(SplitError::AlertTooLarge { fingerprint: alerts[at].fingerprint.clone(), bytes: sizes[at] });
    }
    let mut counts = Vec::new();
    halve(&sizes, part_bytes, &mut counts);
    if counts.len() > MAX_PARTS {
        return Err(SplitError::TooManyParts { parts: counts.len() });
    }
    let name = format!("{}-{window}", name(&notification.source, &alerts));
    let parts = u32::try_from(counts.len()).unwrap_or(u32::MAX);
    let mut alerts = alerts.into_iter();
    let cut = |(part, count): (u32, usize)| Part {
        msg_id: if parts == 1 { name.clone() } else { format!("{name}-{part}of{parts}") },
        notification: AlertNotification { alerts: alerts.by_ref().take(count).collect(), part, parts, ..notification.clone() },
    };
    Ok((1..).zip(counts).map(cut).collect())
}

/// What makes an alert of a notification the same one, in the order of the parts.
fn identity(alert: &Alert) -> (&str, i64, i32, i32) {
    let (seconds, nanos) = alert.starts_at.as_ref().map_or((0, 0), |at| (at.seconds, at.nanos));
    (&alert.fingerprint, seconds, nanos, alert.status)
}

/// What an alert adds to its notification's encoding.
fn weight(alert: &Alert) -> usize {
    let length = alert.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

/// How many alerts each part takes: halves until each half fits.
fn halve(sizes: &[usize], part_bytes: usize, counts: &mut Vec<usize>) {
    if sizes.len() <= 1 || sizes.iter().sum::<usize>() <= part_bytes {
        counts.push(sizes.len());
        return;
    }
    let (left, right) = sizes.split_at(sizes.len() / 2);
    halve(left, part_bytes, counts);
    halve(right, part_bytes, counts);
}

/// The name of a notification: what it tells, and nothing of who tells it.
fn name(source: &str, sorted: &[Alert]) -> String {
    let mut hash = Sha256::new();
    for alert in sorted {
        let (fingerprint, seconds, nanos, status) = identity(alert);
        hash.update(u64::try_from(fingerprint.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(fingerprint);
        hash.update(seconds.to_be_bytes());
        hash.update(nanos.to_be_bytes());
        hash.update(status.to_be_bytes());
    }
    format!("{source}-{}", &hex::encode(hash.finalize())[..40])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alert(fingerprint: &str, text: usize) -> Alert {
        let annotations = [("description".to_owned(), "x".repeat(text))].into();
        Alert { fingerprint: fingerprint.into(), status: 1, annotations, ..Alert::default() }
    }

    fn notification(alerts: Vec<Alert>) -> AlertNotification {
        AlertNotification { source: "alertmanager".into(), alerts, truncated_alerts: 3, ..AlertNotification::default() }
    }

    fn cut(notification: AlertNotification) -> Result<Vec<Part>, SplitError> {
        split(notification, Timestamp::UNIX_EPOCH, Duration::from_mins(1))
    }

    #[test]
    fn a_repeat_is_another_message_only_in_another_window() {
        let id = |seconds| {
            let at = Timestamp::from_second(seconds).unwrap();
            split(notification(vec![alert("a", 1)]), at, Duration::from_mins(1)).unwrap().remove(0).msg_id
        };
        assert_eq!(id(60), id(119));
        assert_ne!(id(119), id(120));
    }

    #[test]
    fn the_order_and_the_peer_do_not_matter() {
        let one = notification(vec![alert("b", 1), alert("a", 1)]);
        let mut other = notification(vec![alert("a", 5), alert("b", 7)]);
        other.external_url = "http://the-other-peer:9093".into();
        assert_eq!(cut(one).unwrap()[0].msg_id, cut(other).unwrap()[0].msg_id);
    }

    #[test]
    fn another_status_is_another_message() {
        let mut resolved = alert("a", 1);
        resolved.status = 2;
        assert_ne!(
            cut(notification(vec![alert("a", 1)])).unwrap()[0].msg_id,
            cut(notification(vec![resolved])).unwrap()[0].msg_id
        );
    }

    #[test]
    fn a_part_is_a_duplicate_only_of_the_same_whole() {
        let first =
            |last: &str| split_at(notification(vec![alert("a", 60), alert("b", 60), alert(last, 60)]), 7, 100).unwrap().remove(0);
        assert_eq!(first("c").notification, first("d").notification);
        assert_ne!(first("c").msg_id, first("d").msg_id);
    }

    #[test]
    fn an_alert_larger_than_a_message_is_named() {
        let error = cut(notification(vec![alert("a", 1), alert("big", PART_BYTES)])).unwrap_err();
        assert!(matches!(error, SplitError::AlertTooLarge { fingerprint, .. } if fingerprint == "big"));
    }

    #[test]
    fn nothing_is_one_part() {
        assert_eq!(cut(notification(vec![])).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn parts_hold_everything_once_and_fit(texts in prop::collection::vec(0_usize..400, 0..60)) {
            let alerts: Vec<Alert> = texts.iter().enumerate().map(|(i, text)| alert(&format!("{i:04}"), *text)).collect();
            let parts = split_at(notification(alerts.clone()), 7, 500).unwrap();
            let back: Vec<Alert> = parts.iter().flat_map(|part| part.notification.alerts.clone()).collect();
            prop_assert_eq!(back, alerts);
            for (place, part) in (1..).zip(&parts) {
                prop_assert_eq!(part.notification.part, place);
                prop_assert!(part.notification.encoded_len() <= 500 + 64);
                prop_assert_eq!(part.notification.truncated_alerts, 3);
            }
            let names: std::collections::BTreeSet<_> = parts.iter().map(|part| &part.msg_id).collect();
            prop_assert_eq!(names.len(), parts.len());
        }
    }
}
