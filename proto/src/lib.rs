//! The contracts between lastgood's services: protobuf facts, ids, subjects, the envelope and the reason codes.
//!
//! Guarantees: everything here is a pure value; what one service writes every other one reads by these types alone; fields and
//! facts are only ever added. Must not: do I/O, read a clock, or decide anything.

pub mod codes;
pub mod envelope;
pub mod fact;
pub mod ids;
pub mod subjects;
pub mod time;

/// The generated protobuf types of `lastgood/v1/*.proto`.
#[expect(missing_docs, clippy::pedantic, reason = "generated; the documentation is in the .proto files")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/lastgood.v1.rs"));
}

pub use codes::{DeadlineKind, DismissReason, FailureReason, HaltReason};
pub use envelope::{Envelope, EnvelopeError};
pub use fact::{BudgetFact, DecodeError, Fact, LedgerFact, OccurrenceFact};
pub use ids::{EventId, IncidentId, ParseIdError};
pub use subjects::{IncidentSubject, SubjectError};
