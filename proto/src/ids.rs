//! Identities: newtypes over `UUIDv7`, printed with a prefix so that a person can tell them apart.
//!
//! Guarantees: `parse` accepts exactly what `Display` prints. Must not: make ids by itself: randomness and time are passed in.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form {prefix}_<32 hex digits>")]
pub struct ParseIdError {
    text: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID, which must be a version 7 one to sort by time.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError { text: text.to_owned(), prefix: $prefix })
            }
        }
    };
}

id!(
    /// One incident: `inc_…`.
    IncidentId, "inc"
);
id!(
    /// One event on a stream, the `ce-id`: `evt_…`.
    EventId, "evt"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_parses(bits: u128) {
            let id = IncidentId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<IncidentId>(), Ok(id));
        }
    }

    #[test]
    fn another_kind_of_id_is_refused() {
        let event = EventId::from_uuid(Uuid::from_u128(7)).to_string();
        assert!(event.parse::<IncidentId>().is_err());
        assert!("inc_7".parse::<IncidentId>().is_err());
    }
}
