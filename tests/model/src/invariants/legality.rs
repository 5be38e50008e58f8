//! Legality: what is on an incident's log is what the core's own `decide` makes, command by command, without a refusal.
//!
//! Each fact that a command makes is decided again on the fold of all facts before it; what follows from it has to follow on the log.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use contracts::time::{duration_from_proto, duration_to_proto};
use contracts::v1::{self, Audience};
use contracts::{DeadlineKind, Fact, FailureReason, HaltReason, IncidentId};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Recorded, Refusal, decide, evolve};

use super::{Invariant, fact, undecodable};
use crate::world::history::{Event, What};

/// One incident's log.
#[derive(Debug, Default)]
struct Log {
    incident: Incident,
    /// What has to come next.
    expected: VecDeque<Fact>,
    /// What may, right after that.
    may_follow: VecDeque<Fact>,
    /// Whether something on it can't be decoded.
    damaged: bool,
    /// When an alert was resolved by the last fact: several of one append are one command, and what follows comes after the last.
    resolving: Option<Timestamp>,
}

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Legal {
    logs: BTreeMap<IncidentId, Log>,
}

impl Invariant for Legal {
    fn name(&self) -> &'static str {
        "the log is what the core decides"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let What::Stored(message) = &event.what else { return Ok(()) };
        let Some((subject, fact)) = fact(message) else {
            if let Some(subject) = undecodable(message) {
                self.logs.entry(subject.incident).or_default().damaged = true;
            }
            return Ok(());
        };
        let log = self.logs.entry(subject.incident).or_default();
        log.take(&fact, message.at).map_err(|why| format!("{} ({}): {why}", message.subject, message.sequence))?;
        let recorded = Recorded { sequence: message.sequence, at: message.at, fact };
        log.incident = evolve(std::mem::take(&mut log.incident), &recorded);
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        match self.logs.iter().find(|(_, log)| !log.expected.is_empty()) {
            Some((incident, log)) => Err(format!("{incident} lacks {:?}", log.expected.front().map(Fact::event_type))),
            None => Ok(()),
        }
    }
}

impl Log {
    fn take(&mut self, fact: &Fact, at: Timestamp) -> Result<(), String> {
        let resolves = matches!(fact, Fact::AlertResolved(_));
        let another = resolves && self.resolving == Some(at);
        self.resolving = resolves.then_some(at);
        if let Some(expected) = self.expected.pop_front().filter(|_| !another) {
            return same(&expected, fact);
        }
        if self.asks_after_the_close(fact) || self.is_due_as_well(fact) {
            return Ok(());
        }
        let Some(command) = self.dead_letter(fact).or_else(|| command(fact)) else {
            return Err(format!("no command makes {} by itself", fact.event_type()));
        };
        match decide(&self.incident, &command, at) {
            Ok(facts) => {
                let mut facts = VecDeque::from(facts);
                match facts.pop_front() {
                    Some(first) => same(&first, fact)?,
                    None => return Err(format!("`{}` makes nothing", command.name())),
                }
                if matches!(&command, Command::PassDeadline(DeadlineKind::Escalate)) {
                    // By the timer's own time fewer may have been due; the others then come by timers of theirs.
                    self.may_follow = facts.split_off(facts.len().min(1));
                }
                self.expected = facts;
                Ok(())
            }
            // The writer's clock may have been another one.
            Err(Refusal::PlanExpired { .. } | Refusal::NotDue(_)) => Ok(()),
            Err(refusal) => Err(format!("`{}` is refused: {refusal}", command.name())),
        }
    }
}

impl Log {
    /// After a dead letter the incident is escalated, or given up where its log is damaged.
    fn dead_letter(&self, fact: &Fact) -> Option<Command> {
        let asked = match fact {
            Fact::NotificationRequested(asked) => asked,
            // The team lead was asked for already.
            Fact::IncidentClosed(_) if self.damaged => return Some(Command::GiveUp { detail: String::new() }),
            _ => return None,
        };
        let (reason, detail) = (FailureReason::DeadLetter, asked.summary.clone());
        let command = if self.damaged { Command::GiveUp { detail } } else { Command::Escalate { reason, detail } };
        (asked.reason == reason.code()).then_some(command)
    }

    /// The next step of an escalation, in the same append as the one before it.
    fn is_due_as_well(&mut self, fact: &Fact) -> bool {
        let reason = |fact: &Fact| match fact {
            Fact::NotificationRequested(asked) => Some(asked.reason.clone()),
            _ => None,
        };
        let next = self.may_follow.pop_front().and_then(|next| reason(&next));
        let is_it = next.is_some() && next == reason(fact);
        if !is_it {
            self.may_follow.clear();
        }
        is_it
    }

    /// An alert that outlives its incident is told by itself; its fingerprint is not in the request.
    fn asks_after_the_close(&self, fact: &Fact) -> bool {
        let Fact::NotificationRequested(asked) = fact else { return false };
        self.incident.closed.is_some() && self.incident.notice(asked.audience(), &asked.reason).is_none()
    }
}

