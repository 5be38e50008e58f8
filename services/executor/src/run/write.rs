//! The write, by the attempt rule: intent, read, verify, switch, write; until it is in place or is not to be made.
//!
//! Guarantees: nothing is written before the dry run of the very object was accepted, the intent is stored and the pause switches (the
//! cluster's and the namespace's) were read after it. Must not: decide what a read means; `attempt` does.

use std::time::Duration;

use chassis::bus::{HandleError, Stored};
use contracts::subjects::{self, streams};
use contracts::v1::{Plan, RollbackFailed, RollbackStarted, Superseded, WorkloadRef};
use contracts::{FailureReason, HaltReason, LedgerFact};
use lastgood_core::configuration::id_of;
use lastgood_core::incident::{Command, Phase, acting_until};
use lastgood_core::template;
use serde_json::Value;

use super::observe::Watched;
use super::{Case, Executor, hand_back};
use crate::attempt::{Live, Step};
use crate::cluster::ApiError;
use crate::strategies::{self, Stamp};

/// What the write loop remembers between its steps; none of it is needed after a crash.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether this process saw its write accepted.
    pub(super) written: bool,
    /// `managedFields` just before that.
    pub(super) before: Option<Value>,
    /// The template hash that the dry run yielded.
    yields: Option<String>,
    /// How often somebody else wrote first.
    conflicts: u32,
}

/// How many conflicts are tried again at once; a server that refuses every write as stale is not to be hammered.
const CONFLICTS_AT_ONCE: u32 = 5;
/// How long is waited after each further one.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

impl Memory {
    /// Somebody else wrote first: look again.
    async fn again(&mut self) -> Next {
        self.conflicts = self.conflicts.saturating_add(1);
        if self.conflicts > CONFLICTS_AT_ONCE {
            tokio::time::sleep(AFTER_CONFLICT).await;
        }
        Next::Again
    }
}

/// Whether the loop goes on.
enum Next {
    Again,
    End,
    Watch(Value),
}

impl Executor {
    /// Puts the version back, from wherever the incident stands.
    pub(super) async fn roll_back(
        &self,
        case: &mut Case,
        early: Option<Result<Option<Value>, ApiError>>,
    ) -> Result<(), HandleError> {
        let (mut memory, mut early) = (Memory::default(), early);
        while matches!(case.incident.phase(), Phase::Planned | Phase::Acting) {
            let (live, paused) = self.look(case, early.take()).await?;
            if !matches!(case.incident.phase(), Phase::Planned | Phase::Acting) {
                return Ok(());
            }
            let Some(step) = self.step(case, live.as_ref(), memory.written).await? else { continue };
            tracing::debug!(incident = %case.subject, ?step, "next step");
            match self.take_step(case, &mut memory, step, live, paused).await? {
                Next::Again => {}
                Next::End => return Ok(()),
                Next::Watch(written) => match self.observe(case, written, memory).await? {
                    Watched::ToTheEnd => return Ok(()),
                    Watched::Moved => memory = Memory::default(),
                },
            }
        }
        Ok(())
    }

    /// One look: the workload and, at the same time, the pause switch and whether the log has moved on. Between intent and write
    /// the incident may have ended (its deadline passed, somebody held it), which neither uid nor generation tells.
    async fn look(
        &self,
        case: &mut Case,
        early: Option<Result<Option<Value>, ApiError>>,
    ) -> Result<(Option<Value>, Option<String>), HandleError> {
        // What was read before the log is only good for what no intent precedes: after one, another replica may have written since,
        // and its report would make a person's change of what this read still shows.
        let mut early = early.filter(|_| case.incident.attempts.is_empty());
        loop {
            let read = async {
                match early.take() {
                    Some(read) => read,
                    None => self.read(case.kind, &case.subject).await,
                }
            };
            let log = async {
                // The intent's own append finds out before the first one.
                let begun = case.incident.attempt() > 0;
                if !begun {
                    return Ok((case.expected, None));
                }
                let last = self.incidents.last_of(&case.subject.workload).await?;
                Ok::<_, HandleError>((last.as_ref().map_or(0, |last| last.sequence), last))
            };
            let (live, paused, last) = tokio::join!(read, self.paused(&case.subject.workload), log);
            let (sequence, last) = last?;
            if sequence == case.expected {
                case.stored(last.as_ref());
                return match live {
                    Ok(live) => Ok((live, paused?)),
                    Err(error) => Err(self.unreachable(case, error).await?),
                };
            }
            self.reload(case).await?;
            if !matches!(case.incident.phase(), Phase::Planned | Phase::Acting) {
                return Ok((None, None));
            }
        }
    }

