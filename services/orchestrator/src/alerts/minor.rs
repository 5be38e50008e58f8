//! What is left of a notification: alerts that ended, that fire on, and that belong nowhere.
//!
//! Guarantees: an end is stored on the occurrence and on its incident in one append; a dismissal says why; many go in few appends. Must
//! not: open or join anything.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::bus::{Group, HandleError, NewEvent};
use chassis::incidents::ExecuteError;
use contracts::{DismissReason, IncidentSubject, OccurrenceFact, subjects, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::{Command, Incident};
use lastgood_core::template;

use super::batches::{Batches, lost};
use super::{Heard, Note};
use crate::cluster::Kind;
use crate::correlate::Dismissal;
use crate::decision::{Engine, fold};
use crate::occurrences::{Meaning, meaning};

/// When a notification is looked at again that another one was faster than.
const AGAIN: Duration = Duration::from_millis(50);
/// How far the clock of whoever says when an alert ended may be ahead.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(10);

impl Engine {
    /// Alerts that have a disposition and fire on: a closed incident hears of it. Gives back those that are new all the same, and what
    /// went wrong.
    pub(super) async fn repeats(&self, note: Note<'_>, alerts: Vec<Heard>) -> (Vec<Heard>, Vec<HandleError>) {
        let (mut new, mut failures) = (Vec::new(), Vec::new());
        for (subject, alerts) in by_incident(note, alerts) {
            let Some(subject) = subject else { continue };
            match Box::pin(self.repeats_of(note, &subject, alerts)).await {
                Ok(anew) => new.extend(anew),
                Err(error) => failures.push(error),
            }
        }
        (new, failures)
    }

    async fn repeats_of(&self, note: Note<'_>, subject: &IncidentSubject, alerts: Vec<Heard>) -> Result<Vec<Heard>, HandleError> {
        let incident = self.load_or_give_up(subject, None).await?.incident;
        let Some(closed) = &incident.closed else { return Ok(Vec::new()) };
        let (mut later, mut goes_on): (Vec<_>, Vec<_>) =
            alerts.into_iter().partition(|heard| began_after(&heard.alert, closed.at));
        if !later.is_empty() && !self.runs_another_version(subject, &incident).await? {
            goes_on.append(&mut later);
        }
        for heard in &goes_on {
            let command = Command::StillFiring { fingerprint: heard.alert.fingerprint.clone() };
            // It is closed: there is nothing to decide but whether people know, and a damaged log was told of.
            let executed = self.incidents.execute_salvaged(subject, None, &command, note.heard_at).await;
            if ExecuteError::settled(executed)?.is_some() {
                tracing::warn!(incident = %subject, fingerprint = heard.alert.fingerprint, "an alert outlives its incident");
                break;
            }
        }
        self.end_unheard(note, later).await
    }

    /// Whether what runs is neither what this incident was about nor what it went back to: somebody has deployed since.
    async fn runs_another_version(&self, subject: &IncidentSubject, incident: &Incident) -> Result<bool, HandleError> {
        let Some(kind) = Kind::parse_workload(&subject.workload.kind) else { return Ok(false) };
        let workload = self.cluster.get(kind, &subject.workload.namespace, &subject.workload.name).await?;
        let Some(hash) = workload.as_ref().and_then(|workload| workload.template()).map(template::hash) else { return Ok(false) };
        let current = incident.current.as_ref().and_then(|current| current.version.as_ref());
        let target = incident.target.as_ref().and_then(|target| target.version.as_ref());
        // Where a tag had moved, the plan has come to name what was put back by its digest.
        let put_back = incident.plan.as_ref().and_then(|(_, plan)| plan.to.as_ref());
        Ok(current.into_iter().chain(target).chain(put_back).all(|version| version.template_hash != hash))
    }

    /// Ends occurrences whose end nobody told (an alert that is silenced as it resolves is never told of); their alerts are new then.
    pub(super) async fn end_unheard(&self, note: Note<'_>, later: Vec<Heard>) -> Result<Vec<Heard>, HandleError> {
        if later.is_empty() {
            return Ok(later);
        }
        let before = |starts_at: Option<Timestamp>| {
            starts_at.and_then(|at| at.checked_sub(SignedDuration::from_secs(1)).ok()).map(contracts::time::to_proto)
        };
        let ended = later.iter().cloned().map(|mut heard| {
            heard.alert.ends_at = before(contracts::time::from_proto(heard.alert.starts_at.as_ref()));
            heard.alert.set_status(v1::AlertStatus::Resolved);
            heard
        });
        if let Some(failure) = self.ends(note, ended.collect()).await.into_iter().next() {
            return Err(failure);
        }
        let heard = self.hear(later.into_iter().map(|heard| heard.alert).collect()).await?;
        Ok(heard.into_iter().filter(|heard| meaning(&heard.known, &heard.alert, note.heard_at) == Meaning::New).collect())
    }

    /// Alerts that ended; gives back what went wrong, incident by incident.
    pub(super) async fn ends(&self, note: Note<'_>, alerts: Vec<Heard>) -> Vec<HandleError> {
        let mut failures = Vec::new();
        for (subject, alerts) in by_incident(note, alerts) {
            failures.extend(self.ends_of(note, subject.as_ref(), alerts).await.err());
        }
        failures
    }

    async fn ends_of(&self, note: Note<'_>, subject: Option<&IncidentSubject>, alerts: Vec<Heard>) -> Result<(), HandleError> {
        let mut batches = Batches::of(alerts);
        while let Some(batch) = batches.next() {
            if self.end_some(note, subject, batch).await? {
                batches.stored();
            } else {
                let others = batches.lost(self, |heard| has_ended(note, heard)).await?;
                // Told by a replica whose clock is ahead of the one that was faster: its firing began after the other's end, and needs a
                // disposition of its own. The notification is looked at again for it.
                if others.iter().any(|heard| ended_unseen(note, heard)) {
                    return Err(HandleError::retry(AGAIN, "an end was stored that is earlier than this alert's beginning"));
                }
            }
        }
        Ok(())
    }

    /// One append; false where it lost.
    async fn end_some(&self, note: Note<'_>, subject: Option<&IncidentSubject>, alerts: &[Heard]) -> Result<bool, HandleError> {
        let mut groups = Vec::with_capacity(alerts.len() + 1);
        if let Some(subject) = subject {
            let loaded = self.load_or_give_up(subject, None).await?;
            let resolved = |heard: &Heard| {
                let ends_at = Some(contracts::time::to_proto(ended_at(note, heard)));
                let (fingerprint, seen_by) = (heard.alert.fingerprint.clone(), note.source.to_owned());
                v1::AlertResolved { fingerprint, ends_at, seen_by }
            };
            let command = Command::ResolveAlerts(alerts.iter().map(resolved).collect());
            let proposal = fold(&loaded.incident, &[command], self.clock.now());
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
        let dismissal =
            Dismissal { reason: DismissReason::AlreadyResolved, detail: "it had ended before it was looked at".to_owned() };
        let alerts = alerts.into_iter().map(|heard| (heard, dismissal.clone())).collect();
        // Another replica has looked at the firing meanwhile, and disposed of it: this is its end.
        let seen = self.dismiss(note, alerts).await?;
        let ended = seen.into_iter().filter(|heard| has_ended(note, heard)).collect();
        self.ends(note, ended).await.into_iter().next().map_or(Ok(()), Err)
    }

    /// Alerts that belong nowhere, one a fingerprint; gives back those that got another disposition meanwhile.
    pub(super) async fn dismiss(&self, note: Note<'_>, alerts: Vec<(Heard, Dismissal)>) -> Result<Vec<Heard>, HandleError> {
        let (why, alerts): (BTreeMap<String, Dismissal>, Vec<Heard>) =
            alerts.into_iter().map(|(heard, dismissal)| ((heard.alert.fingerprint.clone(), dismissal), heard)).unzip();
        let (mut batches, mut disposed) = (Batches::of(alerts), Vec::new());
        while let Some(batch) = batches.next() {
            let with_why = || batch.iter().filter_map(|heard| Some((heard, why.get(&heard.alert.fingerprint)?)));
            let groups = with_why().map(|(heard, dismissal)| self.dismissal_group(note, heard, dismissal)).collect();
            if lost(self.bus.append(groups).await)? {
                let is_open = |heard: &Heard| {
                    matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::New | Meaning::EndedUnseen(_))
                };
                disposed.extend(batches.lost(self, is_open).await?);
                continue;
            }
            with_why().for_each(|(heard, dismissal)| tell_dismissed(heard, dismissal));
            batches.stored();
        }
        Ok(disposed)
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

    /// Facts about an alert, where nothing has been stored about it since it was read.
    pub(super) fn occurrence_group(&self, heard: &Heard, facts: &[OccurrenceFact]) -> Group {
        let fingerprint = &heard.alert.fingerprint;
        let events = facts.iter().map(|fact| NewEvent::occurrence(self.bus.ids().event(), fingerprint, fact)).collect();
        Group { filter: subjects::occurrence_filter(fingerprint), expected: heard.known.sequence, events }
    }
}

fn tell_dismissed(heard: &Heard, dismissal: &Dismissal) {
    let (reason, detail) = (dismissal.reason.code(), &dismissal.detail);
    tracing::info!(fingerprint = heard.alert.fingerprint, reason, detail, "alert dismissed");
    metrics::counter!("lastgood_dispositions_total", "disposition" => "dismissed", "reason" => reason).increment(1);
}

fn has_ended(note: Note<'_>, heard: &Heard) -> bool {
    matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::Ended(..))
}

fn ended_unseen(note: Note<'_>, heard: &Heard) -> bool {
    matches!(meaning(&heard.known, &heard.alert, note.heard_at), Meaning::EndedUnseen(_))
}

/// When it ended. Clocks differ and jump: an end far in the future would make a repeat of every firing until then, and one before its
/// beginning something new of another replica's word for the firing that ended.
fn ended_at(note: Note<'_>, heard: &Heard) -> Timestamp {
    let latest = note.heard_at.saturating_add(CLOCKS_DIFFER).unwrap_or(Timestamp::MAX);
    let told = contracts::time::from_proto(heard.alert.ends_at.as_ref()).unwrap_or(note.heard_at);
    let starts_at = contracts::time::from_proto(heard.alert.starts_at.as_ref());
    // The end that makes room for a later firing (`end_unheard`) carries that one's beginning.
    let began_at = heard.known.began_at.filter(|began_at| starts_at.is_none_or(|starts_at| *began_at <= starts_at));
    began_at.map_or(told, |began_at| told.max(began_at)).min(latest)
}

fn began_after(alert: &v1::Alert, closed_at: Timestamp) -> bool {
    contracts::time::from_proto(alert.starts_at.as_ref()).is_some_and(|starts_at| starts_at > closed_at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::occurrences::Known;

    #[test]
    fn an_end_in_the_far_future_is_not_believed() {
        let note = Note { source: "alertmanager", heard_at: Timestamp::UNIX_EPOCH };
        let at = |seconds: i64| {
            let ends_at = Some(contracts::time::to_proto(Timestamp::from_second(seconds).unwrap()));
            ended_at(note, &Heard { alert: v1::Alert { ends_at, ..v1::Alert::default() }, known: Known::default() }).as_second()
        };
        assert_eq!((at(-60), at(120), at(250_000_000_000)), (-60, 120, 600));
    }

    #[test]
    fn an_end_before_its_beginning_is_not_believed() {
        let note = Note { source: "rollout", heard_at: Timestamp::from_second(100).unwrap() };
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let ended = |began: i64, starts: i64, ends: i64| {
            let proto = |seconds| Some(contracts::time::to_proto(at(seconds)));
            let alert = v1::Alert { starts_at: proto(starts), ends_at: proto(ends), ..v1::Alert::default() };
            ended_at(note, &Heard { alert, known: Known { began_at: Some(at(began)), ..Known::default() } }).as_second()
        };
        assert_eq!(ended(50, 50, 60), 60);
        assert_eq!(ended(50, 50, 47), 50, "the clock was put back meanwhile");
        assert_eq!(ended(50, 52, 47), 50, "another replica told of the beginning");
        assert_eq!(ended(50, 40, 39), 39, "it makes room for a firing that began, by another clock, before this one");
    }
}
