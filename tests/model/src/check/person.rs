//! What people (and an autoscaler) may do in between.
//!
//! Guarantees: each is one act. Must not: say when; a scenario's bounds do.

/// Something that a person (or an autoscaler) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Person {
    /// Deploys a new version.
    FixesForward,
    /// Puts back by hand the very version that lastgood would.
    RollsBack,
    /// Deploys the bad version again.
    DeploysBadAgain,
    /// Changes the replicas: the generation alone moves.
    Scales,
    /// Pauses the rollout (`spec.paused`).
    PausesRollout,
    /// Deletes the workload and creates it anew, with the bad version.
    Recreates,
    /// Deletes the workload and creates it anew, with the good version: no annotation of lastgood's is left.
    RecreatesGood,
    /// Deletes the workload.
    Deletes,
    /// Turns the pause switch on.
    SwitchesOff,
    /// Approves the incident's plan.
    Approves,
    /// Declines the incident's plan.
    Declines,
    /// Acknowledges the page.
    Acknowledges,
}
