//! Finishes the decision of an incident that opened without one: the cluster could not be read on, or the process died.
//!
//! Guarantees: an incident that is decided is left alone; what was found out before is not said twice; a workload that is gone or changed
//! meanwhile supersedes. While the cluster is away this waits; the incident's own deadline ends that. Must not: open incidents.

use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{AppendError, Delivery, HandleError, Handler};
use contracts::IncidentSubject;
use contracts::v1::Superseded;
use lastgood_core::incident::{Command, Incident};
use lastgood_core::template;

use crate::alerts::{TRIES, contended};
use crate::cluster::{Kind, Object};
use crate::decision::{Cause, Engine, Prefetched, fold};

/// The events that an undecided incident may have stopped at.
pub const WAKES: [&str; 3] = ["anomaly_detected", "current_version_identified", "previous_version_found"];

/// When to look again after an incident that is just being decided.
const BEING_DECIDED: Duration = Duration::from_secs(2);

/// Handles [`WAKES`].
pub struct Resume {
    engine: Engine,
}

impl Resume {
    /// With this engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Handler for Resume {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, _) = delivery.incident()?;
        let loaded = self.engine.incidents.load(&subject, Some(delivery.sequence())).await?;
        if !is_undecided(&loaded.incident) {
            return Ok(());
        }
        let Some(_deciding) = self.engine.deciding.begin(subject.incident) else {
            return Err(being_decided());
        };
        let pre = self.engine.prefetch(&subject.workload).await?;
        let Some((incident, expected)) = newest(&subject, &pre) else { return Ok(()) };
        let commands = self.engine.rest_of_decision(&subject, &incident, &pre).await?;
        self.finish(&subject, (incident, expected), &commands).await
    }
}

