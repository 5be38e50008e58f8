//! The promises, as they can be judged in this world.
//!
//! Guarantees: each names the promise of the product that it stands for (S1–S8). Must not: trust what a service says it did; `judge`
//! keeps its own record.

/// A promise that can be broken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Promise {
    /// S2.
    OneIncident,
    /// S2.
    OneActs,
    /// S2.
    OneWrite,
    /// S3.
    IntentFirst,
    /// S4.
    NotOverwritten,
    /// S6.
    NeverBack,
    /// The log's legality.
    LegalPhases,
    /// S1, S6.
    OneDisposition,
    /// S4.
    TrueSupersession,
    /// S3.
    TrueHalt,
    /// S7.
    NoDataIsNotHealthy,
    /// S5.
    SomebodyIsAsked,
    /// S5.
    SentBeforeRecorded,
    /// The policy's `approve`.
    AskedFirst,
    /// S5, which no single step can break.
    CanEnd,
    /// S5, likewise.
    DoesEnd,
}

/// How many of them one step can break: the first ones.
pub(super) const BY_A_STEP: usize = 14;

impl Promise {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::OneIncident,
        Self::OneActs,
        Self::OneWrite,
        Self::IntentFirst,
        Self::NotOverwritten,
        Self::NeverBack,
        Self::LegalPhases,
        Self::OneDisposition,
        Self::TrueSupersession,
        Self::TrueHalt,
        Self::NoDataIsNotHealthy,
        Self::SomebodyIsAsked,
        Self::SentBeforeRecorded,
        Self::AskedFirst,
        Self::CanEnd,
        Self::DoesEnd,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::OneIncident => "S2: a workload has at most one open incident",
            Self::OneActs => "S2: no rollback writes while another incident of the workload is open",
            Self::OneWrite => {
                "S2: a planned rollback changes the pod template at most once, and once more where its image had moved"
            }
            Self::IntentFirst => "S3: before every write there is a RollbackStarted that names exactly it",
            Self::NotOverwritten => "S4: a person's change is never overwritten",
            Self::NeverBack => "S6: never back to a version that was rolled back from",
            Self::LegalPhases => "the log never tells an illegal history",
            Self::OneDisposition => "S1, S6: an occurrence has exactly one disposition, and opens at most one incident",
            Self::TrueSupersession => "S4: what is called superseded was changed by somebody else",
            Self::TrueHalt => "S3: what is called halted was not written",
            Self::NoDataIsNotHealthy => "S7: verification never passes without data",
            Self::SomebodyIsAsked => "S5: no incident closes before its notifications were asked for, and told or given up",
            Self::SentBeforeRecorded => "S5: what is recorded as told was sent",
            Self::AskedFirst => "what a person was to approve is not written before one did",
            Self::CanEnd => "S5: from every state, every incident can still close and every alert get its disposition",
            Self::DoesEnd => "S5: no steps go around for ever, so that every run ends",
        }
    }

    /// Its bit.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}
