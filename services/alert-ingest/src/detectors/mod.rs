//! Detectors watch the cluster themselves and tell what they find as alerts, like any other source.
//!
//! Guarantee: what a detector tells goes the same way as what Alertmanager tells. Must not: write to the cluster.

pub mod rollout;
