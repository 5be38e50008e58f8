//! One application of a test: a namespace, a Deployment (or another kind of workload) of the test workload and its Service, deployed as its
//! owner would.
//!
//! Guarantees: Deployments are the same on the simulated and on a real cluster; every call has the client's deadline. It plays the owner, an
//! autoscaler or a colleague; it must never play lastgood.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

pub use kind::AppKind;

use crate::real_cluster::REPOSITORY;
use crate::wait;

mod configuration;
mod kind;

/// The variable after whose second (Unix, UTC) a pod of the test workload that starts never becomes ready: a version that was healthy
/// once and can't come back.
pub const READY_BEFORE: &str = "READY_BEFORE";
const YEAR_2100: &str = "4102444800";

/// How an application is deployed.
#[derive(Debug, Clone)]
pub struct AppOptions {
    /// The kind of workload.
    pub kind: AppKind,
    /// `updateStrategy` of a StatefulSet or DaemonSet; `None` leaves it to the API server.
    pub update_strategy: Option<Value>,
    /// Pods.
    pub replicas: u32,
    /// `lastgood.dev/mode`; `None` leaves the annotation out.
    pub mode: Option<&'static str>,
    /// More annotations of the Deployment.
    pub annotations: BTreeMap<String, String>,
    /// More variables of the container.
    pub env: BTreeMap<String, String>,
    /// Seconds that a pod is given to end; with 0 the API server forgets it at once.
    pub grace: u32,
    /// Seconds until a rollout that does not move counts as failed.
    pub progress_deadline: u32,
    /// What its ConfigMap holds, which is mounted at `/etc/web`; the key `behaviour` chooses what the workload does, also while it runs.
    /// With none it has no ConfigMap.
    pub config: BTreeMap<String, String>,
    /// What its Secret holds, which its variables come from. With none it has no Secret.
    pub secret: BTreeMap<String, String>,
    /// Whether the Service also selects the label `version`, which is the image's tag.
    pub pinned_service: bool,
    /// The image's name without its tag.
    pub repository: String,
    /// `imagePullPolicy`.
    pub pull_policy: &'static str,
}

impl Default for AppOptions {
    fn default() -> Self {
        let smoke = "- {name: smoke, http: {path: /smoke, port: 8080}, timeout: 2s, retries: 2, interval: 200ms, passes: 2}";
        Self {
            kind: AppKind::default(),
            update_strategy: None,
            replicas: 2,
            mode: Some("auto"),
            annotations: BTreeMap::from([("lastgood.dev/smoke-tests".to_owned(), smoke.to_owned())]),
            env: BTreeMap::new(),
            grace: 1,
            progress_deadline: 600,
            config: BTreeMap::new(),
            secret: BTreeMap::new(),
            pinned_service: false,
            repository: REPOSITORY.to_owned(),
            pull_policy: "IfNotPresent",
        }
    }
}

/// The application.
#[derive(Clone)]
pub struct App {
    client: kube::Client,
    /// Its namespace, which is its alone.
    pub namespace: String,
    /// The name of workload and Service.
    pub name: String,
    options: AppOptions,
}

