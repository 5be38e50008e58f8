//! The product's own decisions, each asked once: folds, ledgers and courses by the hash of what they hold, answers by their question.
//!
//! Guarantees: an id is a hash of the value's content, the same in every order of exploration; an answer is what the product's function
//! gives. Must not: answer anything that the product was not asked.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use contracts::{DeadlineKind, Fact, FailureReason, HaltReason, LedgerFact, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::{Command, Incident, Phase, Recorded, Refusal, decide, evolve};
use orchestrator::decision;
use orchestrator::ledger::LedgerView;

use super::cluster;
use super::mutation::Mutation;
use super::world::Workload;

/// A fold of an incident's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FoldId(u64);
/// A fold of the workload's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LedgerId(u64);
/// The commands that a decision came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CourseId(u64);

/// A command, small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Open { alert: u8, workload: Workload },
    Join(u8),
    Course(CourseId),
    Start { attempt: u32, live: Workload },
    Supersede(&'static str),
    Halt(&'static str),
    Fail(&'static str),
    BadPodsDown,
    Deployed,
    PodsReady,
    TrafficShifted,
    Check(&'static str, v1::Verdict),
    Pass,
    FailVerification(&'static str),
    UpdateStatus,
    CleanUp,
    Resolve(u8),
    StillFiring(u8),
    Deadline(DeadlineKind),
    Announce,
    Told(u64),
    Untold(u64),
    Acknowledge,
    Decline,
}

/// What a command made of a fold.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub(super) fold: FoldId,
    pub(super) facts: Arc<Vec<Fact>>,
    /// Whether a phase moved where it must not.
    pub(super) illegal: bool,
}

struct Memo<K, V>(RwLock<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }

    fn get(&self, key: &K) -> Option<V> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: K, value: V) -> V {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(value).clone()
    }

    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The question that a decision answers: on which fold, of which incident, after which sequence, what, and by a late clock or not.
type Question = (FoldId, u8, u16, Order, bool);

/// All that was asked so far.
pub(super) struct Book {
    folds: Memo<FoldId, Arc<Incident>>,
    ledgers: Memo<LedgerId, Arc<LedgerView>>,
    courses: Memo<CourseId, Arc<Vec<Command>>>,
    decisions: Memo<Question, Option<Decided>>,
    pub(super) mutation: Option<Mutation>,
}

fn content<T: Debug>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{value:?}").hash(&mut hasher);
    hasher.finish()
}

/// The key of a notification: its audience and reason.
pub(super) fn notice_key(key: &(i32, String)) -> u64 {
    content(key)
}

/// The hour of an incident: all of its facts are of that time.
pub(super) fn hour(incident: u8) -> Timestamp {
    let start = Timestamp::from_second(1_800_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    start.saturating_add(SignedDuration::from_hours(i64::from(incident))).unwrap_or(start)
}

/// What a clock says that is read on time, or late: after every deadline of the incident.
pub(super) fn clock(incident: u8, late: bool) -> Timestamp {
    let late_by = if late { SignedDuration::from_mins(30) } else { SignedDuration::ZERO };
    hour(incident).saturating_add(late_by).unwrap_or(Timestamp::MAX)
}

impl Book {
    pub(super) fn new(mutation: Option<Mutation>) -> Self {
        Self { folds: Memo::new(), ledgers: Memo::new(), courses: Memo::new(), decisions: Memo::new(), mutation }
    }

    /// How many decisions the core was asked for.
    pub(super) fn decisions(&self) -> usize {
        self.decisions.len()
    }

    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(super) fn fold(&self, id: FoldId) -> Arc<Incident> {
        self.folds.get(&id).expect("an id is only made of a fold that is kept")
    }

    pub(super) fn keep(&self, incident: Incident) -> FoldId {
        let id = FoldId(content(&incident));
        self.folds.put(id, Arc::new(incident));
        id
    }

    pub(super) fn ledger(&self, id: LedgerId) -> Arc<LedgerView> {
        self.ledgers.get(&id).expect("an id is only made of a ledger that is kept")
    }

    pub(super) fn keep_ledger(&self, ledger: LedgerView) -> LedgerId {
        let id = LedgerId(content(&ledger));
        self.ledgers.put(id, Arc::new(ledger));
        id
    }

    /// The ledger with one more fact.
    pub(super) fn record(&self, ledger: LedgerId, fact: &LedgerFact) -> LedgerId {
        let view = self.ledger(ledger).as_ref().clone();
        let sequence = view.sequence + 1;
        self.keep_ledger(view.with(sequence, hour(0), fact))
    }

    pub(super) fn keep_course(&self, commands: Vec<Command>) -> CourseId {
        let id = CourseId(content(&commands));
        self.courses.put(id, Arc::new(commands));
        id
    }

    /// What the core makes of a command; `None` where it refuses.
    pub(super) fn decide(&self, fold: FoldId, incident: u8, last: u16, order: Order, late: bool) -> Option<Decided> {
        let question = (fold, incident, last, order, late);
        if let Some(known) = self.decisions.get(&question) {
            return known;
        }
        let answer = self.ask(question);
        self.decisions.put(question, answer)
    }

    fn ask(&self, (fold, incident, last, order, late): Question) -> Option<Decided> {
        let (state, now) = (self.fold(fold), clock(incident, late));
        let commands = self.commands(&state, order);
        let facts = match commands.as_slice() {
            [one] => self.mutated(&state, one, decide(&state, one, now)).ok()?,
            several => decision::fold(&state, several, now).facts,
        };
        if facts.is_empty() {
            return None;
        }
        let (mut after, mut illegal) = (state.as_ref().clone(), false);
        for (sequence, fact) in (u64::from(last) + 1..).zip(&facts) {
            let before = after.phase();
            after = evolve(after, &Recorded { sequence, at: hour(incident), fact: fact.clone() });
            illegal |= !may_follow(before, after.phase());
        }
        Some(Decided { fold: self.keep(after), facts: Arc::new(facts), illegal })
    }

    fn commands(&self, state: &Incident, order: Order) -> Vec<Command> {
        if let Order::Course(course) = order {
            return self.courses.get(&course).map(|commands| commands.as_ref().clone()).unwrap_or_default();
        }
        if let Order::Open { alert, workload } = order {
            let deadlines = orchestrator::config::Settings::default().deadlines.recorded();
            return decision::opening(vec![cluster::occurrence(alert)], deadlines, &cluster::uid(workload));
        }
        vec![command(state, order)]
    }

    /// The answer of a core that was broken on purpose.
    fn mutated(&self, state: &Incident, command: &Command, answer: Result<Vec<Fact>, Refusal>) -> Result<Vec<Fact>, Refusal> {
        match (self.mutation, command, answer) {
            (Some(Mutation::TrustsNoData), Command::PassVerification, Err(_)) if !state.checks.is_empty() => {
                Ok(vec![v1::VerificationPassed { checks: 1 }.into(), v1::Mitigated {}.into()])
            }
            (Some(Mutation::ClosesUntold), _, Ok(facts)) => Ok(untold(facts)),
            (Some(Mutation::EndsTwice), Command::Supersede(fact), Err(_)) if state.closed.is_none() => {
                Ok(vec![fact.clone().into()])
            }
            (Some(Mutation::HaltsAfterIntent), Command::Halt { reason, .. }, Err(_)) if state.phase() == Phase::Acting => {
                Ok(vec![v1::RollbackHalted { reason: reason.code().to_owned(), ..v1::RollbackHalted::default() }.into()])
            }
            (_, _, answer) => answer,
        }
    }
}

/// Asking replaced by closing.
fn untold(facts: Vec<Fact>) -> Vec<Fact> {
    let mut kept: Vec<Fact> = Vec::new();
    for fact in facts {
        match fact {
            Fact::NotificationRequested(f) if !kept.iter().any(|fact| matches!(fact, Fact::IncidentClosed(_))) => {
                kept.push(v1::IncidentClosed { outcome: v1::Outcome::Halted.into(), reason: f.reason }.into());
            }
            Fact::NotificationRequested(_) => {}
            other => kept.push(other),
        }
    }
    kept
}

fn command(state: &Incident, order: Order) -> Command {
    let attempt = state.attempt();
    match order {
        Order::Open { .. } | Order::Course(_) => unreachable!("these are several commands"),
        Order::Join(alert) => Command::JoinAlerts(vec![cluster::occurrence(alert)]),
        Order::Start { attempt, live } => Command::StartAttempt(intent(state, attempt, live)),
        Order::Supersede(what) => Command::Supersede(v1::Superseded { what: what.to_owned(), ..v1::Superseded::default() }),
        Order::Halt(reason) => Command::Halt {
            reason: HaltReason::parse(reason).expect("a halt is one that the product named"),
            detail: String::new(),
            would_do: String::new(),
        },
        Order::Fail(reason) => {
            Command::Fail(v1::RollbackFailed { attempt, reason: reason.to_owned(), ..v1::RollbackFailed::default() })
        }
        Order::BadPodsDown => Command::ReportBadPodsDown(v1::BadPodsScaledDown { attempt, pods: 1 }),
        Order::Deployed => {
            Command::ReportDeployed(v1::PreviousVersionDeployed { attempt, ..v1::PreviousVersionDeployed::default() })
        }
        Order::PodsReady => Command::ReportPodsReady(v1::PodsReady { attempt, ready: 1, desired: 1 }),
        Order::TrafficShifted => Command::ReportTrafficShifted(v1::TrafficShifted { attempt, services: Vec::new() }),
        Order::Check(check, verdict) => Command::RecordCheck(v1::SmokeTestFinished {
            check: check.to_owned(),
            verdict: verdict.into(),
            ..v1::SmokeTestFinished::default()
        }),
        Order::Pass => Command::PassVerification,
        Order::FailVerification(reason) => {
            Command::FailVerification(v1::VerificationFailed { reason: reason.to_owned(), failed_checks: Vec::new() })
        }
        Order::UpdateStatus => Command::UpdateStatus(v1::StatusUpdated::default()),
        Order::CleanUp => Command::CleanUp(v1::OldResourcesCleaned::default()),
        Order::Resolve(alert) => Command::ResolveAlert(v1::AlertResolved {
            fingerprint: cluster::occurrence(alert).fingerprint,
            ..v1::AlertResolved::default()
        }),
        Order::StillFiring(alert) => Command::StillFiring { fingerprint: cluster::occurrence(alert).fingerprint },
        Order::Deadline(kind) => Command::PassDeadline(kind),
        Order::Announce => Command::Announce(v1::Announced { channel: "chat".into(), thread: "1".into() }),
        Order::Told(_) | Order::Untold(_) => answer_to(state, order),
        Order::Acknowledge => act(v1::Action::Acknowledge),
        Order::Decline => act(v1::Action::Decline),
    }
}

fn act(action: v1::Action) -> Command {
    Command::PersonAct(v1::PersonActed { action: action.into(), who: "ann".into(), ..v1::PersonActed::default() })
}

fn answer_to(state: &Incident, order: Order) -> Command {
    let (Order::Told(wanted) | Order::Untold(wanted)) = order else { unreachable!("only these answer a request") };
    let key = state.notices.keys().find(|key| notice_key(key) == wanted).cloned().unwrap_or_default();
    let audience = v1::Audience::try_from(key.0).unwrap_or(v1::Audience::OnCall);
    if matches!(order, Order::Told(_)) {
        return Command::RecordDelivery { audience, reason: key.1, channel: "chat".into(), dedup_key: String::new() };
    }
    Command::RecordUndelivered(v1::NotificationFailed { audience: key.0, reason: key.1, error: String::new() })
}

/// As the executor makes it.
fn intent(state: &Incident, attempt: u32, live: Workload) -> v1::RollbackStarted {
    let plan = state.plan.as_ref().map(|(_, plan)| plan);
    let hash = |version: Option<&v1::Version>| version.map(|version| version.template_hash.clone()).unwrap_or_default();
    v1::RollbackStarted {
        attempt,
        workload_uid: cluster::uid(live),
        workload_generation: i64::from(live.generation),
        template_hash: hash(plan.and_then(|plan| plan.from.as_ref())),
        target_template_hash: hash(plan.and_then(|plan| plan.to.as_ref())),
    }
}

/// Which phases may follow which: forward only, an outcome is final, and only what was verified is mitigated.
fn may_follow(before: Phase, after: Phase) -> bool {
    use Phase::{Absent, Acting, Closed, Detected, Ended, Identified, Mitigated, Planned, TargetFound, TargetMissing, Verifying};
    if before == after {
        return true;
    }
    match (before, after) {
        (Absent, Detected)
        | (Detected, Identified)
        | (Identified, TargetFound | TargetMissing)
        | (TargetFound, Planned)
        | (Planned, Acting)
        | (Acting, Verifying)
        | (Verifying, Mitigated) => true,
        (Mitigated, Ended(outcome)) => !matches!(outcome, v1::Outcome::Halted),
        (Verifying, Ended(outcome)) => matches!(outcome, v1::Outcome::VerificationFailed | v1::Outcome::Superseded),
        // Whether a halt was true is a promise of its own.
        (Acting, Ended(outcome)) => {
            matches!(outcome, v1::Outcome::RollbackFailed | v1::Outcome::Superseded | v1::Outcome::Halted)
        }
        (Detected | Identified | TargetFound | TargetMissing | Planned, Ended(outcome)) => {
            matches!(outcome, v1::Outcome::Halted | v1::Outcome::Superseded)
        }
        (Ended(decided), Closed(outcome)) => decided == outcome,
        _ => false,
    }
}

/// The reason with which the executor fails what it can't see.
pub(super) const NOT_READY: &str = FailureReason::PodsNotReady.code();
