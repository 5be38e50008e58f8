//! What each service's `main` does, with the parts that reach outside replaced by the world's.
//!
//! Guarantees: the same code runs as in the product's processes, wired in the same way. Must not: decide anything.

use std::convert::Infallible;
use std::sync::Arc;

use alert_ingest::detectors::rollout::Rollouts;
use alert_ingest::sources;
use chassis::{Bus, Incidents};
use executor::cluster::Cluster;
use executor::run::Executor;
use http::StatusCode;
use notifier::deliver::Persistence;
use notifier::handlers::Desk;
use notifier::handlers::wire::{self as notifying, BusLog};
use orchestrator::cluster::LiveCluster;
use orchestrator::correlate;
use orchestrator::decision::Engine;
use orchestrator::{ledger, wiring};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use verifier::handlers::{OnMitigated, OnTrafficShifted, consume};
use verifier::log::Log;
use verifier::runner::Stabilisation;
use verifier::verify::Verification;
use verifier::watch::AlertWatch;

use super::alerting::{self, HttpCall};
use super::gate::Gate;
use super::processes::Incarnation;
use super::sabotage::Sabotage;
use super::{CLUSTER, Shared, lock, people, probes};
use crate::cluster;
use crate::scenario::settings;

impl Incarnation {
    fn client(&self) -> kube::Client {
        cluster::client(&self.world, &self.gate, self.dice.clone())
    }

    pub(super) fn alert_ingest(&self, bus: &Bus) {
        let config = settings::ingest();
        let incidents = Arc::new(Incidents::new(bus.clone()));
        let app = sources::App::new(Arc::new(bus.clone()), incidents, Arc::clone(&self.clock), &config);
        let (calls, listen) = mpsc::unbounded_channel();
        let serving = serve(Arc::clone(&self.world), Arc::clone(&self.gate), sources::router(app, &config.auth()), listen);
        self.life.spawn("HTTP endpoints", async move {
            serving.await;
            Ok::<(), Infallible>(())
        });
        lock(&self.world.ingests).insert(self.gate.process().to_owned(), calls);
        let rollouts = Rollouts {
            store: Arc::new(bus.clone()),
            history: Arc::new(bus.clone()),
            client: self.client(),
            clock: Arc::clone(&self.clock),
            cluster: CLUSTER.to_owned(),
            cluster_label: None,
            config: settings::detector(),
        };
        let stopping = self.life.stopping();
        self.life.spawn("rollout detector", async move {
            rollouts.run(stopping).await;
            Ok::<(), Infallible>(())
        });
    }

    pub(super) fn orchestrator(&self, bus: &Bus) {
        let client = self.client();
        let cluster = Arc::new(LiveCluster::new(client.clone()));
        let rules = correlate::Rules { cluster: CLUSTER.to_owned(), cluster_label: None };
        let engine = Engine::new(bus.clone(), cluster, rules, settings::orchestrator());
        if let Some(policy) = settings::policy(self.world.seed) {
            engine.policies.change(|index| index.put(policy));
        }
        wiring::consume(&engine, &self.life);
        wiring::archive(&engine, &self.life);
        let stopping = self.life.stopping();
        let terms = engine.terms();
        self.life.spawn("ledger watch", async move {
            ledger::watch(client, engine.reader(), engine.store, terms, CLUSTER, stopping, || ()).await
        });
    }

    pub(super) fn executor(&self, bus: &Bus) {
        let incidents = Incidents::new(bus.clone());
        let executor =
            Executor::new(incidents, Cluster::new(self.client()), Arc::clone(&self.clock), executor::config::Executor::default());
        executor.start(bus, &self.life, CLUSTER);
    }

    pub(super) fn verifier(&self, bus: &Bus) {
        let settings = settings::verifier();
        let tools = probes::tools(&self.world, &self.gate, &self.dice);
        let incidents = Incidents::new(bus.clone());
        let log: Arc<dyn Log> = Arc::new(verifier::log::BusLog::new(incidents, Arc::clone(&self.clock)));
        let listen = |event_type: &str, handler| consume(bus, &self.life, CLUSTER, event_type, settings.max_in_flight, handler);
        if let Some(prometheus) = tools.prometheus.clone() {
            let watch = AlertWatch {
                log: Arc::clone(&log),
                prometheus,
                poll: settings.prometheus.poll,
                ignore_labels: settings.prometheus.ignore_labels.clone(),
            };
            listen("mitigated", Arc::new(OnMitigated { watch, stopping: self.life.stopping() }));
        }
        let stabilisation = Stabilisation { window: settings.stabilisation, every: settings.look_every };
        let verification = Verification { log, clock: Arc::clone(&self.clock), tools, rules: Vec::new(), stabilisation };
        let (client, stopping) = (self.client(), self.life.stopping());
        listen("traffic_shifted", Arc::new(OnTrafficShifted { verification, client, stopping }));
    }

    pub(super) fn notifier(&self, bus: &Bus) {
        let settings = settings::notifier();
        let log = BusLog::new(bus.clone(), Arc::clone(&self.clock), self.ids.clone());
        let desk = Arc::new(Desk {
            log: Arc::new(log),
            channels: people::channels(&self.world, &self.gate, &self.dice),
            named: Vec::new(),
            fallback: None,
            links: settings.links(),
            give_up_after: settings.give_up_after,
            clock: Arc::clone(&self.clock),
            persistence: Persistence::new(self.ids.clone(), self.life.stopping()),
            owed: tokio::sync::Semaphore::new(notifier::handlers::OWED),
        });
        notifying::start(bus, &desk, settings.edit_interval, &self.life);
    }
}

/// Answers requests until the process ends; what was not answered by then never is.
async fn serve(world: Shared, gate: Arc<Gate>, router: axum::Router, mut calls: mpsc::UnboundedReceiver<HttpCall>) {
    let mut hands = JoinSet::new();
    while let Some(HttpCall { request, answer, heard }) = calls.recv().await {
        while hands.try_join_next().is_some() {}
        let (world, gate, router) = (Arc::clone(&world), Arc::clone(&gate), router.clone());
        hands.spawn(async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            if gate.is_dead() {
                return;
            }
            let refusal_is_ok = world.saboteur.makes(Sabotage::RefusalAnsweredOk) && response.status().is_server_error();
            let status = if refusal_is_ok { StatusCode::OK } else { response.status() };
            if status.is_success() {
                alerting::hear(&world, heard);
            }
            // The sender has gone: it will come again.
            let _ = answer.send(status.as_u16());
        });
    }
}
