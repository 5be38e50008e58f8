//! What facts say to people, for whoever tells of an incident (chat, pages, the command line): one line for each fact that people want to see,
//! one word for the phase it brings the incident into, and the names of things.
//!
//! Guarantees: pure; the text is unescaped (who shows it escapes it for where it is shown). Must not: know of channels or terminals.

use std::time::Duration;

use contracts::Fact;
use contracts::codes::outcome_name;
use contracts::time::duration_from_proto;
use contracts::v1::{self, Action, Audience, Outcome, Verdict};
use jiff::SignedDuration;

use crate::text;

/// How a step of the workflow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should.
    Done,
    /// Not as it should.
    Failed,
    /// Nothing to be proud or ashamed of: a note.
    Note,
}

/// A tag that leads elsewhere than it did.
#[must_use]
pub fn moved_image(image: &v1::MovedImage) -> String {
    let short = |digest: &str| digest.chars().take("sha256:".len() + 12).collect::<String>();
    format!("{} is {} now, was {}", image.image, short(&image.found), short(&image.recorded))
}

/// How the fact shows in the list of steps; `None` for those that would only be noise there.
#[must_use]
pub fn step(fact: &Fact) -> Option<(Mark, String)> {
    progress(fact).or_else(|| trouble(fact)).or_else(|| people(fact))
}

fn progress(fact: &Fact) -> Option<(Mark, String)> {
    let text = match fact {
        Fact::AnomalyDetected(v1::AnomalyDetected { requested: Some(requested), .. }) => {
            format!("{} asked for a rollback: {}", requested.who, requested.reason)
        }
        Fact::AnomalyDetected(fact) => {
            format!("Detected: {}", fact.trigger.as_ref().map_or("an anomaly", |trigger| &trigger.alert_name))
        }
        Fact::CurrentVersionIdentified(fact) => format!("Running now: {}", images(fact.version.as_ref())),
        Fact::PreviousVersionFound(fact) => format!("Last good version: {}", images(fact.version.as_ref())),
        Fact::RollbackPlanned(fact) => {
            format!("Rollback planned ({})", fact.plan.as_ref().map_or("no strategy", |plan| &plan.strategy))
        }
        Fact::RollbackStarted(fact) if fact.attempt > 1 => format!("Rollback started (attempt {})", fact.attempt),
        Fact::RollbackStarted(_) => "Rollback started".to_owned(),
        Fact::BadPodsScaledDown(fact) => format!("Bad pods scaled down ({})", fact.pods),
        Fact::PreviousVersionDeployed(_) => "Previous version deployed".to_owned(),
        Fact::PodsReady(fact) => format!("Pods ready ({}/{})", fact.ready, fact.desired),
        Fact::TrafficShifted(_) => "Traffic shifted".to_owned(),
        Fact::SmokeTestFinished(fact) if fact.verdict() == Verdict::Passed => format!("Smoke test {} passed", fact.check),
        Fact::VerificationPassed(fact) => format!("Verified by {} checks", fact.checks),
        Fact::StatusUpdated(fact) if !fact.note.is_empty() => format!("Status written to the workload ({})", fact.note),
        Fact::StatusUpdated(_) => "Status written to the workload".to_owned(),
        Fact::OldResourcesCleaned(_) => "Old resources cleaned up".to_owned(),
        Fact::AlertResolved(fact) => format!("Alert resolved (seen by {})", fact.seen_by),
        Fact::IncidentClosed(fact) if fact.outcome() == Outcome::Completed => "Closed: completed".to_owned(),
        _ => return None,
    };
    Some((Mark::Done, text))
}

