//! What every service shares: configuration, time and ids, telemetry, health, lifecycle, the bus, incidents, cluster access.
//!
//! A service's `main` reads its configuration ([`config`]), starts the chassis ([`service`]), wires its handlers and runs.
//! Guarantees stand in each module. Must not: know what any one service does.

pub mod bus;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod health;
pub mod incidents;
pub mod lifecycle;
pub mod service;
pub mod telemetry;

pub use bus::{Bus, ConsumerSpec, Delivery, HandleError, Handler};
pub use clock::{Clock, Ids, SystemClock};
pub use incidents::{ExecuteError, Incidents};
pub use lifecycle::Lifecycle;
pub use service::Service;
