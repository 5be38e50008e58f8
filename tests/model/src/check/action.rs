//! What can happen next, one thing at a time.
//!
//! Guarantees: an action is a step of one service between two points at which another may come between. Must not: do it; `system` does.

use contracts::DeadlineKind;

use super::person::Person;
use super::world::Wake;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// An executor takes a message; the workload is read before the log, or after.
    ExecutorTakes { replica: usize, incident: u8, wake: Wake, workload_first: bool },
    /// It reads on and decides what to do next, by a clock on time or late.
    ExecutorLooks { replica: usize, late: bool },
    /// It does what it was about to do.
    ExecutorActs { replica: usize, late: bool },
    /// It sees the workload change while it watches.
    ExecutorSees { replica: usize },
    /// It reports the next step that the cluster shows.
    ExecutorReports { replica: usize },
    /// Its own deadline passes.
    ExecutorGivesUp { replica: usize },
    /// It dies, or what it was answered is lost; its message comes again.
    ExecutorCrashes { replica: usize },
    /// An orchestrator takes a notification.
    OrchestratorHears { replica: usize, alert: u8 },
    /// It reads the workload's newest incident, and then where need be the workload again.
    OrchestratorReads { replica: usize },
    /// It stores the opening or the join.
    OrchestratorSettles { replica: usize },
    /// It takes the opening of an incident that may be undecided.
    OrchestratorResumes { replica: usize, incident: u8 },
    /// It decides that incident by the workload as it is now.
    OrchestratorDecides { replica: usize },
    /// It stores the decision.
    OrchestratorStores { replica: usize },
    /// It dies.
    OrchestratorCrashes { replica: usize },
    /// The ledger's watch records what runs now.
    LedgerWatches,
    /// The ledger marks the version that an incident rolled back from.
    LedgerMarks { incident: u8 },
    /// A timer fires.
    TimerFires { incident: u8, deadline: DeadlineKind },
    /// The chat thread is open.
    ThreadOpens { incident: u8 },
    /// A check of the verifier finishes.
    CheckFinishes { incident: u8, check: usize, verdict: usize },
    /// The verifier concludes.
    VerifierConcludes { incident: u8 },
    /// The verifier sees that somebody changed the workload.
    VerifierSupersedes { incident: u8 },
    /// The notifier sends, and where that is one step records it.
    NotifierSends { incident: u8, notice: u64 },
    /// The notifier records what it sent.
    NotifierRecords,
    /// No channel takes it, the fallback neither.
    NotifierGivesUp { incident: u8, notice: u64 },
    /// The notifier dies between sending and recording.
    NotifierCrashes,
    /// An alert begins to fire.
    AlertBegins { alert: u8 },
    /// Its notification comes again.
    AlertRepeats { alert: u8 },
    /// It resolves.
    AlertResolves { alert: u8 },
    /// It goes on after its incident was closed.
    AlertGoesOn { alert: u8 },
    /// A person, or an autoscaler.
    PersonActs { person: Person },
}
