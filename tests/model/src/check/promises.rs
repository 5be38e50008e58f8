//! The promises, as they can be judged in this world.
//!
//! Guarantees: each names the promise of the product that it stands for (S1–S8). Must not: trust what a service says it did; `system`
//! keeps its own record.

/// A promise that can be broken by one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(super) enum Promise {
    OneIncident,
    OneActs,
    OneWrite,
    IntentFirst,
    NotOverwritten,
    NeverBack,
    LegalPhases,
    OneDisposition,
    TrueSupersession,
    TrueHalt,
    NoDataIsNotHealthy,
    SomebodyIsAsked,
    SentBeforeRecorded,
}

impl Promise {
    /// All of them, each with its words.
    pub(super) const ALL: [(Self, &'static str); 13] = [
        (Self::OneIncident, "S2: a workload has at most one open incident"),
        (Self::OneActs, "S2: no rollback writes while another incident of the workload is open"),
        (Self::OneWrite, "S2: a planned rollback changes the pod template at most once"),
        (Self::IntentFirst, "S3: before every write there is a RollbackStarted that names exactly it"),
        (Self::NotOverwritten, "S4: a person's change is never overwritten"),
        (Self::NeverBack, "S6: never back to a version that was rolled back from"),
        (Self::LegalPhases, "the log never tells an illegal history"),
        (Self::OneDisposition, "S1, S6: an occurrence has exactly one disposition, and opens at most one incident"),
        (Self::TrueSupersession, "S4: what is called superseded was changed by somebody else"),
        (Self::TrueHalt, "S3: what is called halted was not written"),
        (Self::NoDataIsNotHealthy, "S7: verification never passes without data"),
        (Self::SomebodyIsAsked, "S5: no incident closes before its notifications were asked for, and told or given up"),
        (Self::SentBeforeRecorded, "S5: what is recorded as told was sent"),
    ];

    /// Its bit.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}
