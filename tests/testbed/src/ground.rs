//! What a world stands on: the simulated cluster, or a real one that a kubeconfig names.
//!
//! Guarantees: both are used through the same kubeconfig by everybody. Must not: change anything on a real cluster but namespaces
//! of tests.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::real_cluster;
use crate::sim::{SimCluster, SimOptions};
use crate::world::WorldOptions;

/// The cluster of a world.
pub enum Ground {
    /// In this process.
    Simulated(Box<SimCluster>),
    /// Somewhere else; its kubeconfig.
    Real(PathBuf),
}

impl Ground {
    /// Starts the simulated one, or gives the real one the test workload's images.
    pub async fn start(options: &WorldOptions) -> Result<Self> {
        match &options.kubeconfig {
            None => {
                let cluster = SimCluster::start(SimOptions::default()).await.context("the simulated cluster")?;
                Ok(Self::Simulated(Box::new(cluster)))
            }
            Some(kubeconfig) => {
                real_cluster::provide_images(&options.tags).await.context("the test workload's images")?;
                Ok(Self::Real(kubeconfig.clone()))
            }
        }
    }

    /// The simulated cluster's controls, where it is that one.
    #[must_use]
    pub fn simulated(&self) -> Option<&SimCluster> {
        match self {
            Self::Simulated(cluster) => Some(cluster),
            Self::Real(_) => None,
        }
    }

    /// What `KUBECONFIG` has to be.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Simulated(cluster) => cluster.kubeconfig_path().to_owned(),
            Self::Real(path) => path.clone(),
        }
    }

    /// A client as a user would have.
    pub async fn client(&self) -> Result<kube::Client> {
        // A second installation in one process is refused, and means that somebody was first with the same provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).context("the kubeconfig")?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        kube::Client::try_from(config).context("a client of the cluster")
    }

    /// Ends the simulated one; leaves a real one as it is.
    pub async fn stop(self) {
        if let Self::Simulated(cluster) = self {
            cluster.stop().await;
        }
    }
}
