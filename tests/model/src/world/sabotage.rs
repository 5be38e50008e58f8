//! Sabotage: real mistakes, made on purpose at the seams of a process, with which the simulation proves that it would find them.
//!
//! Guarantees: each stands for one mistake of the product (or of what it is built on) and changes nothing else; without one nothing is
//! changed. Must not: touch the history or the invariants.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
    /// alert-ingest does not wait for the acknowledgement of what it has sent to the stream.
    AnsweredTooEarly,
    /// alert-ingest answers 200 where it should answer 503.
    RefusalAnsweredOk,
    /// A message is acknowledged when it is delivered, before it was processed.
    AckOnDelivery,
    /// A redelivery is taken for something that was done.
    RedeliverySwallowed,
    /// Facts are appended without an expectation.
    UnguardedAppend,
    /// A lost append ("wrong last sequence") is taken for a won one.
    LossTakenForWin,
    /// What one decision yields goes out message by message instead of in one batch.
    TornBatch,
    /// A write is sent again, seconds later, without the resource version that guards it.
    BlindRetry,
    /// Writes go out without a resource version.
    BlindWrite,
    /// The executor does not see that the owner has paused the rollout.
    PauseUnseen,
    /// `RollbackStarted` is reported as stored, and was not.
    IntentNotStored,
    /// `RollbackStarted` names another generation than the one that was read.
    IntentOfAnother,
    /// The dry run is a real write.
    DryRunIsReal,
    /// A write does not say in whose name it is made.
    Unstamped,
    /// The write puts back another template than the planned one.
    WrongTemplate,
    /// The write changes more than the template.
    ScaledAsWell,
    /// A deadline's timer is reported as set, and was not.
    TimerLost,
    /// A message to people counts as sent when its provider has failed.
    FailureTakenForSent,
    /// Every message to people is sent twice.
    SentTwice,
    /// The mark on a version that was rolled back from is reported as stored, and was not.
    MarkLost,
    /// What became of an alert before is not looked at.
    OccurrenceForgotten,
    /// A probe without an answer counts as a good one.
    SilenceTakenForHealth,
    /// A Prometheus that does not answer counts as one whose alerts are quiet.
    SilenceTakenForQuiet,
    /// The verifier looks at the pods once, and goes by that for ever.
    OldLook,
    /// A dead letter is taken off its consumer without being stored.
    LetterLost,
    /// "NATS is away" is taken for "NATS refuses it".
    OutageTakenForRefusal,
    /// Nothing is ever acknowledged.
    AckLost,
    /// An older binary acknowledges what it does not know.
    UnknownAcknowledged,
    /// Messages go out without the id by which the server would know them again.
    MessageIdLost,
}

impl Sabotage {
    /// Those for which a second guard stands, so that no promise breaks.
    pub const MADE_GOOD: [Self; 1] = [Self::MessageIdLost];

    /// All the others: each breaks a promise.
    pub const ALL: [Self; 28] = [
        Self::AnsweredTooEarly,
        Self::RefusalAnsweredOk,
        Self::AckOnDelivery,
        Self::RedeliverySwallowed,
        Self::UnguardedAppend,
        Self::LossTakenForWin,
        Self::TornBatch,
        Self::BlindRetry,
        Self::BlindWrite,
        Self::PauseUnseen,
        Self::IntentNotStored,
        Self::IntentOfAnother,
        Self::DryRunIsReal,
        Self::Unstamped,
        Self::WrongTemplate,
        Self::ScaledAsWell,
        Self::TimerLost,
        Self::FailureTakenForSent,
        Self::SentTwice,
        Self::MarkLost,
        Self::OccurrenceForgotten,
        Self::SilenceTakenForHealth,
        Self::SilenceTakenForQuiet,
        Self::OldLook,
        Self::LetterLost,
        Self::OutageTakenForRefusal,
        Self::AckLost,
        Self::UnknownAcknowledged,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// The sabotage of a world, and what it has to remember.
#[derive(Debug, Default)]
pub struct Saboteur {
    sabotage: Option<Sabotage>,
    kept: Mutex<BTreeMap<String, Bytes>>,
}

impl Saboteur {
    /// One who makes this mistake; `None` makes none.
    #[must_use]
    pub fn new(sabotage: Option<Sabotage>) -> Self {
        Self { sabotage, kept: Mutex::default() }
    }

    /// Whether this mistake is made.
    #[must_use]
    pub fn makes(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// Which mistake is made.
    #[must_use]
    pub const fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    /// What was first given for this key.
    pub fn first(&self, key: String, value: Bytes) -> Bytes {
        super::lock(&self.kept).entry(key).or_insert(value).clone()
    }
}
