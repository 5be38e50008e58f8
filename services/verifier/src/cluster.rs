//! Looks at a workload, what carries its versions, its pods and its Services by live reads.
//!
//! Guarantees: every look lists anew, but for looks that several checks share within a moment; the restored version's pods are
//! those of the workload whose version's template hash is what the rollback yielded: the plan's, or what an admission
//! webhook made of it, as the executor's write says of itself. Must not: write, or take an outage for a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::IncidentSubject;
use contracts::v1::{Plan, Superseded, WorkloadRef};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::Selector;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::definitions::ANNOTATION;
use crate::eyes::{Eyes, NoLook};
use crate::kind::Kind;
use crate::sight::{PodSight, ServiceSight, Sight};
use lastgood_core::text::causes;

/// The executor's annotations: whose write the workload is as of, and the hash of the template that it yielded.
const INCIDENT: &str = "lastgood.dev/incident";
const TEMPLATE: &str = "lastgood.dev/template";

/// How old a look may be to be shared.
const SHARED_FOR: Duration = Duration::from_millis(200);

/// Looks at one workload.
pub struct KubeEyes {
    client: kube::Client,
    workload: WorkloadRef,
    incident: String,
    uid: String,
    planned: String,
    shared: Mutex<Option<(Instant, Arc<Sight>)>>,
}

impl KubeEyes {
    /// Eyes for the workload that this incident's plan restores.
    #[must_use]
    pub fn new(client: kube::Client, subject: &IncidentSubject, plan: &Plan) -> Self {
        let planned = plan.to.as_ref().map(|version| version.template_hash.clone()).unwrap_or_default();
        let (workload, incident) = (subject.workload.clone(), subject.incident.to_string());
        Self { client, workload, incident, uid: plan.workload_uid.clone(), planned, shared: Mutex::default() }
    }

    fn kind(&self) -> Result<Kind, NoLook> {
        let kind = &self.workload.kind;
        Kind::parse(kind).ok_or_else(|| NoLook::Unseen(format!("a `{kind}` is no kind of workload that can be looked at")))
    }

    /// The workload, unless somebody changed it. Read as plain JSON: a typed read would drop fields that it doesn't know from
    /// the template, and so change its hash.
    async fn workload(&self) -> Result<DynamicObject, NoLook> {
        let kind = self.kind()?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.workload.namespace, &kind.resource());
        let found = api.get_opt(&self.workload.name).await.map_err(|error| unseen(&format!("the {}", kind.name()), &error))?;
        match changed(found.as_ref(), &self.uid, self.restored(found.as_ref())) {
            Some(what) => Err(NoLook::Changed(what)),
            None => found.ok_or_else(|| NoLook::Unseen(format!("the {} is not there", kind.name()))),
        }
    }

    fn restored<'a>(&'a self, workload: Option<&'a DynamicObject>) -> &'a str {
        workload.and_then(|workload| yielded(workload, &self.incident)).unwrap_or(&self.planned)
    }

    async fn look_anew(&self) -> Result<Sight, NoLook> {
        let (kind, workload) = (self.kind()?, self.workload().await?);
        let selected = ListParams::default().labels_from(&selector(&workload)?);
        let (client, namespace) = (|| self.client.clone(), self.workload.namespace.as_str());
        let carriers: Api<DynamicObject> = Api::namespaced_with(client(), namespace, &kind.carriers());
        let pods: Api<Pod> = Api::namespaced(client(), namespace);
        let services: Api<Service> = Api::namespaced(client(), namespace);
        let everything = ListParams::default();
        let (carriers, pods, services) = tokio::join!(carriers.list(&selected), pods.list(&selected), services.list(&everything));
        let carriers = carriers.map_err(|error| unseen(&format!("the {}s", kind.carriers().kind), &error))?.items;
        let pods = pods.map_err(|error| unseen("the pods", &error))?.items;
        let services = services.map_err(|error| unseen("the Services", &error))?.items;
        Ok(sight(kind, &workload, self.restored(Some(&workload)), &carriers, &pods, &services))
    }
}

#[async_trait]
impl Eyes for KubeEyes {
    async fn look(&self) -> Result<Arc<Sight>, NoLook> {
        // Held while looking: checks that ask at the same time share one look.
        let mut shared = self.shared.lock().await;
        if let Some((at, sight)) = shared.as_ref()
            && at.elapsed() < SHARED_FOR
        {
            return Ok(Arc::clone(sight));
        }
        let sight = Arc::new(self.look_anew().await?);
        *shared = Some((Instant::now(), Arc::clone(&sight)));
        Ok(sight)
    }

    async fn smoke_tests(&self) -> Result<Option<String>, NoLook> {
        let annotations = self.workload().await?.metadata.annotations;
        Ok(annotations.and_then(|mut annotations| annotations.remove(ANNOTATION)))
    }
}

fn unseen(what: &str, error: &kube::Error) -> NoLook {
    NoLook::Unseen(format!("{what} can't be read: {}", causes(error)))
}

