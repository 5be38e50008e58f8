//! The reason codes that facts carry: each is a stable `snake_case` word that operators see, count and look up.
//!
//! Guarantees: `code()` and `parse` are inverse; a halt's and a failure's runbook page exists under `runbooks/` by the name that
//! `runbook()` gives (a test checks it). Must not: change the spelling of a code once released.

use crate::v1::Outcome;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it in facts, metrics and messages.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The one that this word stands for.
            #[must_use]
            pub fn parse(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The page under `runbooks/` that says what a person does about it, without `.md`.
            #[must_use]
            pub fn runbook(self) -> String {
                self.code().replace('_', "-")
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.code())
            }
        }
    };
}

codes! {
    /// Why nothing was done to the workload.
    HaltReason {
        /// No earlier version has proved itself.
        PreviousVersionMissing = "previous_version_missing",
        /// The workload didn't change within the window before the alert: a rollout does not explain it.
        NoRecentChange = "no_recent_change",
        /// The workload has not opted in (`lastgood.dev/mode: auto`).
        ObserveMode = "observe_mode",
        /// The pause switch is on.
        Paused = "paused",
        /// Many workloads fail at once: that is not one bad deploy.
        MassFailure = "mass_failure",
        /// It was rolled back a short while ago.
        Cooldown = "cooldown",
        /// A freeze window of the policy holds.
        Frozen = "frozen",
        /// The version that runs, or one that is newer than the target, is marked as one below which there is no way back.
        Irreversible = "irreversible",
        /// As many rollbacks as the policy allows were made of late, or are under way.
        BudgetSpent = "budget_spent",
        /// Another controller owns it, and would undo what we do.
        ManagedElsewhere = "managed_elsewhere",
        /// A kind of workload that no strategy handles yet.
        UnsupportedKind = "unsupported_kind",
        /// The workload is paused by its owner (`spec.paused`).
        RolloutPaused = "rollout_paused",
        /// The decision took longer than its deadline.
        DecisionTimedOut = "decision_timed_out",
        /// The plan was not begun before its `not_after`.
        PlanExpired = "plan_expired",
        /// The API server refused the dry run.
        DryRunRefused = "dry_run_refused",
        /// A ConfigMap or Secret that has to come back with the version is not kept any more.
        ConfigurationMissing = "configuration_missing",
        /// A person declined it or put it on hold.
        DeclinedByPerson = "declined_by_person",
        /// Nobody approved or declined it in time.
        ApprovalTimedOut = "approval_timed_out",
        /// Its alerts resolved while it waited for an approval or for its grace period.
        ResolvedBeforeAction = "resolved_before_action",
        /// A service gave up on the incident's message; it is in the dead-letter stream.
        Undeliverable = "undeliverable",
    }
}

codes! {
    /// Why a rollback that was begun, or its proof, did not end well.
    FailureReason {
        /// Not all pods were healthy by the deadline.
        PodsNotReady = "pods_not_ready",
        /// The Services did not come to have only restored, ready endpoints by the deadline.
        TrafficNotShifted = "traffic_not_shifted",
        /// The API server refused the write.
        WriteRefused = "write_refused",
        /// The pause switch was turned on after an attempt was begun and before its write was seen.
        Paused = "paused",
        /// The intent of the first attempt was stored after the plan's `not_after`: the executor's clock is behind. Nothing was written.
        PlanExpired = "plan_expired",
        /// A copy of the configuration that has to come back went away after an attempt was begun. Nothing was written.
        ConfigurationMissing = "configuration_missing",
        /// The executor did not report within the deadline.
        ExecutorSilent = "executor_silent",
        /// Smoke tests fail on the restored version.
        SmokeTestsFailed = "smoke_tests_failed",
        /// The verifier could not see enough to tell.
        NothingSeen = "nothing_seen",
        /// The workload's checks can't be read.
        ChecksInvalid = "checks_invalid",
        /// The verifier did not report within the deadline.
        VerifierSilent = "verifier_silent",
        /// The previous version is verified and the alert still fires.
        AlertStillFiring = "alert_still_firing",
        /// The previous version is verified; updating its status or cleaning up did not end.
        CleanupIncomplete = "cleanup_incomplete",
        /// An on-call page that nobody acknowledged.
        Unacknowledged = "unacknowledged",
        /// Somebody else changed the workload during the rollback.
        Superseded = "superseded",
        /// An alert that belongs to a closed incident goes on.
        FiringAfterClose = "firing_after_close",
        /// A service gave up on one of the incident's messages; it is in the dead-letter stream.
        DeadLetter = "dead_letter",
    }
}

codes! {
    /// Why an occurrence opened no incident and joined none.
    DismissReason {
        /// No label names a workload, or what they name does not exist.
        NoWorkload = "no_workload",
        /// The labels fit more than one workload.
        AmbiguousWorkload = "ambiguous_workload",
        /// It belongs to another cluster.
        OtherCluster = "other_cluster",
        /// It was resolved before it was looked at.
        AlreadyResolved = "already_resolved",
        /// The alert opts out (label or annotation `lastgood_ignore: "true"`).
        Ignored = "ignored",
        /// The workload's policy does not count such alerts.
        NotCounted = "not_counted",
    }
}

codes! {
    /// The deadlines of an incident; the timer's name.
    DeadlineKind {
        /// A plan or a halt.
        Decide = "decide",
        /// The chat thread.
        Announce = "announce",
        /// A person's answer.
        Approve = "approve",
        /// The end of the grace period.
        Grace = "grace",
        /// The first attempt.
        Start = "start",
        /// Pods ready and traffic shifted.
        Rollback = "rollback",
        /// Smoke tests.
        Verify = "verify",
        /// The triggering alert resolved, the cluster tidied.
        Resolve = "resolve",
        /// Somebody acknowledged the page.
        Acknowledge = "acknowledge",
        /// Somebody acknowledged the page, before the next one of the policy's escalation is called. Passes once for each that is called.
        Escalate = "escalate",
        /// The notifications were delivered.
        Notify = "notify",
    }
}

/// How an incident ended, in words.
#[must_use]
pub const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unknown",
        Outcome::Completed => "completed",
        Outcome::Halted => "halted",
        Outcome::RollbackFailed => "rollback failed",
        Outcome::VerificationFailed => "verification failed",
        Outcome::Unresolved => "unresolved",
        Outcome::Superseded => "superseded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_halt_and_failure_has_its_runbook_page() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../runbooks");
        let names = HaltReason::ALL.iter().map(|r| r.runbook()).chain(FailureReason::ALL.iter().map(|r| r.runbook()));
        for name in names {
            let page = std::fs::read_to_string(format!("{pages}/{name}.md")).unwrap_or_default();
            assert!(page.contains("## What to do now"), "runbooks/{name}.md is missing or says nothing to do");
        }
    }

    #[test]
    fn codes_and_words_are_inverse() {
        for reason in HaltReason::ALL {
            assert_eq!(HaltReason::parse(reason.code()), Some(*reason));
        }
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::parse(reason.code()), Some(*reason));
        }
        assert_eq!(HaltReason::parse("nonsense"), None);
    }
}
