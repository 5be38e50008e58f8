//! A notification's alerts, stored append by append.
//!
//! Guarantees: an append is bounded in number and bytes; after one that lost, what is known of all that are left is read again and only those go
//! on that still should; a notification that keeps losing goes back. Must not: know what is stored.

use chassis::bus::{AppendError, HandleError};

use super::Heard;
use crate::decision::Engine;

/// Occurrences in one append; a batch holds at most 1000 messages, and some are the incident's.
const BATCH: usize = 400;
/// Bytes of alerts in one append: a join is one message, and NATS takes 1 MiB a message.
const BATCH_BYTES: usize = 512 * 1024;
/// How often an append is decided again after it lost, before the message goes back.
pub(crate) const TRIES: usize = 20;

/// Alerts that are still to be stored.
#[derive(Debug)]
pub(super) struct Batches {
    left: Vec<Heard>,
    lost: usize,
}

impl Batches {
    /// All of these, in this order.
    pub(super) const fn of(alerts: Vec<Heard>) -> Self {
        Self { left: alerts, lost: 0 }
    }

    /// What goes into the next append, at least one; `None` when all is stored.
    pub(super) fn next(&self) -> Option<&[Heard]> {
        (!self.left.is_empty()).then(|| &self.left[..len(&self.left)])
    }

    /// That is stored.
    pub(super) fn stored(&mut self) {
        self.left.drain(..len(&self.left));
    }

    /// Somebody else was faster: gives back those that are not to `go_on`, as they are known now.
    pub(super) async fn lost(&mut self, engine: &Engine, go_on: impl Fn(&Heard) -> bool) -> Result<Vec<Heard>, HandleError> {
        self.lost += 1;
        if self.lost >= TRIES {
            return Err(contended());
        }
        let again = std::mem::take(&mut self.left).into_iter().map(|heard| heard.alert).collect();
        let others;
        (self.left, others) = engine.hear(again).await?.into_iter().partition(go_on);
        Ok(others)
    }
}

/// How many of these go into one append: at least one.
fn len(alerts: &[Heard]) -> usize {
    let size = |text: &String| text.len() + 4;
    let weigh = |heard: &Heard| {
        let texts = heard.alert.labels.iter().chain(&heard.alert.annotations);
        texts.map(|(key, value)| size(key) + size(value)).sum::<usize>() + heard.alert.generator_url.len() + 256
    };
    let mut bytes = 0;
    let fits = |heard: &&Heard| {
        bytes += weigh(heard);
        bytes <= BATCH_BYTES
    };
    alerts.iter().take(BATCH).take_while(fits).count().max(1)
}

/// Whether an append lost; other errors are the handler's.
pub(super) fn lost(result: Result<chassis::bus::Appended, AppendError>) -> Result<bool, HandleError> {
    match result {
        Ok(_) => Ok(false),
        Err(AppendError::Lost) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// After too many lost appends.
pub(crate) fn contended() -> HandleError {
    HandleError::retry(std::time::Duration::from_millis(500), "lost against other writers too often")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contracts::v1;

    use super::*;
    use crate::occurrences::Known;

    fn heard(bytes: usize) -> Heard {
        let labels = BTreeMap::from([("long".to_owned(), "x".repeat(bytes))]);
        Heard { alert: v1::Alert { labels, ..v1::Alert::default() }, known: Known::default() }
    }

    #[test]
    fn an_append_is_bounded_by_number_and_by_size() {
        assert_eq!(len(&vec![heard(10); 9000]), BATCH);
        assert_eq!(len(&vec![heard(100_000); 40]), 5);
        assert_eq!(len(&[heard(900_000)]), 1);
    }

    #[test]
    fn each_is_stored_once() {
        let mut batches = Batches::of(vec![heard(10); 1000]);
        let mut lengths = Vec::new();
        while let Some(batch) = batches.next() {
            lengths.push(batch.len());
            batches.stored();
        }
        assert_eq!(lengths, [BATCH, BATCH, 200]);
    }
}
