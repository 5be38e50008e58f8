//! The handle by which tests and the demo start, steer and stop the simulated cluster.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::journal::{Journal, JournalEntry};
use super::json::{Json as _, controller_uid};
use super::kubelet::Timing;
use super::logs::Logs;
use super::store::{self, Store};
use super::{Shared, api, controllers};

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Where the kubeconfig goes; by default a temporary directory that goes away with the cluster.
    pub dir: Option<PathBuf>,
    /// The API server's port; 0 takes a free one.
    pub port: u16,
    /// The first back-off after a crash or a failed pull; it doubles with each.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_limit: Duration,
    /// How long a deleted pod lives on as terminating.
    pub termination: Duration,
    /// Whether pods only exist as objects, whose status follows what their image's tag says: nothing listens, nothing is probed, and no Events
    /// are told. For many thousands of them.
    pub imagined: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            dir: None,
            port: 0,
            backoff: Duration::from_millis(500),
            backoff_limit: Duration::from_secs(10),
            termination: Duration::from_millis(300),
            imagined: false,
        }
    }
}

/// Why a cluster couldn't be started, or a client of it couldn't be made.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file or a socket.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The kubeconfig doesn't make a client's configuration.
    #[error("the kubeconfig can't be used")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be made of the configuration.
    #[error("no client can be made")]
    Client(#[from] kube::Error),
    /// The first objects were refused.
    #[error("the cluster can't be set up: {0}")]
    Setup(String),
}

/// A running simulated cluster; dropping it ends everything in it.
pub struct SimCluster {
    shared: Arc<Shared>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    /// Owns the directory when nobody else does.
    _dir: Option<tempfile::TempDir>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimCluster").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl SimCluster {
    /// Starts a cluster with one node and the usual namespaces, and writes its kubeconfig.
    pub async fn start(options: SimOptions) -> Result<Self, SimError> {
        let io = |what| move |source| SimError::Io { what, source };
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.map_err(io("can't listen for the API server"))?;
        let address = listener.local_addr().map_err(io("the listener has no address"))?;
        let (dir, path) = if let Some(path) = options.dir {
            (None, path)
        } else {
            let dir = tempfile::tempdir().map_err(io("can't make a temporary directory"))?;
            let path = dir.path().to_owned();
            (Some(dir), path)
        };
        std::fs::create_dir_all(&path).map_err(io("can't make the cluster's directory"))?;
        let kubeconfig = path.join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_text(address)).map_err(io("can't write the kubeconfig"))?;
        let shared = Arc::new(Shared {
            store: if options.imagined { Store::imagined() } else { Store::new() },
            journal: Journal::default(),
            logs: Logs::default(),
            timing: Timing {
                settle: Duration::from_millis(200),
                backoff: options.backoff,
                backoff_limit: options.backoff_limit,
                termination: options.termination,
            },
            imagined: options.imagined,
            available: watch::Sender::new(true),
            conflicts: AtomicUsize::new(0),
            tags: Mutex::default(),
            pulls: Mutex::new(HashMap::new()),
        });
        store::seed(&shared.store).map_err(|error| SimError::Setup(error.to_string()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(controllers::run(Arc::clone(&shared)));
        tasks.spawn(api::serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, kubeconfig, _dir: dir, tasks })
    }

    /// The API server's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for kubectl, our services and Prometheus.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of the cluster, in the namespace `default`.
    pub async fn client(&self) -> Result<kube::Client, SimError> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Every write request over HTTP so far, in the order of the answers. The controllers' writes aren't among them.
    #[must_use]
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.shared.journal.entries()
    }

    /// Cuts the network to the API server, or mends it: existing connections end, new ones are closed at once. Pods and
    /// controllers go on.
    pub fn set_available(&self, available: bool) {
        self.shared.available.send_replace(available);
    }

    /// Refuses the next `count` updates and patches (dry runs don't count) as stale.
    pub fn inject_conflicts(&self, count: usize) {
        self.shared.conflicts.store(count, Ordering::SeqCst);
    }

    /// Says whether an image can be pulled from now on, whatever its tag says. Running containers aren't touched.
    pub fn set_pull_ok(&self, image: &str, ok: bool) {
        let mut pulls = self.shared.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.insert(image.to_owned(), ok);
    }

    /// Lets an image's name lead to what another one stands for, as a push of its tag does. Running containers aren't touched.
    pub fn move_tag(&self, image: &str, to: &str) {
        self.shared.tags.lock().unwrap_or_else(PoisonError::into_inner).lead(image, to);
    }

    /// Deletes a Deployment's ReplicaSets that have no pods, as a `revisionHistoryLimit` of 0 would; answers how many.
    #[must_use = "zero means that there was no history"]
    pub fn delete_replicaset_history(&self, namespace: &str, deployment: &str) -> usize {
        let store = &self.shared.store;
        let Some(deployment) = store.get("deployments.apps", namespace, deployment) else {
            return 0;
        };
        let (_, sets) = store.list("replicasets.apps", Some(namespace));
        let idle =
            sets.iter().filter(|set| controller_uid(set) == deployment.text("/metadata/uid") && set.int("/spec/replicas") == 0);
        idle.map(|set| store.erase("replicasets.apps", (namespace, set.text("/metadata/name")))).count()
    }

    /// Makes every watch end with `410 Gone`, as after a compaction.
    pub fn expire_watches(&self) {
        self.shared.store.forget_log();
    }

    /// An object as it is stored, by its kind's `plural` or `plural.group`; an empty namespace for cluster-wide kinds.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.store.get(resource, namespace, name).map(|object| (*object).clone())
    }

    /// The objects of a kind in a namespace, by its `plural` or `plural.group`.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let (_, objects) = self.shared.store.list(resource, Some(namespace));
        objects.iter().map(|object| (**object).clone()).collect()
    }

    /// Ends the cluster and waits until nothing of it runs.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn kubeconfig_text(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sim\n\
         clusters:\n- name: sim\n  cluster:\n    server: http://{address}\n\
         users:\n- name: sim\n  user: {{}}\n\
         contexts:\n- name: sim\n  context:\n    cluster: sim\n    user: sim\n    namespace: default\n"
    )
}
