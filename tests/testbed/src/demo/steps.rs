//! What each fact of an incident says to somebody who watches: the node of the workflow, the step in plain words, the telling detail.
//! Pure.
//!
//! Guarantees: every fact has a line. Must not: print, or say more than the fact does.

use contracts::Fact;
use contracts::codes::outcome_name;
use contracts::time::from_proto;
use contracts::v1::{self, Action, Audience, Outcome, Urgency, Verdict};
use jiff::Timestamp;
use lastgood_core::incident::Recorded;

use super::look::{Line, Tone};
use crate::real_cluster::REPOSITORY;

/// Lines of a plan's difference that are shown.
const DIFF: usize = 6;

type Told = (&'static str, String, Vec<String>, Tone);

/// The lines of one fact; the offset counts from `raised`, when the alert began to fire.
#[must_use]
pub fn lines(recorded: &Recorded, raised: Timestamp) -> Vec<Line> {
    let at = Some(recorded.at.as_millisecond() - raised.as_millisecond());
    let (node, step, details, tone) = told(&recorded.fact, recorded.at);
    let mut lines = Vec::new();
    if let Fact::AnomalyDetected(fact) = &recorded.fact
        && let Some(trigger) = &fact.trigger
    {
        let summary = trigger.annotations.get("summary").cloned().unwrap_or_default();
        let details = vec![format!("{}: {summary}", trigger.alert_name)];
        lines.push(Line { at: Some(0), node: "", step: "Prometheus alerts".to_owned(), details, tone: Tone::Bad });
    }
    lines.push(Line {
        at,
        node,
        step,
        details: details.iter().filter(|detail| !detail.is_empty()).map(|detail| brief(detail)).collect(),
        tone,
    });
    lines
}

/// When the alert of this opening fact began to fire; the fact's own time where it doesn't say.
#[must_use]
pub fn raised(opening: &Recorded) -> Timestamp {
    match &opening.fact {
        Fact::AnomalyDetected(fact) => fact.trigger.as_ref().and_then(|trigger| from_proto(trigger.starts_at.as_ref())),
        _ => None,
    }
    .unwrap_or(opening.at)
}

/// A reason code as words: `halted.previous_version_missing` is "halted: previous version missing".
#[must_use]
pub fn words(code: &str) -> String {
    code.replace('.', ": ").replace('_', " ")
}

/// An image without its registry and folders.
#[must_use]
pub fn short(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}

/// A text without the registry and folder of the test workload's images, which say nothing to the reader.
fn brief(text: &str) -> String {
    let folder = REPOSITORY.strip_suffix(short(REPOSITORY)).unwrap_or_default();
    text.replace(folder, "")
}

fn told(fact: &Fact, at: Timestamp) -> Told {
    deciding(fact, at).or_else(|| acting(fact)).or_else(|| proving(fact)).unwrap_or_else(|| people(fact))
}

#[expect(clippy::unnecessary_wraps, reason = "its callers answer an option, and this keeps their arms short")]
fn say(node: &'static str, step: &str, details: Vec<String>, tone: Tone) -> Option<Told> {
    Some((node, step.to_owned(), details, tone))
}

fn deciding(fact: &Fact, at: Timestamp) -> Option<Told> {
    match fact {
        Fact::AnomalyDetected(fact) => {
            let source = fact.trigger.as_ref().map_or("", |trigger| trigger.source.as_str());
            say("n2 n3", "incident opened", vec![format!("told by {source}")], Tone::Plain)
        }
        Fact::CurrentVersionIdentified(fact) => {
            let ago = from_proto(fact.changed_at.as_ref()).map(|changed| at.as_second() - changed.as_second());
            let ago = ago.map_or_else(String::new, |seconds| format!(", rolled out {seconds} s before"));
            say("n6", "running now", vec![format!("{}{ago}", version(fact.version.as_ref()))], Tone::Plain)
        }
        Fact::PreviousVersionFound(fact) => {
            let found = format!("{}: {}", version(fact.version.as_ref()), fact.evidence);
            say("n7 n8", "last good version", vec![found], Tone::Good)
        }
        Fact::PreviousVersionMissing(fact) => {
            let considered =
                if fact.considered.is_empty() { vec!["no earlier version".to_owned()] } else { fact.considered.clone() };
            say("n7 n8", "no good version", considered, Tone::Bad)
        }
        Fact::RollbackPlanned(fact) => say("n9", "rollback planned", fact.plan.as_ref().map_or_else(Vec::new, plan), Tone::Plain),
        Fact::RollbackHalted(fact) => {
            let would = if fact.would_do.is_empty() { String::new() } else { format!("would do: {}", fact.would_do) };
            say("n10", "halted, no change", vec![words(&fact.reason), would], Tone::Bad)
        }
        Fact::AlertJoined(fact) => {
            let names: Vec<_> = fact.occurrences.iter().map(|occurrence| occurrence.alert_name.clone()).collect();
            say("n2", "another alert joins", names, Tone::Plain)
        }
        Fact::DeadlinePassed(fact) => say("", "deadline passed", vec![words(&fact.deadline)], Tone::Bad),
        _ => None,
    }
}

fn acting(fact: &Fact) -> Option<Told> {
    match fact {
        Fact::RollbackStarted(fact) => {
            let intent = format!("intent stored: template {} → {}", hash(&fact.template_hash), hash(&fact.target_template_hash));
            say("n11", &format!("attempt {} begins", fact.attempt), vec![intent], Tone::Plain)
        }
        Fact::BadPodsScaledDown(fact) => say("n11", "bad pods gone", vec![format!("{} pods", fact.pods)], Tone::Good),
        Fact::PreviousVersionDeployed(fact) => {
            let deployed = format!("patched: generation {}, ReplicaSet {}", fact.workload_generation, fact.replica_set);
            say("n12", "last good deployed", vec![deployed], Tone::Good)
        }
        Fact::ImageMoved(fact) => {
            let images = fact.images.iter().map(lastgood_core::words::moved_image).collect();
            say("n12", "a tag has moved: again, by digest", images, Tone::Bad)
        }
        Fact::PodsReady(fact) => say("n13 n14", "pods ready", vec![format!("{} of {}", fact.ready, fact.desired)], Tone::Good),
        Fact::TrafficShifted(fact) => say("n15", "traffic shifted", fact.services.clone(), Tone::Good),
        Fact::RollbackFailed(fact) => {
            let mut details = vec![words(&fact.reason), fact.detail.clone()];
            details.push(format!("serving now: {}", listed(&fact.serving, "no pod")));
            say("n14 n16", "rollback failed", details, Tone::Bad)
        }
        Fact::Superseded(fact) => {
            say("", "superseded", vec![format!("somebody changed its {}: {}", fact.what, fact.detail)], Tone::Plain)
        }
        _ => None,
    }
}

fn proving(fact: &Fact) -> Option<Told> {
    match fact {
        Fact::SmokeTestFinished(fact) => {
            let (step, tone) = match fact.verdict() {
                Verdict::Passed => ("check passed", Tone::Good),
                Verdict::Failed => ("check failed", Tone::Bad),
                Verdict::NoData | Verdict::Unspecified => ("check saw nothing", Tone::Bad),
            };
            say("n17", step, vec![format!("{}: {} ({} tries)", fact.check, fact.evidence, fact.tries)], tone)
        }
        Fact::VerificationPassed(fact) => say("n18", "verified", vec![format!("{} checks passed", fact.checks)], Tone::Good),
        Fact::VerificationFailed(fact) => {
            let failed = format!("{}: {}", words(&fact.reason), fact.failed_checks.join(", "));
            say("n18", "verification failed", vec![failed], Tone::Bad)
        }
        Fact::Mitigated(_) => say("", "mitigated", vec!["waiting for the alert to resolve".to_owned()], Tone::Good),
        Fact::StatusUpdated(fact) => {
            say("n19", "status written", vec![format!("annotations, and the Event {}", fact.event_name)], Tone::Plain)
        }
        Fact::OldResourcesCleaned(fact) => say("n20", "cleaned up", vec![listed(&fact.cleaned, "nothing to clean")], Tone::Plain),
        Fact::AlertResolved(fact) => say("", "alert resolved", vec![format!("seen by {}", fact.seen_by)], Tone::Good),
        _ => None,
    }
}

fn people(fact: &Fact) -> Told {
    let (node, step, details, tone) = match fact {
        Fact::Announced(fact) if fact.thread.is_empty() => ("", "no chat thread", vec![fact.channel.clone()], Tone::Bad),
        Fact::Announced(fact) => ("", "chat thread opened", vec![format!("in {}", fact.channel)], Tone::People),
        Fact::NotificationRequested(fact) => {
            let verb = if fact.urgency() == Urgency::Page { "page" } else { "tell" };
            return (
                node_of(fact.audience()),
                format!("{verb} the {}", who(fact.audience())),
                vec![words(&fact.reason)],
                Tone::People,
            );
        }
        Fact::OnCallNotified(fact) => ("n4", "on-call told", vec![over(&fact.channel, &fact.reason)], Tone::People),
        Fact::Escalated(fact) => ("n21", "team lead told", vec![over(&fact.channel, &fact.reason)], Tone::People),
        Fact::NotificationFailed(fact) => {
            ("", "could not be told", vec![format!("{}: {}", who(fact.audience()), fact.error)], Tone::Bad)
        }
        Fact::PersonActed(fact) => {
            ("", did(fact.action()), vec![format!("{} (via {}): {}", fact.who, fact.via, fact.note)], Tone::People)
        }
        Fact::IncidentClosed(fact) => {
            let tone = if fact.outcome() == Outcome::Completed { Tone::Good } else { Tone::Bad };
            let (outcome, reason) = (outcome_name(fact.outcome()), words(&fact.reason));
            ("n5", "closed", vec![if reason == outcome { reason } else { format!("{outcome}: {reason}") }], tone)
        }
        other => ("", other.event_type(), Vec::new(), Tone::Plain),
    };
    (node, step.to_owned(), details, tone)
}

const fn node_of(audience: Audience) -> &'static str {
    match audience {
        Audience::TeamLead => "n21",
        Audience::OnCall | Audience::Unspecified => "n4",
    }
}

