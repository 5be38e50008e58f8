//! How the verifier looks at a workload: the seam between checks and the cluster.
//!
//! Guarantees: a look that could not be had is told apart from one that shows that somebody changed the workload. Must not: keep
//! a look for longer than a moment.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::v1;

use crate::sight::Sight;

/// Why there is no look.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoLook {
    /// The cluster could not be asked: no data.
    #[error("{0}")]
    Unseen(String),
    /// Somebody else changed the workload: there is nothing left to verify.
    #[error("somebody changed the workload: {}", .0.detail)]
    Changed(v1::Superseded),
}

/// Looks at one workload whose restored version is to be verified.
#[async_trait]
pub trait Eyes: Send + Sync {
    /// What is there now.
    async fn look(&self) -> Result<Arc<Sight>, NoLook>;

    /// The workload's smoke-test annotation; `None` where it has none.
    async fn smoke_tests(&self) -> Result<Option<String>, NoLook>;
}
