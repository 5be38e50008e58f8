//! New alerts of one workload: join its open incident, or open one and decide it at once.
//!
//! Guarantees: the incident's facts and the occurrences' dispositions are stored together or not at all; an append that lost is decided
//! again on what won. The decision is a second append, because the mass failure brake has to see the opening. A version that lastgood restored opens no incident: its alerts join the one that restored it, closed as it may be, until that one is long over.
//! Must not: hold an incident back because the cluster can't be read on: it opens, people hear of it, and `resume` goes on.

use chassis::bus::{AppendError, Group, HandleError, NewEvent};
use chassis::incidents::Loaded;
use contracts::{IncidentSubject, OccurrenceFact, subjects, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::{Command, Incident};
use lastgood_core::policy::Effective;
use lastgood_core::template;

use super::batches::{Batches, TRIES, contended};
use super::{Heard, Note};
use crate::correlate::Workload;
use crate::decision::{ABOUT, Cause, Engine, LogReads, Prefetched, Proposal, fold, opening, routed};
use crate::ledger::LedgerView;
use crate::occurrences::{Meaning, meaning, occurrence};
use crate::resume::is_undecided;

/// The annotation that names the incident whose executor wrote the workload last.
const INCIDENT: &str = "lastgood.dev/incident";
/// The annotation that names the template which that write restored.
const TEMPLATE: &str = "lastgood.dev/template";

/// Where alerts go.
#[derive(Clone)]
struct Destination {
    subject: IncidentSubject,
    before: Incident,
    expected: u64,
    opens: bool,
}

impl Engine {
    /// Settles the new alerts of one workload.
    pub(super) async fn settle(
        &self,
        note: Note<'_>,
        mut workload: Workload,
        mut pre: Option<Prefetched>,
        mut alerts: Vec<Heard>,
    ) -> Result<(), HandleError> {
        // The alert that has fired longest opens, and one about the version that runs before those about others.
        let hash = workload.object.template().map(template::hash);
        alerts.sort_by_cached_key(|heard| {
            let about_another = heard.alert.labels.get(ABOUT).is_some_and(|about| Some(about) != hash.as_ref());
            (about_another, contracts::time::from_proto(heard.alert.starts_at.as_ref()), heard.alert.fingerprint.clone())
        });
        let reference = self.reference(&workload);
        let mut batches = Batches::of(alerts);
        while let Some(batch) = batches.next() {
            let reads = match pre.take() {
                Some(reads) => reads,
                None => self.prefetch(&reference).await?,
            };
            self.look_again(&mut workload, &reads).await;
            if self.settle_some(note, &workload, &reads, batch).await? {
                batches.stored();
            } else {
                let is_new = |heard: &Heard| meaning(&heard.known, &heard.alert, note.heard_at) == Meaning::New;
                batches.lost(self, is_new).await?;
            }
        }
        Ok(())
    }

    /// After a rollback that the log says is over, the workload counts as it is now: what was read of it before the log may be what ran before,
    /// and would open an incident about a version that is gone. Nothing of ours changes it between this look and an append that expects the
    /// log as it was read. Where it can't be read, what was read has to do.
    async fn look_again(&self, workload: &mut Workload, reads: &Prefetched) {
        let over = |(_, loaded): &(IncidentSubject, Loaded)| !loaded.incident.is_open() && loaded.incident.attempt() > 0;
        if !reads.log.latest.as_ref().is_some_and(over) {
            return;
        }
        let (namespace, name) = (workload.object.namespace().to_owned(), workload.object.name().to_owned());
        match self.cluster.get(workload.kind, &namespace, &name).await {
            Ok(Some(object)) => workload.object = object,
            Ok(None) => tracing::info!(namespace, name, "the workload is gone since an alert was followed to it"),
            Err(error) => tracing::warn!(namespace, name, %error, "the workload can't be read again; what was read counts"),
        }
    }

    /// One append; false where it lost.
    async fn settle_some(
        &self,
        note: Note<'_>,
        workload: &Workload,
        reads: &Prefetched,
        alerts: &[Heard],
    ) -> Result<bool, HandleError> {
        let started = tokio::time::Instant::now();
        let occurrences: Vec<_> = alerts.iter().map(|heard| occurrence(note.source, &heard.alert)).collect();
        let trigger = occurrences.first().cloned().unwrap_or_default();
        let began = alerts.iter().filter_map(|heard| contracts::time::from_proto(heard.alert.starts_at.as_ref())).min();
        let policy = self.effective(workload.kind, &workload.object)?;
        let to = self.destination(workload, &policy, &reads.log, began);
        let commands = if to.opens {
            let deadlines = self.settings.deadlines.with(&policy.deadlines).recorded();
            opening(occurrences, deadlines, workload.object.uid()).into_iter().chain(routed(&policy)).collect()
        } else {
            vec![Command::JoinAlerts(occurrences)]
        };
        let proposal = fold(&to.before, &commands, self.clock.now());
        warn_refused(&to, &proposal);
        let mut groups = Vec::with_capacity(alerts.len() + 1);
        if !proposal.facts.is_empty() {
            groups.push(self.incidents.group(&to.subject, to.expected, &proposal.facts));
        }
        groups.extend(alerts.iter().enumerate().map(|(index, heard)| self.disposition(&to, index, heard)));
        // Taken before the opening can wake `resume`, which would do the same work a second time.
        let deciding = if to.opens { self.deciding.begin(to.subject.incident) } else { None };
        let appended = match self.bus.append(groups).await {
            Ok(appended) => appended,
            Err(AppendError::Lost) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        tracing::info!(incident = %to.subject, alerts = alerts.len(), opened = to.opens, "alerts settled");
        if deciding.is_some() {
            let facts = u64::try_from(proposal.facts.len()).unwrap_or(u64::MAX);
            let expected = appended.first.saturating_add(facts).saturating_sub(1);
            let opened = Destination { before: proposal.after, expected, ..to.clone() };
            // Whatever is left undecided here is `resume`'s: the opening woke it, and it looks again.
            if let Err(error) = Box::pin(self.decide_opened(note, workload, &trigger, reads, &opened)).await {
                tracing::warn!(incident = %to.subject, %error, "can't decide yet; the incident is open meanwhile");
            }
        }
        self.count(note, &to, alerts.len(), started);
        Ok(true)
    }

    /// The decision of an incident that has just opened.
    async fn decide_opened(
        &self,
        note: Note<'_>,
        workload: &Workload,
        trigger: &v1::Occurrence,
        reads: &Prefetched,
        opened: &Destination,
    ) -> Result<(), HandleError> {
        let cause = Cause { trigger, heard_at: note.heard_at, requested: None };
        let commands = self.decide(&opened.subject, workload.kind, &workload.object, cause, reads).await?;
        let (mut before, mut expected) = (opened.before.clone(), opened.expected);
        for _ in 0..TRIES {
            let proposal = fold(&before, &commands, self.clock.now());
            warn_refused(opened, &proposal);
            if proposal.facts.is_empty() {
                return Ok(());
            }
            match self.incidents.append(&opened.subject, expected, &proposal.facts).await {
                Ok(_) => {
                    let facts = proposal.facts.iter().map(contracts::Fact::event_type).collect::<Vec<_>>().join(" ");
                    tracing::info!(incident = %opened.subject, facts, "decided");
                    return Ok(());
                }
                // The chat thread is announced at the same time, or an alert joined: the decision stands, after that fact.
                Err(AppendError::Lost) => {
                    let loaded = self.incidents.load(&opened.subject, Some(expected.saturating_add(1))).await?;
                    if !is_undecided(&loaded.incident) {
                        self.give_back_unplanned(&opened.subject, &loaded.incident, &commands).await;
                        return Ok(());
                    }
                    (before, expected) = (loaded.incident, loaded.expected);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    fn destination(&self, workload: &Workload, policy: &Effective, log: &LogReads, began: Option<Timestamp>) -> Destination {
        let latest = log.latest.as_ref();
        let expected = latest.map_or(0, |(_, loaded)| loaded.expected);
        let belongs = |(subject, loaded): &&(IncidentSubject, Loaded)| {
            let incident = &loaded.incident;
            let ours = || restored_by(workload, subject) && !is_edited(workload, incident, &log.ledger);
            incident.is_open() || (ours() && !is_over(incident, began, policy))
        };
        if let Some((subject, loaded)) = latest.filter(belongs) {
            return Destination { subject: subject.clone(), before: loaded.incident.clone(), expected, opens: false };
        }
        let subject = IncidentSubject { workload: self.reference(workload), incident: self.bus.ids().incident() };
        Destination { subject, before: Incident::default(), expected, opens: true }
    }

    fn disposition(&self, to: &Destination, index: usize, heard: &Heard) -> Group {
        let (incident, workload_subject) = (to.subject.incident.to_string(), subjects::workload_path(&to.subject.workload));
        let starts_at = heard.alert.starts_at;
        let fact: OccurrenceFact = if to.opens && index == 0 {
            v1::OccurrenceOpened { incident, workload_subject, starts_at }.into()
        } else {
            v1::OccurrenceJoined { incident, workload_subject, starts_at }.into()
        };
        let fingerprint = &heard.alert.fingerprint;
        Group {
            filter: subjects::occurrence_filter(fingerprint),
            expected: heard.known.sequence,
            events: vec![NewEvent::occurrence(self.bus.ids().event(), fingerprint, &fact)],
        }
    }

    fn count(&self, note: Note<'_>, to: &Destination, alerts: usize, started: tokio::time::Instant) {
        let opened = u64::from(to.opens);
        metrics::counter!("lastgood_dispositions_total", "disposition" => "opened").increment(opened);
        metrics::counter!("lastgood_dispositions_total", "disposition" => "joined").increment(alerts as u64 - opened);
        if to.opens {
            metrics::counter!("lastgood_incidents_opened_total").increment(1);
            metrics::histogram!("lastgood_decision_seconds").record(started.elapsed());
            let waited = self.clock.now().duration_since(note.heard_at).as_secs_f64().max(0.0);
            metrics::histogram!("lastgood_alert_to_decision_seconds").record(waited);
        }
    }
}

fn warn_refused(to: &Destination, proposal: &Proposal) {
    if let Some(refusal) = proposal.refused.first() {
        tracing::warn!(incident = %to.subject, %refusal, "a part of the decision was refused");
    }
}

/// Whether alerts that began then have nothing to do with this incident any more, though the version that it restored still runs: it
/// closed, all of its alerts resolved, and they began so much later that neither it nor its rollback explains them. No rollback can come of
/// the incident that they open: the workload's last change, which was ours, is out of the window by then (`brakes::unexplained`).
fn is_over(incident: &Incident, began: Option<Timestamp>, policy: &Effective) -> bool {
    let (Some(closed), Some(began)) = (&incident.closed, began) else { return false };
    let rest = SignedDuration::try_from(policy.window.max(policy.cooldown)).unwrap_or(SignedDuration::MAX);
    incident.is_quiet() && began.duration_since(closed.at) > rest
}

/// Whether somebody has edited what the restored template still refers to since this incident's write: what runs is their change then, although
/// the template is ours.
fn is_edited(workload: &Workload, incident: &Incident, ledger: &LedgerView) -> bool {
    let hash = workload.object.template().map(template::hash).unwrap_or_default();
    incident.attempts.last().is_some_and(|attempt| ledger.edited_since(&hash, attempt.at))
}

/// Whether what runs now is what this incident's executor put back.
#[must_use]
pub fn restored_by(workload: &Workload, newest: &IncidentSubject) -> bool {
    let object = &workload.object;
    let hash = || object.template().map(template::hash);
    object.annotation(INCIDENT) == Some(&newest.incident.to_string())
        && object.annotation(TEMPLATE).is_some_and(|restored| Some(restored.to_owned()) == hash())
}

#[cfg(test)]
mod tests {
    use contracts::IncidentId;
    use serde_json::json;

    use super::*;
    use crate::cluster::{Kind, Object};

    #[test]
    fn an_incident_is_over_when_it_has_been_quiet_for_long() {
        use lastgood_core::incident::{Closed, Opened};
        let at = |minutes: i64| Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap();
        let occurrence = |fingerprint: &str| v1::Occurrence { fingerprint: fingerprint.into(), ..v1::Occurrence::default() };
        let opened = Opened {
            at: at(-9),
            trigger: occurrence("a"),
            workload_uid: "u".into(),
            deadlines: v1::Deadlines::default(),
            requested: None,
        };
        let closed = Closed { at: at(0), outcome: v1::Outcome::Completed, reason: "completed".into() };
        let quiet = Incident {
            opened: Some(opened),
            closed: Some(closed),
            joined: [("b".to_owned(), occurrence("b"))].into(),
            resolved: ["a".to_owned(), "b".to_owned()].into(),
            ..Incident::default()
        };
        let over = |incident: &Incident, minutes| is_over(incident, Some(at(minutes)), &Effective::default());
        assert!(!over(&quiet, 30) && !over(&quiet, 60), "its own rollback may explain it");
        assert!(over(&quiet, 61));
        let loud = Incident { resolved: ["a".to_owned()].into(), ..quiet.clone() };
        assert!(!over(&loud, 10_000), "one of its alerts goes on");
        assert!(!over(&Incident { closed: None, ..quiet.clone() }, 10_000));
        assert!(!is_over(&quiet, None, &Effective::default()));
    }

    #[test]
    fn only_the_very_template_that_the_newest_incident_restored_is_ours() {
        let id: IncidentId = "inc_0000000000000000000000000000002a".parse().unwrap();
        let newest = IncidentSubject { workload: v1::WorkloadRef::default(), incident: id };
        let template = json!({"spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
        let ours = |incident: &str, hash: &str| {
            let object = Object::new(
                json!({"metadata": {"annotations": {INCIDENT: incident, TEMPLATE: hash}}, "spec": {"template": template}}),
            );
            restored_by(&Workload { kind: Kind::Deployment, object, about: None }, &newest)
        };
        let hash = template::hash(&template);
        assert!(ours(&id.to_string(), &hash));
        assert!(!ours(&id.to_string(), "another"), "a person has deployed since");
        assert!(!ours("inc_0000000000000000000000000000002b", &hash), "an older incident's");
    }
}