fn trouble(fact: &Fact) -> Option<(Mark, String)> {
    let text = match fact {
        Fact::PreviousVersionMissing(_) => "No earlier version has proved itself".to_owned(),
        Fact::RollbackHalted(fact) => format!("Halted: {}", words(&fact.reason)),
        Fact::RollbackFailed(fact) => format!("Rollback failed: {}", words(&fact.reason)),
        Fact::ImageMoved(fact) => {
            let tags: Vec<_> = fact.images.iter().map(moved_image).collect();
            format!("Not the image that ran before: {}; put back once more, by digest", tags.join("; "))
        }
        Fact::SmokeTestFinished(fact) if fact.verdict() == Verdict::Failed => format!("Smoke test {} failed", fact.check),
        Fact::SmokeTestFinished(fact) => format!("Smoke test {} saw no data", fact.check),
        Fact::VerificationFailed(fact) => format!("Verification failed: {}", words(&fact.reason)),
        Fact::Superseded(fact) => format!("Superseded: somebody else changed the workload ({})", fact.what),
        Fact::DeadlinePassed(fact) if fact.deadline == "escalate" => {
            "Nobody acknowledged the page: the next is called".to_owned()
        }
        Fact::DeadlinePassed(fact) if fact.deadline != "announce" => format!("Deadline passed: {}", words(&fact.deadline)),
        Fact::NotificationFailed(fact) => {
            let goes_on = if fact.owed { "; tried on until somebody is" } else { "" };
            format!("{} could not be told ({}){goes_on}", audience_name(fact.audience()), words(&fact.reason))
        }
        Fact::IncidentClosed(fact) => format!("Closed: {}", outcome_name(fact.outcome())),
        _ => return None,
    };
    Some((Mark::Failed, text))
}

fn people(fact: &Fact) -> Option<(Mark, String)> {
    let text = match fact {
        Fact::OnCallNotified(fact) => format!("On-call told over {} ({})", fact.channel, words(&fact.reason)),
        Fact::Escalated(fact) => format!("Escalated to the team lead over {} ({})", fact.channel, words(&fact.reason)),
        Fact::AlertJoined(fact) => format!("{} more alert(s) of this workload", fact.occurrences.len()),
        Fact::PersonActed(fact) => person(fact),
        Fact::ApprovalRequested(fact) => {
            format!("Waiting for a person's approval, {}", for_so_long(duration_from_proto(fact.within.as_ref())))
        }
        Fact::GraceBegun(fact) => {
            format!("Waiting {}: the alert may resolve by itself", for_so_long(duration_from_proto(fact.grace.as_ref())))
        }
        _ => return None,
    };
    Some((Mark::Note, text))
}

fn for_so_long(length: Option<Duration>) -> String {
    format!("for {}", text::length(SignedDuration::try_from(length.unwrap_or_default()).unwrap_or(SignedDuration::MAX)))
}

fn person(fact: &v1::PersonActed) -> String {
    let did = match fact.action() {
        Action::Approve => "approved",
        Action::Decline => "declined",
        Action::Hold => "put on hold",
        Action::Acknowledge => "acknowledged",
        Action::Pause => "paused",
        Action::Unspecified => "acted on",
    };
    format!("{} {did} it (via {})", fact.who, fact.via)
}

/// One word for where this fact brings the incident; `None` where it stays.
#[must_use]
pub const fn phase(fact: &Fact) -> Option<&'static str> {
    Some(match fact {
        Fact::AnomalyDetected(_) => "detected",
        Fact::RollbackPlanned(_) => "planned",
        Fact::RollbackHalted(_) => "halted",
        Fact::RollbackStarted(_) => "rolling_back",
        Fact::RollbackFailed(_) => "rollback_failed",
        Fact::TrafficShifted(_) => "verifying",
        Fact::VerificationFailed(_) => "verification_failed",
        Fact::Mitigated(_) => "mitigated",
        Fact::Superseded(_) => "superseded",
        Fact::IncidentClosed(_) => "closed",
        _ => return None,
    })
}

/// A reason code as words: `halted.previous_version_missing` is "halted: previous version missing".
#[must_use]
pub fn words(code: &str) -> String {
    code.replace('.', ": ").replace('_', " ")
}

/// Who, for people.
#[must_use]
pub const fn audience_name(audience: Audience) -> &'static str {
    match audience {
        Audience::TeamLead => "The team lead",
        Audience::OnCall | Audience::Unspecified => "The on-call engineer",
    }
}

/// Who, in dedup keys, metrics and the webhook's JSON.
#[must_use]
pub const fn audience_code(audience: Audience) -> &'static str {
    match audience {
        Audience::TeamLead => "team_lead",
        Audience::OnCall | Audience::Unspecified => "on_call",
    }
}

/// A version's images in one line; its hash where it has none.
#[must_use]
pub fn images(version: Option<&v1::Version>) -> String {
    let Some(version) = version else { return String::new() };
    if version.images.is_empty() {
        return version.template_hash.chars().take(12).collect();
    }
    version.images.iter().map(|image| image.image.as_str()).collect::<Vec<_>>().join(", ")
}
