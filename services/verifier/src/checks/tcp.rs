//! `tcp: {port: 8080}`: somebody accepts a connection.
//!
//! Guarantees: a refused or unanswered connection is a failure, a target without an address is no data. Must not: send anything.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Kind, Pace, Probe, Scene, Try, at_all};
use crate::fields::{Fields, Invalid};
use crate::sight::Target;
use crate::tally::Outcome;

/// Its registration.
pub const KIND: Kind = Kind {
    key: "tcp",
    pace: Pace { timeout: Duration::from_secs(2), retries: 3, interval: Duration::from_secs(1), passes: 3 },
    aimed: true,
    read,
};

#[derive(Debug)]
struct Tcp {
    port: u16,
    target: Target,
}

fn read(mut fields: Fields, target: Target) -> Result<Arc<dyn Probe>, Invalid> {
    let port = fields.port("port")?.ok_or_else(|| fields.invalid("port", "is missing"))?;
    fields.finish()?;
    Ok(Arc::new(Tcp { port, target }))
}

#[async_trait]
impl Probe for Tcp {
    async fn try_once(&self, scene: &Scene<'_>) -> Try {
        let (timeout, network) = (scene.timeout, &scene.tools.network);
        at_all(scene.sight, &self.target, self.port, |place| async move {
            match tokio::time::timeout(timeout, network.connect(place.address)).await {
                Ok(Ok(())) => Try::new(Outcome::Pass, "accepts connections"),
                Ok(Err(error)) => Try::new(Outcome::Fail, format!("does not: {error}")),
                Err(_) => Try::new(Outcome::Fail, format!("no answer within {timeout:?}")),
            }
        })
        .await
    }
}
