//! New alerts find their workloads.
//!
//! Guarantees: alerts of one workload are settled together, workloads side by side; one workload's trouble keeps no other's alerts from being
//! settled. Must not: dismiss what could not be looked up.

use std::collections::BTreeMap;

use chassis::bus::HandleError;
use contracts::{DismissReason, subjects};
use futures::{StreamExt, stream};
use lastgood_core::policy::Effective;
use lastgood_core::template;

use super::{Heard, Note, WORKLOADS, worst};
use crate::correlate::{Clue, Correlation, Dismissal, Workload, clues, resolve};
use crate::decision::{ABOUT, Engine, Prefetched};

impl Engine {
    /// Finds the workload of each new alert and settles them workload by workload; the rest is dismissed.
    pub(super) async fn route(&self, note: Note<'_>, new: Vec<Heard>) -> Result<(), HandleError> {
        let mut dismissed: Vec<(Heard, Dismissal)> = Vec::new();
        let mut by_clues: BTreeMap<Vec<Clue>, Vec<Heard>> = BTreeMap::new();
        for heard in new {
            match clues(&self.rules, note.source, &heard.alert.labels, &heard.alert.annotations) {
                Ok(clues) => by_clues.entry(clues).or_default().push(heard),
                Err(dismissal) => dismissed.push((heard, dismissal)),
            }
        }
        let looks = by_clues.into_iter().map(|(clues, alerts)| async move {
            let (correlation, pre) = self.follow(&clues).await?;
            Ok::<_, HandleError>((correlation, pre, alerts))
        });
        let looked: Vec<_> = stream::iter(looks).buffered(WORKLOADS).collect().await;
        let mut by_workload: BTreeMap<String, (Workload, Option<Prefetched>, Vec<Heard>)> = BTreeMap::new();
        let mut failures = Vec::new();
        for look in looked {
            match look {
                Err(error) => failures.push(error),
                Ok((Correlation::Dismissed(dismissal), _, alerts)) => {
                    dismissed.extend(alerts.into_iter().map(|heard| (heard, dismissal.clone())));
                }
                Ok((Correlation::Found(workload), pre, mut alerts)) => {
                    match self.effective(workload.kind, &workload.object) {
                        Ok(policy) => dismissed.extend(not_counted(&policy, &mut alerts)),
                        // Which policies there are is not known yet: one of them may not count it.
                        Err(unread) => {
                            failures.push(unread.into());
                            continue;
                        }
                    }
                    if alerts.is_empty() {
                        continue;
                    }
                    tell_version(&workload, &mut alerts);
                    let path = subjects::workload_path(&self.reference(&workload));
                    by_workload.entry(path).or_insert_with(|| (*workload, pre, Vec::new())).2.extend(alerts);
                }
            }
        }
        failures.extend(self.dismiss(note, dismissed).await.err());
        let settling = by_workload.into_values().map(|(workload, pre, alerts)| self.settle(note, workload, pre, alerts));
        let settled: Vec<_> = stream::iter(settling).buffer_unordered(WORKLOADS).collect().await;
        failures.extend(settled.into_iter().filter_map(Result::err));
        worst(failures)
    }

    /// Follows the clues; where they name the workload outright, the log is read meanwhile.
    async fn follow(&self, clues: &[Clue]) -> Result<(Correlation, Option<Prefetched>), HandleError> {
        let looking = async { resolve(self.cluster.as_ref(), clues).await.map_err(HandleError::from) };
        match clues.first() {
            Some(Clue::Explicit(kind, namespace, name) | Clue::Workload(kind, namespace, name)) => {
                let workload = self.workload_ref(*kind, namespace, name);
                let (correlation, pre) = futures::try_join!(looking, self.prefetch(&workload))?;
                let same = matches!(&correlation, Correlation::Found(found) if self.reference(found) == workload);
                Ok((correlation, same.then_some(pre)))
            }
            _ => Ok((looking.await?, None)),
        }
    }
}

/// Takes out the alerts that the workload's policy does not count. They are dismissed also while it has an open incident: what does not count
/// must not hold that open.
fn not_counted(policy: &Effective, alerts: &mut Vec<Heard>) -> Vec<(Heard, Dismissal)> {
    let (counted, dismissed): (Vec<_>, Vec<_>) = std::mem::take(alerts)
        .into_iter()
        .map(|heard| (policy.not_counted(&heard.alert.labels), heard))
        .partition(|(why, _)| why.is_none());
    alerts.extend(counted.into_iter().map(|(_, heard)| heard));
    let dismiss =
        |(why, heard): (Option<String>, Heard)| (heard, Dismissal::new(DismissReason::NotCounted, why.unwrap_or_default()));
    dismissed.into_iter().map(dismiss).collect()
}

/// Notes on alerts about pods of a version that is being replaced, or was, that they are: what is rolled out now may be their repair.
fn tell_version(workload: &Workload, alerts: &mut [Heard]) {
    let Some(about) = &workload.about else { return };
    if workload.object.template().map(template::hash).as_ref() == Some(about) {
        return;
    }
    for heard in alerts {
        heard.alert.labels.entry(ABOUT.to_owned()).or_insert_with(|| about.clone());
    }
}

#[cfg(test)]
mod tests {
    use contracts::v1;

    use super::*;
    use crate::cluster::Kind;
    use crate::occurrences::Known;

    #[test]
    fn an_alert_about_a_pod_of_another_version_says_so() {
        let now = serde_json::json!({"spec": {"containers": [{"name": "web", "image": "web:v2"}]}});
        let object = crate::cluster::Object::new(serde_json::json!({"spec": {"template": now}}));
        let said = |about: Option<String>| {
            let mut alerts = [Heard { alert: v1::Alert::default(), known: Known::default() }];
            tell_version(&Workload { kind: Kind::Deployment, object: object.clone(), about }, &mut alerts);
            alerts[0].alert.labels.get(ABOUT).cloned()
        };
        assert_eq!((said(None), said(Some(template::hash(&now))), said(Some("v1".into()))), (None, None, Some("v1".into())));
    }
}
