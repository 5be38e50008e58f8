//! What is in force for one workload, from all that have a say.
//!
//! Guarantees: the order is the one that the module's page tells, field by field, and does not depend on the order in which policies are
//! given; an invalid policy only observes; freeze windows add up. Must not: look anything up.

use std::time::Duration;

use jiff::Timestamp;

use super::document::{Length, ModeWord};
use super::effective::{ApprovalTimeout, Effective, Mode};
use super::problem::quoted;
use super::read::Policy;
use super::says::Says;
use super::select::Workload;

/// The annotation that says the mode.
pub const MODE: &str = "lastgood.dev/mode";
/// The annotation that says how long mode `approve` waits.
pub const APPROVE_WITHIN: &str = "lastgood.dev/approve-within";
/// The annotation that says how long an alert has to go on before anything is done.
pub const GRACE: &str = "lastgood.dev/grace";
/// The annotation that allows a version that was never seen healthy.
pub const ALLOW_UNKNOWN: &str = "lastgood.dev/allow-unknown";
/// The annotation that holds smoke tests; the verifier reads it.
pub const SMOKE_TESTS: &str = "lastgood.dev/smoke-tests";

/// How long mode `approve` waits where nothing says so.
const WITHIN: Duration = Duration::from_mins(15);

/// Those of the policies that have a say about this workload, the first to be heard first.
#[must_use]
pub fn governing<'a>(policies: impl IntoIterator<Item = &'a Policy>, workload: &Workload<'_>) -> Vec<&'a Policy> {
    let mut governing: Vec<_> = policies.into_iter().filter(|policy| policy.governs(workload)).collect();
    governing.sort_by(|one, other| one.order().cmp(&other.order()));
    governing
}

/// What is in force; `defaults` is what the orchestrator's configuration says.
#[must_use]
pub fn combine<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    workload: &Workload<'_>,
    defaults: &Effective,
    now: Timestamp,
) -> Effective {
    let governing = governing(policies, workload);
    let mut heard = Heard::new(defaults);
    // The last that is heard has the last word.
    for policy in governing.iter().rev() {
        if let Ok(says) = &policy.says {
            heard.policy(&policy.id.to_string(), says);
        }
    }
    let mut sources = heard.annotations(workload);
    sources.extend(governing.iter().map(|policy| policy.id.to_string()));
    let mut effective = heard.end();
    effective.sources = sources;
    let invalid = governing.iter().find_map(|policy| Some((policy, policy.says.as_ref().err()?)));
    if let Some((policy, problems)) = invalid {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        effective.mode = Mode::Observe;
        effective.mode_because = format!("{} is invalid, and until that is put right nothing is done: {first}", policy.id);
    }
    let valid = governing.iter().filter_map(|policy| policy.says.as_ref().ok());
    effective.freeze = valid.flat_map(|says| says.freeze.iter().cloned()).collect();
    effective.frozen = effective.frozen_at(now);
    effective
}

/// What was heard so far.
struct Heard {
    effective: Effective,
    mode: Option<ModeWord>,
    within: Duration,
    on_timeout: ApprovalTimeout,
}

/// Takes what is said over what was heard before.
fn over<T: Clone>(before: &mut T, said: Option<&T>) {
    if let Some(said) = said {
        before.clone_from(said);
    }
}

/// The same where nothing, too, was a word.
fn over_some<T: Clone>(before: &mut Option<T>, said: Option<&T>) {
    if said.is_some() {
        *before = said.cloned();
    }
}

impl Heard {
    fn new(defaults: &Effective) -> Self {
        let (within, on_timeout) = match &defaults.mode {
            Mode::Approve { within, on_timeout } => (*within, *on_timeout),
            Mode::Observe | Mode::Auto => (WITHIN, ApprovalTimeout::Halt),
        };
        Self { effective: defaults.clone(), mode: None, within, on_timeout }
    }

