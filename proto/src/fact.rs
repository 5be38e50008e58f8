//! Facts as enums: one variant for each protobuf message that a stream carries, with its event type (the subject's last token).
//!
//! Guarantees: `decode(event_type, encode())` gives the fact back; a type this binary doesn't know is told apart from bytes that
//! don't decode, because the first is a newer binary's fact (leave it alone) and the second is damage (dead letter).
//! Must not: interpret a fact; that is `lastgood-core`'s.

use prost::Message;

use crate::v1;

/// Why an event could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer binary wrote it: this one must leave its incident alone and hand the message back.
    #[error("event type `{0}` is not known to this binary; a newer one wrote it")]
    UnknownType(String),
    /// The bytes are damaged.
    #[error("the bytes of `{event_type}` do not decode: {reason}")]
    Damaged {
        /// The event type that the subject named.
        event_type: String,
        /// What the decoder said.
        reason: String,
    },
}

macro_rules! facts {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $event_type:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the message of the same name in the .proto files")]
        pub enum $name { $($variant(v1::$variant)),* }

        impl $name {
            /// The event types of all variants, in the order of the workflow.
            pub const EVENT_TYPES: &'static [&'static str] = &[$($event_type),*];

            /// The subject's last token.
            #[must_use]
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => $event_type),* }
            }

            /// The `CloudEvents` type, `lastgood.v1.<Message>`.
            #[must_use]
            pub const fn ce_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => concat!("lastgood.v1.", stringify!($variant))),* }
            }

            /// The protobuf bytes.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$variant(fact) => fact.encode_to_vec()),* }
            }

            /// Reads a fact of this event type from protobuf bytes.
            pub fn decode(event_type: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
                match event_type {
                    $($event_type => v1::$variant::decode(bytes).map(Self::$variant).map_err(|error| DecodeError::Damaged {
                        event_type: event_type.to_owned(),
                        reason: error.to_string(),
                    }),)*
                    other => Err(DecodeError::UnknownType(other.to_owned())),
                }
            }
        }

        $(impl From<v1::$variant> for $name {
            fn from(fact: v1::$variant) -> Self {
                Self::$variant(fact)
            }
        })*
    };
}

facts! {
    /// A fact on an incident's log.
    #[expect(clippy::large_enum_variant, reason = "the opening is the large one, and there is one for each incident")]
    Fact {
        AnomalyDetected = "anomaly_detected",
        NotificationsRouted = "notifications_routed",
        CurrentVersionIdentified = "current_version_identified",
        PreviousVersionFound = "previous_version_found",
        PreviousVersionMissing = "previous_version_missing",
        ApprovalRequested = "approval_requested",
        GraceBegun = "grace_begun",
        RollbackPlanned = "rollback_planned",
        RollbackHalted = "rollback_halted",
        RollbackStarted = "rollback_started",
        BadPodsScaledDown = "bad_pods_scaled_down",
        PreviousVersionDeployed = "previous_version_deployed",
        ImageMoved = "image_moved",
        PodsReady = "pods_ready",
        TrafficShifted = "traffic_shifted",
        RollbackFailed = "rollback_failed",
        SmokeTestFinished = "smoke_test_finished",
        VerificationPassed = "verification_passed",
        VerificationFailed = "verification_failed",
        Mitigated = "mitigated",
        StatusUpdated = "status_updated",
        OldResourcesCleaned = "old_resources_cleaned",
        AlertJoined = "alert_joined",
        AlertResolved = "alert_resolved",
        Superseded = "superseded",
        DeadlinePassed = "deadline_passed",
        NotificationRequested = "notification_requested",
        Announced = "announced",
        OnCallNotified = "on_call_notified",
        Escalated = "escalated",
        NotificationFailed = "notification_failed",
        PersonActed = "person_acted",
        IncidentClosed = "incident_closed",
    }
}

facts! {
    /// A fact about one alert fingerprint.
    OccurrenceFact {
        OccurrenceOpened = "occurrence_opened",
        OccurrenceJoined = "occurrence_joined",
        OccurrenceDismissed = "occurrence_dismissed",
        OccurrenceResolved = "occurrence_resolved",
        OccurrenceRepeated = "occurrence_repeated",
    }
}

facts! {
    /// A fact about a workload's versions, or the pause switch.
    #[expect(clippy::large_enum_variant, reason = "what is kept of a version when its ledger is compacted is the whole of it, and rare")]
    LedgerFact {
        VersionObserved = "version_observed",
        VersionAvailable = "version_available",
        VersionUnavailable = "version_unavailable",
        VersionTroubled = "version_troubled",
        VersionSoaked = "version_soaked",
        VersionMarked = "version_marked",
        VersionKept = "version_kept",
        VersionRolledBackFrom = "version_rolled_back_from",
        PauseSwitched = "pause_switched",
    }
}

facts! {
    /// A fact about a cluster's budgets.
    BudgetFact {
        BudgetTaken = "budget_taken",
        BudgetReturned = "budget_returned",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unknown_type_is_told_from_damage() {
        assert_eq!(Fact::decode("sung_about", b""), Err(DecodeError::UnknownType("sung_about".into())));
        assert!(matches!(Fact::decode("anomaly_detected", b"\xff\xff\xff"), Err(DecodeError::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(index in 0..Fact::EVENT_TYPES.len(), bytes: Vec<u8>) {
            let event_type = Fact::EVENT_TYPES[index];
            if let Ok(fact) = Fact::decode(event_type, &bytes) {
                prop_assert_eq!(fact.event_type(), event_type);
                prop_assert_eq!(Fact::decode(event_type, &fact.encode()), Ok(fact));
            }
        }
    }
}