impl App {
    /// Makes the namespace and the Service; nothing runs yet.
    pub async fn create(client: kube::Client, namespace: &str, name: &str, options: AppOptions) -> Result<Self> {
        let app = Self { client, namespace: namespace.to_owned(), name: name.to_owned(), options };
        let namespaces: Api<Namespace> = Api::all(app.client.clone());
        let body = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        match namespaces.create(&PostParams::default(), &body).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => {
                made.with_context(|| format!("making namespace {namespace}"))?;
            }
        }
        Ok(app)
    }

    /// The Deployments of its namespace.
    #[must_use]
    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The kind of its workload.
    #[must_use]
    pub const fn kind(&self) -> AppKind {
        self.options.kind
    }

    /// The workloads of its namespace that are of its kind.
    #[must_use]
    pub fn workloads(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &self.options.kind.resource())
    }

    /// The Services of its namespace.
    #[must_use]
    pub fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The image with this tag, as its pods name it.
    #[must_use]
    pub fn image_of(&self, tag: &str) -> String {
        format!("{}:{tag}", self.options.repository)
    }

    /// The workload's manifest with this tag.
    #[must_use]
    pub fn manifest(&self, tag: &str) -> Value {
        let mut annotations = self.options.annotations.clone();
        annotations.extend(self.options.mode.map(|mode| ("lastgood.dev/mode".to_owned(), mode.to_owned())));
        let env: Vec<_> = self.options.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut labels = json!({"app": self.name});
        if self.options.pinned_service {
            labels["version"] = json!(tag);
        }
        let mut spec = self.options.kind.spec(&self.name, &self.options);
        spec["selector"] = json!({"matchLabels": {"app": self.name}});
        spec["template"] = json!({
            "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}},
            "spec": {
                "terminationGracePeriodSeconds": self.options.grace,
                "containers": [{
                    "name": "web", "image": self.image_of(tag), "imagePullPolicy": self.options.pull_policy, "env": env,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
                }]
            }
        });
        self.configured(&mut spec["template"]["spec"]);
        json!({
            "apiVersion": "apps/v1", "kind": self.options.kind.name(),
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": self.name}, "annotations": annotations},
            "spec": spec
        })
    }

    /// The Service's manifest; it pins this tag where the options say so.
    #[must_use]
    pub fn service_manifest(&self, tag: &str) -> Value {
        let mut selector = json!({"app": self.name});
        if self.options.pinned_service {
            selector["version"] = json!(tag);
        }
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        })
    }

    /// Creates the workload and the Service with this tag.
    pub async fn deploy(&self, tag: &str) -> Result<()> {
        self.make_configuration().await?;
        self.serve(tag).await?;
        let workload = serde_json::from_value(self.manifest(tag))?;
        self.workloads().create(&PostParams::default(), &workload).await.context("creating the workload")?;
        Ok(())
    }

    /// Creates the Service.
    pub async fn serve(&self, tag: &str) -> Result<()> {
        let service = serde_json::from_value(self.service_manifest(tag))?;
        self.services().create(&PostParams::default(), &service).await.context("creating the Service")?;
        Ok(())
    }

    /// Rolls out another tag, as `kubectl set image` would (and, with a pinned Service, switches it once the pods are ready).
    pub async fn roll_out(&self, tag: &str) -> Result<()> {
        let mut template = json!({"spec": {"containers": [{"name": "web", "image": self.image_of(tag)}]}});
        if self.options.pinned_service {
            template["metadata"] = json!({"labels": {"version": tag}});
        }
        self.patch(&json!({"spec": {"template": template}})).await
    }

    /// Rolls out another tag that becomes ready whenever it starts, after a version that has [`READY_BEFORE`] set.
    pub async fn roll_out_lasting(&self, tag: &str) -> Result<()> {
        let env = json!([{"name": READY_BEFORE, "value": YEAR_2100}]);
        let container = json!({"name": "web", "image": self.image_of(tag), "env": env});
        self.patch(&json!({"spec": {"template": {"spec": {"containers": [container]}}}})).await
    }

    /// Points the Service at this tag, as the owner of a pinned Service does after a rollout.
    pub async fn pin(&self, tag: &str) -> Result<()> {
        let params = PatchParams { field_manager: Some("owner".to_owned()), ..PatchParams::default() };
        let patch = json!({"spec": {"selector": {"version": tag}}});
        self.services().patch(&self.name, &params, &Patch::Merge(&patch)).await.context("pinning the Service")?;
        Ok(())
    }

    /// A strategic patch of the workload by its owner.
    pub async fn patch(&self, patch: &Value) -> Result<()> {
        let params = PatchParams { field_manager: Some("owner".to_owned()), ..PatchParams::default() };
        self.workloads().patch(&self.name, &params, &Patch::Strategic(patch)).await.context("patching the workload")?;
        Ok(())
    }

    /// Replaces the workload by its manifest with this tag, as `kubectl replace` does: no annotation of anybody else's is left.
    pub async fn replace(&self, tag: &str) -> Result<()> {
        let params = PostParams { field_manager: Some("owner".to_owned()), ..PostParams::default() };
        let workload = serde_json::from_value(self.manifest(tag))?;
        self.workloads().replace(&self.name, &params, &workload).await.context("replacing the workload")?;
        Ok(())
    }

    /// The workload as it is.
    pub async fn workload(&self) -> Result<Value> {
        let live = self.workloads().get(&self.name).await.context("reading the workload")?;
        Ok(serde_json::to_value(live)?)
    }

    /// Its pods that are not on their way out, by name, each with its image.
    pub async fn pods(&self) -> Result<Vec<(String, String)>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = pods.list(&ListParams::default().labels(&format!("app={}", self.name))).await.context("listing the pods")?;
        let about = listed.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut found: Vec<_> =
            about.filter_map(|pod| Some((pod.metadata.name?, pod.spec?.containers.into_iter().next()?.image?))).collect();
        found.sort();
        Ok(found)
    }

    /// Deletes one of its pods, as somebody who rolls out by hand does.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        pods.delete(name, &DeleteParams::default()).await.context("deleting a pod")?;
        Ok(())
    }

    /// The Deployment as it is.
    pub async fn deployment(&self) -> Result<Deployment> {
        self.deployments().get(&self.name).await.context("reading the Deployment")
    }

    /// The image that its template names.
    pub async fn image(&self) -> Result<String> {
        let workload = self.workload().await?;
        let image = workload["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
        image.map(ToOwned::to_owned).context("no image")
    }

    /// Waits until all pods of the current template are available.
    pub async fn available(&self, deadline: Duration) -> Result<()> {
        let what = format!("{}/{} fully available", self.namespace, self.name);
        let probe = || async {
            let workload = self.workload().await.map_err(|error| format!("{error:#}"))?;
            if self.options.kind.is_available(&workload) { Ok(()) } else { Err(workload["status"].to_string()) }
        };
        wait::until(&what, deadline, probe).await?;
        Ok(())
    }

    /// `http://<clusterIP>:80`, where its Service answers.
    pub async fn url(&self) -> Result<String> {
        let what = format!("a clusterIP for {}/{}", self.namespace, self.name);
        let address = wait::until(&what, Duration::from_secs(10), || async {
            let service = self.services().get(&self.name).await.ok()?;
            service.spec.and_then(|spec| spec.cluster_ip).filter(|address| !address.is_empty())
        });
        Ok(format!("http://{}:80", address.await?))
    }

    /// Waits until the deleted namespace is gone, pods and all.
    pub async fn gone(&self, deadline: Duration) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let what = format!("the end of namespace {}", self.namespace);
        let probe = || async {
            match namespaces.get_opt(&self.namespace).await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("it is still there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        Ok(wait::until(&what, deadline, probe).await?)
    }

    /// Deletes the namespace, and does not wait for it.
    pub async fn remove(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.context("deleting the namespace")?;
        Ok(())
    }
}
