//! The simulated cluster as the real kubectl sees it: what people do all day must look and behave as on a real one.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use testbed::sim::{SimCluster, SimOptions};
use testbed::tools;
use testbed::wait::until;
use tokio::io::AsyncBufReadExt as _;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(30);

struct World {
    cluster: SimCluster,
    kubectl: PathBuf,
}

impl World {
    /// A cluster with the namespace `shop`.
    async fn start() -> anyhow::Result<Self> {
        let cluster = SimCluster::start(SimOptions::default()).await?;
        let world = Self { cluster, kubectl: tools::kubectl().await? };
        world.run("create namespace shop").await?;
        Ok(world)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig_path()).args(["-n", "shop"]);
        // Discovery is cached by address, which another test's cluster may have had before.
        command.env("KUBECACHEDIR", self.cluster.kubeconfig_path().with_file_name("cache"));
        command.args(arguments.split_whitespace()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs kubectl and answers what it printed.
    async fn run(&self, arguments: &str) -> anyhow::Result<String> {
        let output = tokio::time::timeout(DEADLINE, self.command(arguments).output()).await.context("kubectl hangs")??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("kubectl {arguments}: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }

    /// Applies the web shop as a client, with the image's tag, the replicas and the progress deadline in seconds.
    async fn apply(&self, tag: &str, replicas: u32, deadline: u32) -> anyhow::Result<()> {
        let manifest = self.cluster.kubeconfig_path().with_file_name("web.yaml");
        std::fs::write(&manifest, manifest_text(tag, replicas, deadline))?;
        self.run(&format!("apply --validate=false -f {}", manifest.display())).await?;
        Ok(())
    }

    fn web(&self) -> Value {
        self.cluster.get("deployments.apps", "shop", "web").unwrap_or_default()
    }

    /// A condition's status and reason.
    fn condition(&self, kind: &str) -> (String, String) {
        let web = self.web();
        let conditions = web["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    /// The states that containers wait in, with their restarts.
    fn waiting(&self) -> Vec<(String, i64)> {
        let pods = self.cluster.list("pods", "shop");
        let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
        let statuses = pods.iter().map(status);
        statuses
            .map(|s| {
                let reason = s["state"]["waiting"]["reason"].as_str().unwrap_or_default();
                (reason.to_owned(), s["restartCount"].as_i64().unwrap_or_default())
            })
            .collect()
    }
}

fn manifest_text(tag: &str, replicas: u32, deadline: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: docker.io/local/web:{tag}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_and_its_undo_look_as_on_a_real_cluster() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.apply("v1", 3, 60).await?;
    let status = world.run("rollout status deployment/web --timeout=20s").await?;
    ensure!(status.contains("successfully rolled out"), "{status}");
    let table = world.run("get deployments,replicasets,pods,services,endpoints,endpointslices -o wide").await?;
    for column in ["UP-TO-DATE", "DESIRED", "RESTARTS", "CLUSTER-IP", "ENDPOINTS", "ADDRESSTYPE", "3/3", "Running"] {
        ensure!(table.contains(column), "no {column} in {table}");
    }
    let hash = world.cluster.list("replicasets.apps", "shop")[0]["metadata"]["name"].clone();

    world.run("set image deployment/web web=docker.io/local/web:v2").await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    world.run("scale deployment/web --replicas=4").await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    world.run("rollout undo deployment/web").await?;
    world.run("rollout status deployment/web --timeout=20s").await?;

    let history = world.run("rollout history deployment/web").await?;
    let revisions: Vec<_> = history.lines().filter_map(|l| l.split_whitespace().next()).collect();
    ensure!(revisions.ends_with(&["2", "3"]), "the reused revision is renumbered: {history}");
    ensure!(world.web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3");
    let sets = world.cluster.list("replicasets.apps", "shop");
    let serving = sets.iter().find(|set| set["spec"]["replicas"] == 4).context("nobody serves")?;
    ensure!(serving["metadata"]["name"] == hash, "undo reuses the first ReplicaSet");

    let description = world.run("describe deployment web").await?;
    for part in ["ScalingReplicaSet", "NewReplicaSetAvailable", "4 available", "Scaled up replica set"] {
        ensure!(description.contains(part), "no {part} in {description}");
    }
    ensure!(world.run("describe pods").await?.contains("Started container web"));
    ensure!(world.run("logs deployment/web --tail=1").await?.contains("web v1 (healthy)"));

    world.run("delete deployment web").await?;
    until("the pods' end", DEADLINE, async || world.cluster.list("pods", "shop").is_empty().then_some(())).await?;
    world.run("delete namespace shop --timeout=20s").await?;
    ensure!(world.cluster.get("namespaces", "", "shop").is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_address_serves_through_a_whole_rollout() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.apply("v1", 3, 60).await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    let service = world.cluster.get("services", "shop", "web").context("no service")?;
    let url = format!("http://{}/version", service["spec"]["clusterIP"].as_str().unwrap_or_default());
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
    let version = async || -> anyhow::Result<String> {
        let answer: Value = http.get(&url).send().await?.error_for_status()?.json().await?;
        Ok(answer["version"].as_str().unwrap_or_default().to_owned())
    };
    // Endpoints are followed a moment after the rollout's status.
    until("the address", DEADLINE, &version).await?;
    let mut watch = world.command("get deployment web --watch").stdout(Stdio::piped()).spawn()?;
    let mut lines = tokio::io::BufReader::new(watch.stdout.take().context("no output")?).lines();
    ensure!(lines.next_line().await?.is_some_and(|line| line.contains("AVAILABLE")));

    world.run("set image deployment/web web=docker.io/local/web:v2").await?;
    let started = tokio::time::Instant::now();
    loop {
        let seen = version().await.context("the rollout must not lose a request")?;
        let available = world.web()["status"]["availableReplicas"].as_i64().unwrap_or_default();
        ensure!(available >= 3, "below the minimum: {available}");
        if seen == "v2" && world.condition("Progressing").1 == "NewReplicaSetAvailable" {
            break;
        }
        ensure!(started.elapsed() < DEADLINE, "still {seen}");
    }
    let mut seen = 0;
    while seen < 4 {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
        ensure!(line.context("the watch ended")?.starts_with("web"));
        seen += 1;
    }
    world.run("scale deployment/web --replicas=0").await?;
    let refused = async || match version().await {
        Ok(seen) => Err(format!("{seen} still answers")),
        Err(_) => Ok(()),
    };
    until("nobody to answer", DEADLINE, refused).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_versions_fail_each_in_its_own_way() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.apply("v1", 2, 2).await?;
    world.run("rollout status deployment/web --timeout=20s").await?;

    world.apply("v2-crashing", 2, 2).await?;
    let crashed = async || world.waiting().into_iter().find(|(reason, n)| reason == "CrashLoopBackOff" && *n >= 2);
    until("a crash loop", DEADLINE, crashed).await?;
    let pods = world.run("get pods").await?;
    ensure!(pods.contains("CrashLoopBackOff") || pods.contains("Error"), "{pods}");
    let crashed = world.cluster.list("pods", "shop");
    let crashed = crashed.iter().find(|pod| pod["spec"]["containers"][0]["image"] == "docker.io/local/web:v2-crashing");
    let crashed = crashed.and_then(|pod| pod["metadata"]["name"].as_str()).context("no crashed pod")?;
    let log = world.run(&format!("logs {crashed} --previous")).await?;
    ensure!(log.contains("panicked"), "{log}");

    world.apply("v3-unpullable", 2, 2).await?;
    let unpulled = async || world.waiting().into_iter().find(|(reason, _)| reason == "ImagePullBackOff");
    until("a failed pull", DEADLINE, unpulled).await?;

    world.apply("v4-never-ready", 2, 2).await?;
    let exceeded = async || {
        let (status, reason) = world.condition("Progressing");
        let over = status == "False" && reason == "ProgressDeadlineExceeded";
        if over { Ok(()) } else { Err(format!("{status} {reason}")) }
    };
    until("the progress deadline", DEADLINE, exceeded).await?;
    let refused = world.run("rollout status deployment/web --timeout=20s").await.expect_err("the rollout failed");
    ensure!(refused.to_string().contains("exceeded its progress deadline"), "{refused}");
    ensure!(world.condition("Available").0 == "True", "the good pods go on serving");
    ensure!(world.run("describe pods").await?.contains("Readiness probe failed: HTTP probe failed with statuscode: 503"));

    world.apply("v1", 2, 2).await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    ensure!(world.condition("Progressing") == ("True".to_owned(), "NewReplicaSetAvailable".to_owned()));

    // An image that comes back is pulled after all.
    world.apply("v5-unpullable", 2, 60).await?;
    until("a failed pull", DEADLINE, unpulled).await?;
    world.cluster.set_pull_ok("docker.io/local/web:v5-unpullable", true);
    world.run("rollout status deployment/web --timeout=20s").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_pause_and_history_limits() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.apply("v1", 2, 60).await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    world.run("rollout pause deployment/web").await?;
    world.run("set image deployment/web web=docker.io/local/web:v2").await?;
    world.run("scale deployment/web --replicas=3").await?;
    let scaled = async || (world.web()["status"]["availableReplicas"] == 3).then_some(());
    until("the paused Deployment's scaling", DEADLINE, scaled).await?;
    ensure!(world.cluster.list("replicasets.apps", "shop").len() == 1, "paused: no new version");
    world.run("rollout resume deployment/web").await?;
    world.run("rollout status deployment/web --timeout=20s").await?;
    ensure!(world.cluster.list("replicasets.apps", "shop").len() == 2);

    let mut command = world.command("patch deployment web --type=merge -p");
    command.arg(r#"{"spec":{"revisionHistoryLimit":1,"strategy":{"type":"Recreate","rollingUpdate":null}}}"#);
    ensure!(command.output().await?.status.success());
    for tag in ["v3", "v4"] {
        world.run(&format!("set image deployment/web web=docker.io/local/web:{tag}")).await?;
        world.run("rollout status deployment/web --timeout=20s").await?;
    }
    let kept = async || (world.cluster.list("replicasets.apps", "shop").len() == 2).then_some(());
    until("old revisions to go", DEADLINE, kept).await?;
    ensure!(world.cluster.delete_replicaset_history("shop", "web") == 1);
    let refused = world.run("rollout undo deployment/web").await.expect_err("no history");
    ensure!(refused.to_string().contains("no rollout history"), "{refused}");
    Ok(())
}
