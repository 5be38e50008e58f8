//! What is in force for one workload, asked of the cluster once: for commands, which watch nothing.
//!
//! Guarantees: the policies are those that the orchestrator goes by: the custom resources of both kinds and the file of the configuration; what
//! can't be read is an error, because a policy that is not known may say something else. Must not: write.

use contracts::v1::WorkloadRef;
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use lastgood_core::policy::document::{CLUSTER_KIND, KIND};
use lastgood_core::policy::{Effective, Limits, Policy};

use super::check::CheckError;
use super::file::{self, FileError};
use super::index::limits;
use super::watch::{resource, understand};
use super::{Index, Unread};
use crate::cluster::{Kind, LiveCluster, Lookup as _, LookupError};
use crate::config::Settings;

/// How many policies are read at once.
const PAGE: u32 = 500;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The policies can't be read.
    #[error(transparent)]
    Policies(#[from] CheckError),
    /// The file of policies can't.
    #[error(transparent)]
    File(#[from] FileError),
    /// The workload can't.
    #[error(transparent)]
    Workload(#[from] LookupError),
    /// Not all policies were read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// There is nothing to be governed.
    #[error("the cluster has no such workload")]
    NoSuchWorkload,
    /// It is not the one that was meant.
    #[error("the workload of this name in the cluster is another one: its uid is {there}, the ledger's is {known}")]
    Another {
        /// The uid of the one that is there.
        there: String,
        /// The uid of the one that is meant.
        known: String,
    },
}

/// What is in force for a workload. `uid` is the workload's as it is known; one that the cluster calls otherwise was recreated, or is another
/// cluster's. Empty where it is not known.
pub async fn in_force(
    client: &Client,
    workload: &WorkloadRef,
    uid: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<Effective, AskError> {
    let kind = Kind::parse_workload(&workload.kind).ok_or(AskError::NoSuchWorkload)?;
    let file = settings.policies_file.as_ref().map_or_else(|| Ok(Vec::new()), |path| file::load(path, &limits(settings)))?;
    let cluster = LiveCluster::new(client.clone());
    let (mut index, there) = futures::try_join!(async { Ok::<_, AskError>(stored(client, settings).await?) }, async {
        Ok(cluster.get(kind, &workload.namespace, &workload.name).await?)
    })?;
    let there = there.ok_or(AskError::NoSuchWorkload)?;
    if !uid.is_empty() && uid != there.uid() {
        return Err(AskError::Another { there: there.uid().to_owned(), known: uid.to_owned() });
    }
    for policy in file {
        index.put(policy);
    }
    Ok(index.effective(kind, &there, now)?)
}

/// The policies of a cluster.
pub(super) async fn stored(client: &Client, settings: &Settings) -> Result<Index, CheckError> {
    let mut index = Index::new(settings);
    for kind in [KIND, CLUSTER_KIND] {
        for policy in of_kind(client, kind, &limits(settings)).await? {
            index.put(policy);
        }
    }
    Ok(index)
}

/// The custom resources of a kind; none where it is not defined.
async fn of_kind(client: &Client, kind: &'static str, limits: &Limits) -> Result<Vec<Policy>, CheckError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
    let (mut found, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = match api.list(&page).await {
            Ok(list) => list,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(source) => return Err(CheckError::Cluster { what: "policies", source: Box::new(source) }),
        };
        found.extend(list.items.into_iter().filter_map(|object| Some(understand(kind, object, limits)?.0)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}
