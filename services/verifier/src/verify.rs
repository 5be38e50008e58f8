//! One incident's verification, from `traffic_shifted` to `VerificationPassed` or `VerificationFailed`.
//!
//! Guarantees: each check's result is appended as it finishes; a check that has a fact is not run again; the verdict is drawn from
//! the facts on the log, not from memory; it stops when the incident leaves its phase and ends by the verify deadline.
//! Must not: write to the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::HandleError;
use chassis::clock::Clock;
use contracts::time::duration_from_proto;
use contracts::v1::{self, SmokeTestFinished, Verdict};
use contracts::{FailureReason, IncidentSubject};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Phase, verifying_until};
use tokio::time::{Instant, sleep, sleep_until};

use crate::checks::{Tools, pods};
use crate::definitions::{Definition, Own, Rule, of_workload};
use crate::eyes::{Eyes, NoLook};
use crate::fields::Invalid;
use crate::log::{Log, Said};
use crate::runner::{self, Changed, Stabilisation};
use crate::verdict::{Conclusion, conclude};

/// How often it is looked whether the incident is still to be verified.
const STILL_WANTED: Duration = Duration::from_secs(1);

/// What verifications share.
pub struct Verification {
    /// The incident log.
    pub log: Arc<dyn Log>,
    /// The time, to turn the deadline into a wait.
    pub clock: Arc<dyn Clock>,
    /// What probes go through.
    pub tools: Tools,
    /// The configuration's smoke tests.
    pub rules: Vec<Rule>,
    /// How the pods are watched.
    pub stabilisation: Stabilisation,
}

/// Why a verification stopped without a verdict of its own.
enum Stop {
    /// The incident moved on.
    MovedOn(String),
    /// Somebody changed the workload.
    Changed(v1::Superseded),
    /// The message has to come again.
    Error(HandleError),
}

impl From<Changed> for Stop {
    fn from(changed: Changed) -> Self {
        Self::Changed(changed.0)
    }
}

impl From<HandleError> for Stop {
    fn from(error: HandleError) -> Self {
        Self::Error(error)
    }
}

impl Verification {
    /// Verifies the incident as far as it is still to be verified.
    pub async fn run(&self, subject: &IncidentSubject, state: &Incident, eyes: &dyn Eyes) -> Result<(), HandleError> {
        if state.phase() != Phase::Verifying {
            return Ok(());
        }
        match self.verify(subject, state, eyes).await {
            Ok(()) => Ok(()),
            Err(Stop::MovedOn(why)) => {
                tracing::info!(incident = %subject, why, "the incident has moved on");
                Ok(())
            }
            Err(Stop::Changed(what)) => {
                tracing::info!(incident = %subject, what = what.what, detail = what.detail, "somebody changed the workload");
                self.log.execute(subject, &Command::Supersede(what)).await.map(drop)
            }
            Err(Stop::Error(error)) => Err(error),
        }
    }

    async fn verify(&self, subject: &IncidentSubject, state: &Incident, eyes: &dyn Eyes) -> Result<(), Stop> {
        let until = deadline(state, self.clock.now());
        let definitions = tokio::select! {
            biased;
            moved_on = self.moved_on(subject) => return Err(moved_on),
            definitions = self.definitions(subject, state, eyes, until) => definitions?,
        };
        let definitions = match definitions {
            Some(Ok(definitions)) => definitions,
            Some(Err(invalid)) => return self.fail(subject, FailureReason::ChecksInvalid, vec![invalid.to_string()]).await,
            None => return self.fail(subject, FailureReason::NothingSeen, vec![pods::NAME.to_owned()]).await,
        };
        tracing::info!(incident = %subject, smoke_tests = definitions.len(), "verifying");
        tokio::select! {
            biased;
            moved_on = self.moved_on(subject) => return Err(moved_on),
            ran = self.run_checks(subject, state, &definitions, eyes, until) => ran?,
        }
        self.conclude(subject, &definitions).await
    }

