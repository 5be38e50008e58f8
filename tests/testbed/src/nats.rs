//! The real nats-server with JetStream: one node, or three on loopback with a meta group.
//!
//! Guarantee: ports and stores survive a kill and a restart; stores of their own are temporary and go with the owner.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Error, ports,
    process::{Daemon, Process},
    tools, wait,
};

/// How long a node may take to be ready, with a large store after a kill too, and a cluster to elect.
const READY: Duration = Duration::from_mins(3);

/// How a node is run.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Where the store and the log go; `None` is a temporary directory.
    pub dir: Option<PathBuf>,
    /// Flush every write before it is acknowledged, as what we ship does; otherwise every two minutes, nats-server's default.
    pub sync_always: bool,
    /// Bytes that JetStream may store on disk; `None` is 4 GiB.
    pub max_store_bytes: Option<u64>,
    /// More lines for the configuration file, for instance an authorization block.
    pub extra_config: String,
}

/// A node that runs.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    monitor: u16,
    dir: PathBuf,
    daemon: Daemon,
    _temporary: Option<TempDir>,
}

/// What makes a node a member.
struct Member {
    name: String,
    route_port: u16,
    routes: Vec<u16>,
}

impl Nats {
    /// Starts one node and waits till JetStream answers.
    pub async fn start(options: NatsOptions) -> Result<Self, Error> {
        let nats = Self::launch(&options, None).await?;
        nats.ready().await?;
        Ok(nats)
    }

    async fn launch(options: &NatsOptions, member: Option<&Member>) -> Result<Self, Error> {
        let binary = tools::nats_server().await?;
        let temporary = match &options.dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new().prefix("lastgood-nats-").tempdir().map_err(Error::io("a directory for nats-server"))?,
            ),
        };
        let dir = match (&options.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, temporary) => temporary.as_ref().map(|dir| dir.path().to_owned()).unwrap_or_default(),
        };
        let (port, monitor) = (ports::free()?, ports::free()?);
        let config = dir.join("nats.conf");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&config, render(options, &dir, port, monitor, member)))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        let name = member.map_or_else(|| "nats-server".to_owned(), |member| format!("nats-server {}", member.name));
        let daemon = Daemon::start(name, dir.join("nats.log"), move || {
            let mut command = Command::new(&binary);
            command.arg("--config").arg(&config);
            command
        })?;
        Ok(Self { port, monitor, dir, daemon, _temporary: temporary })
    }

    /// The address for clients, `nats://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The address of nats-server's own monitoring (`/varz`, `/jsz`, `/healthz`).
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Where the configuration, the log and the store are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process, to pause it or read its memory.
    #[must_use]
    pub fn process(&self) -> std::sync::Arc<Process> {
        self.daemon.process()
    }

    /// SIGKILL, as a power cut would: what was not flushed to the operating system is lost.
    pub async fn kill(&self) -> Result<(), Error> {
        self.daemon.kill().await
    }

    /// Starts it again (killing it when it runs) with the same port and store, and waits till it is ready.
    pub async fn restart(&self) -> Result<(), Error> {
        self.daemon.respawn().await?;
        self.ready().await
    }

    async fn ready(&self) -> Result<(), Error> {
        let url = format!("{}/healthz?js-enabled-only=true", self.monitor_url());
        self.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await
    }

    /// The monitoring page `/jsz`.
    async fn jsz(&self) -> Result<Value, String> {
        let body = wait::get(&format!("{}/jsz", self.monitor_url())).await?;
        serde_json::from_str(&body).map_err(|error| format!("/jsz of {}: {error}", self.monitor_url()))
    }
}

