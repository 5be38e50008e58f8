//! Alerts that fire on for days: that they were heard is noted now and then, so that archiving does not take them for over.
//!
//! Guarantees: an alert that is told to fire at least every half of `archive.after` keeps its disposition for as long as it fires, with few
//! facts; two replicas that hear it note it once. Must not: decide anything about the alert or its incident.

use chassis::bus::HandleError;
use contracts::v1;
use jiff::SignedDuration;

use super::batches::{Batches, lost};
use super::{Heard, Note};
use crate::decision::Engine;
use crate::occurrences::{Meaning, is_stale, meaning};

impl Engine {
    /// Notes that these were heard to fire.
    pub(super) async fn note_repeats(&self, note: Note<'_>, alerts: Vec<Heard>) -> Result<(), HandleError> {
        let mut batches = Batches::of(alerts);
        while let Some(batch) = batches.next() {
            let fact = || v1::OccurrenceRepeated { source: note.source.to_owned() }.into();
            let groups = batch.iter().map(|heard| self.occurrence_group(heard, &[fact()])).collect();
            if lost(self.bus.append(groups).await)? {
                let repeats = |heard: &Heard| matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::Repeat(_));
                batches.lost(self, |heard| repeats(heard) && self.nearly_forgotten(note, heard)).await?;
            } else {
                batches.stored();
            }
        }
        Ok(())
    }

    /// Whether nothing was stored about this one for so long that it would soon be forgotten.
    pub(super) fn nearly_forgotten(&self, note: Note<'_>, heard: &Heard) -> bool {
        let forgotten_after = SignedDuration::try_from(self.settings.archive.after).unwrap_or(SignedDuration::MAX);
        is_stale(&heard.known, note.heard_at, forgotten_after)
    }
}
