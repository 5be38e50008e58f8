//! The service on real parts: nats-server, Alertmanager, and the simulated cluster's API.

mod alertmanager;
mod detecting;
mod serving;
mod storing;
mod world;
