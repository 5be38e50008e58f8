//! What the verifier's probes and its questions to Prometheus meet.
//!
//! Guarantees: a pod answers as its image's tag says, and only while it exists; Prometheus tells what the simulated rules evaluated.
//! Must not: answer for a pod that is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use prometheus_http_query::response::Data;
use serde_json::Value;
use testbed::workload::Behaviour;
use verifier::checks::Tools;
use verifier::net::{HttpAnswer, HttpProbe, Network, Prometheus};
use verifier::rules::Answer;

use super::dice::Dice;
use super::gate::Gate;
use super::history::What;
use super::sabotage::Sabotage;
use super::weather::is_away;
use super::{NAMESPACE, Shared, lock};

/// The tools of one verifier.
#[must_use]
pub fn tools(world: &Shared, gate: &Arc<Gate>, dice: &Dice) -> Tools {
    let eyes = Arc::new(Reach { world: Arc::clone(world), gate: Arc::clone(gate), dice: dice.clone() });
    Tools { network: Arc::clone(&eyes) as _, prometheus: Some(eyes) }
}

struct Reach {
    world: Shared,
    gate: Arc<Gate>,
    dice: Dice,
}

impl Reach {
    /// The pod behind an address, if there is one that runs.
    fn pod(&self, address: SocketAddr) -> Option<Arc<Value>> {
        let ip = address.ip().to_string();
        self.world.cluster.list("pods", NAMESPACE).into_iter().find(|pod| pod["status"]["podIP"] == ip.as_str())
    }

    /// No answer, or what a sabotaged verifier takes it for.
    fn silence(&self, why: &str) -> Result<HttpAnswer, String> {
        if self.world.saboteur.makes(Sabotage::SilenceTakenForHealth) {
            return Ok(HttpAnswer { status: StatusCode::OK, body: Vec::new() });
        }
        Err(why.to_owned())
    }
}

#[async_trait]
impl Network for Reach {
    async fn http(&self, probe: HttpProbe) -> Result<HttpAnswer, String> {
        self.gate.before("probe").await;
        tokio::time::sleep(self.dice.millis(1, 20)).await;
        let weather = self.world.sky();
        if is_away(weather.pods_away) || self.dice.chance(weather.probe_lost) {
            self.world.count("probe: lost");
            if self.dice.chance(0.5) {
                std::future::pending::<()>().await;
            }
            return self.silence("connection reset by peer");
        }
        let Some(pod) = self.pod(probe.address) else { return self.silence("connection refused") };
        let behaviour = self.world.cluster.behaviour(&pod);
        if probe.path == "/" && behaviour == Behaviour::Slow {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let bad = match probe.path.as_str() {
            "/" => behaviour == Behaviour::Failing,
            "/smoke" => behaviour == Behaviour::UnhealthySmoke,
            _ => matches!(behaviour, Behaviour::NeverReady | Behaviour::Crashing),
        };
        let status = if bad { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        let app = pod["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
        self.world.record(What::Probed { address: probe.address, path: probe.path, good: !bad, app });
        Ok(HttpAnswer { status, body: Vec::new() })
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<()> {
        self.gate.before("probe").await;
        self.pod(address).map(|_| ()).ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into())
    }
}

#[async_trait]
impl Prometheus for Reach {
    async fn query(&self, _query: &str) -> Result<Data, String> {
        Err("this Prometheus only evaluates rules".to_owned())
    }

    async fn alerting_rules(&self) -> Result<Answer, String> {
        self.gate.before("prometheus").await;
        tokio::time::sleep(self.dice.millis(5, 50)).await;
        let weather = self.world.sky();
        if is_away(weather.prometheus_away) || self.dice.chance(weather.prometheus_error) {
            self.world.count("prometheus: no answer");
            let mut quiet = lock(&self.world.rules).answer();
            quiet.data.groups.iter_mut().flat_map(|group| &mut group.rules).for_each(|rule| rule.alerts.clear());
            let taken = self.world.saboteur.makes(Sabotage::SilenceTakenForQuiet);
            return if taken { Ok(quiet) } else { Err("error sending request".to_owned()) };
        }
        let (answer, firing) = {
            let rules = lock(&self.world.rules);
            let firing = rules.alerts().iter().filter(|(_, alert)| alert.since.is_some()).map(|(name, _)| name.clone());
            (rules.answer(), firing.collect())
        };
        self.world.record(What::Asked { process: self.gate.process().to_owned(), firing });
        Ok(answer)
    }
}
