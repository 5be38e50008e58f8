//! Recording HTTP receivers that stand in for a pager, a chat and a webhook, on loopback.
//!
//! Guarantee: every call is recorded with its arrival, whatever was answered; calls that the real API would refuse are refused.
//! Faults are scripted and happen in the order in which they were asked for. They must never be reachable from elsewhere.

mod faults;
pub mod pagerduty;
pub mod prometheus;
mod recorder;
pub mod slack;
pub mod webhook;

pub use faults::Fault;
pub use pagerduty::PagerDuty;
pub use prometheus::PrometheusStandIn;
pub use recorder::{Api, Call, Outcome, Received, Receiver, Reply};
pub use slack::Slack;
pub use webhook::Webhook;
