//! The simulated cluster as kube-rs and plain HTTP see it: conflicts, dry runs, watches, outages, custom resources.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::{Value, json};
use testbed::sim::{SimCluster, SimOptions};
use testbed::wait::until;

const DEADLINE: Duration = Duration::from_secs(20);

fn deployment(tag: &str) -> Deployment {
    let value = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": format!("docker.io/local/web:{tag}")}]},
        }},
    });
    serde_json::from_value(value).expect("a Deployment")
}

fn code(error: &kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => (0, other.to_string()),
    }
}

async fn start() -> anyhow::Result<(SimCluster, kube::Client)> {
    let cluster = SimCluster::start(SimOptions::default()).await?;
    let client = cluster.client().await?;
    Ok((cluster, client))
}

fn dry() -> PatchParams {
    PatchParams { dry_run: true, ..PatchParams::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_guarded_by_versions_and_generations() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let first = api.create(&PostParams::default(), &deployment("v1")).await?;
    ensure!(first.metadata.generation == Some(1) && first.metadata.uid.is_some());
    let exists = api.create(&PostParams::default(), &deployment("v1")).await.expect_err("exists");
    ensure!(code(&exists) == (409, "AlreadyExists".into()), "{exists}");

    let old = first.clone();
    let mut new = first;
    new.spec.as_mut().context("spec")?.replicas = Some(2);
    // The controller writes too; only the last version read may be replaced.
    let changed = until("an update", DEADLINE, async || {
        let mut new = new.clone();
        new.metadata.resource_version = api.get("web").await?.metadata.resource_version;
        api.replace("web", &PostParams::default(), &new).await
    })
    .await?;
    ensure!(changed.metadata.generation == Some(2), "the spec changed once");
    let stale = api.replace("web", &PostParams::default(), &old).await.expect_err("stale");
    ensure!(code(&stale) == (409, "Conflict".into()), "{stale}");
    ensure!(stale.to_string().contains("the object has been modified"), "{stale}");

    let patch = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let annotated = api.patch("web", &PatchParams::default(), &patch).await?;
    ensure!(annotated.metadata.generation == Some(2), "metadata doesn't count");
    let again = api.patch("web", &PatchParams::default(), &patch).await?;
    let generation = |d: &Deployment| d.metadata.generation;
    ensure!(generation(&again) == Some(2));
    let test: Patch<()> = Patch::Json(serde_json::from_value(json!([
        {"op": "test", "path": "/metadata/annotations/a", "value": "c"},
    ]))?);
    let refused = api.patch("web", &PatchParams::default(), &test).await.expect_err("a test that fails");
    ensure!(code(&refused).0 == 422, "{refused}");
    let moved = Patch::Merge(json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}));
    let refused = api.patch("web", &PatchParams::default(), &moved).await.expect_err("another uid");
    ensure!(code(&refused).0 == 409, "{refused}");

    cluster.inject_conflicts(1);
    let refused = api.patch("web", &PatchParams::default(), &patch).await.expect_err("injected");
    ensure!(code(&refused).0 == 409);
    api.patch("web", &PatchParams::default(), &patch).await?;

    let missing = api.get("nobody").await.expect_err("missing");
    ensure!(code(&missing) == (404, "NotFound".into()), "{missing}");
    let applied = Patch::Apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}));
    let refused = api.patch("web", &PatchParams::apply("me"), &applied).await.expect_err("no server-side apply");
    ensure!(code(&refused).0 == 415, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_validate_and_store_nothing() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let api: Api<Deployment> = Api::namespaced(client, "default");
    let dry_post = PostParams { dry_run: true, field_manager: Some("lastgood".into()) };
    let would = api.create(&dry_post, &deployment("v1")).await?;
    ensure!(would.spec.and_then(|s| s.progress_deadline_seconds) == Some(600), "defaults are filled in");
    ensure!(cluster.get("deployments.apps", "default", "web").is_none());

    api.create(&PostParams::default(), &deployment("v1")).await?;
    let image =
        |tag: &str| Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": tag}]}}}}));
    let would = api.patch("web", &dry(), &image("web:v2")).await?;
    let seen = would.spec.and_then(|s| s.template.spec).map(|s| s.containers[0].image.clone());
    ensure!(seen == Some(Some("web:v2".into())), "{seen:?}");
    let refused = api.patch("web", &dry(), &image("")).await.expect_err("no image");
    ensure!(code(&refused) == (422, "Invalid".into()), "{refused}");
    let selector = Patch::Merge(json!({"spec": {"selector": {"matchLabels": {"app": "web", "b": "c"}}}}));
    let refused = api.patch("web", &dry(), &selector).await.expect_err("immutable");
    ensure!(code(&refused).0 == 422 && refused.to_string().contains("immutable"), "{refused}");
    let stored = cluster.get("deployments.apps", "default", "web").context("gone")?;
    ensure!(stored["spec"]["template"]["spec"]["containers"][0]["image"] == "docker.io/local/web:v1");

    let journal = cluster.journal();
    ensure!(journal.iter().filter(|e| e.dry_run).count() == 4, "{journal:?}");
    let first = &journal[0];
    ensure!(first.method == "POST" && first.field_manager == "lastgood" && first.status == 201, "{first:?}");
    ensure!(first.path == "/apis/apps/v1/namespaces/default/deployments" && first.body["kind"] == "Deployment");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_survives_outages_and_compactions() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let stream = watcher(api.clone(), config).default_backoff().reflect(writer);
        let task = tokio::spawn(stream.for_each(|_| async {}));
        tokio::time::timeout(DEADLINE, reader.wait_until_ready()).await??;
        let put = async |value: &str| {
            let map = json!({"metadata": {"name": "m"}, "data": {"k": value}});
            let _ = api.delete("m", &DeleteParams::default()).await;
            api.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
            anyhow::Ok(())
        };
        let seen = async |value: &str| {
            let found = || reader.state().iter().any(|m| m.data.as_ref().is_some_and(|d| d["k"] == value));
            until(value, DEADLINE, async || found().then_some(())).await
        };
        put("first").await?;
        seen("first").await?;
        cluster.expire_watches();
        put("after the compaction").await?;
        seen("after the compaction").await?;
        cluster.set_available(false);
        ensure!(api.get("m").await.is_err(), "unreachable");
        cluster.set_available(true);
        until("the API server", DEADLINE, async || api.get("m").await).await?;
        put("after the outage").await?;
        seen("after the outage").await?;
        task.abort();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_follow_selectors() -> anyhow::Result<()> {
    let (_cluster, client) = start().await?;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let from = api.list(&ListParams::default()).await?.metadata.resource_version.context("no version")?;
    let params = kube::api::WatchParams::default().labels("on=yes").timeout(10);
    let mut events = api.watch(&params, &from).await?.boxed();
    let map = json!({"metadata": {"name": "m", "labels": {"on": "no"}}});
    api.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    for on in ["yes", "no"] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"on": on}}}));
        api.patch("m", &PatchParams::default(), &patch).await?;
    }
    let first = events.try_next().await?.context("ended")?;
    ensure!(matches!(first, kube::core::WatchEvent::Added(_)), "{first:?}");
    let second = events.try_next().await?.context("ended")?;
    ensure!(matches!(second, kube::core::WatchEvent::Deleted(_)), "{second:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_served_once_defined() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "policies.lastgood.dev"},
        "spec": {"group": "lastgood.dev", "scope": "Namespaced",
            "names": {"plural": "policies", "singular": "policy", "kind": "Policy", "shortNames": ["lgp"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let url = format!("{}/apis/apiextensions.k8s.io/v1/customresourcedefinitions", cluster.url());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let made: Value = http.post(&url).json(&definition).send().await?.error_for_status()?.json().await?;
    ensure!(made["status"]["conditions"][1]["type"] == "Established");

    let kind = GroupVersionKind::gvk("lastgood.dev", "v1", "Policy");
    let (resource, _) = kube::discovery::oneshot::pinned_kind(&client, &kind).await?;
    ensure!(resource == ApiResource { plural: "policies".into(), ..ApiResource::from_gvk(&kind) }, "{resource:?}");
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
    let policy = DynamicObject::new("p", &resource).data(json!({"spec": {"mode": "auto"}, "status": {"x": 1}}));
    let made = api.create(&PostParams::default(), &policy).await?;
    ensure!(made.data["spec"]["mode"] == "auto" && made.data.get("status").is_none(), "{made:?}");
    let patch = Patch::Merge(json!({"status": {"seen": true}, "spec": {"mode": "observe"}}));
    let seen = api.patch_status("p", &PatchParams::default(), &patch).await?;
    ensure!(seen.data == json!({"spec": {"mode": "auto"}, "status": {"seen": true}}), "{seen:?}");
    ensure!(seen.metadata.generation == Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn owned_objects_go_with_their_owner_and_namespaces_with_their_contents() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}}))?;
    namespaces.create(&PostParams::default(), &shop).await?;
    let api: Api<Deployment> = Api::namespaced(client, "shop");
    let count = |resource: &str| cluster.list(resource, "shop").len();
    for params in [DeleteParams::background(), DeleteParams::orphan()] {
        api.create(&PostParams::default(), &deployment("v1")).await?;
        until("a pod", DEADLINE, async || (count("pods") == 1).then_some(())).await?;
        let orphan = matches!(params.propagation_policy, Some(kube::api::PropagationPolicy::Orphan));
        api.delete("web", &params).await?;
        if orphan {
            ensure!(count("replicasets.apps") == 1, "orphans stay");
        } else {
            let gone = async || (count("replicasets.apps") + count("pods") == 0).then_some(());
            until("the owned objects' end", DEADLINE, gone).await?;
        }
    }
    namespaces.delete("shop", &DeleteParams::default()).await?;
    let gone = async || cluster.get("namespaces", "", "shop").is_none().then_some(());
    until("the namespace's end", DEADLINE, gone).await?;
    ensure!(count("pods") == 0);
    let refused = api.create(&PostParams::default(), &deployment("v1")).await.expect_err("no namespace");
    ensure!(code(&refused).0 == 404, "{refused}");
    Ok(())
}

