//! Between protobuf's timestamps and durations and `jiff`'s.
//!
//! Guarantees: an absent or out-of-range protobuf time reads as `None`, never as a panic. Must not: read a clock.

use std::time::Duration;

use jiff::Timestamp;

/// A protobuf timestamp of this instant (UTC, nanoseconds).
#[must_use]
pub fn to_proto(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// The instant of a protobuf timestamp; `None` where it is absent or out of range.
#[must_use]
pub fn from_proto(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|t| Timestamp::new(t.seconds, t.nanos).ok())
}

/// A protobuf duration of this length.
#[must_use]
pub fn duration_to_proto(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

/// The length of a protobuf duration; `None` where it is absent or negative.
#[must_use]
pub fn duration_from_proto(length: Option<&prost_types::Duration>) -> Option<Duration> {
    let length = length?;
    Some(Duration::new(u64::try_from(length.seconds).ok()?, u32::try_from(length.nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_survives(seconds in -30_000_000_000_i64..30_000_000_000, nanos in 0..1_000_000_000_i32) {
            let at = Timestamp::new(seconds, nanos).expect("within jiff's range");
            prop_assert_eq!(from_proto(Some(&to_proto(at))), Some(at));
        }

        #[test]
        fn any_protobuf_time_is_read_without_panic(seconds: i64, nanos: i32) {
            let _ = from_proto(Some(&prost_types::Timestamp { seconds, nanos }));
            let _ = duration_from_proto(Some(&prost_types::Duration { seconds, nanos }));
        }
    }
}
