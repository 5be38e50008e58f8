//! What a policy says: the fields of a document as values, and whether they can be meant.
//!
//! Guarantees: what a custom resource definition's rules refuse is refused here as well, for files and for servers that ignore rules.
//! Must not: fill in what is not said; `combine` does.

use std::time::Duration;

use contracts::{FailureReason, HaltReason};

use crate::incident::APPROVAL;

use super::checks;
use super::document::{self, Length, ModeWord, OnTimeout, RestoreConfigMapsWord, RestoreSecretsWord, Spec};
use super::effective::{ApprovalTimeout, Budgets, Deadlines, RestoreConfigMaps, Route, Step};
use super::freeze::{self, Freeze};
use super::matchers::{self, AlertSet};
use super::problem::{At, Problem, quoted};
use super::read::{Id, Limits};

/// How long after the page somebody may still be called at most.
const LAST_CALL: Duration = Duration::from_hours(24);

/// What one policy says; `None` is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the field of the document, and of `Effective`, of the same name")]
pub struct Says {
    pub mode: Option<ModeWord>,
    pub within: Option<Duration>,
    pub on_timeout: Option<ApprovalTimeout>,
    pub alerts: Option<Vec<AlertSet>>,
    pub window: Option<Duration>,
    pub soak: Option<Duration>,
    pub cooldown: Option<Duration>,
    pub grace: Option<Duration>,
    pub budgets: Budgets,
    pub mass_failure_workloads: Option<usize>,
    pub mass_failure_window: Option<Duration>,
    pub freeze: Vec<Freeze>,
    pub checks_yaml: Option<String>,
    pub stabilisation: Option<Duration>,
    pub deadlines: Deadlines,
    pub restore_config_maps: Option<RestoreConfigMaps>,
    pub restore_secrets: Option<bool>,
    pub ledger: Option<bool>,
    pub keep_versions: Option<usize>,
    pub allow_unknown: Option<bool>,
    pub routes: Option<Vec<Route>>,
    pub escalation: Option<Vec<Step>>,
}

/// A field that is a length of time.
pub(super) fn length(at: &mut At<'_>, field: &str, given: Option<&Length>) -> Option<Duration> {
    let given = given?;
    match given.parse() {
        Some(length) => Some(length),
        None => at.field(field).none(format!("{} is no length of time; write one like 30s, 10m or 1h30m", quoted(&given.0))),
    }
}

/// The same, where nothing is no length.
pub(super) fn some_length(at: &mut At<'_>, field: &str, given: Option<&Length>) -> Option<Duration> {
    match length(at, field, given)? {
        Duration::ZERO => at.field(field).none("is zero; write a length of time above it"),
        length => Some(length),
    }
}

impl Says {
    pub(super) fn read(spec: &Spec, id: &Id, limits: &Limits, found: &mut Vec<Problem>) -> Self {
        let at = &mut At::new("spec", found);
        let within = spec.approval.as_ref().and_then(|ask| some_length(&mut at.field("approval"), "within", ask.within.as_ref()));
        let (mass_failure_workloads, mass_failure_window) = mass_failure(spec, limits, at);
        let ledger = spec.ledger.clone().unwrap_or_default();
        Self {
            mode: spec.mode,
            within,
            on_timeout: spec.approval.as_ref().and_then(|ask| ask.on_timeout).map(|what| match what {
                OnTimeout::Halt => ApprovalTimeout::Halt,
                OnTimeout::Proceed => ApprovalTimeout::Proceed,
            }),
            alerts: spec.alerts.as_ref().map(|sets| matchers::read(sets, at.field("alerts"))),
            window: looked_back(at, "changeWindow", spec.change_window.as_ref(), limits),
            soak: length(at, "soak", spec.soak.as_ref()),
            cooldown: looked_back(at, "cooldown", spec.cooldown.as_ref(), limits),
            grace: length(at, "gracePeriod", spec.grace_period.as_ref()),
            budgets: budgets(spec, id, at),
            mass_failure_workloads,
            mass_failure_window,
            freeze: freeze::read(spec.freeze.as_deref().unwrap_or_default(), at.field("freeze")),
            checks_yaml: spec.checks.as_ref().and_then(|list| checks::read(list, at.field("checks"))),
            stabilisation: stabilisation(spec, limits, at),
            deadlines: deadlines(spec, at.field("deadlines")),
            restore_config_maps: spec.restore_config_maps.map(|word| match word {
                RestoreConfigMapsWord::Changed => RestoreConfigMaps::Changed,
                RestoreConfigMapsWord::Always => RestoreConfigMaps::Always,
                RestoreConfigMapsWord::Never => RestoreConfigMaps::Never,
            }),
            restore_secrets: spec.restore_secrets.map(|word| word == RestoreSecretsWord::Always),
            ledger: ledger.enabled,
            keep_versions: ledger.keep_versions.and_then(|count| usize::try_from(count).ok()),
            allow_unknown: spec.allow_unknown,
            routes: routes(spec, at.field("notify")),
            escalation: escalation(spec, at.field("notify")),
        }
    }
}

