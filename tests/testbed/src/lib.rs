//! One machine's worth of world for the demo and the end-to-end tests: nats-server, Prometheus, Alertmanager, a cluster
//! (simulated or real), receivers for pages and chats, and lastgood's services as real processes.
//!
//! Guarantees: everything listens on loopback, every wait has a deadline, and what was started here ends with the test,
//! also when the test dies. It must never install anything system-wide, start a system service or talk to a provider.

pub mod alertmanager;
pub mod app;
pub mod demo;
pub mod error;
pub mod ground;
pub mod journal;
pub mod load;
pub mod nats;
pub mod play;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod real_cluster;
pub mod receivers;
pub mod registry;
pub mod services;
pub mod sim;
pub mod small_play;
pub mod small_world;
pub mod storm;
pub mod tools;
pub mod wait;
pub mod world;

pub use error::Error;
pub use workload;
