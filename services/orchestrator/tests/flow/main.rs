//! The orchestrator against a real nats-server and a cluster: the simulated one, or the real one that `LASTGOOD_TEST_KUBECONFIG` names.

mod alerts;
mod archive;
mod budgets;
mod configuration;
mod dead_letters;
mod decisions;
mod freezes;
mod ledger;
mod people;
mod policies;
mod soak;
mod storm;
mod timers;
mod world;
