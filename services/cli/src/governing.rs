//! What the policy that governs a workload says, where a command needs it: by what its versions are judged, and whether a freeze window holds.
//!
//! Guarantees: it is what `policy check` finds and the orchestrator goes by; a cluster that does not answer is not waited for longer than
//! [`PATIENCE`], and then, as wherever else the policies are not known, the configuration judges and it is said why. Must not: keep a command
//! from telling what the ledger holds.

use std::time::Duration;

use contracts::v1::WorkloadRef;
use lastgood_core::policy::Effective;
use lastgood_core::text::causes;
use orchestrator::ledger::LedgerView;
use orchestrator::policy::ask::{AskError, in_force};
use serde_json::{Value, json};

use crate::context::Context;

/// How long a cluster is waited for, at most; a command's own time limit may be shorter.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a version has to have stood to be good, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judge {
    /// How long.
    pub soak: Duration,
    /// Who says so.
    pub by: By,
}

/// Who says what a version has to have stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// What is in force for the workload: the policies that have a say, most specific first; the configuration where there are none.
    Policies {
        /// Their names.
        sources: Vec<String>,
    },
    /// The configuration that the command was given, since it is not known what is in force.
    Configuration {
        /// Why that is not known.
        because: String,
    },
}

impl By {
    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Policies { sources } => json!({"known": true, "policies": sources, "because": null}),
            Self::Configuration { because } => json!({"known": false, "policies": [], "because": because}),
        }
    }
}

/// Who judges the versions of this workload, whose ledger this is.
pub async fn judge(context: &Context, workload: &WorkloadRef, view: &LedgerView) -> Judge {
    let uid = view.current_hash().and_then(|id| view.known(id)).map(|known| known.workload_uid.as_str()).unwrap_or_default();
    // Half of what is left, so that there is an answer in any case.
    let patience = PATIENCE.min(context.timeout / 2);
    let because = match tokio::time::timeout(patience, ask(context, workload, uid)).await {
        Ok(Ok(Effective { soak, sources, .. })) => return Judge { soak, by: By::Policies { sources } },
        Ok(Err(because)) => because,
        Err(_) => format!("the cluster did not answer within {patience:?}"),
    };
    let because = format!("it is not known which policy governs the workload: {because}");
    Judge { soak: context.configured_soak(), by: By::Configuration { because } }
}

/// Why nothing may be begun for a workload now; `None` also where it is not known, since then whoever planned has asked.
pub async fn frozen(context: &Context, workload: &WorkloadRef) -> Option<String> {
    let patience = PATIENCE.min(context.timeout / 2);
    match tokio::time::timeout(patience, ask(context, workload, "")).await {
        Ok(Ok(policy)) => policy.frozen,
        Ok(Err(_)) | Err(_) => None,
    }
}

async fn ask(context: &Context, workload: &WorkloadRef, uid: &str) -> Result<Effective, String> {
    let client = chassis::cluster::connect(&context.config.kubernetes).await.map_err(|error| causes(&error))?;
    let known = in_force(&client, workload, uid, &context.config.orchestrator, context.now()).await;
    known.map_err(|error: AskError| causes(&error))
}
