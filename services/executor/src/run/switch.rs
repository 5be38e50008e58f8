//! Switching the Services that pin a version.
//!
//! Guarantees: each write is guarded by the resourceVersion of a read that showed the expected selector; our `managedFields` entry
//! goes at once, and by a read of the workload after that one which showed it as this incident left it: who puts another version there
//! points the Service at it as well, perhaps back to where it pointed first. Must not: touch a Service that somebody else changed.

use serde_json::Value;

use super::observe::Watching;
use super::{Case, Executor};
use crate::attempt::Live;
use crate::cluster::{ApiError, Kind};
use crate::progress::{enough_restored, restored_ready};
use crate::services::{SwitchStep, next_switch, with_selector};
use crate::strategies::ownership::SELECTOR;
use crate::view::{Labels, Service, View, labels};
use contracts::v1::{Plan, ServiceSwitch};

impl Executor {
    /// The first step of each switch, which waits for no pod; what fails here is done again with the first view.
    pub(super) async fn widen_services(&self, case: &Case, plan: &Plan) {
        let switches = plan.service_switches.iter().filter(|switch| !switch.shared_selector.is_empty());
        let widened = futures::future::join_all(switches.map(|switch| self.switch_one(case, switch, false, false))).await;
        for error in widened.into_iter().filter_map(Result::err) {
            tracing::warn!(incident = %case.subject, %error, "a Service could not be widened at once");
        }
    }

    /// Takes each switch as far as the view allows.
    pub(super) async fn switch_services(&self, case: &Case, view: &View, watching: &mut Watching) -> Result<(), ApiError> {
        let (one, enough) =
            (restored_ready(view) > 0 || view.counts.desired == 0, enough_restored(view) || view.counts.desired == 0);
        for switch in watching.plan.service_switches.clone() {
            if watching.left_alone.iter().any(|(name, _)| *name == switch.name) {
                continue;
            }
            let seen = view.services.iter().find(|service| service.name == switch.name);
            match next_switch(&switch, seen, one, enough) {
                SwitchStep::Done | SwitchStep::Wait => {}
                // The mirror may lag behind, so the Service itself is asked before anything is written or given up.
                SwitchStep::Select(_) | SwitchStep::Superseded(_) => {
                    if let Some(why) = self.switch_one(case, &switch, one, enough).await? {
                        tracing::warn!(incident = %case.subject, "{why}");
                        watching.left_alone.push((switch.name.clone(), why));
                    }
                }
            }
        }
        Ok(())
    }

    /// One step of one switch, on a fresh read; answers why the Service was left alone, if it was.
    pub(super) async fn switch_one(
        &self,
        case: &Case,
        switch: &ServiceSwitch,
        one: bool,
        enough: bool,
    ) -> Result<Option<String>, ApiError> {
        let namespace = &case.subject.workload.namespace;
        loop {
            let Some(live) = self.cluster.get(Kind::Service, namespace, &switch.name).await? else {
                return Ok(Some(format!("Service {} was removed", switch.name)));
            };
            let selector = match next_switch(switch, Some(&read(&live)), one, enough) {
                SwitchStep::Select(selector) => selector,
                SwitchStep::Superseded(why) => return Ok(Some(why)),
                SwitchStep::Done | SwitchStep::Wait => {
                    self.let_service_go(live, None).await?;
                    return Ok(None);
                }
            };
            let workload = self.read(case.kind, &case.subject).await?;
            if !workload.is_some_and(|workload| Live::of(&workload).is_as_written_by(case.subject.incident)) {
                return Ok(Some(format!("somebody changed the workload before Service {} was switched", switch.name)));
            }
            let object = with_selector(&live, &selector);
            match self.cluster.put(Kind::Service, namespace, &switch.name, &object, false).await {
                Ok(written) => {
                    tracing::info!(incident = %case.subject, service = switch.name, ?selector, "switched");
                    self.let_service_go(written, Some(&live["metadata"]["managedFields"])).await?;
                    return Ok(None);
                }
                Err(ApiError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn let_service_go(&self, mut live: Value, before: Option<&Value>) -> Result<(), ApiError> {
        loop {
            let (namespace, name) = crate::cluster::place(&live);
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            match self.cluster.release(Kind::Service, live, before, None, SELECTOR).await {
                Ok(_) | Err(ApiError::NotFound(_)) => return Ok(()),
                Err(ApiError::Conflict(_)) => {
                    let Some(again) = self.cluster.get(Kind::Service, &namespace, &name).await? else { return Ok(()) };
                    live = again;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn read(live: &Value) -> Service {
    let text = |key: &str| live["metadata"][key].as_str().unwrap_or_default().to_owned();
    let selector: Labels = labels(&live["spec"]["selector"]);
    Service { name: text("name"), uid: text("uid"), selector, ready: Vec::new() }
}