    /// Who paused the cluster or the workload's namespace, and why; `None` while both switches are off.
    pub(super) async fn paused(&self, workload: &WorkloadRef) -> Result<Option<String>, HandleError> {
        let (cluster, namespace) = (&workload.cluster, &workload.namespace);
        let (whole, part) = (subjects::switch_filter(cluster), subjects::namespace_switch_filter(cluster, namespace));
        let bus = self.incidents.bus();
        let (whole, part) = tokio::try_join!(bus.last(streams::LEDGER, &whole), bus.last(streams::LEDGER, &part))?;
        if let Some(why) = why_paused(whole.as_ref())? {
            return Ok(Some(why));
        }
        Ok(why_paused(part.as_ref())?.map(|why| format!("namespace {namespace} is {why}")))
    }

    async fn take_step(
        &self,
        case: &mut Case,
        memory: &mut Memory,
        step: Step,
        live: Option<Value>,
        paused: Option<String>,
    ) -> Result<Next, HandleError> {
        match (step, live) {
            (Step::Supersede { what, detail, generation }, _) => {
                self.supersede(case, what, detail, generation).await?;
                Ok(Next::End)
            }
            (Step::GiveUp { reason, detail }, _) => {
                self.fail_unseen(case, reason, detail).await?;
                Ok(Next::End)
            }
            (Step::Halt { reason, detail }, _) => self.halt(case, reason, detail).await,
            (Step::Watch(_), Some(live)) => Ok(Next::Watch(live)),
            (Step::Intend(_) | Step::Write(_), _) if paused.is_some() => {
                let why = paused.unwrap_or_default();
                self.stop(case, (HaltReason::Paused, FailureReason::Paused), why).await
            }
            (Step::Intend(attempt), Some(live)) => self.intend(case, memory, attempt, &live).await,
            (Step::Write(attempt), Some(live)) => self.write(case, memory, attempt, &live).await,
            // Only `Supersede` comes of a workload that is not there.
            (_, None) => Ok(Next::Again),
        }
    }

    async fn intend(&self, case: &mut Case, memory: &mut Memory, attempt: u32, live: &Value) -> Result<Next, HandleError> {
        let seen = Live::of(live);
        let plan = plan_of(case);
        let stamped = seen.incident == case.subject.incident.to_string();
        if memory.yields.is_none() && !stamped {
            match self.dry_run(case, memory, attempt, live).await? {
                Next::Watch(_) => {}
                other => return Ok(other),
            }
        }
        let intent = RollbackStarted {
            attempt,
            workload_uid: seen.uid,
            workload_generation: seen.generation,
            template_hash: case.incident.replaces().unwrap_or_default().to_owned(),
            target_template_hash: plan.to.as_ref().map(|to| to.template_hash.clone()).unwrap_or_default(),
            // What is rolled back from stays the same when a write of ours is replaced.
            version: plan.from.as_ref().map(id_of).unwrap_or_default().to_owned(),
        };
        self.tell(case, Command::StartAttempt(intent)).await?;
        Ok(Next::Again)
    }

    /// Looks that the configuration is there that comes back, and asks the server whether it would take the very object; `Watch` carries
    /// what it would make of it.
    async fn dry_run(&self, case: &mut Case, memory: &mut Memory, attempt: u32, live: &Value) -> Result<Next, HandleError> {
        if let Some(lack) = self.lacks_configuration(case).await? {
            return self.stop(case, (HaltReason::ConfigurationMissing, FailureReason::ConfigurationMissing), lack).await;
        }
        let object = match Self::object(case, memory, attempt, live) {
            Ok(object) => object,
            Err(error) => return self.refused(case, error.to_string()).await,
        };
        let workload = &case.subject.workload;
        match self.cluster.put(case.kind, &workload.namespace, &workload.name, &object, true).await {
            Ok(accepted) => {
                memory.yields = Some(template::hash(&accepted["spec"]["template"]));
                Ok(Next::Watch(accepted))
            }
            Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => Ok(memory.again().await),
            Err(error @ ApiError::Refused { .. }) => self.refused(case, error.to_string()).await,
            Err(error) => Err(self.unreachable(case, error).await?),
        }
    }

