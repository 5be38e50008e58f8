//! Which handler hears what.
//!
//! Guarantees: every consumer is durable, so that two replicas share the work and a restart goes on where it stopped. Must not: decide.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chassis::bus::{ConsumerSpec, Handler};
use chassis::lifecycle::Lifecycle;
use contracts::subjects::{self, streams};
use kube::Client;

use crate::alerts::AlertHandler;
use crate::archive::Archivist;
use crate::budget::{self, Returns};
use crate::dead_letters::DeadLetters;
use crate::deadlines::{Fired, Schedule};
use crate::decision::Engine;
use crate::ledger::{HEARS, RolledBack};
use crate::policy::status;
use crate::policy::watch::{self, Resources};
use crate::resume::{Resume, WAKES};
use crate::undeliverable::Undeliverable;
use crate::waiting::{self, Waiting};

/// Notifications handled at the same time.
const NOTIFICATIONS: usize = 16;

/// How long after a crash another replica, or the restarted one, takes over what was under way: well within `deadlines.decide`. Work that
/// takes longer is safe, since the chassis says meanwhile that it is in progress.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(6);

/// Starts all consumers.
pub fn consume(engine: &Engine, life: &Lifecycle) {
    let start = |spec: ConsumerSpec, handler: Arc<dyn Handler>| engine.bus.consume(spec, handler, life);
    let incidents = |durable: &str, filters: Vec<String>| {
        let mut spec = ConsumerSpec::new(streams::INCIDENTS, durable, filters);
        spec.ack_wait = TAKEN_OVER_AFTER;
        spec
    };
    let mut alerts = ConsumerSpec::new(streams::ALERTS, "orchestrator-alerts", vec![subjects::ALL_ALERTS.to_owned()]);
    alerts.max_in_flight = NOTIFICATIONS;
    alerts.ack_wait = TAKEN_OVER_AFTER;
    start(alerts, Arc::new(AlertHandler::new(engine.clone())));
    let wakes = WAKES.map(subjects::facts_of_type).to_vec();
    start(incidents("orchestrator-resume", wakes), Arc::new(Resume::new(engine.clone())));
    let all = vec![subjects::ALL_INCIDENTS.to_owned()];
    start(incidents("orchestrator-deadlines", all), Arc::new(Schedule::new(engine.clone())));
    let mut fired = ConsumerSpec::new(streams::TIMERS, "orchestrator-timers", vec![subjects::ALL_FIRED.to_owned()]);
    fired.ack_wait = TAKEN_OVER_AFTER;
    start(fired, Arc::new(Fired::new(engine.clone())));
    let rolled_back = RolledBack { store: engine.store.clone(), incidents: engine.incidents.clone() };
    start(incidents("orchestrator-ledger", HEARS.map(subjects::facts_of_type).to_vec()), Arc::new(rolled_back));
    let returns = Returns { budgets: engine.budgets.clone(), incidents: engine.incidents.clone() };
    start(incidents("orchestrator-budgets", budget::ENDS.map(subjects::facts_of_type).to_vec()), Arc::new(returns));
    let waiting = ConsumerSpec::new(streams::LEDGER, "orchestrator-waiting", vec![waiting::WAKES.to_owned()]);
    start(waiting, Arc::new(Waiting::new(engine.clone())));
    start(ConsumerSpec::advisories("orchestrator-advisories"), Arc::new(Undeliverable::new(engine.bus.clone())));
    let letters = ConsumerSpec::new(streams::DEAD, "orchestrator-dead-letters", vec![subjects::ALL_DEAD.to_owned()]);
    start(letters, Arc::new(DeadLetters::new(engine.incidents.clone())));
}

/// Starts hearing of policies, and saying what was made of each. `known` is called once it is known which there are.
pub fn policies(engine: &Engine, client: &Client, life: &Lifecycle, known: impl Fn() + Send + Sync + 'static) {
    let (policies, resources) = (engine.policies.clone(), Resources::default());
    let watching = watch::watch(client.clone(), policies.clone(), resources.clone(), life.stopping(), known);
    life.spawn("policy watch", watching);
    let keeping = status::keep(client.clone(), policies, resources, Arc::clone(&engine.clock), life.stopping());
    life.spawn("policy status", async {
        keeping.await;
        Ok::<_, Infallible>(())
    });
}

/// Starts the archiving, which nothing else waits for.
pub fn archive(engine: &Engine, life: &Lifecycle) {
    life.spawn("archiving", Archivist::new(engine.clone()).run(life.stopping()));
}
