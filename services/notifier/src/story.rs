//! What an incident's log tells people: the facts folded into the few things that messages and routing need.
//!
//! Guarantees: total (any order of facts gives a story, never a panic), pure, and it remembers for each step when it happened.
//! Must not: decide what the incident does next; that is `lastgood-core`'s.

use std::time::Duration;

use contracts::v1::{self, Audience, Outcome, Urgency};
use contracts::{DeadlineKind, Fact, IncidentSubject, time};
use jiff::Timestamp;
use lastgood_core::incident::{APPROVAL, by_digest};
use lastgood_core::words::{self, Mark, images};

/// How long the executor waits for the chat thread where the opening fact doesn't say.
const ANNOUNCE: Duration = Duration::from_secs(3);

/// One line of the chat's list of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When its fact was stored.
    pub at: Timestamp,
    /// How it ended.
    pub mark: Mark,
    /// What happened, unescaped and for people.
    pub text: String,
}

/// Somebody is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The fact's place in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Who.
    pub audience: Audience,
    /// How urgently.
    pub urgency: Urgency,
    /// The reason, part of the dedup key.
    pub reason: String,
    /// What to say.
    pub summary: String,
    /// The page under `runbooks/`.
    pub runbook: String,
    /// The receivers that the policy names for it; empty for the usual way.
    pub receivers: Vec<String>,
    /// Whether the audience is told the usual way as well.
    pub audience_too: bool,
}

/// What a request came to, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Nobody could be told, and nobody will be.
    GivenUp,
    /// Nobody could be told so far; somebody is as soon as a channel answers again.
    Owed,
    /// It was delivered.
    Told,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whose.
    pub audience: Audience,
    /// Which reason.
    pub reason: String,
    /// What became of it.
    pub answer: Answer,
    /// Over which channel; `None` when it could not be delivered.
    pub channel: Option<String>,
    /// The key it went under, where the channel has one.
    pub dedup_key: String,
}

/// The chat thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Sequence of the fact that announced it: important facts before it are replied when it opens.
    pub sequence: u64,
    /// The chat's id of the channel.
    pub channel: String,
    /// The parent message.
    pub thread: String,
}

/// An incident as people are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Which incident, of which workload.
    pub subject: IncidentSubject,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// Sequence of the last fact that is told here.
    pub last_sequence: u64,
    /// How long the executor waits for the chat thread.
    pub announce_within: Duration,
    /// The alert that opened it.
    pub trigger: Option<v1::Occurrence>,
    /// How many other alerts belong to it.
    pub joined: usize,
    /// The version that runs badly.
    pub current: Option<v1::Version>,
    /// The version to go back to.
    pub previous: Option<v1::Version>,
    /// The plan.
    pub plan: Option<v1::Plan>,
    /// What a person was asked to approve.
    pub approval: Option<v1::ApprovalRequested>,
    /// Where in the log that was answered: by a person, by its deadline, or by what made it moot.
    pub answered: Option<u64>,
    /// Why it halted.
    pub halted: Option<v1::RollbackHalted>,
    /// Why the rollback failed.
    pub failed: Option<v1::RollbackFailed>,
    /// The smoke tests, in order.
    pub checks: Vec<v1::SmokeTestFinished>,
    /// Why the verification failed.
    pub verification_failed: Option<v1::VerificationFailed>,
    /// Who else changed the workload, and where in the log.
    pub superseded: Option<(u64, v1::Superseded)>,
    /// How it ended, and where in the log.
    pub closed: Option<(u64, Timestamp, v1::IncidentClosed)>,
    /// All steps so far.
    pub steps: Vec<Step>,
    /// All requests to tell somebody.
    pub requests: Vec<Request>,
    /// What became of them.
    pub deliveries: Vec<Delivery>,
    /// Whether the thread was announced (perhaps as "there is none").
    pub announced: bool,
    /// The thread, once it is open.
    pub thread: Option<Thread>,
    phase: &'static str,
}

impl Story {
    /// The story of an incident of which nothing is known yet.
    #[must_use]
    pub fn new(subject: IncidentSubject) -> Self {
        Self {
            subject,
            opened_at: None,
            last_sequence: 0,
            announce_within: ANNOUNCE,
            trigger: None,
            joined: 0,
            current: None,
            previous: None,
            plan: None,
            approval: None,
            answered: None,
            halted: None,
            failed: None,
            checks: Vec::new(),
            verification_failed: None,
            superseded: None,
            closed: None,
            steps: Vec::new(),
            requests: Vec::new(),
            deliveries: Vec::new(),
            announced: false,
            thread: None,
            phase: "unknown",
        }
    }

