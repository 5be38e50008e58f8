//! What the cluster shows of one workload, reduced to what decisions need.
//!
//! Guarantees: built from plain JSON, so that a field this binary has never heard of changes no hash; missing parts read as empty.
//! Must not: talk to a cluster, or decide.

use std::collections::BTreeMap;

use lastgood_core::template;
use serde_json::Value;

use crate::attempt::Live;

/// Labels or a selector.
pub type Labels = BTreeMap<String, String>;

/// Which version something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that is put back.
    Restored,
    /// The one that is taken out of service.
    Bad,
    /// Another one of this workload.
    Other,
}

/// The two versions of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Template hash of the bad one.
    pub from: String,
    /// Its ReplicaSet, where the plan knows it.
    pub from_replica_set: String,
    /// Template hash of the restored one.
    pub to: String,
    /// The hash that our write yielded, where admission made another one of it.
    pub yielded: String,
}

/// A ReplicaSet of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: String,
    /// Its template's hash.
    pub template_hash: String,
    /// Which version it carries.
    pub which: Which,
    /// Which incident it is annotated with.
    pub rolled_back_by: String,
}

/// A pod of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its address; empty before it has one.
    pub ip: String,
    /// Which version it runs.
    pub which: Which,
    /// That version's hash; empty when its ReplicaSet is not known.
    pub template_hash: String,
    /// Condition `Ready`.
    pub ready: bool,
    /// When it was told to go, by its `deletionTimestamp`, which has the grace period in it.
    pub leaving_by: Option<jiff::Timestamp>,
    /// Its phase.
    pub phase: String,
    /// All of it, for reports.
    pub object: Value,
}

impl Pod {
    /// Whether it takes or could take part: not on its way out and not ended.
    #[must_use]
    pub fn is_about(&self) -> bool {
        self.leaving_by.is_none() && !matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// A ready address behind a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The pod, where the endpoint names it.
    pub pod: String,
    /// The address itself.
    pub ip: String,
}

/// A Service of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `spec.selector`.
    pub selector: Labels,
    /// Its ready addresses.
    pub ready: Vec<Address>,
}

/// The Deployment's own numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// `spec.replicas`.
    pub desired: i64,
    /// How many may be missing while it rolls.
    pub max_unavailable: i64,
    /// `status.observedGeneration`.
    pub observed: i64,
    /// `status.replicas`.
    pub replicas: i64,
    /// `status.updatedReplicas`.
    pub updated: i64,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// `status.availableReplicas`.
    pub available: i64,
}

/// One look at the workload and what stands around it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The workload; `None` when it does not exist.
    pub live: Option<Live>,
    /// Its numbers.
    pub counts: Counts,
    /// The labels of the pods that its template makes.
    pub labels: Labels,
    /// Its ReplicaSets.
    pub replica_sets: Vec<ReplicaSet>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The namespace's Services with a selector.
    pub services: Vec<Service>,
}

/// The objects that a view is made of, as read.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// The Deployment.
    pub workload: Option<Value>,
    /// ReplicaSets that its selector selects.
    pub replica_sets: Vec<Value>,
    /// Pods that its selector selects.
    pub pods: Vec<Value>,
    /// The namespace's Services.
    pub services: Vec<Value>,
    /// The namespace's Endpoints, or EndpointSlices.
    pub endpoints: Vec<Value>,
}