    async fn write(&self, case: &mut Case, memory: &mut Memory, attempt: u32, live: &Value) -> Result<Next, HandleError> {
        if memory.yields.is_none() {
            // After a restart: what the write will yield has to be known before it is stamped with it.
            match self.dry_run(case, memory, attempt, live).await? {
                Next::Watch(_) => {}
                other => return Ok(other),
            }
        }
        let object = match Self::object(case, memory, attempt, live) {
            Ok(object) => object,
            Err(error) => return self.refused(case, error.to_string()).await,
        };
        let workload = &case.subject.workload;
        match self.cluster.put(case.kind, &workload.namespace, &workload.name, &object, false).await {
            Ok(written) => {
                self.count_write(case);
                memory.written = true;
                memory.before = Some(live["metadata"]["managedFields"].clone());
                Ok(Next::Watch(written))
            }
            Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => Ok(memory.again().await),
            Err(error @ ApiError::Refused { .. }) => self.refused(case, error.to_string()).await,
            Err(error) => Err(self.unreachable(case, error).await?),
        }
    }

    fn object(case: &Case, memory: &Memory, attempt: u32, live: &Value) -> Result<Value, strategies::RestoreError> {
        let stamp = Stamp { incident: case.subject.incident, attempt, yields: memory.yields.clone() };
        strategies::restore(live, &plan_of(case), &stamp)
    }

    fn count_write(&self, case: &Case) {
        let planned = case.incident.plan.as_ref().map(|(at, _)| self.clock.now().duration_since(*at).as_secs_f64());
        metrics::counter!("lastgood_executor_writes_total").increment(1);
        metrics::histogram!("lastgood_executor_plan_to_write_seconds").record(planned.unwrap_or_default());
        tracing::info!(incident = %case.subject, seconds_since_plan = planned, "the write was accepted");
    }

    async fn halt(&self, case: &mut Case, reason: HaltReason, detail: String) -> Result<Next, HandleError> {
        let would_do = case.incident.plan.as_ref().map(|(_, plan)| plan.diff.clone()).unwrap_or_default();
        let halted = self.tell(case, Command::Halt { reason, detail, would_do }).await?;
        // Refused: another replica has begun meanwhile, and may have written.
        Ok(if halted { Next::End } else { Next::Again })
    }

    /// Ends it before the write. Without an intent nobody can have written; after one another replica may have, whatever was seen
    /// here, and a halt would say that nothing was.
    async fn stop(
        &self,
        case: &mut Case,
        (halt, fail): (HaltReason, FailureReason),
        detail: String,
    ) -> Result<Next, HandleError> {
        if case.incident.attempts.is_empty() {
            return self.halt(case, halt, detail).await;
        }
        self.fail_unseen(case, fail, detail).await?;
        Ok(Next::End)
    }

    async fn refused(&self, case: &mut Case, detail: String) -> Result<Next, HandleError> {
        self.stop(case, (HaltReason::DryRunRefused, FailureReason::WriteRefused), detail).await
    }

    pub(super) async fn fail_unseen(&self, case: &mut Case, reason: FailureReason, detail: String) -> Result<(), HandleError> {
        let (attempt, reason) = (case.incident.attempt(), reason.code().to_owned());
        let (detail, serving) = if case.incident.moved.is_some() {
            let detail = format!("the version came back by its tags, which lead to other images than they did; {detail}");
            (detail, self.serving_now(case).await)
        } else {
            (detail, Vec::new())
        };
        self.tell(case, Command::Fail(RollbackFailed { attempt, reason, detail, serving, ..RollbackFailed::default() })).await?;
        Ok(())
    }

    pub(super) async fn supersede(
        &self,
        case: &mut Case,
        what: &str,
        detail: String,
        workload_generation: i64,
    ) -> Result<(), HandleError> {
        self.tell(case, Command::Supersede(Superseded { what: what.to_owned(), detail, workload_generation })).await?;
        Ok(())
    }

    /// An outage is waited out with the message in hand, but not past the deadline.
    pub(super) async fn unreachable(&self, case: &mut Case, error: ApiError) -> Result<HandleError, HandleError> {
        let over = acting_until(&case.incident).is_some_and(|until| self.clock.now() >= until);
        if over && matches!(error, ApiError::Outage(_)) {
            let detail = format!("by the deadline {error}; how far the rollback came is not known");
            self.fail_unseen(case, FailureReason::PodsNotReady, detail).await?;
        }
        Ok(hand_back(&error))
    }
}

/// Who turned a switch on, and why; `None` where it is off.
fn why_paused(last: Option<&Stored>) -> Result<Option<String>, HandleError> {
    let Some(stored) = last else { return Ok(None) };
    match LedgerFact::decode(stored.event_type(), &stored.data)? {
        LedgerFact::PauseSwitched(switch) if switch.paused => Ok(Some(format!("paused by {}: {}", switch.who, switch.reason))),
        _ => Ok(None),
    }
}

pub(super) fn plan_of(case: &Case) -> Plan {
    case.incident.plan.as_ref().map(|(_, plan)| plan.clone()).unwrap_or_default()
}
