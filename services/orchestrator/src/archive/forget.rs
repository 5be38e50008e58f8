//! Occurrences that are over leave the log: what an alert's disposition was is on its incident, and a dismissal was counted.
//!
//! Guarantees: a disposition goes only together with its end, or when nothing was heard of the alert for very long; what follows it stays, and
//! an alert that is heard to fire keeps its disposition, however long it fires.
//! Must not: take a disposition away while a notification from before its end waits to be handled: that would look like a new firing.

use std::collections::BTreeMap;

use chassis::bus::Stored;
use contracts::OccurrenceFact;
use contracts::subjects::{self, streams};
use futures::{StreamExt, TryStreamExt, stream};

use super::rules::{self, Follows};
use super::{Archivist, Look, RoundError};
use crate::occurrences::REPEATED;

/// Purges at the same time.
const AT_ONCE: usize = 4;

impl Archivist {
    /// A page of occurrences: how many facts went, and where the next page begins.
    pub(super) async fn forget(&self, look: &Look, from: u64) -> Result<(u64, Option<u64>), RoundError> {
        let bus = &self.engine.bus;
        let (page, more) = bus.page(streams::INCIDENTS, subjects::ALL_OCCURRENCES, from).await?;
        let whole = page.len();
        let old: Vec<Stored> = page.into_iter().take_while(|stored| stored.at < look.heard_limits.ended_before).collect();
        let next = old.last().filter(|_| more && old.len() == whole).map(|last| last.sequence + 1);
        let judging = old.into_iter().map(|stored| async move { self.judge(look, &stored).await });
        let going: Vec<_> =
            stream::iter(judging).buffered(AT_ONCE).try_filter_map(|going| async { Ok(going) }).try_collect().await?;
        // Of a filter the latest: everything before goes with it.
        let up_to: BTreeMap<String, u64> = going.into_iter().collect();
        let purges = up_to
            .into_iter()
            .map(|(filter, sequence)| async move { bus.purge(streams::INCIDENTS, &filter, sequence.saturating_add(1)).await });
        let counts: Vec<u64> = stream::iter(purges).buffer_unordered(AT_ONCE).try_collect().await?;
        let forgotten = counts.into_iter().sum();
        metrics::counter!("lastgood_occurrence_facts_forgotten_total").increment(forgotten);
        Ok((forgotten, next))
    }

    /// The filter and the sequence up to which what it matches may go, by this fact.
    async fn judge(&self, look: &Look, stored: &Stored) -> Result<Option<(String, u64)>, RoundError> {
        let Some(fingerprint) = stored.subject.split('.').nth(2) else { return Ok(None) };
        let Ok(fact) = OccurrenceFact::decode(stored.event_type(), &stored.data) else { return Ok(None) };
        if rules::unhandled(&look.consumers, &[(stored.subject.as_str(), stored.sequence)]).is_some() {
            return Ok(None);
        }
        let limits = &look.heard_limits;
        let superseded = rules::is_superseded(&fact, stored.at, Follows::Repeat, limits);
        if !superseded && !rules::may_forget(&fact, stored.at, Follows::Nothing, limits, look.heard_before) {
            // Whatever follows, it stays.
            return Ok(None);
        }
        let all = subjects::occurrence_filter(fingerprint);
        let follows = match self.engine.bus.last(streams::INCIDENTS, &all).await? {
            Some(last) if last.sequence == stored.sequence => Follows::Nothing,
            Some(last) if last.event_type() == REPEATED => Follows::Repeat,
            _ => Follows::Other,
        };
        if rules::may_forget(&fact, stored.at, follows, limits, look.heard_before) {
            return Ok(Some((all, stored.sequence)));
        }
        let repeats = || (subjects::occurrence(fingerprint, REPEATED), stored.sequence);
        Ok(rules::is_superseded(&fact, stored.at, follows, limits).then(repeats))
    }
}
