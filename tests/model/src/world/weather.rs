//! The weather: which faults are on, how likely each is, and who is away until when.
//!
//! Guarantees: [`Weather::calm`] has no fault at all. Must not: roll dice; whoever is hit does.

use tokio::time::Instant;

/// What fails now. Probabilities are per operation.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// A request to the API server that never arrives.
    pub api_lost_request: f64,
    /// A request to the API server that takes effect and whose answer is lost.
    pub api_lost_answer: f64,
    /// A lost request or answer is noticed only by the client's timeout, not at once.
    pub api_hangs: f64,
    /// 409 for a write that would have been fine.
    pub api_conflict: f64,
    /// 422 for a write of a workload.
    pub api_refused: f64,
    /// 429 or 5xx.
    pub api_error: f64,
    /// An answer that is seconds old when it arrives.
    pub api_slow: f64,
    /// A watch that breaks.
    pub watch_breaks: f64,
    /// A message to people whose answer is lost.
    pub send_lost_answer: f64,
    /// A provider that answers 429, 5xx or nonsense.
    pub send_error: f64,
    /// A probe that gets no answer.
    pub probe_lost: f64,
    /// A Prometheus that answers nothing of use.
    pub prometheus_error: f64,
    /// An HTTP request to alert-ingest, or its answer, that is lost.
    pub ingest_lost: f64,
    /// That a process which starts is marked to die at an operation of its own.
    pub crash_point: f64,
    /// The API server is away.
    pub api_away: Option<Instant>,
    /// The pager's provider is away.
    pub pager_away: Option<Instant>,
    /// The chat's provider is away.
    pub chat_away: Option<Instant>,
    /// Prometheus is away.
    pub prometheus_away: Option<Instant>,
    /// The verifier can't reach the pods.
    pub pods_away: Option<Instant>,
}

impl Weather {
    /// No fault at all.
    #[must_use]
    pub fn calm() -> Self {
        Self::default()
    }

    /// Everything fails now and then, in proportion to `rough` (0 to 1).
    #[must_use]
    pub fn stormy(rough: f64) -> Self {
        Self {
            api_lost_request: 0.02 * rough,
            api_lost_answer: 0.03 * rough,
            api_hangs: 0.3,
            api_conflict: 0.06 * rough,
            api_refused: 0.01 * rough,
            api_error: 0.03 * rough,
            api_slow: 0.03 * rough,
            watch_breaks: 0.2 * rough,
            send_lost_answer: 0.08 * rough,
            send_error: 0.15 * rough,
            probe_lost: 0.05 * rough,
            prometheus_error: 0.1 * rough,
            ingest_lost: 0.1 * rough,
            crash_point: 0.5 * rough,
            ..Self::default()
        }
    }
}

/// Whether somebody is away until this instant.
#[must_use]
pub fn is_away(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}
