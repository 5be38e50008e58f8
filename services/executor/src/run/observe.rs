//! After the write: watches until the restored version serves, or the deadline passes, or somebody else takes over.
//!
//! Guarantees: each progress fact is appended once the cluster shows it; at the deadline a report says what is wrong with each pod and
//! who serves now. Must not: write to the workload, but for dropping our `managedFields` entry; its pods are `pods`'.

use std::collections::BTreeSet;
use std::time::Duration;

use chassis::bus::HandleError;
use contracts::FailureReason;
use contracts::v1::{BadPodsScaledDown, Plan, PodReport, PodsReady, PreviousVersionDeployed, RollbackFailed, TrafficShifted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use lastgood_core::incident::{Command, Incident, Phase, acting_until};
use serde_json::Value;
use tokio::time::Instant;

use super::write::{Memory, plan_of};
use super::{Case, Executor};
use crate::attempt::{Live, Seen, Step, next_step};
use crate::cluster::mirror::{Mirror, Scope};
use crate::cluster::{ApiError, Kind, place};
use crate::progress::{Progress, assess, serving};
use crate::report;
use crate::strategies::ownership::TEMPLATE;
use crate::view::{Versions, View, Which};

/// How soon something that failed for a moment is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a watch that begins at the deadline (after a crash, or an outage) has to show how things stand; short of the orchestrator's
/// own word for an executor that is silent.
pub(super) const LAST_LOOK: Duration = Duration::from_secs(3);

/// How the watching ended.
pub(super) enum Watched {
    /// There is nothing more to do now.
    ToTheEnd,
    /// The version has to be put back once more, by its images' digests.
    Moved,
}

/// What the watching remembers.
pub(super) struct Watching {
    pub(super) plan: Plan,
    pub(super) versions: Versions,
    /// Services that somebody else changed.
    pub(super) left_alone: Vec<(String, String)>,
    /// The uids of the pods that were deleted.
    pub(super) deleted: BTreeSet<String>,
    bad_pods: BTreeSet<String>,
    memory: Memory,
}

impl Executor {
    pub(super) async fn observe(&self, case: &mut Case, written: Value, memory: Memory) -> Result<Watched, HandleError> {
        let plan = plan_of(case);
        let scope = scope(case.kind, &written, self.config.relist).map_err(HandleError::dead)?;
        let recorded = recorded(&plan);
        let mut watching = Watching {
            versions: versions(&case.incident, &Live::of(&written)),
            plan,
            left_alone: Vec::new(),
            deleted: BTreeSet::new(),
            bad_pods: BTreeSet::new(),
            memory,
        };
        // Pinned Services are widened first of all: the bad pods start going now.
        let (mirror, released, ()) = tokio::join!(
            Mirror::start(&self.cluster, &scope),
            self.let_go(case, written, watching.memory.before.as_ref(), recorded.as_ref()),
            self.widen_services(case, &watching.plan)
        );
        let mut mirror = match mirror {
            Ok(mirror) => mirror,
            Err(error) => return Err(self.unreachable(case, error).await?),
        };
        if let Err(error) = released {
            return Err(self.unreachable(case, error).await?);
        }
        self.follow(case, &mut mirror, &mut watching).await
    }

    /// The second write: our entry goes, each field gets its owner back. Done again from a fresh read when somebody wrote between.
    pub(super) async fn let_go(
        &self,
        case: &Case,
        mut live: Value,
        before: Option<&Value>,
        recorded: Option<&Value>,
    ) -> Result<(), ApiError> {
        loop {
            let seen = Live::of(&live);
            let ours = seen.incident == case.subject.incident.to_string() && seen.template_hash == seen.stamped_template;
            if !seen.entry_of_ours || !ours {
                return Ok(());
            }
            match self.cluster.release(case.kind, live, before, recorded, TEMPLATE).await {
                Ok(_) | Err(ApiError::NotFound(_)) => return Ok(()),
                Err(ApiError::Conflict(_)) => {
                    let Some(again) = self.read(case.kind, &case.subject).await? else { return Ok(()) };
                    live = again;
                }
                Err(error @ ApiError::Refused { .. }) => {
                    // The version is back all the same; the owner's next apply may have to force conflicts.
                    tracing::error!(incident = %case.subject, %error, "our managedFields entry can't be dropped");
                    metrics::counter!("lastgood_executor_release_refused_total").increment(1);
                    return Ok(());
                }
                Err(outage) => return Err(outage),
            }
        }
    }

    async fn follow(&self, case: &mut Case, mirror: &mut Mirror, watching: &mut Watching) -> Result<Watched, HandleError> {
        let until = acting_until(&case.incident).unwrap_or_else(|| self.clock.now());
        let blind_until = Instant::now() + LAST_LOOK;
        loop {
            let left = Duration::try_from(until.duration_since(self.clock.now())).unwrap_or_default();
            let mut wait = left;
            let mut last = None;
            if let Some(objects) = mirror.objects() {
                let view = View::of(&objects, &watching.versions);
                // Before anything is made of the view: what is watched was planned before another replica saw that an image had moved.
                if superfluous(case, watching) {
                    return Ok(Watched::Moved);
                }
                if self.overtaken(case, &view, watching).await? {
                    return Ok(Watched::ToTheEnd);
                }
                if self.moved(case, &view, watching).await? {
                    return Ok(Watched::Moved);
                }
                wait = wait.min(self.act(case, &view, watching).await?);
                let names: Vec<String> = watching.left_alone.iter().map(|(name, _)| name.clone()).collect();
                let progress = assess(&view, &watching.plan.service_switches, &names);
                self.report(case, &view, &progress, watching).await?;
                if case.incident.phase() != Phase::Acting || complete(case) {
                    return Ok(Watched::ToTheEnd);
                }
                last = Some((view, progress));
            }
            if left.is_zero() {
                // People need to know which pods serve now: nothing is said blindly while a first look may still come.
                wait = blind_until.saturating_duration_since(Instant::now());
                if last.is_some() || wait.is_zero() {
                    self.fail(case, last, watching).await?;
                    return Ok(Watched::ToTheEnd);
                }
            }
            tokio::select! {
                biased;
                () = mirror.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what the view asks for, beside waiting; how soon to look again although nothing changes.
    async fn act(&self, case: &Case, view: &View, watching: &mut Watching) -> Result<Duration, HandleError> {
        let switched = match self.switch_services(case, view, watching).await {
            Ok(()) => Duration::MAX,
            Err(error @ ApiError::Refused { .. }) => {
                tracing::error!(incident = %case.subject, %error, "a Service can't be switched");
                AGAIN * 10
            }
            Err(_) => AGAIN,
        };
        Ok(switched.min(self.make_way(case, view, watching).await?))
    }

    /// Whether somebody else changed the workload since.
    async fn overtaken(&self, case: &mut Case, view: &View, watching: &Watching) -> Result<bool, HandleError> {
        let seen = Seen { live: view.live.as_ref(), written: true };
        let step = next_step(&case.incident, case.subject.incident, seen, self.clock.now());
        let Some(Step::Supersede { what, detail, generation }) = step else { return Ok(false) };
        debug_assert!(!watching.versions.to.is_empty(), "a plan without a target makes no step");
        self.supersede(case, what, detail, generation).await?;
        Ok(true)
    }

    async fn report(
        &self,
        case: &mut Case,
        view: &View,
        progress: &Progress,
        watching: &mut Watching,
    ) -> Result<(), HandleError> {
        let attempt = case.incident.attempt();
        let bad = view.pods.iter().filter(|pod| pod.which == Which::Bad).map(|pod| pod.name.clone());
        watching.bad_pods.extend(bad);
        let known = case.incident.progress.clone();
        if let (None, Some(replica_set)) = (known.deployed, &progress.deployed) {
            let workload_generation = view.live.as_ref().map_or(0, |live| live.generation);
            let fact = PreviousVersionDeployed { attempt, workload_generation, replica_set: replica_set.clone() };
            self.tell(case, Command::ReportDeployed(fact)).await?;
        }
        if known.bad_pods_down.is_none() && progress.bad_pods_down {
            let pods = u32::try_from(watching.bad_pods.len()).unwrap_or(u32::MAX);
            self.tell(case, Command::ReportBadPodsDown(BadPodsScaledDown { attempt, pods })).await?;
        }
        if let (None, Some(ready)) = (known.pods_ready, progress.ready) {
            let desired = u32::try_from(view.counts.desired).unwrap_or_default();
            self.tell(case, Command::ReportPodsReady(PodsReady { attempt, ready, desired })).await?;
        }
        // Traffic is the last word: what it follows from has to be on the log, and the bad pods gone.
        if let (None, true, Some(lines)) = (known.traffic_shifted, progress.bad_pods_down, &progress.shifted) {
            let services = lines.clone();
            self.tell(case, Command::ReportTrafficShifted(TrafficShifted { attempt, services })).await?;
        }
        Ok(())
    }

    async fn fail(&self, case: &mut Case, last: Option<(View, Progress)>, watching: &Watching) -> Result<(), HandleError> {
        let Some((view, progress)) = last else {
            let detail = "the cluster could not be watched by the deadline".to_owned();
            return self.fail_unseen(case, FailureReason::PodsNotReady, detail).await;
        };
        let (reason, detail) = match progress.ready {
            Some(_) => (FailureReason::TrafficNotShifted, progress.waiting.join("; ")),
            None => (FailureReason::PodsNotReady, counted(&view)),
        };
        let fact = RollbackFailed {
            attempt: case.incident.attempt(),
            reason: reason.code().to_owned(),
            detail,
            pods: self.troubles(case, &view).await,
            serving: serving(&view, &watching.plan.service_switches),
        };
        self.tell(case, Command::Fail(fact)).await?;
        Ok(())
    }

    async fn troubles(&self, case: &Case, view: &View) -> Vec<PodReport> {
        let namespace = &case.subject.workload.namespace;
        let reports = report::troubles(view).into_iter().map(async |trouble| {
            let mut report = trouble.report;
            let Some(container) = trouble.container else { return report };
            for previous in [trouble.previous, false] {
                let lines = i64::try_from(self.config.log_lines).unwrap_or(10);
                let log = self.cluster.log_tail(namespace, &report.name, &container, previous, lines);
                if let Ok(Ok(log)) = tokio::time::timeout(Duration::from_secs(3), log).await {
                    report.last_log_lines = report::last_lines(&log, self.config.log_lines);
                    break;
                }
            }
            report
        });
        futures::future::join_all(reports).await
    }
}

/// Whether the write that is watched is to be replaced by another one.
pub(super) fn superfluous(case: &Case, watching: &Watching) -> bool {
    case.incident.moved.is_some() && watching.versions.moved.is_empty()
}

fn complete(case: &Case) -> bool {
    let progress = &case.incident.progress;
    progress.traffic_shifted.is_some() && progress.bad_pods_down.is_some()
}

fn counted(view: &View) -> String {
    let counts = &view.counts;
    let restored = crate::progress::restored_ready(view);
    format!(
        "{restored} of {} restored pods are ready (updated {}, available {}, all {})",
        counts.desired, counts.updated, counts.available, counts.replicas
    )
}

pub(super) fn scope(kind: Kind, workload: &Value, relist: Duration) -> Result<Scope, String> {
    let (namespace, name) = place(workload);
    Ok(Scope { kind, namespace: namespace.to_owned(), name: name.to_owned(), selector: selector(workload)?, relist })
}

/// The label selector of a workload's pods, as lists and watches want it.
pub(super) fn selector(workload: &Value) -> Result<String, String> {
    let selector: LabelSelector =
        serde_json::from_value(workload["spec"]["selector"].clone()).map_err(|error| error.to_string())?;
    Ok(Selector::try_from(selector).map_err(|error| error.to_string())?.to_string())
}

pub(super) fn versions(incident: &Incident, live: &Live) -> Versions {
    let plan = incident.plan.as_ref().map(|(_, plan)| plan);
    let from = plan.and_then(|plan| plan.from.clone()).unwrap_or_default();
    Versions {
        from: from.template_hash,
        from_carrier: from.replica_set,
        moved: incident.moved.as_ref().map(|moved| moved.template_hash.clone()).unwrap_or_default(),
        to: plan.and_then(|plan| plan.to.as_ref()).map(|to| to.template_hash.clone()).unwrap_or_default(),
        yielded: live.stamped_template.clone(),
    }
}

/// `managedFields` while the restored version ran, where the ledger has them.
pub(super) fn recorded(plan: &Plan) -> Option<Value> {
    serde_json::from_slice(&plan.managed_fields_json).ok()
}
