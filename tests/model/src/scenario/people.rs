//! People and their tools on the cluster: they deploy, go back, pause, scale and delete.
//!
//! Guarantees: each change is in the history with the object right before and right after it. Must not: play lastgood.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Workload;
use crate::world::history::{What, Write};
use crate::world::{NAMESPACE, Shared};

const DEPLOYMENTS: &str = "deployments.apps";
const SERVICES: &str = "services";
/// The label that a pinned Service selects.
const VERSION: &str = "version";

/// What the owners of the workloads remember.
#[derive(Debug, Default)]
pub struct Owners {
    /// Every template that was current by an owner's hand, oldest first, by workload.
    templates: BTreeMap<String, Vec<Value>>,
    /// The last one whose tag says that it is bad.
    bad: BTreeMap<String, Value>,
}

/// The Deployment of a workload at a tag.
fn manifest(workload: &Workload, tag: &str, epoch: i64) -> Value {
    let mut annotations = json!({"lastgood.dev/mode": workload.mode});
    if workload.smoke {
        let smoke = "- {name: smoke, http: {path: /smoke, port: 8080}, timeout: 1s, retries: 3, interval: 1s, passes: 2}";
        annotations["lastgood.dev/smoke-tests"] = smoke.into();
    }
    let mut env = json!([]);
    if let Some(second) = workload.perishes.filter(|_| tag == "v1") {
        env = json!([{"name": "READY_BEFORE", "value": (epoch + i64::try_from(second).unwrap_or_default()).to_string()}]);
    }
    let mut labels = json!({"app": workload.name});
    if workload.pinned {
        labels[VERSION] = tag.into();
    }
    json!({
        "metadata": {"name": workload.name, "namespace": NAMESPACE, "labels": {"app": workload.name}, "annotations": annotations},
        "spec": {
            "replicas": workload.replicas,
            "progressDeadlineSeconds": 30,
            "selector": {"matchLabels": {"app": workload.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "web", "image": image(tag), "env": env, "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
                }]}
            }
        }
    })
}

/// Makes the namespace, and a Service for each workload.
///
/// # Panics
/// Where the empty cluster refuses them.
pub fn prepare(world: &Shared, workloads: &[Workload]) {
    let made = world.cluster.create("namespaces", "", json!({"metadata": {"name": NAMESPACE}}));
    let all = workloads.iter().all(|workload| {
        let service = service(workload);
        world.cluster.create(SERVICES, NAMESPACE, service)
    });
    assert!(made && all, "an empty cluster takes a namespace and Services");
}

fn service(workload: &Workload) -> Value {
    json!({"metadata": {"name": workload.name}, "spec": {"selector": {"app": workload.name},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

impl Owners {
    /// Deploys this tag: creates the workload, or changes its template as `kubectl apply` would.
    pub fn deploy(&mut self, world: &Shared, workload: &Workload, tag: &str) {
        let wanted = manifest(workload, tag, 1_800_000_000);
        let template = wanted["spec"]["template"].clone();
        if tag.contains('-') {
            self.bad.insert(workload.name.clone(), template.clone());
        }
        if world.cluster.get(DEPLOYMENTS, NAMESPACE, &workload.name).is_some() {
            self.put(world, workload, &template);
            return;
        }
        self.templates.entry(workload.name.clone()).or_default().push(template.clone());
        change(world, DEPLOYMENTS, &workload.name, || world.cluster.create(DEPLOYMENTS, NAMESPACE, wanted));
        point(world, workload, &template);
    }

    fn put(&mut self, world: &Shared, workload: &Workload, template: &Value) {
        self.templates.entry(workload.name.clone()).or_default().push(template.clone());
        edit(world, DEPLOYMENTS, &workload.name, |object| object["spec"]["template"] = template.clone());
        point(world, workload, template);
    }

    /// Goes back to the owner's version before the last one, as `kubectl rollout undo` would.
    pub fn roll_back(&mut self, world: &Shared, workload: &Workload) {
        let before = self.templates.get(&workload.name).and_then(|all| all.len().checked_sub(2).and_then(|index| all.get(index)));
        if let Some(template) = before.cloned() {
            self.put(world, workload, &template);
        }
    }

    /// Puts the last bad version back, on purpose.
    pub fn put_bad_back(&mut self, world: &Shared, workload: &Workload) {
        if let Some(template) = self.bad.get(&workload.name).cloned() {
            self.put(world, workload, &template);
        }
    }
}

/// Points a pinned Service at the pods of this template.
fn point(world: &Shared, workload: &Workload, template: &Value) {
    if workload.pinned {
        let version = template["metadata"]["labels"][VERSION].clone();
        edit(world, SERVICES, &workload.name, |service| service["spec"]["selector"][VERSION] = version);
    }
}

/// Pauses the rollout, or lets it go on.
pub fn pause(world: &Shared, workload: &Workload, paused: bool) {
    edit(world, DEPLOYMENTS, &workload.name, |object| object["spec"]["paused"] = paused.into());
}

/// Scales, as an autoscaler does.
pub fn scale(world: &Shared, workload: &Workload, replicas: u64) {
    edit(world, DEPLOYMENTS, &workload.name, |object| object["spec"]["replicas"] = replicas.into());
}

/// Pushes a tag again, with what another one stands for.
pub fn move_tag(world: &Shared, tag: &str, to: &str) {
    world.note(format!("the tag {tag} leads to {to} now"));
    world.count("people: tag moved");
    world.cluster.move_tag(&image(tag), &image(to));
}

fn image(tag: &str) -> String {
    format!("docker.io/local/web:{tag}")
}

/// Deletes it.
pub fn delete(world: &Shared, workload: &Workload) {
    change(world, DEPLOYMENTS, &workload.name, || world.cluster.delete(DEPLOYMENTS, (NAMESPACE, &workload.name)));
}

fn edit(world: &Shared, resource: &str, name: &str, how: impl FnOnce(&mut Value)) {
    change(world, resource, name, || world.cluster.change(resource, (NAMESPACE, name), how));
}

/// A change with its object before and after.
fn change(world: &Shared, resource: &str, name: &str, how: impl FnOnce() -> bool) {
    let read = || world.cluster.get(resource, NAMESPACE, name);
    let before = read();
    if how() {
        let (resource, namespace) = (resource.to_owned(), NAMESPACE.to_owned());
        let write = Write { process: None, resource, namespace, name: name.to_owned(), before, after: read() };
        world.record(What::Wrote(write));
    }
}