/// Lists a kind as its typed client reads it and answers how many there are.
async fn listed<K>(client: &kube::Client) -> anyhow::Result<usize>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(Api::<K>::all(client.clone()).list(&ListParams::default()).await?.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_clients_read_everything() -> anyhow::Result<()> {
    let (cluster, client) = start().await?;
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let mut crashing = deployment("v1-crashing");
    crashing.metadata.name = Some("crashing".into());
    let spec = crashing.spec.as_mut().context("spec")?;
    let labels = std::collections::BTreeMap::from([("app".to_owned(), "crashing".to_owned())]);
    spec.selector.match_labels = Some(labels.clone());
    spec.template.metadata.get_or_insert_default().labels = Some(labels);
    for deployment in [deployment("v1"), crashing] {
        api.create(&PostParams::default(), &deployment).await?;
    }
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]}});
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let crashed = async || {
        let pods = cluster.list("pods", "default");
        pods.iter().any(|pod| !pod["status"]["containerStatuses"][0]["lastState"]["terminated"].is_null()).then_some(())
    };
    until("a crashed container", DEADLINE, crashed).await?;
    let served = async || (!cluster.list("endpointslices.discovery.k8s.io", "default").is_empty()).then_some(());
    until("an EndpointSlice", DEADLINE, served).await?;

    ensure!(listed::<Deployment>(&client).await? == 2);
    ensure!(listed::<ReplicaSet>(&client).await? == 2);
    ensure!(listed::<Pod>(&client).await? == 2);
    ensure!(listed::<Service>(&client).await? == 1);
    ensure!(listed::<Endpoints>(&client).await? == 1);
    ensure!(listed::<EndpointSlice>(&client).await? == 1);
    ensure!(listed::<Node>(&client).await? == 1);
    ensure!(listed::<ServiceAccount>(&client).await? == 3);
    ensure!(listed::<Event>(&client).await? > 8);
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let metadata = pods.list_metadata(&ListParams::default().labels("app=web")).await?;
    ensure!(metadata.items.len() == 1);
    Ok(())
}