    fn policy(&mut self, id: &str, says: &Says) {
        let is = &mut self.effective;
        if let Some(mode) = says.mode {
            self.mode = Some(mode);
            is.mode_because = format!("{id} says {}", word(mode));
        }
        over(&mut self.within, says.within.as_ref());
        over(&mut self.on_timeout, says.on_timeout.as_ref());
        over_some(&mut is.alerts, says.alerts.as_ref());
        over(&mut is.window, says.window.as_ref());
        over(&mut is.soak, says.soak.as_ref());
        over(&mut is.cooldown, says.cooldown.as_ref());
        over(&mut is.grace, says.grace.as_ref());
        over(&mut is.mass_failure.workloads, says.mass_failure_workloads.as_ref());
        over(&mut is.mass_failure.window, says.mass_failure_window.as_ref());
        over_some(&mut is.budgets.workload_per_hour, says.budgets.workload_per_hour.as_ref());
        over_some(&mut is.budgets.namespace_concurrent, says.budgets.namespace_concurrent.as_ref());
        over_some(&mut is.budgets.cluster_concurrent, says.budgets.cluster_concurrent.as_ref());
        over_some(&mut is.checks_yaml, says.checks_yaml.as_ref());
        over_some(&mut is.stabilisation, says.stabilisation.as_ref());
        over(&mut is.restore_config_maps, says.restore_config_maps.as_ref());
        over(&mut is.restore_secrets, says.restore_secrets.as_ref());
        over(&mut is.ledger, says.ledger.as_ref());
        over(&mut is.keep_versions, says.keep_versions.as_ref());
        over(&mut is.allow_unknown, says.allow_unknown.as_ref());
        over(&mut is.routes, says.routes.as_ref());
        over(&mut is.escalation, says.escalation.as_ref());
        let (have, said) = (&mut is.deadlines, &says.deadlines);
        over_some(&mut have.decide, said.decide.as_ref());
        over_some(&mut have.announce, said.announce.as_ref());
        over_some(&mut have.start, said.start.as_ref());
        over_some(&mut have.rollback, said.rollback.as_ref());
        over_some(&mut have.verify, said.verify.as_ref());
        over_some(&mut have.resolve, said.resolve.as_ref());
        over_some(&mut have.acknowledge, said.acknowledge.as_ref());
        over_some(&mut have.notify, said.notify.as_ref());
    }

    /// The workload's own word; which annotations had one.
    fn annotations(&mut self, workload: &Workload<'_>) -> Vec<String> {
        let mut sources = Vec::new();
        if let Some(text) = workload.annotations.get(MODE) {
            sources.push(format!("annotation {MODE}"));
            let (mode, because) = match text.trim() {
                "auto" => (ModeWord::Auto, format!("its annotation {MODE} says auto")),
                "approve" => (ModeWord::Approve, format!("its annotation {MODE} says approve")),
                "observe" => (ModeWord::Observe, format!("its annotation {MODE} says observe")),
                other => {
                    let because = format!("its annotation {MODE} says `{other}`, which is none of auto, approve and observe");
                    (ModeWord::Observe, because)
                }
            };
            (self.mode, self.effective.mode_because) = (Some(mode), because);
        }
        if let Some(text) = workload.annotations.get(ALLOW_UNKNOWN) {
            sources.push(format!("annotation {ALLOW_UNKNOWN}"));
            self.effective.allow_unknown = text.trim() == "true";
        }
        if let Some(within) = self.length(workload, APPROVE_WITHIN, &mut sources) {
            self.within = within;
        }
        if let Some(grace) = self.length(workload, GRACE, &mut sources) {
            self.effective.grace = grace;
        }
        sources
    }

    /// An annotation's length of time. One that can't be read only observes: nobody knows what it was to hold back.
    fn length(&mut self, workload: &Workload<'_>, annotation: &str, sources: &mut Vec<String>) -> Option<Duration> {
        let text = workload.annotations.get(annotation)?;
        sources.push(format!("annotation {annotation}"));
        let length = Length(text.trim().to_owned()).parse();
        if length.is_none() {
            self.mode = Some(ModeWord::Observe);
            let example = Length::EXAMPLE;
            self.effective.mode_because = format!("its annotation {annotation} says {}; write {example}", quoted(text));
        }
        length
    }

    fn end(mut self) -> Effective {
        if let Some(mode) = self.mode {
            self.effective.mode = match mode {
                ModeWord::Observe => Mode::Observe,
                ModeWord::Approve => Mode::Approve { within: self.within, on_timeout: self.on_timeout },
                ModeWord::Auto => Mode::Auto,
            };
        }
        self.effective
    }
}

const fn word(mode: ModeWord) -> &'static str {
    match mode {
        ModeWord::Observe => "observe",
        ModeWord::Approve => "approve",
        ModeWord::Auto => "auto",
    }
}

#[cfg(test)]
mod tests;
