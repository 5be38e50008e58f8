//! Ledgers and the pause switches on the bus.
//!
//! Guarantees: what is read is as new as the leader's; an append expects what was read. Must not: decide what to record.

use std::collections::{BTreeMap, BTreeSet};

use chassis::bus::{AppendError, Bus, Group, HandleError, NewEvent, ReadError};
use contracts::subjects::{self, streams};
use contracts::v1::{PauseSwitched, WorkloadRef};
use contracts::{DecodeError, LedgerFact};
use lastgood_core::ledger::kept;

use super::LedgerView;

/// Why a ledger could not be read or added to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be added to.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It holds something that can't be folded.
    #[error("the ledger can't be folded")]
    Fold(#[from] DecodeError),
}

impl From<StoreError> for HandleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error.into(),
            StoreError::Append(error) => error.into(),
            StoreError::Fold(error) => error.into(),
        }
    }
}

/// Reads and appends ledgers.
#[derive(Debug, Clone)]
pub struct LedgerStore {
    bus: Bus,
}

impl LedgerStore {
    /// On this bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The bus below.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// A workload's ledger, as it is now.
    pub async fn load(&self, workload: &WorkloadRef) -> Result<LedgerView, StoreError> {
        let stored = self.bus.read_whole(streams::LEDGER, &subjects::ledger_filter(workload)).await?;
        let mut view = LedgerView::default();
        for message in stored {
            let fact = LedgerFact::decode(message.event_type(), &message.data)?;
            view = view.with(message.sequence, message.at, &fact);
        }
        Ok(view)
    }

    /// Adds facts to the ledger that `view` is; none are none.
    pub async fn append(&self, workload: &WorkloadRef, view: &LedgerView, facts: &[LedgerFact]) -> Result<(), StoreError> {
        self.append_after(workload, view.sequence, facts).await
    }

    /// Adds facts to the ledger whose last fact has this sequence (0 for none); none are none.
    pub async fn append_after(&self, workload: &WorkloadRef, expected: u64, facts: &[LedgerFact]) -> Result<(), StoreError> {
        if facts.is_empty() {
            return Ok(());
        }
        let event =
            |fact: &LedgerFact| NewEvent::ledger(self.bus.ids().event(), subjects::ledger(workload, fact.event_type()), fact);
        let events = facts.iter().map(event).collect();
        self.bus.append(vec![Group { filter: subjects::ledger_filter(workload), expected, events }]).await?;
        Ok(())
    }

    /// Replaces the ledger that `view` is by what is kept of it without these versions. Cut off in between, what was to go is still there,
    /// and goes the next time.
    pub async fn compact(&self, workload: &WorkloadRef, view: &LedgerView, without: &BTreeSet<String>) -> Result<(), StoreError> {
        let since = view.current_hash().and_then(|hash| view.current_since(hash));
        let facts: Vec<LedgerFact> = kept(&view.ledger, without, since).into_iter().map(LedgerFact::from).collect();
        let event =
            |fact: &LedgerFact| NewEvent::ledger(self.bus.ids().event(), subjects::ledger(workload, fact.event_type()), fact);
        let events: Vec<_> = facts.iter().map(event).collect();
        if events.is_empty() {
            return Ok(());
        }
        let filter = subjects::ledger_filter(workload);
        let appended = self.bus.append(vec![Group { filter: filter.clone(), expected: view.sequence, events }]).await?;
        self.bus.purge(streams::LEDGER, &filter, appended.first).await?;
        Ok(())
    }

    /// A pause switch's last word and its sequence (0 for none).
    pub async fn switch(&self, scope: &Scope) -> Result<(Option<PauseSwitched>, u64), StoreError> {
        let Some(stored) = self.bus.last(streams::LEDGER, &scope.filter()).await? else {
            return Ok((None, 0));
        };
        match LedgerFact::decode(stored.event_type(), &stored.data)? {
            LedgerFact::PauseSwitched(switched) => Ok((Some(switched), stored.sequence)),
            _ => Ok((None, stored.sequence)),
        }
    }

    /// What the switches of a cluster and of a namespace of it say together: one that is on, the cluster's first.
    pub async fn pause(&self, cluster: &str, namespace: &str) -> Result<Option<PauseSwitched>, StoreError> {
        let (whole, part) = (Scope::cluster(cluster), Scope::namespace(cluster, namespace));
        let ((whole, _), (part, _)) = futures::try_join!(self.switch(&whole), self.switch(&part))?;
        let is_on = |switch: &PauseSwitched| switch.paused;
        Ok(whole.clone().filter(is_on).or_else(|| part.filter(is_on)).or(whole))
    }

    /// The namespaces of a cluster that are paused by a switch of their own, with the switch's last word.
    pub async fn paused_namespaces(&self, cluster: &str) -> Result<Vec<PauseSwitched>, StoreError> {
        let filter = subjects::namespace_switches_filter(cluster);
        let mut last: BTreeMap<String, PauseSwitched> = BTreeMap::new();
        for stored in self.bus.read(streams::LEDGER, &filter, 1, None).await? {
            if let LedgerFact::PauseSwitched(switched) = LedgerFact::decode(stored.event_type(), &stored.data)? {
                last.insert(stored.subject, switched);
            }
        }
        Ok(last.into_values().filter(|switched| switched.paused).collect())
    }

    /// Sets a pause switch; false where it said so already.
    pub async fn set_switch(&self, scope: &Scope, wanted: &PauseSwitched) -> Result<bool, StoreError> {
        let wanted = PauseSwitched { namespace: scope.namespace.clone().unwrap_or_default(), ..wanted.clone() };
        loop {
            let (known, expected) = self.switch(scope).await?;
            let known = known.unwrap_or_default();
            if known.paused == wanted.paused && (known.reason == wanted.reason || !wanted.paused) {
                return Ok(false);
            }
            let fact = LedgerFact::from(wanted.clone());
            let event = NewEvent::ledger(self.bus.ids().event(), scope.subject(fact.event_type()), &fact);
            let group = Group { filter: scope.filter(), expected, events: vec![event] };
            match self.bus.append(vec![group]).await {
                Ok(_) => return Ok(true),
                Err(AppendError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a pause switch stops: a whole cluster, or one namespace of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The cluster.
    pub cluster: String,
    /// The namespace; `None` for all of them.
    pub namespace: Option<String>,
}

impl Scope {
    /// A whole cluster.
    #[must_use]
    pub fn cluster(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), namespace: None }
    }

    /// One namespace.
    #[must_use]
    pub fn namespace(cluster: &str, namespace: &str) -> Self {
        Self { cluster: cluster.to_owned(), namespace: Some(namespace.to_owned()) }
    }

    fn filter(&self) -> String {
        match &self.namespace {
            None => subjects::switch_filter(&self.cluster),
            Some(namespace) => subjects::namespace_switch_filter(&self.cluster, namespace),
        }
    }

    fn subject(&self, event_type: &str) -> String {
        match &self.namespace {
            None => subjects::switch(&self.cluster, event_type),
            Some(namespace) => subjects::namespace_switch(&self.cluster, namespace, event_type),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            None => write!(f, "cluster {}", self.cluster),
            Some(namespace) => write!(f, "namespace {namespace} of cluster {}", self.cluster),
        }
    }
}