    /// The workload's smoke tests; `None` when time was over before the cluster could be asked.
    async fn definitions(
        &self,
        subject: &IncidentSubject,
        state: &Incident,
        eyes: &dyn Eyes,
        until: Instant,
    ) -> Result<Option<Result<Vec<Definition>, Invalid>>, Stop> {
        let policy = state.plan.as_ref().map_or("", |(_, plan)| plan.checks_yaml.as_str());
        loop {
            let asked = tokio::time::timeout_at(until, eyes.smoke_tests()).await;
            match asked {
                Ok(Ok(annotation)) => {
                    let own = Own::new(annotation.as_deref(), policy);
                    return Ok(Some(of_workload(&self.rules, own, &subject.workload)));
                }
                Ok(Err(NoLook::Changed(what))) => return Err(Stop::Changed(what)),
                Ok(Err(NoLook::Unseen(why))) => {
                    tracing::warn!(incident = %subject, why, "the workload can't be read; trying again");
                }
                Err(_) => return Ok(None),
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            sleep_until(until.min(Instant::now() + self.stabilisation.every)).await;
        }
    }

    async fn run_checks(
        &self,
        subject: &IncidentSubject,
        state: &Incident,
        definitions: &[Definition],
        eyes: &dyn Eyes,
        until: Instant,
    ) -> Result<(), Stop> {
        let mut running: FuturesUnordered<BoxFuture<'_, Result<SmokeTestFinished, Changed>>> = FuturesUnordered::new();
        if !state.checks.contains_key(pods::NAME) {
            running.push(Box::pin(runner::pods(self.stabilisation_of(state), definitions.len(), eyes, until)));
        }
        for definition in definitions.iter().filter(|definition| !state.checks.contains_key(&definition.name)) {
            running.push(Box::pin(runner::smoke_test(definition, &subject.workload, &self.tools, eyes, until)));
        }
        while let Some(finished) = running.next().await {
            let finished = finished?;
            let verdict = finished.verdict().as_str_name();
            metrics::counter!("lastgood_checks_total", "kind" => finished.kind.clone(), "verdict" => verdict).increment(1);
            tracing::info!(incident = %subject, check = finished.check, verdict, evidence = finished.evidence, "check finished");
            self.say(subject, &Command::RecordCheck(finished)).await?;
        }
        Ok(())
    }

    /// How the pods are watched: as long as the policy says, where it does.
    fn stabilisation_of(&self, state: &Incident) -> Stabilisation {
        let said = state.plan.as_ref().and_then(|(_, plan)| duration_from_proto(plan.stabilisation.as_ref()));
        Stabilisation { window: said.unwrap_or(self.stabilisation.window), ..self.stabilisation }
    }

    /// Ends when the incident needs no verification any more. An outage is no answer.
    async fn moved_on(&self, subject: &IncidentSubject) -> Stop {
        loop {
            sleep(STILL_WANTED).await;
            match self.log.load(subject, None).await {
                Ok(state) if state.phase() != Phase::Verifying => return Stop::MovedOn(format!("it is {:?}", state.phase())),
                Ok(_) => {}
                Err(error @ (HandleError::Fatal { .. } | HandleError::LeaveAlone { .. })) => return Stop::Error(error),
                Err(error) => tracing::debug!(incident = %subject, %error, "can't read the incident"),
            }
        }
    }

    /// Draws the verdict from the log: another replica may have recorded some of the results.
    async fn conclude(&self, subject: &IncidentSubject, definitions: &[Definition]) -> Result<(), Stop> {
        let state = self.log.load(subject, None).await?;
        if state.phase() != Phase::Verifying {
            return Err(Stop::MovedOn(format!("it is {:?}", state.phase())));
        }
        match conclude(&results(&state.checks, definitions)) {
            Conclusion::Passed { .. } => self.say(subject, &Command::PassVerification).await,
            Conclusion::Failed { reason, failed_checks } => self.fail(subject, reason, failed_checks).await,
        }
    }

    async fn fail(&self, subject: &IncidentSubject, reason: FailureReason, failed_checks: Vec<String>) -> Result<(), Stop> {
        tracing::warn!(incident = %subject, %reason, ?failed_checks, "verification failed");
        let failed = v1::VerificationFailed { reason: reason.code().to_owned(), failed_checks };
        self.say(subject, &Command::FailVerification(failed)).await
    }

    /// Appends in the face of an outage: what was seen must not have to be seen again.
    async fn say(&self, subject: &IncidentSubject, command: &Command) -> Result<(), Stop> {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.log.execute(subject, command).await {
                Ok(Said::Done) => return Ok(()),
                Ok(Said::MovedOn(why)) => return Err(Stop::MovedOn(why)),
                Err(HandleError::RetryAfter { reason, outage: true, .. }) => {
                    tracing::warn!(incident = %subject, reason, "the log is away; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => return Err(Stop::Error(error)),
            }
        }
    }
}

/// When verifying has to end, as an instant to wait for.
fn deadline(state: &Incident, now: Timestamp) -> Instant {
    let left =
        verifying_until(state).map_or(Duration::ZERO, |at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
    Instant::now() + left
}

/// Every check that has to have passed, with its verdict: those defined now, the pods, and whatever else was recorded. One without
/// a fact has no data.
fn results(recorded: &BTreeMap<String, SmokeTestFinished>, definitions: &[Definition]) -> Vec<(String, Verdict)> {
    let mut results: BTreeMap<String, Verdict> =
        definitions.iter().map(|definition| (definition.name.clone(), Verdict::NoData)).collect();
    results.insert(pods::NAME.to_owned(), Verdict::NoData);
    results.extend(recorded.iter().map(|(name, finished)| (name.clone(), finished.verdict())));
    results.into_iter().collect()
}