/// A length of time for which closed incidents have to be looked at.
fn looked_back(at: &mut At<'_>, field: &str, given: Option<&Length>, limits: &Limits) -> Option<Duration> {
    let length = length(at, field, given)?;
    if length > limits.looks_back {
        let longest = shown_length(limits.looks_back);
        return at.field(field).none(format!(
            "{} is longer than orchestrator.archive.after ({longest}), after which closed incidents can't be looked at; shorten it, or raise that",
            quoted(given.map_or("", |given| given.0.as_str()))
        ));
    }
    Some(length)
}

/// A stabilisation that ends before the verification has to.
fn stabilisation(spec: &Spec, limits: &Limits, at: &mut At<'_>) -> Option<Duration> {
    let length = length(at, "stabilisation", spec.stabilisation.as_ref())?;
    let verify = spec.deadlines.as_ref().and_then(|deadlines| deadlines.verify.as_ref()?.parse()).unwrap_or(limits.verify);
    if length >= verify {
        let verify = shown_length(verify);
        return at.field("stabilisation").none(format!(
            "is not shorter than deadlines.verify ({verify}), within which it has to end; shorten it, or raise that"
        ));
    }
    Some(length)
}

/// For people.
fn shown_length(length: Duration) -> String {
    format!("{:#}", jiff::SignedDuration::try_from(length).unwrap_or(jiff::SignedDuration::MAX))
}

fn mass_failure(spec: &Spec, limits: &Limits, at: &mut At<'_>) -> (Option<usize>, Option<Duration>) {
    let Some(given) = spec.budgets.as_ref().and_then(|budgets| budgets.mass_failure.as_ref()) else { return (None, None) };
    let mut at = at.field("budgets");
    let mut at = at.field("massFailure");
    let window = looked_back(&mut at, "window", given.window.as_ref(), limits);
    if window == Some(Duration::ZERO) {
        at.field("window").refuse("is zero; write a length of time above it");
    }
    (given.workloads.and_then(|count| usize::try_from(count).ok()), window)
}

fn budgets(spec: &Spec, id: &Id, at: &mut At<'_>) -> Budgets {
    let Some(given) = &spec.budgets else { return Budgets::default() };
    if given.cluster_concurrent.is_some() && id.namespace.is_some() {
        let text = format!("is not for one namespace to say; write it in a {}", document::CLUSTER_KIND);
        at.field("budgets").field("clusterConcurrent").refuse(text);
    }
    Budgets {
        workload_per_hour: given.workload_per_hour,
        namespace_concurrent: given.namespace_concurrent,
        cluster_concurrent: given.cluster_concurrent,
    }
}

fn deadlines(spec: &Spec, mut at: At<'_>) -> Deadlines {
    let Some(given) = &spec.deadlines else { return Deadlines::default() };
    let mut some = |field: &str, given: Option<&Length>| some_length(&mut at, field, given);
    Deadlines {
        decide: some("decide", given.decide.as_ref()),
        start: some("start", given.start.as_ref()),
        rollback: some("rollback", given.rollback.as_ref()),
        verify: some("verify", given.verify.as_ref()),
        resolve: some("resolve", given.resolve.as_ref()),
        acknowledge: some("acknowledge", given.acknowledge.as_ref()),
        notify: some("notify", given.notify.as_ref()),
        announce: length(&mut at, "announce", given.announce.as_ref()),
    }
}

fn routes(spec: &Spec, mut at: At<'_>) -> Option<Vec<Route>> {
    let given = spec.notify.as_ref()?.routes.as_ref()?;
    let known = |code: &String| {
        ["completed", APPROVAL].contains(&code.as_str())
            || HaltReason::parse(code).is_some()
            || FailureReason::parse(code).is_some()
    };
    let each = given.iter().enumerate().map(|(index, route)| {
        let mut at = at.field("routes");
        let mut at = at.index(index);
        let reasons = route.reasons.clone().unwrap_or_default();
        for (index, code) in reasons.iter().enumerate().filter(|(_, code)| !known(code)) {
            let text = format!(
                "{} is no reason; take one that has a page in the runbooks, like observe_mode, or completed",
                quoted(code)
            );
            at.field("reasons").index(index).refuse(text);
        }
        let receivers = route.receivers.clone().unwrap_or_default();
        if receivers.is_empty() {
            at.field("receivers").refuse("is empty; name who is told");
        }
        Route { reasons, severities: route.severities.clone().unwrap_or_default(), receivers }
    });
    Some(each.collect())
}

fn escalation(spec: &Spec, mut at: At<'_>) -> Option<Vec<Step>> {
    let given = spec.notify.as_ref()?.escalation.as_ref()?;
    let mut before = Duration::ZERO;
    let each = given.iter().enumerate().map(|(index, step)| {
        let mut at = at.field("escalation");
        let mut at = at.index(index);
        let after = length(&mut at, "after", step.after.as_ref()).unwrap_or_default();
        if after < before {
            at.field("after").refuse("is earlier than the step before; sort the steps");
        }
        before = after;
        if after > LAST_CALL {
            at.field("after").refuse(
                "is longer than a day; an incident stays open, and takes up all that comes after it, until its last call",
            );
        }
        let receivers = step.receivers.clone().unwrap_or_default();
        if step.audience.is_none() && receivers.is_empty() {
            at.refuse("calls nobody; name an audience or receivers");
        }
        Step { after, audience: step.audience, receivers }
    });
    Some(each.collect())
}
