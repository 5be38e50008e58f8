//! The functional core: what lastgood decides, as pure values in and pure values out.
//!
//! Holds the incident's state machine (`incident`), what is known of versions (`ledger`), the identity of a pod template
//! (`template`), the images that its containers really ran (`image`), what carries it where there are no ReplicaSets (`revision`), how it gets into pods there (`rollout`), the configuration
//! that it refers to (`configuration`), the readable difference of two templates (`plan`), what an owner allows (`policy`), what facts say
//! to people (`words`) and how that is written for a terminal (`text`). Guarantees: total functions, no panics on any log.
//! Must not: know tokio, a network, a clock or random numbers; its Cargo.toml has none of them.

pub mod configuration;
pub mod image;
pub mod incident;
pub mod ledger;
pub mod plan;
pub mod policy;
pub mod revision;
pub mod rollout;
pub mod template;
pub mod text;
pub mod words;