/// By type: a fact's own values are not the core's business, but for what follows from them.
fn same(expected: &Fact, fact: &Fact) -> Result<(), String> {
    if expected.event_type() == fact.event_type() {
        return Ok(());
    }
    Err(format!("{} should have come, not {}", expected.event_type(), fact.event_type()))
}

/// The command that makes this fact first; `None` for what only follows from others.
fn command(fact: &Fact) -> Option<Command> {
    Some(match fact.clone() {
        Fact::AnomalyDetected(f) => Command::Open(f),
        Fact::NotificationsRouted(f) => Command::Route(f),
        Fact::CurrentVersionIdentified(f) => Command::IdentifyCurrent(f),
        Fact::PreviousVersionFound(f) => Command::FindPrevious(f),
        Fact::PreviousVersionMissing(f) => Command::MissPrevious(f),
        // What follows it in the same append is judged by what it is, not by what it says.
        Fact::ApprovalRequested(f) => Command::PlanToApprove(any_plan(None), f),
        Fact::GraceBegun(f) => Command::Plan(any_plan(duration_from_proto(f.grace.as_ref()))),
        Fact::RollbackPlanned(f) => Command::Plan(Box::new(f.plan.unwrap_or_default())),
        Fact::RollbackHalted(f) => {
            Command::Halt { reason: HaltReason::parse(&f.reason)?, detail: f.detail, would_do: f.would_do }
        }
        Fact::RollbackStarted(f) => Command::StartAttempt(f),
        Fact::BadPodsScaledDown(f) => Command::ReportBadPodsDown(f),
        Fact::PreviousVersionDeployed(f) => Command::ReportDeployed(f),
        Fact::ImageMoved(f) => Command::ReportImageMoved(f),
        Fact::PodsReady(f) => Command::ReportPodsReady(f),
        Fact::TrafficShifted(f) => Command::ReportTrafficShifted(f),
        Fact::RollbackFailed(f) => Command::Fail(f),
        Fact::SmokeTestFinished(f) => Command::RecordCheck(f),
        Fact::VerificationPassed(_) => Command::PassVerification,
        Fact::VerificationFailed(f) => Command::FailVerification(f),
        Fact::StatusUpdated(f) => Command::UpdateStatus(f),
        Fact::OldResourcesCleaned(f) => Command::CleanUp(f),
        Fact::AlertJoined(f) => Command::JoinAlerts(f.occurrences),
        Fact::AlertResolved(f) => Command::ResolveAlert(f),
        Fact::Superseded(f) => Command::Supersede(f),
        Fact::DeadlinePassed(f) => Command::PassDeadline(DeadlineKind::parse(&f.deadline)?),
        Fact::Announced(f) => Command::Announce(f),
        Fact::OnCallNotified(f) => {
            Command::RecordDelivery { audience: Audience::OnCall, reason: f.reason, channel: f.channel, dedup_key: f.dedup_key }
        }
        Fact::Escalated(f) => {
            Command::RecordDelivery { audience: Audience::TeamLead, reason: f.reason, channel: f.channel, dedup_key: f.dedup_key }
        }
        Fact::NotificationFailed(f) => Command::RecordUndelivered(f),
        Fact::PersonActed(f) => Command::PersonAct(f),
        Fact::NotificationRequested(_) | Fact::Mitigated(_) | Fact::IncidentClosed(_) => return None,
    })
}

fn any_plan(grace: Option<Duration>) -> Box<v1::Plan> {
    let grace = grace.map(duration_to_proto);
    let version = |hash: &str| Some(v1::Version { template_hash: hash.to_owned(), ..v1::Version::default() });
    let not_after = Some(contracts::time::to_proto(Timestamp::MAX));
    Box::new(v1::Plan { from: version("from"), to: version("to"), not_after, grace, ..v1::Plan::default() })
}

#[cfg(test)]
mod tests {
    use contracts::subjects::streams;

    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        holds(Legal::default(), vec![forge::opened(1), forge::identified(1)]);
        let two = vec![forge::opened(1), forge::joined(1, "f2"), forge::resolved(1, "f1"), forge::resolved(1, "f2")];
        holds(Legal::default(), two);
        let damage = forge::stored(streams::INCIDENTS, &forge::path(1, "pods_ready"), b"\xff");
        let given_up = || vec![forge::dead_letter(1), forge::closed(1)];
        holds(Legal::default(), [vec![forge::opened(1), damage], given_up()].concat());
        broken(Legal::default(), [vec![forge::opened(1)], given_up()].concat(), "by itself");
        broken(Legal::default(), vec![forge::opened(1), forge::opened(1)], "refused");
        broken(Legal::default(), vec![forge::opened(1), forge::closed(1)], "by itself");
        broken(Legal::default(), vec![forge::opened(1), forge::halted(1)], "lacks");
        broken(Legal::default(), vec![forge::opened(1), forge::halted(1), forge::identified(1)], "should have come");
    }
}