    /// The story that these facts tell, in the order of the log.
    #[must_use]
    pub fn of<'a>(subject: IncidentSubject, facts: impl IntoIterator<Item = (u64, Timestamp, &'a Fact)>) -> Self {
        facts.into_iter().fold(Self::new(subject), |story, (sequence, at, fact)| story.then(sequence, at, fact))
    }

    /// The story with one more fact.
    #[must_use]
    pub fn then(mut self, sequence: u64, at: Timestamp, fact: &Fact) -> Self {
        self.last_sequence = self.last_sequence.max(sequence);
        if let Some((mark, text)) = words::step(fact) {
            self.steps.push(Step { at, mark, text });
        }
        if let Some(phase) = words::phase(fact) {
            self.phase = phase;
        }
        self.wait(sequence, fact);
        match fact {
            Fact::AnomalyDetected(fact) => self.opened(at, fact),
            Fact::CurrentVersionIdentified(fact) => self.current.clone_from(&fact.version),
            Fact::PreviousVersionFound(fact) => self.previous.clone_from(&fact.version),
            Fact::ApprovalRequested(fact) => self.approval = Some(fact.clone()),
            Fact::RollbackPlanned(fact) => self.plan.clone_from(&fact.plan),
            Fact::ImageMoved(fact) => {
                if let Some(named) = self.plan.as_ref().and_then(|plan| by_digest(plan, fact)) {
                    self.plan = Some(named);
                }
            }
            Fact::RollbackHalted(fact) => self.halted = Some(fact.clone()),
            Fact::RollbackFailed(fact) => self.failed = Some(fact.clone()),
            Fact::SmokeTestFinished(fact) => self.checks.push(fact.clone()),
            Fact::VerificationFailed(fact) => self.verification_failed = Some(fact.clone()),
            Fact::Superseded(fact) => self.superseded = Some((sequence, fact.clone())),
            Fact::AlertJoined(fact) => self.joined += fact.occurrences.len(),
            Fact::IncidentClosed(fact) => self.closed = Some((sequence, at, fact.clone())),
            Fact::NotificationRequested(fact) => self.requests.push(request(sequence, at, fact)),
            Fact::Announced(fact) => self.announced(sequence, fact),
            Fact::OnCallNotified(fact) => self.deliver(Audience::OnCall, &fact.reason, &fact.channel, &fact.dedup_key),
            Fact::Escalated(fact) => self.deliver(Audience::TeamLead, &fact.reason, &fact.channel, &fact.dedup_key),
            Fact::NotificationFailed(fact) => self.undelivered(fact),
            _ => {}
        }
        self
    }

    /// What a plan waits for, and that it waits no more.
    fn wait(&mut self, sequence: u64, fact: &Fact) {
        let answers = match fact {
            Fact::RollbackPlanned(planned) => {
                let grace = planned.plan.as_ref().and_then(|plan| time::duration_from_proto(plan.grace.as_ref()));
                if self.approval.is_some() {
                    self.phase = "awaiting_approval";
                } else if grace.is_some_and(|grace| !grace.is_zero()) {
                    self.phase = "in_grace";
                }
                false
            }
            Fact::PersonActed(act) => {
                use v1::Action::{Approve, Decline, Hold, Pause};
                matches!(act.action(), Approve | Decline | Hold | Pause)
            }
            Fact::DeadlinePassed(passed) => {
                let waits = self.phase == "in_grace" && passed.deadline == DeadlineKind::Grace.code();
                self.phase = if waits { "planned" } else { self.phase };
                passed.deadline == DeadlineKind::Approve.code()
            }
            Fact::RollbackHalted(_) | Fact::Superseded(_) => true,
            _ => false,
        };
        if answers && self.approval.is_some() {
            self.answered.get_or_insert(sequence);
            self.phase = if self.phase == "awaiting_approval" { "planned" } else { self.phase };
        }
    }

    fn opened(&mut self, at: Timestamp, fact: &v1::AnomalyDetected) {
        self.opened_at = Some(at);
        self.trigger.clone_from(&fact.trigger);
        let within = fact.deadlines.as_ref().and_then(|deadlines| time::duration_from_proto(deadlines.announce.as_ref()));
        self.announce_within = within.unwrap_or(ANNOUNCE);
    }

    fn announced(&mut self, sequence: u64, fact: &v1::Announced) {
        self.announced = true;
        if self.thread.is_none() && !fact.thread.is_empty() {
            self.thread = Some(Thread { sequence, channel: fact.channel.clone(), thread: fact.thread.clone() });
        }
    }

    fn deliver(&mut self, audience: Audience, reason: &str, channel: &str, dedup_key: &str) {
        self.deliveries.push(Delivery {
            audience,
            reason: reason.to_owned(),
            answer: Answer::Told,
            channel: Some(channel.to_owned()),
            dedup_key: dedup_key.to_owned(),
        });
    }

    fn undelivered(&mut self, fact: &v1::NotificationFailed) {
        self.deliveries.push(Delivery {
            audience: fact.audience(),
            reason: fact.reason.clone(),
            answer: if fact.owed { Answer::Owed } else { Answer::GivenUp },
            channel: None,
            dedup_key: String::new(),
        });
    }

    /// The request that was stored at this place in the stream.
    #[must_use]
    pub fn request(&self, sequence: u64) -> Option<&Request> {
        self.requests.iter().find(|request| request.sequence == sequence)
    }

    /// How this request's (audience, reason) was answered, if it was: the best of the answers.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Answer> {
        let same = |delivery: &&Delivery| delivery.audience == request.audience && delivery.reason == request.reason;
        self.deliveries.iter().filter(same).map(|delivery| delivery.answer).max()
    }

    /// One word for where the incident is.
    #[must_use]
    pub const fn phase(&self) -> &'static str {
        self.phase
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.closed.as_ref().map(|(_, _, closed)| closed.outcome())
    }

    /// The name that the workload goes by in messages: `namespace/name`.
    #[must_use]
    pub fn workload(&self) -> String {
        format!("{}/{}", self.subject.workload.namespace, self.subject.workload.name)
    }

    /// The images of the bad version and of the one to go back to, as text.
    #[must_use]
    pub fn images(&self) -> (String, String) {
        let plan = self.plan.as_ref();
        let from = plan.and_then(|plan| plan.from.as_ref()).or(self.current.as_ref());
        let to = plan.and_then(|plan| plan.to.as_ref()).or(self.previous.as_ref());
        (images(from), images(to))
    }

    /// The last verdict of each check that didn't pass.
    pub fn bad_checks(&self) -> impl Iterator<Item = &v1::SmokeTestFinished> {
        let superseded = |index: usize, check: &str| self.checks.iter().skip(index + 1).any(|later| later.check == check);
        self.checks
            .iter()
            .enumerate()
            .filter(move |(index, check)| check.verdict() != v1::Verdict::Passed && !superseded(*index, &check.check))
            .map(|(_, check)| check)
    }

    /// The dedup keys that this channel opened and that are settled: the rollback was completed, or somebody else's change made
    /// it moot, after they were asked for; or it asks for an approval, and that was answered. What was asked for later (an alert that goes on
    /// after the close) stays open.
    #[must_use]
    pub fn settled_keys(&self, channel: &str) -> Vec<(Audience, String)> {
        self.deliveries
            .iter()
            .filter(|delivery| delivery.channel.as_deref() == Some(channel) && !delivery.dedup_key.is_empty())
            .filter(|delivery| {
                let asked = |r: &&Request| r.audience == delivery.audience && r.reason == delivery.reason;
                self.requests.iter().find(asked).is_some_and(|request| self.is_settled(request))
            })
            .map(|delivery| (delivery.audience, delivery.dedup_key.clone()))
            .collect()
    }

    /// The settled pages that this receiver was to get by the policy's word; which of them it got is not in the log, where others got them too.
    pub fn settled_for<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Request> {
        let names = move |request: &&Request| request.receivers.iter().any(|name| name == receiver);
        self.requests
            .iter()
            .filter(names)
            .filter(|request| self.is_settled(request) && self.answer(request) == Some(Answer::Told))
    }

    fn is_settled(&self, request: &Request) -> bool {
        let completed = self.closed.as_ref().filter(|(_, _, closed)| closed.outcome() == Outcome::Completed);
        let end = completed.map(|(sequence, _, _)| *sequence).or(self.superseded.as_ref().map(|(sequence, _)| *sequence));
        let end = if request.reason == APPROVAL { self.answered.or(end) } else { end };
        end.is_some_and(|end| request.sequence < end) && request.urgency == Urgency::Page
    }
}

fn request(sequence: u64, at: Timestamp, fact: &v1::NotificationRequested) -> Request {
    Request {
        sequence,
        at,
        audience: fact.audience(),
        urgency: fact.urgency(),
        reason: fact.reason.clone(),
        summary: fact.summary.clone(),
        runbook: fact.runbook.clone(),
        receivers: fact.receivers.clone(),
        audience_too: fact.audience_too,
    }
}
