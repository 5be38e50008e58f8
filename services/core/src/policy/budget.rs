//! How much may be rolled back: who has taken of a cluster's budgets, and whether another incident may.
//!
//! Guarantees: an incident counts once, however often it takes; one that never returns stops counting as under way after the time that it took
//! with; of incidents that ask at the same moment the log's expectation lets one in after the other, each seeing those before. Must not: read
//! anything; what has been taken comes from the log.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::BudgetFact;
use contracts::v1::WorkloadRef;
use jiff::{SignedDuration, Timestamp};

use super::Budgets;

/// What "an hour" is.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Incidents that a refusal names.
const NAMED: usize = 3;

/// What an incident has taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The workload that it is about.
    pub workload: WorkloadRef,
    /// When it took.
    pub at: Timestamp,
    /// Until when it counts as under way, should it never return.
    pub expires_at: Timestamp,
    /// Whether it is over.
    pub returned: bool,
    /// The sequence of its taking.
    pub sequence: u64,
}

/// The fold of a cluster's budget facts, by incident.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// Who has taken, as far as it may matter.
    pub taken: BTreeMap<String, Taken>,
    /// The last fact's sequence: what an append expects.
    pub sequence: u64,
}

/// Which budget is spent, and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{budget}: {limit} allowed; {held} {by}")]
pub struct Overspent {
    /// Which, for people.
    pub budget: String,
    /// How many it allows.
    pub limit: u32,
    /// How many there are, in words.
    pub held: String,
    /// Whose.
    pub by: String,
}

/// The budgets after one more fact; `sequence` and `at` are the stream's.
#[must_use]
pub fn evolve(mut spent: Spent, sequence: u64, at: Timestamp, fact: &BudgetFact) -> Spent {
    spent.sequence = spent.sequence.max(sequence);
    match fact {
        BudgetFact::BudgetTaken(fact) => {
            let lasts = contracts::time::duration_from_proto(fact.expires_after.as_ref()).unwrap_or_default();
            let taken = Taken {
                workload: fact.workload.clone().unwrap_or_default(),
                at,
                expires_at: later(at, lasts),
                returned: false,
                sequence,
            };
            spent.taken.insert(fact.incident.clone(), taken);
        }
        BudgetFact::BudgetReturned(fact) if fact.unused => drop(spent.taken.remove(&fact.incident)),
        BudgetFact::BudgetReturned(fact) => {
            if let Some(taken) = spent.taken.get_mut(&fact.incident) {
                taken.returned = true;
            }
        }
    }
    spent
}

fn later(at: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length).ok().and_then(|length| at.checked_add(length).ok()).unwrap_or(Timestamp::MAX)
}

impl Taken {
    /// Whether its rollback may be under way.
    #[must_use]
    pub fn is_under_way(&self, now: Timestamp) -> bool {
        !self.returned && now < self.expires_at
    }

    /// Whether it counts against its workload's hour.
    fn is_of_this_hour(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < HOUR
    }

    fn matters(&self, now: Timestamp) -> bool {
        self.is_under_way(now) || self.is_of_this_hour(now)
    }
}

impl Spent {
    /// Whether an incident has taken, and not returned it.
    #[must_use]
    pub fn holds(&self, incident: &str) -> bool {
        self.taken.get(incident).is_some_and(|taken| !taken.returned)
    }

    /// Whether the incident may roll this workload back within these budgets; what it has itself taken does not stand in its way.
    pub fn allows(&self, incident: &str, workload: &WorkloadRef, budgets: Budgets, now: Timestamp) -> Result<(), Overspent> {
        let others = || self.taken.iter().filter(|(id, _)| *id != incident);
        let under_way = || others().filter(|(_, taken)| taken.is_under_way(now));
        let hour = others().filter(|(_, taken)| taken.workload == *workload && taken.is_of_this_hour(now));
        within("rollbacks of this workload within an hour", budgets.workload_per_hour, "made", hour)?;
        let namespace = under_way().filter(|(_, taken)| taken.workload.namespace == workload.namespace);
        let name = format!("rollbacks at the same time in namespace {}", workload.namespace);
        within(&name, budgets.namespace_concurrent, "under way", namespace)?;
        within("rollbacks at the same time in the cluster", budgets.cluster_concurrent, "under way", under_way())
    }

    /// The sequence below which no fact matters any more, so that it may go from the log. The last fact always stays: what an append expects.
    #[must_use]
    pub fn needed_from(&self, now: Timestamp) -> u64 {
        let needed = self.taken.values().filter(|taken| taken.matters(now)).map(|taken| taken.sequence).min();
        needed.unwrap_or(u64::MAX).min(self.sequence)
    }
}

fn within<'a>(
    budget: &str,
    limit: Option<u32>,
    what: &str,
    held: impl Iterator<Item = (&'a String, &'a Taken)>,
) -> Result<(), Overspent> {
    let Some(limit) = limit else { return Ok(()) };
    let held: Vec<_> = held.collect();
    if held.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        return Ok(());
    }
    let named = held.iter().take(NAMED).map(|(incident, taken)| format!("{incident} ({})", taken.workload.name));
    let mut by: Vec<String> = named.collect();
    by.extend((held.len() > NAMED).then(|| format!("{} more", held.len() - NAMED)));
    let by = if by.is_empty() { "by anybody".to_owned() } else { format!("by {}", by.join(", ")) };
    Err(Overspent { budget: budget.to_owned(), limit, held: format!("{} {what}", held.len()), by })
}

#[cfg(test)]
mod tests;
