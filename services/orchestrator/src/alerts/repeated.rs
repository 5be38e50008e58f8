//! Alerts that fire on for days: that they were heard is noted now and then, so that archiving does not take them for over.
//!
//! Guarantees: an alert that is told to fire at least every half of `archive.after` keeps its disposition for as long as it fires, with few
//! facts; two replicas that hear it note it once. Must not: decide anything about the alert or its incident.

use chassis::bus::HandleError;
use contracts::v1;
use jiff::SignedDuration;

use super::{Heard, Note, TRIES, batch_len, contended, lost};
use crate::decision::Engine;
use crate::occurrences::{Meaning, is_stale, meaning};

impl Engine {
    /// Notes that these were heard to fire.
    pub(super) async fn note_repeats(&self, note: Note<'_>, mut alerts: Vec<Heard>) -> Result<(), HandleError> {
        let mut tries = 0;
        while !alerts.is_empty() {
            let rest = alerts.split_off(batch_len(alerts.iter()).min(alerts.len()));
            let fact = || v1::OccurrenceRepeated { source: note.source.to_owned() }.into();
            let groups = alerts.iter().map(|heard| self.occurrence_group(heard, &[fact()])).collect();
            if !lost(self.bus.append(groups).await)? {
                alerts = rest;
                continue;
            }
            tries += 1;
            if tries >= TRIES {
                return Err(contended());
            }
            let again = self.hear(alerts.into_iter().chain(rest).map(|heard| heard.alert).collect()).await?;
            alerts = again.into_iter().filter(|heard| self.is_to_be_noted(note, heard)).collect();
        }
        Ok(())
    }

    /// Whether this one fires on, and nothing was stored about it for so long that it would soon be forgotten.
    pub(super) fn is_to_be_noted(&self, note: Note<'_>, heard: &Heard) -> bool {
        let forgotten_after = SignedDuration::try_from(self.settings.archive.after).unwrap_or(SignedDuration::MAX);
        matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::Repeat(_))
            && is_stale(&heard.known, note.heard_at, forgotten_after)
    }
}
