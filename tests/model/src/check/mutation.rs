//! The ways in which the product is broken on purpose, to see that the checker notices.
//!
//! Guarantees: each is a mistake that somebody could make in a service's loop or in the core, and breaks one promise. Must not: be used
//! outside of tests that expect a counterexample.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// The executor writes what it computed without the resourceVersion that it read.
    WritesBlindly,
    /// The executor writes without storing its intent first.
    WritesWithoutIntent,
    /// The executor takes a bad version that came back for one that was never replaced.
    RepeatsTheWrite,
    /// The orchestrator opens an incident without expecting the workload's last sequence.
    IgnoresExpectation,
    /// The orchestrator takes a repeated notification for a new alert.
    ForgetsDispositions,
    /// Nobody marks a version as rolled back from, and the log's own intents are not looked at.
    ForgetsRolledBackFrom,
    /// The verifier takes what it could not see for healthy.
    TrustsNoData,
    /// The core closes an incident that ends instead of asking for its notification.
    ClosesUntold,
    /// The notifier records a delivery before it sends.
    RecordsBeforeSending,
    /// The core takes a second ending for a legal one.
    EndsTwice,
    /// No timer ever fires.
    LosesTimers,
    /// The executor hands a message back that asks for nothing, instead of acknowledging it.
    HandsBack,
    /// The executor judges a workload that it read before the log that it judges it by. Found by this checker, and mended.
    LooksBeforeTheLog,
    /// The executor halts after an intent, when another replica may have written. Found by this checker, and mended.
    HaltsAfterIntent,
    /// The orchestrator opens an incident about a workload that it read before the last rollback. Found by this checker, and mended.
    TrustsOldWorkload,
    /// The executor, and the core, take a plan that waits for an approval for one that waits for nothing.
    ActsUnapproved,
    /// The executor takes its first write, which is to be replaced because its image had moved, for the one that replaces it.
    RemembersItsWrite,
    /// A plan names the revision that the ledger remembers instead of the one that runs. Found by this checker, and mended.
    TrustsOldRevision,
}
