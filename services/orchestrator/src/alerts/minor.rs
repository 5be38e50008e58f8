//! What is left of a notification: alerts that ended, that fire on, and that belong nowhere.
//!
//! Guarantees: an end is stored on the occurrence and on its incident in one append; a dismissal says why; many go in few appends. Must
//! not: open or join anything.

use std::collections::BTreeMap;

use chassis::bus::{Group, HandleError, NewEvent};
use chassis::incidents::ExecuteError;
use contracts::{DismissReason, IncidentSubject, OccurrenceFact, subjects, v1};
use jiff::Timestamp;
use lastgood_core::incident::Command;

use super::{Heard, Note, TRIES, batch_len, contended, lost};
use crate::correlate::Dismissal;
use crate::decision::{Engine, fold};
use crate::occurrences::{Meaning, meaning};

impl Engine {
    /// Alerts that have a disposition and fire on: a closed incident hears of it.
    pub(super) async fn repeats(&self, note: Note<'_>, alerts: Vec<Heard>) -> Result<(), HandleError> {
        for (subject, alerts) in by_incident(note, alerts) {
            let Some(subject) = subject else { continue };
            let closed = self.incidents.load(&subject, None).await?.incident.closed.is_some();
            for heard in alerts.iter().filter(|_| closed) {
                let command = Command::StillFiring { fingerprint: heard.alert.fingerprint.clone() };
                let executed = self.incidents.execute(&subject, None, &command, note.heard_at).await;
                if ExecuteError::settled(executed)?.is_some() {
                    tracing::warn!(incident = %subject, fingerprint = heard.alert.fingerprint, "an alert outlives its incident");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Alerts that ended.
    pub(super) async fn ends(&self, note: Note<'_>, alerts: Vec<Heard>) -> Result<(), HandleError> {
        for (subject, mut alerts) in by_incident(note, alerts) {
            let mut tries = 0;
            while !alerts.is_empty() {
                let rest = alerts.split_off(batch_len(alerts.iter()).min(alerts.len()));
                if self.end_some(note, subject.as_ref(), &alerts).await? {
                    alerts = rest;
                    continue;
                }
                tries += 1;
                if tries >= TRIES {
                    return Err(contended());
                }
                let again = alerts.into_iter().chain(rest).map(|heard| heard.alert).collect();
                let has_ended = |heard: &Heard| matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::Ended(..));
                alerts = self.hear(again).await?.into_iter().filter(has_ended).collect();
            }
        }
        Ok(())
    }

    /// One append; false where it lost.
    async fn end_some(&self, note: Note<'_>, subject: Option<&IncidentSubject>, alerts: &[Heard]) -> Result<bool, HandleError> {
        let mut groups = Vec::with_capacity(alerts.len() + 1);
        if let Some(subject) = subject {
            let loaded = self.incidents.load(subject, None).await?;
            let resolved = |heard: &Heard| {
                let ends_at = Some(contracts::time::to_proto(ended_at(note, heard)));
                let (fingerprint, seen_by) = (heard.alert.fingerprint.clone(), note.source.to_owned());
                Command::ResolveAlert(v1::AlertResolved { fingerprint, ends_at, seen_by })
            };
            let commands: Vec<_> = alerts.iter().map(resolved).collect();
            let proposal = fold(&loaded.incident, &commands, self.clock.now());
            if !proposal.facts.is_empty() {
                groups.push(self.incidents.group(subject, loaded.expected, &proposal.facts));
            }
        }
        groups.extend(alerts.iter().map(|heard| {
            let ends_at = Some(contracts::time::to_proto(ended_at(note, heard)));
            self.occurrence_group(heard, &[v1::OccurrenceResolved { ends_at }.into()])
        }));
        let won = !lost(self.bus.append(groups).await)?;
        if won {
            metrics::counter!("lastgood_dispositions_total", "disposition" => "resolved").increment(alerts.len() as u64);
        }
        Ok(won)
    }

    /// Alerts that had ended before anyone looked: dismissed, and ended.
    pub(super) async fn unseen(&self, note: Note<'_>, alerts: Vec<Heard>) -> Result<(), HandleError> {
        let dismissal = |_: &Heard| Dismissal {
            reason: DismissReason::AlreadyResolved,
            detail: "it had ended before it was looked at".to_owned(),
        };
        self.dismiss(note, alerts.into_iter().map(|heard| (dismissal(&heard), heard)).map(|(d, h)| (h, d)).collect()).await
    }

    /// Alerts that belong nowhere.
    pub(super) async fn dismiss(&self, note: Note<'_>, alerts: Vec<(Heard, Dismissal)>) -> Result<(), HandleError> {
        let mut left = alerts;
        let mut tries = 0;
        while !left.is_empty() {
            let rest = left.split_off(batch_len(left.iter().map(|(heard, _)| heard)).min(left.len()));
            let groups = left.iter().map(|(heard, dismissal)| self.dismissal_group(note, heard, dismissal)).collect();
            if !lost(self.bus.append(groups).await)? {
                for (heard, dismissal) in &left {
                    let (reason, detail) = (dismissal.reason.code(), &dismissal.detail);
                    tracing::info!(fingerprint = heard.alert.fingerprint, reason, detail, "alert dismissed");
                    metrics::counter!("lastgood_dispositions_total", "disposition" => "dismissed", "reason" => reason)
                        .increment(1);
                }
                left = rest;
                continue;
            }
            tries += 1;
            if tries >= TRIES {
                return Err(contended());
            }
            left = self.still_undisposed(note, left.into_iter().chain(rest).collect()).await?;
        }
        Ok(())
    }

    async fn still_undisposed(
        &self,
        note: Note<'_>,
        alerts: Vec<(Heard, Dismissal)>,
    ) -> Result<Vec<(Heard, Dismissal)>, HandleError> {
        let (alerts, dismissals): (Vec<_>, Vec<_>) =
            alerts.into_iter().map(|(heard, dismissal)| (heard.alert, dismissal)).unzip();
        let heard = self.hear(alerts).await?;
        let open = |(heard, _): &(Heard, Dismissal)| {
            matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::New | Meaning::EndedUnseen(_))
        };
        Ok(heard.into_iter().zip(dismissals).filter(open).collect())
    }

    fn dismissal_group(&self, note: Note<'_>, heard: &Heard, dismissal: &Dismissal) -> Group {
        let mut facts: Vec<OccurrenceFact> = vec![
            v1::OccurrenceDismissed {
                reason: dismissal.reason.code().to_owned(),
                detail: dismissal.detail.clone(),
                starts_at: heard.alert.starts_at,
            }
            .into(),
        ];
        if dismissal.reason == DismissReason::AlreadyResolved {
            // Otherwise its next firing would look like this one's repeat.
            let ends_at = Some(contracts::time::to_proto(ended_at(note, heard)));
            facts.push(v1::OccurrenceResolved { ends_at }.into());
        }
        self.occurrence_group(heard, &facts)
    }

    fn occurrence_group(&self, heard: &Heard, facts: &[OccurrenceFact]) -> Group {
        let fingerprint = &heard.alert.fingerprint;
        let events = facts.iter().map(|fact| NewEvent::occurrence(self.bus.ids().event(), fingerprint, fact)).collect();
        Group { filter: subjects::occurrence_filter(fingerprint), expected: heard.known.sequence, events }
    }
}

fn ended_at(note: Note<'_>, heard: &Heard) -> Timestamp {
    contracts::time::from_proto(heard.alert.ends_at.as_ref()).unwrap_or(note.heard_at)
}

/// Alerts by the incident that they belong to.
fn by_incident(note: Note<'_>, alerts: Vec<Heard>) -> Vec<(Option<IncidentSubject>, Vec<Heard>)> {
    let mut groups: BTreeMap<String, (Option<IncidentSubject>, Vec<Heard>)> = BTreeMap::new();
    for heard in alerts {
        let subject = match meaning(&heard.known, &heard.alert, note.heard_at) {
            Meaning::Ended(subject, _) | Meaning::Repeat(subject) => subject,
            _ => None,
        };
        let key = subject.as_ref().map(IncidentSubject::filter).unwrap_or_default();
        groups.entry(key).or_insert_with(|| (subject, Vec::new())).1.push(heard);
    }
    groups.into_values().collect()
}