fn selector(workload: &DynamicObject) -> Result<Selector, NoLook> {
    let selector = workload.data.pointer("/spec/selector").cloned().unwrap_or(Value::Null);
    serde_json::from_value::<LabelSelector>(selector)
        .map_err(|error| error.to_string())
        .and_then(|selector| Selector::try_from(selector).map_err(|error| error.to_string()))
        .map_err(|error| NoLook::Unseen(format!("the workload's selector can't be read: {error}")))
}

/// The hash of the template that this incident's write yielded, by the workload's annotations; `None` where they are not its.
#[must_use]
pub fn yielded<'a>(workload: &'a DynamicObject, incident: &str) -> Option<&'a str> {
    let annotations = workload.metadata.annotations.as_ref()?;
    let ours = annotations.get(INCIDENT).is_some_and(|named| named == incident);
    annotations.get(TEMPLATE).filter(|hash| ours && !hash.is_empty()).map(String::as_str)
}

/// Whether somebody changed the workload since it was restored.
#[must_use]
pub fn changed(workload: Option<&DynamicObject>, uid: &str, restored: &str) -> Option<Superseded> {
    let generation = workload.and_then(|workload| workload.metadata.generation).unwrap_or(0);
    let say = |what: &str, detail: &str| {
        Some(Superseded { what: what.to_owned(), detail: detail.to_owned(), workload_generation: generation })
    };
    let Some(workload) = workload else { return say("deleted", "the workload was deleted while it was verified") };
    if workload.metadata.deletion_timestamp.is_some() {
        return say("deleted", "the workload is being deleted");
    }
    if workload.metadata.uid.as_deref() != Some(uid) {
        return say("uid", "the workload was deleted and created anew");
    }
    let template = workload.data.pointer("/spec/template").unwrap_or(&Value::Null);
    if lastgood_core::template::hash(template) != restored {
        return say("template", "the pod template is not the restored version's any more");
    }
    if workload.data.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return say("paused", "somebody paused the workload");
    }
    None
}

/// What these objects come to.
#[must_use]
pub fn sight(
    kind: Kind,
    workload: &DynamicObject,
    restored: &str,
    carriers: &[DynamicObject],
    pods: &[Pod],
    services: &[Service],
) -> Sight {
    let pods: Vec<&Pod> = kind
        .restored(workload, restored, carriers, pods)
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Failed" | "Succeeded"))
        .collect();
    let services = services.iter().filter(|service| pods.iter().any(|pod| selects(service, pod))).map(service_sight).collect();
    Sight { desired: kind.desired(workload), pods: pods.into_iter().map(pod_sight).collect(), services }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn pod_sight(pod: &Pod) -> PodSight {
    let status = pod.status.clone().unwrap_or_default();
    let containers: Vec<ContainerStatus> =
        status.init_container_statuses.into_iter().chain(status.container_statuses).flatten().collect();
    let ready = status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    PodSight {
        name: pod.metadata.name.clone().unwrap_or_default(),
        address: status.pod_ip.and_then(|address| address.parse().ok()),
        ready,
        restarts: containers.iter().map(|container| u32::try_from(container.restart_count).unwrap_or(0)).sum(),
        trouble: if ready { None } else { containers.iter().find_map(trouble) },
    }
}

/// What keeps a container from running, but for the steps of an ordinary start.
fn trouble(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?.reason.clone()?;
    (!matches!(waiting.as_str(), "ContainerCreating" | "PodInitializing")).then_some(waiting)
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

fn service_sight(service: &Service) -> ServiceSight {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    ServiceSight {
        name: service.metadata.name.clone().unwrap_or_default(),
        address: spec.cluster_ip.and_then(|address| address.parse().ok()),
        ports: ports
            .iter()
            .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
            .filter_map(|port| u16::try_from(port.port).ok())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(annotations: &Value, template: &Value) -> DynamicObject {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "uid": "u", "annotations": annotations}, "spec": {"template": template}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_admission_made_of_the_restored_version_is_no_change() {
        let (planned, made) = (json!({"spec": {"a": 1}}), json!({"spec": {"a": 1, "sidecar": 1}}));
        let hash = lastgood_core::template::hash;
        let told = |incident: &str, template: &Value| {
            let live = deployment(&json!({INCIDENT: incident, TEMPLATE: hash(&made)}), template);
            let restored = yielded(&live, "inc_a").map_or_else(|| hash(&planned), ToOwned::to_owned);
            changed(Some(&live), "u", &restored).map(|superseded| superseded.what)
        };
        let template = || Some("template".to_owned());
        assert_eq!(told("inc_a", &made), None);
        assert_eq!(told("inc_a", &json!({"spec": {"a": 3}})), template(), "apply keeps the annotations");
        assert_eq!(told("inc_b", &made), template(), "another incident's word says nothing");
        assert_eq!(told("inc_b", &planned), None);
    }
}
