//! What a Deployment says of itself and others don't: the number of the revision that runs.
//!
//! Each change of a template makes a new number: whoever brings the bad version back that was replaced gives it a higher one than the plan
//! knows. Only a Deployment carries it as an annotation; of the others the ControllerRevisions are read.
//!
//! Guarantees: it is asked for before each write that follows an intent; while the controller has not seen the template, and so may not
//! have numbered it, nothing is written. Must not: decide; `attempt` does.

use std::time::Duration;

use chassis::bus::HandleError;
use serde_json::Value;

use super::observe::selector;
use super::{Case, Executor};
use crate::attempt::{Live, Seen, Step, next_step};
use crate::carriers::Carrier;
use crate::cluster::{ApiError, Kind};
use crate::view::Versions;

/// How soon it is looked again for a number.
const AGAIN: Duration = Duration::from_millis(50);

impl Executor {
    /// The next step of an incident that is planned or acted on; `None` while it can't be known: look at everything again.
    pub(super) async fn step(&self, case: &mut Case, live: Option<&Value>, written: bool) -> Result<Option<Step>, HandleError> {
        let mut seen = live.map(Live::of);
        let step = |case: &Case, seen: Option<&Live>| {
            let step = next_step(&case.incident, case.subject.incident, Seen { live: seen, written }, self.clock.now());
            step.ok_or_else(|| HandleError::dead("the incident has no usable plan"))
        };
        let first = step(case, seen.as_ref())?;
        let writes = matches!(first, Step::Write(_)) || matches!(first, Step::Intend(attempt) if attempt > 1);
        let (Some(live), Some(known)) = (live, &mut seen) else { return Ok(Some(first)) };
        if !writes || case.kind.carrier() != Kind::ControllerRevision {
            return Ok(Some(first));
        }
        match self.number(case, live).await {
            Ok(Some(number)) => {
                known.revision = number;
                step(case, seen.as_ref()).map(Some)
            }
            Ok(None) => {
                tokio::time::sleep(AGAIN).await;
                Ok(None)
            }
            Err(error) => Err(self.unreachable(case, error).await?),
        }
    }

    async fn number(&self, case: &Case, live: &Value) -> Result<Option<i64>, ApiError> {
        let seen = Live::of(live);
        let selector = selector(live).map_err(|message| ApiError::Refused { code: 0, message })?;
        let carriers = self.cluster.list(case.kind.carrier(), &case.subject.workload.namespace, &selector).await?;
        Ok(number(live, &seen, case.kind, &carriers))
    }
}

/// The number of what the template says; `None` until the controller has seen it.
fn number(live: &Value, seen: &Live, kind: Kind, carriers: &[Value]) -> Option<i64> {
    if live["status"]["observedGeneration"].as_i64().unwrap_or_default() < seen.generation {
        return None;
    }
    let own = carriers.iter().filter_map(|carrier| Carrier::of(carrier, kind, &seen.uid, &Versions::default()));
    own.filter(|carrier| carrier.template_hash == seen.template_hash).map(|carrier| carrier.number).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_what_the_controller_gave_to_the_template_that_is_there() {
        let template = |image: &str| json!({"spec": {"containers": [{"name": "db", "image": image}]}});
        let revision = |image: &str, number: i64, owner: &str| {
            json!({"metadata": {"name": format!("db-{number}"), "ownerReferences": [{"kind": "StatefulSet", "uid": owner, "controller": true}]},
                "revision": number, "data": {"spec": {"template": template(image)}}})
        };
        let carriers = [revision("v1", 1, "u"), revision("v2", 4, "u"), revision("v2", 9, "other")];
        let asked = |image: &str, observed: i64| {
            let live = json!({"metadata": {"uid": "u", "generation": 3}, "spec": {"template": template(image)},
                "status": {"observedGeneration": observed}});
            number(&live, &Live::of(&live), Kind::StatefulSet, &carriers)
        };
        assert_eq!((asked("v2", 3), asked("v1", 3)), (Some(4), Some(1)));
        assert_eq!(asked("v2", 2), None, "it may be about to get another one");
        assert_eq!(asked("v3", 3), None);
    }
}
