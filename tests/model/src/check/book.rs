//! The product's own decisions, each asked once: folds, ledgers and courses by the hash of what they hold, answers by their question.
//!
//! Guarantees: an id is a hash of the value's content, the same in every order of exploration; an answer is what the product's function
//! gives. Must not: answer anything that the product was not asked.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use contracts::{Fact, LedgerFact, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::{Command, Incident, Phase, Recorded, Refusal, decide, evolve};
use lastgood_core::ledger::Known;
use orchestrator::decision;
use orchestrator::ledger::LedgerView;

use super::cluster;
use super::mutation::Mutation;
use super::order::{Order, command};

/// A fold of an incident's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FoldId(u64);
/// A fold of the workload's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LedgerId(u64);
/// The commands that a decision came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CourseId(u64);

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

/// The question that a decision answers: on which fold, of which incident, what, and by a late clock or not.
type Question = (FoldId, u8, Order, bool);

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

    /// The ledger with one more fact. Of sequences only their order counts: they are numbered anew.
    pub(super) fn record(&self, ledger: LedgerId, fact: &LedgerFact) -> LedgerId {
        let view = self.ledger(ledger).as_ref().clone();
        let sequence = view.sequence + 1;
        let mut view = view.with(sequence, hour(0), fact);
        let mut by_age: Vec<&mut Known> = view.ledger.versions.values_mut().collect();
        by_age.sort_by_key(|known| known.last_current);
        view.sequence = (1..).zip(by_age).map(|(rank, known)| known.last_current = rank).count() as u64;
        self.keep_ledger(view)
    }

    pub(super) fn keep_course(&self, commands: Vec<Command>) -> CourseId {
        let id = CourseId(content(&commands));
        self.courses.put(id, Arc::new(commands));
        id
    }

    /// What the core makes of a command; `None` where it refuses.
    pub(super) fn decide(&self, fold: FoldId, incident: u8, order: Order, late: bool) -> Option<Decided> {
        let question = (fold, incident, order, late);
        if let Some(known) = self.decisions.get(&question) {
            return known;
        }
        let answer = self.ask(question);
        self.decisions.put(question, answer)
    }

    fn ask(&self, (fold, incident, order, late): Question) -> Option<Decided> {
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
        for fact in &facts {
            let before = after.phase();
            // Sequences are left out (see `Log`): nothing is decided by them.
            after = evolve(after, &Recorded { sequence: 0, at: hour(incident), fact: fact.clone() });
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
            (Some(Mutation::ActsUnapproved), Command::StartAttempt(intent), Err(_))
                if state.phase() == Phase::AwaitingApproval =>
            {
                Ok(vec![intent.clone().into()])
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

/// Which phases may follow which: forward only, an outcome is final, and only what was verified is mitigated.
fn may_follow(before: Phase, after: Phase) -> bool {
    use Phase::{Absent, Acting, Closed, Detected, Ended, Identified, Mitigated, Planned, TargetFound, TargetMissing, Verifying};
    use Phase::{AwaitingApproval, InGrace};
    if before == after {
        return true;
    }
    match (before, after) {
        (Absent, Detected)
        | (Detected, Identified)
        | (Identified, TargetFound | TargetMissing)
        | (TargetFound, Planned | AwaitingApproval | InGrace)
        | (AwaitingApproval, Planned | InGrace)
        | (InGrace, Planned)
        | (Planned, Acting)
        | (Acting, Verifying)
        | (Verifying, Mitigated) => true,
        (Mitigated, Ended(outcome)) => !matches!(outcome, v1::Outcome::Halted),
        (Verifying, Ended(outcome)) => matches!(outcome, v1::Outcome::VerificationFailed | v1::Outcome::Superseded),
        // Whether a halt was true is a promise of its own.
        (Acting, Ended(outcome)) => {
            matches!(outcome, v1::Outcome::RollbackFailed | v1::Outcome::Superseded | v1::Outcome::Halted)
        }
        (Detected | Identified | TargetFound | TargetMissing | AwaitingApproval | InGrace | Planned, Ended(outcome)) => {
            matches!(outcome, v1::Outcome::Halted | v1::Outcome::Superseded)
        }
        (Ended(decided), Closed(outcome)) => decided == outcome,
        _ => false,
    }
}
