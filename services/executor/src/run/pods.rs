//! Deletes the pods that a strategy names, so that the restored version can take their place.
//!
//! Guarantees: it happens only while an attempt is under way whose write is in place, by a read of the workload right before; the pod is
//! deleted as it was read (uid and resourceVersion), so that one which got ready meanwhile, or came back, stays; while the pause switch is
//! on none is. Must not: choose; `strategies` does.

use std::time::Duration;

use chassis::bus::HandleError;

use super::observe::Watching;
use super::{Case, Executor};
use crate::attempt::Live;
use crate::cluster::{ApiError, Kind};
use crate::strategies;
use crate::view::{Pod, View, is_ready};

/// How soon something that failed for a moment is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon something that is refused, or held, is.
const LATER: Duration = Duration::from_secs(5);

impl Executor {
    /// Deletes the next pod, if there is one; how soon to look again although nothing changes.
    pub(super) async fn make_way(&self, case: &Case, view: &View, watching: &mut Watching) -> Result<Duration, HandleError> {
        // One that was deleted is shown for a moment longer.
        let next = strategies::next_pod(view, &watching.plan).filter(|pod| !watching.deleted.contains(&pod.uid));
        let Some(pod) = next else { return Ok(Duration::MAX) };
        if let Some(why) = self.paused(&case.subject.workload).await? {
            tracing::warn!(incident = %case.subject, pod = pod.name, why, "paused: no pod is deleted");
            return Ok(LATER);
        }
        match self.delete(case, pod).await {
            Ok(true) => {
                tracing::info!(incident = %case.subject, pod = pod.name, ready = pod.ready, "deleted a pod of the bad version");
                metrics::counter!("lastgood_executor_pods_deleted_total").increment(1);
                watching.deleted.insert(pod.uid.clone());
                Ok(Duration::MAX)
            }
            Err(error @ ApiError::Refused { .. }) => {
                tracing::error!(incident = %case.subject, pod = pod.name, %error, "a pod of the bad version can't be deleted");
                Ok(LATER)
            }
            Ok(false) | Err(_) => Ok(AGAIN),
        }
    }

    /// Deletes this pod; `false` where workload or pod are not as they were seen.
    async fn delete(&self, case: &Case, seen: &Pod) -> Result<bool, ApiError> {
        let namespace = &case.subject.workload.namespace;
        let Some(pod) = self.cluster.get(Kind::Pod, namespace, &seen.name).await? else { return Ok(false) };
        if pod["metadata"]["uid"] != seen.uid.as_str() || is_ready(&pod) != seen.ready {
            return Ok(false);
        }
        let workload = self.read(case.kind, &case.subject).await?;
        if !workload.is_some_and(|workload| Live::of(&workload).is_as_written_by(case.subject.incident)) {
            return Ok(false);
        }
        self.cluster.delete_as_read(&pod).await
    }
}
