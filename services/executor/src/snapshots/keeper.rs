//! Makes the copies of what a version was just seen to run with.
//!
//! Guarantees: an outage is waited out; a copy that can't be made is said and counted, and holds nothing up: without it a rollback to that
//! version halts, and says so. Must not: decide what is kept; the recorded fact says it.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler};
use chassis::{Bus, ConsumerSpec, Lifecycle};
use contracts::subjects::{self, streams};
use contracts::{LedgerFact, v1};
use lastgood_core::configuration::Kind as Held;

use super::{Kept, Snapshots};
use crate::cluster::ApiError;

/// What the name of its durable consumer begins with.
const DURABLE: &str = "executor-snapshots";

impl Snapshots {
    /// Starts consuming what is recorded of this cluster's versions.
    pub fn start(self, bus: &Bus, life: &Lifecycle, cluster: &str) {
        let durable = format!("{DURABLE}-{}", cluster.replace('.', "_"));
        let filter = subjects::cluster_ledger_facts_of_type(cluster, "version_observed");
        bus.consume(ConsumerSpec::new(streams::LEDGER, &durable, vec![filter]), Arc::new(self), life);
    }

    async fn keep_one(&self, namespace: &str, one: &v1::Configuration) -> Result<(), HandleError> {
        let Some(kind) = Held::parse(&one.kind) else { return Ok(()) };
        let why = match self.keep(namespace, kind, &one.name, &one.fingerprint).await {
            Ok(Kept::There) => return Ok(()),
            Ok(Kept::Made) => {
                tracing::info!(namespace, %kind, name = one.name, "a copy is kept");
                return Ok(());
            }
            Ok(Kept::Missed(why) | Kept::Impossible(why)) => why,
            Err(ApiError::Outage(why)) => return Err(HandleError::outage(why)),
            // What the roles don't allow, or a namespace that is going.
            Err(error) => error.to_string(),
        };
        tracing::warn!(namespace, %kind, name = one.name, why, "no copy is kept; a version that needs it can't be restored");
        metrics::counter!("lastgood_snapshots_missed_total", "kind" => kind.name()).increment(1);
        Ok(())
    }
}

#[async_trait]
impl Handler for Snapshots {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (workload, _) = subjects::parse_ledger(delivery.subject()).map_err(HandleError::dead)?;
        let LedgerFact::VersionObserved(observed) = delivery.ledger_fact()? else { return Ok(()) };
        let configuration = observed.version.map(|version| version.configuration).unwrap_or_default();
        for one in configuration.iter().filter(|one| one.keep && !one.fingerprint.is_empty()) {
            self.keep_one(&workload.namespace, one).await?;
        }
        Ok(())
    }
}