impl Resume {
    /// Appends the decision; what others append meanwhile (a joined alert, the chat thread) changes nothing about it.
    async fn finish(
        &self,
        subject: &IncidentSubject,
        (mut incident, mut expected): (Incident, u64),
        commands: &[Command],
    ) -> Result<(), HandleError> {
        for _ in 0..TRIES {
            let proposal = fold(&incident, commands, self.engine.clock.now());
            if proposal.facts.is_empty() {
                let why = proposal.refused.first().map(ToString::to_string).unwrap_or_default();
                return Err(HandleError::retry(Duration::from_secs(1), format!("the decision was refused: {why}")));
            }
            match self.engine.incidents.append(subject, expected, &proposal.facts).await {
                Ok(_) => {
                    tracing::info!(incident = %subject, "a decision was finished");
                    return Ok(());
                }
                Err(AppendError::Lost) => {
                    let loaded = self.engine.incidents.load(subject, Some(expected)).await?;
                    if !is_undecided(&loaded.incident) {
                        self.engine.give_back_unplanned(subject, &loaded.incident, commands).await;
                        return Ok(());
                    }
                    (incident, expected) = (loaded.incident, loaded.expected);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }
}

/// Not a failure, however long the cluster takes to answer: the incident's own deadline ends it.
fn being_decided() -> HandleError {
    let reason = "the handler that opened it is deciding it".to_owned();
    HandleError::RetryAfter { after: BEING_DECIDED, reason, outage: true }
}

/// Whether it waits for its plan or its halt.
#[must_use]
pub const fn is_undecided(incident: &Incident) -> bool {
    incident.opened.is_some()
        && incident.closed.is_none()
        && incident.plan.is_none()
        && incident.halted.is_none()
        && incident.superseded.is_none()
}

/// The incident as the decision's own reads saw it, where it is still its workload's newest and undecided.
fn newest(subject: &IncidentSubject, pre: &Prefetched) -> Option<(Incident, u64)> {
    let (newest, loaded) = pre.log.latest.as_ref()?;
    let same = newest.incident == subject.incident && is_undecided(&loaded.incident);
    same.then(|| (loaded.incident.clone(), loaded.expected))
}

/// Why the workload is not the one any more that the incident is about.
#[must_use]
pub fn superseded(incident: &Incident, workload: Option<&Object>) -> Option<Superseded> {
    changed_since(incident, workload, "before a decision was made")
}

/// The same, for people: `when`.
pub(crate) fn changed_since(incident: &Incident, workload: Option<&Object>, when: &str) -> Option<Superseded> {
    let say = |what: &str, how: &str, generation| Superseded {
        what: what.to_owned(),
        detail: format!("the workload was {how} {when}"),
        workload_generation: generation,
    };
    let Some(workload) = workload else { return Some(say("deleted", "deleted", 0)) };
    let uid = &incident.opened.as_ref()?.workload_uid;
    if !uid.is_empty() && uid != workload.uid() {
        return Some(say("uid", "recreated", workload.generation()));
    }
    let identified = incident.current.as_ref()?.version.as_ref()?;
    let hash = workload.template().map(template::hash).unwrap_or_default();
    let other = identified.template_hash != hash;
    other.then(|| say("template", "changed", workload.generation()))
}

impl Engine {
    async fn rest_of_decision(
        &self,
        subject: &IncidentSubject,
        incident: &Incident,
        pre: &Prefetched,
    ) -> Result<Vec<Command>, HandleError> {
        let Some(kind) = Kind::parse_workload(&subject.workload.kind) else {
            return Err(HandleError::dead(format!("`{}` is no kind of workload", subject.workload.kind)));
        };
        let workload = self.cluster.get(kind, &subject.workload.namespace, &subject.workload.name).await?;
        if let Some(fact) = superseded(incident, workload.as_ref()) {
            return Ok(vec![Command::Supersede(fact)]);
        }
        let Some(workload) = workload else { return Ok(Vec::new()) };
        let Some(opened) = &incident.opened else { return Ok(Vec::new()) };
        let cause = Cause { trigger: &opened.trigger, heard_at: opened.at, requested: opened.requested.as_ref() };
        self.decide(subject, kind, &workload, cause, pre).await
    }
}

#[cfg(test)]
mod tests {
    use contracts::v1;
    use jiff::Timestamp;
    use lastgood_core::incident::Opened;
    use serde_json::json;

    use super::*;

    fn opened() -> Incident {
        let opened = Opened {
            at: Timestamp::UNIX_EPOCH,
            trigger: v1::Occurrence::default(),
            workload_uid: "u".into(),
            deadlines: v1::Deadlines::default(),
            requested: None,
        };
        Incident { opened: Some(opened), ..Incident::default() }
    }

    #[test]
    fn a_slow_decision_of_this_process_is_no_failure() {
        assert!(matches!(being_decided(), HandleError::RetryAfter { outage: true, .. }));
    }

    #[test]
    fn only_an_undecided_incident_is_resumed() {
        assert!(is_undecided(&opened()) && !is_undecided(&Incident::default()));
        let halted = Incident { halted: Some(v1::RollbackHalted::default()), ..opened() };
        let planned = Incident { plan: Some((Timestamp::UNIX_EPOCH, v1::Plan::default())), ..opened() };
        assert!(!is_undecided(&halted) && !is_undecided(&planned));
    }

    #[test]
    fn another_workload_of_the_name_supersedes() {
        let workload = |uid: &str, image: &str| {
            Object::new(
                json!({"metadata": {"uid": uid}, "spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}}),
            )
        };
        let what = |incident: &Incident, workload: Option<&Object>| superseded(incident, workload).map(|fact| fact.what);
        assert_eq!(what(&opened(), Some(&workload("u", "a"))), None);
        assert_eq!(what(&opened(), None).as_deref(), Some("deleted"));
        assert_eq!(what(&opened(), Some(&workload("w", "a"))).as_deref(), Some("uid"));
        let hash = template::hash(workload("u", "a").template().unwrap());
        let version = Some(v1::Version { template_hash: hash, ..v1::Version::default() });
        let current = Some(v1::CurrentVersionIdentified { version, ..v1::CurrentVersionIdentified::default() });
        let identified = Incident { current, ..opened() };
        assert_eq!(what(&identified, Some(&workload("u", "a"))), None);
        assert_eq!(what(&identified, Some(&workload("u", "b"))).as_deref(), Some("template"));
    }
}
