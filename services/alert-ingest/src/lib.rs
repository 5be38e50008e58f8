//! alert-ingest: hears that something is wrong, and stores it durably before it says that it has heard.
//!
//! `sources` are HTTP endpoints (Alertmanager's webhooks, acknowledgements); `detectors` watch the cluster themselves. Guarantees: what was
//! answered with 2xx is on the bus; what was not is not, or is harmless to send again. Must not: decide what an alert means.

pub mod auth;
mod body;
mod bus;
pub mod config;
pub mod detectors;
mod linger;
pub mod parts;
pub mod problem;
pub mod server;
pub mod sources;
pub mod store;
