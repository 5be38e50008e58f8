//! What the cluster shows of one workload, reduced to what decisions need.
//!
//! Guarantees: built from plain JSON, so that a field this binary has never heard of changes no hash; missing parts read as empty.
//! Must not: talk to a cluster, or decide.

use std::collections::BTreeMap;

use lastgood_core::rollout::Rollout;
use serde_json::Value;

use crate::attempt::Live;
use crate::carriers::{self, Carrier};
use crate::cluster::Kind;
use crate::counts::Counts;

/// Labels or a selector.
pub type Labels = BTreeMap<String, String>;

/// Which version something belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// The one that is put back.
    Restored,
    /// The one that is taken out of service.
    Bad,
    /// Not the restored one, and a partition keeps it as it is.
    Kept,
    /// Another one of this workload.
    #[default]
    Other,
}

/// The two versions of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Template hash of the bad one.
    pub from: String,
    /// What carries it, where the plan knows that.
    pub from_carrier: String,
    /// Template hash of a write that is being replaced, because it yielded other images; empty where there is none.
    pub moved: String,
    /// Template hash of the restored one.
    pub to: String,
    /// The hash that our write yielded, where admission made another one of it.
    pub yielded: String,
}

impl Versions {
    /// Which version this is, by what carries it and its template's hash.
    #[must_use]
    pub fn which(&self, carrier: &str, template_hash: &str) -> Which {
        if template_hash == self.to || template_hash == self.yielded {
            Which::Restored
        } else if template_hash == self.from
            || (!self.moved.is_empty() && template_hash == self.moved)
            || (!carrier.is_empty() && carrier == self.from_carrier)
        {
            Which::Bad
        } else {
            Which::Other
        }
    }
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
    /// That version's hash; empty when what carries it is not known.
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

    /// Whether it has this address.
    #[must_use]
    pub fn has_address(&self, ip: &str) -> bool {
        let all = self.object["status"]["podIPs"].as_array().into_iter().flatten();
        self.ip == ip || all.into_iter().any(|one| one["ip"] == ip)
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

/// One look at the workload and what stands around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The workload's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The workload; `None` when it does not exist.
    pub live: Option<Live>,
    /// Its numbers.
    pub counts: Counts,
    /// How its template gets into its pods.
    pub rollout: Rollout,
    /// The labels of the pods that its template makes.
    pub labels: Labels,
    /// What carries its versions.
    pub carriers: Vec<Carrier>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The namespace's Services with a selector.
    pub services: Vec<Service>,
}

/// The objects that a view is made of, as read.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// The workload's kind.
    pub kind: Kind,
    /// The workload.
    pub workload: Option<Value>,
    /// ReplicaSets or ControllerRevisions that its selector selects.
    pub carriers: Vec<Value>,
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
        let kind = objects.kind;
        let live = objects.workload.as_ref().map(Live::of);
        let uid = live.as_ref().map(|live| live.uid.clone()).unwrap_or_default();
        let workload = objects.workload.as_ref().unwrap_or(&Value::Null);
        let rollout = match kind {
            Kind::StatefulSet => Rollout::of_stateful_set(workload),
            Kind::DaemonSet => Rollout::of_daemon_set(workload),
            _ => Rollout::default(),
        };
        let carriers: Vec<_> = objects.carriers.iter().filter_map(|one| Carrier::of(one, kind, &uid, versions)).collect();
        let pods = objects.pods.iter().filter_map(|object| {
            let mut pod = pod(object, &carriers::of_pod(object, kind, &uid, &carriers)?);
            if pod.which != Which::Restored && !rollout.follows(&pod.name) {
                pod.which = Which::Kept;
            }
            Some(pod)
        });
        Self {
            name: text(&workload["metadata"]["name"]),
            counts: Counts::of(kind, workload),
            labels: labels(&workload["spec"]["template"]["metadata"]["labels"]),
            services: services(&objects.services, &objects.endpoints),
            pods: pods.collect(),
            carriers,
            rollout,
            live,
            kind,
        }
    }

    /// Whether a pod that is gone, or was not seen yet, is this workload's by its name.
    #[must_use]
    pub fn is_own_name(&self, pod: &str) -> bool {
        let after = |name: &str| pod.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        match self.kind {
            Kind::StatefulSet => after(&self.name).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())),
            Kind::DaemonSet => after(&self.name).is_some_and(|rest| !rest.contains('-')),
            _ => self.carriers.iter().any(|carrier| after(&carrier.name).is_some()),
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

fn pod(object: &Value, carrier: &Carrier) -> Pod {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    Pod {
        name: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        ip: text(&status["podIP"]),
        which: carrier.which,
        template_hash: carrier.template_hash.clone(),
        ready: is_ready(object),
        leaving_by: metadata["deletionTimestamp"].as_str().map(|at| at.parse().unwrap_or(jiff::Timestamp::MAX)),
        phase: text(&status["phase"]),
        object: object.clone(),
    }
}

/// A pod's condition `Ready`.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
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