const fn who(audience: Audience) -> &'static str {
    match audience {
        Audience::TeamLead => "team lead",
        Audience::OnCall | Audience::Unspecified => "on-call",
    }
}

const fn did(action: Action) -> &'static str {
    match action {
        Action::Approve => "approved",
        Action::Decline => "declined",
        Action::Hold => "put on hold",
        Action::Acknowledge => "acknowledged",
        Action::Pause => "paused",
        Action::Unspecified => "a person acted",
    }
}

fn over(channel: &str, reason: &str) -> String {
    format!("over {channel} ({})", words(reason))
}

fn plan(plan: &v1::Plan) -> Vec<String> {
    let head = format!("{}: {} → {}", plan.strategy, version(plan.from.as_ref()), version(plan.to.as_ref()));
    let total = plan.diff.lines().count();
    let more = (total > DIFF).then(|| format!("… {} more lines", total - DIFF));
    std::iter::once(head).chain(plan.diff.lines().take(DIFF).map(str::to_owned)).chain(more).collect()
}

fn version(version: Option<&v1::Version>) -> String {
    let images =
        version.map_or_else(Vec::new, |version| version.images.iter().map(|image| short(&image.image).to_owned()).collect());
    listed(&images, "unknown")
}

fn listed(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

fn hash(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

#[cfg(test)]
mod tests;