impl View {
    /// Makes it of what was read.
    #[must_use]
    pub fn of(objects: &Objects, versions: &Versions) -> Self {
        let live = objects.workload.as_ref().map(Live::of);
        let uid = live.as_ref().map(|live| live.uid.clone()).unwrap_or_default();
        let owned = objects.replica_sets.iter().filter(|set| owner(set, "Deployment").is_some_and(|(_, owner)| owner == uid));
        let replica_sets: Vec<_> = owned.map(|set| replica_set(set, versions)).collect();
        let pods = objects.pods.iter().filter_map(|object| pod(object, &replica_sets)).collect();
        let workload = objects.workload.as_ref().unwrap_or(&Value::Null);
        Self {
            counts: counts(workload),
            labels: labels(&workload["spec"]["template"]["metadata"]["labels"]),
            services: services(&objects.services, &objects.endpoints),
            live,
            replica_sets,
            pods,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A map of strings; anything else in it is left out.
#[must_use]
pub fn labels(map: &Value) -> Labels {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn owner(object: &Value, kind: &str) -> Option<(String, String)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == kind && owner["controller"] == true)?;
    Some((text(&owner["name"]), text(&owner["uid"])))
}

fn replica_set(set: &Value, versions: &Versions) -> ReplicaSet {
    let (name, template_hash) = (text(&set["metadata"]["name"]), template::hash(&set["spec"]["template"]));
    let which = if template_hash == versions.to || template_hash == versions.yielded {
        Which::Restored
    } else if template_hash == versions.from || (!name.is_empty() && name == versions.from_replica_set) {
        Which::Bad
    } else {
        Which::Other
    };
    let rolled_back_by = text(&set["metadata"]["annotations"][crate::strategies::ROLLED_BACK_BY]);
    ReplicaSet { name, template_hash, which, rolled_back_by }
}

fn pod(object: &Value, replica_sets: &[ReplicaSet]) -> Option<Pod> {
    let (owner_name, _) = owner(object, "ReplicaSet")?;
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let set = replica_sets.iter().find(|set| set.name == owner_name)?;
    let conditions = status["conditions"].as_array().into_iter().flatten();
    Some(Pod {
        name: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        ip: text(&status["podIP"]),
        which: set.which,
        template_hash: set.template_hash.clone(),
        ready: conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
        leaving_by: metadata["deletionTimestamp"].as_str().map(|at| at.parse().unwrap_or(jiff::Timestamp::MAX)),
        phase: text(&status["phase"]),
        object: object.clone(),
    })
}

fn counts(workload: &Value) -> Counts {
    let (spec, status) = (&workload["spec"], &workload["status"]);
    let number = |name: &str| status[name].as_i64().unwrap_or_default();
    let desired = spec["replicas"].as_i64().unwrap_or(1);
    let recreate = spec["strategy"]["type"] == "Recreate";
    let max_unavailable = match &spec["strategy"]["rollingUpdate"]["maxUnavailable"] {
        _ if recreate => desired,
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(percent) => percent.trim_end_matches('%').parse::<i64>().unwrap_or(25).saturating_mul(desired) / 100,
        _ => desired / 4,
    };
    Counts {
        desired,
        max_unavailable,
        observed: number("observedGeneration"),
        replicas: number("replicas"),
        updated: number("updatedReplicas"),
        ready: number("readyReplicas"),
        available: number("availableReplicas"),
    }
}

fn services(services: &[Value], endpoints: &[Value]) -> Vec<Service> {
    let mut ready: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    for object in endpoints {
        let (service, addresses) = addresses(object);
        ready.entry(service).or_default().extend(addresses);
    }
    let selecting = services.iter().filter(|service| service["spec"]["selector"].as_object().is_some_and(|map| !map.is_empty()));
    selecting
        .map(|service| {
            let name = text(&service["metadata"]["name"]);
            let mut ready = ready.remove(&name).unwrap_or_default();
            ready.sort();
            ready.dedup();
            Service { uid: text(&service["metadata"]["uid"]), selector: labels(&service["spec"]["selector"]), ready, name }
        })
        .collect()
}

/// The Service that an Endpoints object or an EndpointSlice belongs to, and its ready addresses.
fn addresses(object: &Value) -> (String, Vec<Address>) {
    let metadata = &object["metadata"];
    if let Some(subsets) = object["subsets"].as_array() {
        let all = subsets.iter().filter_map(|subset| subset["addresses"].as_array()).flatten();
        let addresses = all.map(|a| Address { pod: text(&a["targetRef"]["name"]), ip: text(&a["ip"]) }).collect();
        return (text(&metadata["name"]), addresses);
    }
    let endpoints = object["endpoints"].as_array().into_iter().flatten();
    // A missing condition means ready, says the API.
    let ready = endpoints.filter(|e| e["conditions"]["ready"].as_bool().unwrap_or(true));
    let addresses = ready.flat_map(|endpoint| {
        let pod = text(&endpoint["targetRef"]["name"]);
        let ips = endpoint["addresses"].as_array().into_iter().flatten();
        ips.map(move |ip| Address { pod: pod.clone(), ip: text(ip) }).collect::<Vec<_>>()
    });
    (text(&metadata["labels"]["kubernetes.io/service-name"]), addresses.collect())
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
