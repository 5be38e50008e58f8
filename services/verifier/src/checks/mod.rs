//! The kinds of smoke tests, one a file; a new kind is one new file here and one line in [`KINDS`].
//!
//! Guarantees: a try that could not see anything says so (`Outcome::NoData`) and is never a pass; every try is bounded by its
//! timeout. Must not: count tries (`tally`) or change the cluster.

pub mod http;
pub mod pods;
pub mod promql;
pub mod tcp;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::v1::WorkloadRef;

use crate::fields::{Fields, Invalid};
use crate::net::{Network, Prometheus};
use crate::sight::{Place, Sight, Target, places};
use crate::tally::Outcome;
use crate::text::excerpt;

/// The kinds of smoke tests that a definition may name.
pub const KINDS: &[Kind] = &[http::KIND, tcp::KIND, promql::KIND];

/// How many characters of evidence a fact carries at most.
pub const EVIDENCE: usize = 1000;

/// One kind of smoke test.
#[derive(Debug)]
pub struct Kind {
    /// The key of its definition, and its name in facts.
    pub key: &'static str,
    /// How it is paced where its definition doesn't say.
    pub pace: Pace,
    /// Whether a definition may say where it goes (`target`).
    pub aimed: bool,
    /// Reads what is under its key.
    pub read: fn(Fields, Target) -> Result<Arc<dyn Probe>, Invalid>,
}

/// How a check is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long one try may take.
    pub timeout: Duration,
    /// Bad tries that are allowed before the check fails.
    pub retries: u32,
    /// From the start of one try to the next.
    pub interval: Duration,
    /// Consecutive passes that are required.
    pub passes: u32,
}

/// What probes go through.
#[derive(Clone)]
pub struct Tools {
    /// To pods and Services.
    pub network: Arc<dyn Network>,
    /// Prometheus, where one is configured.
    pub prometheus: Option<Arc<dyn Prometheus>>,
}

impl Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("prometheus", &self.prometheus.is_some()).finish_non_exhaustive()
    }
}

/// One try's circumstances.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The way out.
    pub tools: &'a Tools,
    /// The workload.
    pub workload: &'a WorkloadRef,
    /// What is there now.
    pub sight: &'a Sight,
    /// How long this try may take.
    pub timeout: Duration,
}

/// What one try saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// How it was.
    pub outcome: Outcome,
    /// What was seen, for people.
    pub evidence: String,
}

impl Try {
    /// This outcome with this evidence.
    pub fn new(outcome: Outcome, evidence: impl Into<String>) -> Self {
        Self { outcome, evidence: evidence.into() }
    }
}

/// One smoke test as it was defined.
#[async_trait]
pub trait Probe: Send + Sync + Debug {
    /// Tries once; must end by the scene's timeout.
    async fn try_once(&self, scene: &Scene<'_>) -> Try;

    /// Why it can never be tried with these tools; `None` where it can.
    fn impossible(&self, _tools: &Tools) -> Option<&'static str> {
        None
    }
}

/// How many places are probed at the same time.
const AT_ONCE: usize = 16;

/// Tries every place of the target at the same time and joins what was seen: all have to pass.
pub(crate) async fn at_all<'a, F>(sight: &Sight, target: &Target, port: u16, probe: impl Fn(Place) -> F + 'a) -> Try
where
    F: Future<Output = Try> + 'a,
{
    use futures::StreamExt as _;
    let places = match places(sight, target, port) {
        Ok(places) => places,
        Err(why) => return Try::new(Outcome::NoData, why),
    };
    let probes = places.into_iter().map(|place| {
        let (name, address) = (place.name.clone(), place.address);
        let trying = probe(place);
        async move {
            let tried = trying.await;
            Try { evidence: format!("{name} ({address}): {}", tried.evidence), ..tried }
        }
    });
    let tries: Vec<Try> = futures::stream::iter(probes).buffered(AT_ONCE).collect().await;
    join(&tries)
}

/// Several places' tries as one: the worst outcome, with the evidence of those that had it.
#[must_use]
pub fn join(tries: &[Try]) -> Try {
    let worst = [Outcome::Fail, Outcome::NoData, Outcome::Pass]
        .into_iter()
        .find(|outcome| tries.iter().any(|tried| tried.outcome == *outcome))
        .unwrap_or(Outcome::NoData);
    let said: Vec<&str> = tries.iter().filter(|tried| tried.outcome == worst).map(|tried| tried.evidence.as_str()).collect();
    let head = if tries.len() > 1 { format!("{} of {}: ", said.len(), tries.len()) } else { String::new() };
    Try::new(worst, excerpt(&format!("{head}{}", said.join("; ")), EVIDENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_place_decides() {
        use Outcome::{Fail, NoData, Pass};
        let cases: &[(&[Outcome], Outcome)] =
            &[(&[], NoData), (&[Pass], Pass), (&[Pass, NoData], NoData), (&[NoData, Fail, Pass], Fail), (&[Pass, Pass], Pass)];
        for (outcomes, wanted) in cases {
            let tries: Vec<Try> = outcomes.iter().map(|outcome| Try::new(*outcome, "x")).collect();
            assert_eq!(join(&tries).outcome, *wanted, "{outcomes:?}");
        }
        let joined = join(&[Try::new(Pass, "a: fine"), Try::new(Fail, "b: 500")]);
        assert_eq!(joined.evidence, "1 of 2: b: 500");
    }
}