/// The configuration file of a node.
fn render(options: &NatsOptions, dir: &Path, port: u16, monitor: u16, member: Option<&Member>) -> String {
    let store = Value::String(dir.join("jetstream").display().to_string());
    let sync = if options.sync_always { "sync_interval: always" } else { "" };
    let bytes = options.max_store_bytes.unwrap_or(4 << 30);
    let mut config = format!(
        "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
         jetstream {{\n  store_dir: {store}\n  max_memory_store: 268435456\n  max_file_store: {bytes}\n  {sync}\n}}\n"
    );
    if let Some(Member { name, route_port, routes }) = member {
        let routes: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let routes = routes.join(", ");
        // Writing to a string can't fail.
        let _ = write!(
            config,
            "server_name: {name}\ncluster {{\n  name: testbed\n  listen: \"127.0.0.1:{route_port}\"\n  routes: [{routes}]\n}}\n"
        );
    }
    config.push_str(&options.extra_config);
    config
}

/// Several nodes with one JetStream meta group, so that streams can have replicas.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Nats>,
    _temporary: TempDir,
}

impl NatsCluster {
    /// Starts `size` nodes (3 for R3) that flush every write, and waits till they have a leader and each is current.
    pub async fn start(size: usize) -> Result<Self, Error> {
        Self::start_with(size, NatsOptions { sync_always: true, ..NatsOptions::default() }).await
    }

    /// [`NatsCluster::start`] with options for each node; their `dir` is ignored, the nodes' stores are temporary.
    pub async fn start_with(size: usize, options: NatsOptions) -> Result<Self, Error> {
        let temporary = tempfile::Builder::new().prefix("lastgood-nats-").tempdir().map_err(Error::io("a directory for NATS"))?;
        let routes = (0..size).map(|_| ports::free()).collect::<Result<Vec<_>, _>>()?;
        let mut nodes = Vec::with_capacity(size);
        for (index, route_port) in routes.iter().enumerate() {
            let name = format!("n{index}");
            let options = NatsOptions { dir: Some(temporary.path().join(&name)), ..options.clone() };
            let member = Member { name, route_port: *route_port, routes: routes.clone() };
            nodes.push(Nats::launch(&options, Some(&member)).await?);
        }
        let cluster = Self { nodes, _temporary: temporary };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// The clients' addresses of all nodes, separated by commas, as `NATS_URL`-like settings take them.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }

    /// The nodes, in the order of their names `n0`, `n1`, ….
    #[must_use]
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// SIGKILL to one node.
    pub async fn kill(&self, index: usize) -> Result<(), Error> {
        self.nodes[index].kill().await
    }

    /// Starts one node again and waits till it has caught up.
    pub async fn restart(&self, index: usize) -> Result<(), Error> {
        let node = &self.nodes[index];
        node.daemon.respawn().await?;
        let url = format!("{}/healthz", node.monitor_url());
        node.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await
    }

    /// The index of the node that leads the meta group, agreed upon by most running nodes; waits for an election that is under way.
    pub async fn meta_leader(&self) -> Result<usize, Error> {
        Ok(wait::until("a leader of the meta group", READY, || self.look_for_leader()).await?)
    }

    async fn look_for_leader(&self) -> Result<usize, String> {
        let mut seen = Vec::new();
        for node in self.nodes.iter().filter(|node| node.process().is_running()) {
            let jsz = node.jsz().await?;
            seen.push(jsz["meta_cluster"]["leader"].as_str().unwrap_or_default().to_owned());
        }
        let name = |index: usize| format!("n{index}");
        let votes = |index: usize| seen.iter().filter(|leader| **leader == name(index)).count();
        let alive = |index: &usize| self.nodes[*index].process().is_running();
        (0..self.nodes.len())
            .filter(alive)
            .find(|index| votes(*index) * 2 > self.nodes.len())
            .ok_or_else(|| format!("the nodes name as leader: {seen:?}"))
    }

    async fn ready(&self) -> Result<(), Error> {
        for node in &self.nodes {
            let url = format!("{}/healthz", node.monitor_url());
            node.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await?;
        }
        self.meta_leader().await.map(drop)
    }
}
