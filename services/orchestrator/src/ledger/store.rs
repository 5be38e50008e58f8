//! Ledgers and the pause switch on the bus.
//!
//! Guarantees: what is read is as new as the leader's; an append expects what was read. Must not: decide what to record.

use std::collections::BTreeSet;

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

    /// Adds facts to the ledger that `view` is, and reads what it is with them.
    pub async fn add(&self, workload: &WorkloadRef, view: LedgerView, facts: &[LedgerFact]) -> Result<LedgerView, StoreError> {
        if facts.is_empty() {
            return Ok(view);
        }
        self.append(workload, &view, facts).await?;
        self.load(workload).await
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
        if facts.is_empty() {
            return Ok(());
        }
        let event =
            |fact: &LedgerFact| NewEvent::ledger(self.bus.ids().event(), subjects::ledger(workload, fact.event_type()), fact);
        let events = facts.iter().map(event).collect();
        self.bus.append(vec![Group { filter: subjects::ledger_filter(workload), expected: view.sequence, events }]).await?;
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

    /// The pause switch's last word and its sequence (0 for none).
    pub async fn switch(&self, cluster: &str) -> Result<(Option<PauseSwitched>, u64), StoreError> {
        let Some(stored) = self.bus.last(streams::LEDGER, &subjects::switch_filter(cluster)).await? else {
            return Ok((None, 0));
        };
        match LedgerFact::decode(stored.event_type(), &stored.data)? {
            LedgerFact::PauseSwitched(switched) => Ok((Some(switched), stored.sequence)),
            _ => Ok((None, stored.sequence)),
        }
    }

    /// Sets the pause switch; false where it said so already.
    pub async fn set_switch(&self, cluster: &str, wanted: &PauseSwitched) -> Result<bool, StoreError> {
        loop {
            let (known, expected) = self.switch(cluster).await?;
            if known.is_some_and(|known| known.paused == wanted.paused && (known.reason == wanted.reason || !wanted.paused)) {
                return Ok(false);
            }
            let fact = LedgerFact::from(wanted.clone());
            let event = NewEvent::ledger(self.bus.ids().event(), subjects::switch(cluster, fact.event_type()), &fact);
            let group = Group { filter: subjects::switch_filter(cluster), expected, events: vec![event] };
            match self.bus.append(vec![group]).await {
                Ok(_) => return Ok(true),
                Err(AppendError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
