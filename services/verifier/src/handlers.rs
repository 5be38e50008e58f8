//! What wakes the verifier: `traffic_shifted` and `mitigated` of its cluster's incidents.
//!
//! Guarantees: a message is held until its incident is verified, or no more mitigated, and comes again after a kill; when the
//! service stops it is handed back at once. Must not: act on what the message says; the log is read again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::{Bus, ConsumerSpec, Delivery, HandleError, Handler, Lifecycle};
use contracts::subjects::{cluster_facts_of_type, streams};
use lastgood_core::incident::Phase;
use tokio_util::sync::CancellationToken;

use crate::cluster::KubeEyes;
use crate::verify::Verification;
use crate::watch::AlertWatch;

/// How soon a killed replica's work is taken up again.
const ACK_WAIT: Duration = Duration::from_secs(5);

/// Verifies incidents whose traffic has shifted.
pub struct OnTrafficShifted {
    /// How.
    pub verification: Verification,
    /// The cluster.
    pub client: kube::Client,
    /// Ends the work early.
    pub stopping: CancellationToken,
}

#[async_trait]
impl Handler for OnTrafficShifted {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, _) = delivery.incident()?;
        let state = self.verification.log.load(&subject, Some(delivery.sequence())).await?;
        if state.phase() != Phase::Verifying {
            return Ok(());
        }
        let Some((_, plan)) = &state.plan else {
            return Err(HandleError::dead("the incident's traffic has shifted without a plan"));
        };
        let eyes = KubeEyes::new(self.client.clone(), &subject, plan);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(stopping()),
            verified = self.verification.run(&subject, &state, &eyes) => verified,
        }
    }
}

/// Watches the alerts of mitigated incidents.
pub struct OnMitigated {
    /// How.
    pub watch: AlertWatch,
    /// Ends the work early.
    pub stopping: CancellationToken,
}

#[async_trait]
impl Handler for OnMitigated {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, _) = delivery.incident()?;
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(stopping()),
            watched = self.watch.run(&subject, delivery.sequence()) => watched,
        }
    }
}

fn stopping() -> HandleError {
    HandleError::retry(Duration::ZERO, "the service is stopping")
}

/// Starts consuming one type of facts of this cluster. The durable's name carries the cluster, so that the verifiers of several
/// clusters on one bus don't share theirs.
pub fn consume(bus: &Bus, life: &Lifecycle, cluster: &str, event_type: &str, max_in_flight: usize, handler: Arc<dyn Handler>) {
    let durable = format!("verifier-{}-{}", event_type.replace('_', "-"), cluster.replace('.', "_"));
    let filters = vec![cluster_facts_of_type(cluster, event_type)];
    let spec = ConsumerSpec { ack_wait: ACK_WAIT, max_in_flight, ..ConsumerSpec::new(streams::INCIDENTS, &durable, filters) };
    bus.consume(spec, handler, life);
}
