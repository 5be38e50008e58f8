//! The orchestrator's replicas: hearing, settling, deciding, resuming.
//!
//! Follows `services/orchestrator/src/alerts/settle.rs` and `resume.rs`: an opening is appended under the expectation that was read, and a
//! decision after whatever else was appended meanwhile, while the incident is undecided. Guarantees: between any two reads and appends
//! every other actor may come. Must not: choose a course; `decide_course` does.

use contracts::v1;
use jiff::SignedDuration;
use lastgood_core::incident::Command;
use orchestrator::alerts::restored_by;
use orchestrator::cluster::{Kind, Object};
use orchestrator::config::Settings;
use orchestrator::correlate::Workload as Found;
use orchestrator::decision::course_commands;
use orchestrator::effective::{MODE, effective};
use orchestrator::ledger::LedgerView;
use orchestrator::occurrences::{Disposition, Known, Meaning, meaning};
use orchestrator::plan::{Inputs, Step, build, decide_course};
use orchestrator::resume::{is_undecided, superseded};

use super::book::{CourseId, LedgerId, hour};
use super::cluster::{hash_of, object, replica_set, subject};
use super::mutation::Mutation;
use super::order::Order;
use super::promises::Promise;
use super::system::System;
use super::world::{Alert, Case, INCIDENTS, Workload, World};

impl System {
    /// What a firing notification means now, by the orchestrator's own rule.
    pub(super) fn is_new(&self, world: &World, alert: u8) -> bool {
        let known = world.alerts[usize::from(alert)];
        if self.book.is(Mutation::ForgetsDispositions) {
            return true;
        }
        means(known, alert) == Meaning::New
    }

    /// Takes a notification: follows it to the workload.
    pub(super) fn orchestrator_hears(&self, world: &mut World, replica: usize, alert: u8) {
        let new = self.is_new(world, alert);
        if let Some(workload) = world.workload.filter(|_| new) {
            world.orchestrators[replica] = Some(Case::Heard { alert, workload });
            return;
        }
        // A repeat; or dismissed, because there is no such workload.
        if new {
            self.dispose(world, alert, None);
            world.alerts[usize::from(alert)].ended = true;
        }
        world.alerts[usize::from(alert)].notified = false;
    }

    /// Reads the workload's newest incident, the sequence that the append is to expect, and the ledger; or, after a rollback that is over, the
    /// workload once more.
    pub(super) fn orchestrator_reads(&self, world: &mut World, replica: usize) -> Option<()> {
        let settling = match world.orchestrators[replica]? {
            Case::Heard { alert, workload } => {
                let newest = world.log.opened.checked_sub(1);
                let fold = newest.map_or(self.nothing, |newest| world.log.incidents[usize::from(newest)]);
                let incident = self.book.fold(fold);
                let rolled_back = newest.is_some() && !incident.is_open() && incident.attempt() > 0;
                let looks_again = rolled_back && !self.book.is(Mutation::TrustsOldWorkload);
                Case::Settling { alert, workload, ledger: world.ledger, newest, fold, moved: false, looks_again }
            }
            Case::Settling { alert, workload, ledger, newest, fold, moved, looks_again: true } => {
                let workload = world.workload.unwrap_or(workload);
                Case::Settling { alert, workload, ledger, newest, fold, moved, looks_again: false }
            }
            _ => return None,
        };
        world.orchestrators[replica] = Some(settling);
        Some(())
    }

    /// Appends the opening or the join, together with the occurrence's disposition.
    pub(super) fn orchestrator_settles(&self, world: &mut World, replica: usize) -> Option<()> {
        let Some(Case::Settling { alert, workload, ledger, newest, fold, moved, .. }) = world.orchestrators[replica] else {
            return None;
        };
        let lost = moved && !self.book.is(Mutation::IgnoresExpectation);
        if lost || !self.is_new(world, alert) {
            let again = Case::Heard { alert, workload };
            let new = self.is_new(world, alert);
            world.orchestrators[replica] = new.then_some(again);
            world.alerts[usize::from(alert)].notified = new;
            return Some(());
        }
        let found = Found { kind: Kind::Deployment, object: Object::new(object(workload)), about: None };
        // Within the window after a close: `is_over` is a matter of lengths of time, of which there are none here.
        let joins = newest.filter(|newest| self.book.fold(fold).is_open() || restored_by(&found, &subject(*newest)));
        world.orchestrators[replica] = None;
        if let Some(joined) = joins {
            self.append(world, joined, Order::Join(alert), false);
            self.dispose(world, alert, Some(joined));
            world.alerts[usize::from(alert)].notified = false;
            return Some(());
        }
        let opened = world.log.opened;
        if usize::from(opened) >= INCIDENTS {
            return None;
        }
        self.append(world, opened, Order::Open { alert, workload }, false);
        world.ghost.edits[usize::from(opened)] = workload.edits;
        self.dispose(world, alert, Some(opened));
        let course = self.course(world, opened, workload, ledger);
        world.orchestrators[replica] =
            Some(Case::Decided { incident: opened, course, edits: workload.edits, alert: Some(alert) });
        Some(())
    }

    /// Takes the opening of an incident: it may have been left undecided.
    pub(super) fn orchestrator_resumes(&self, world: &mut World, replica: usize, incident: u8) {
        let fold = world.log.incidents[usize::from(incident)];
        let newest = world.log.opened == incident + 1;
        if !newest || !is_undecided(&self.book.fold(fold)) {
            world.undecided[usize::from(incident)] = false;
            return;
        }
        world.orchestrators[replica] = Some(Case::Resuming { incident, fold, ledger: world.ledger });
    }

    /// Decides by the workload as it is now.
    pub(super) fn orchestrator_decides(&self, world: &mut World, replica: usize) -> Option<()> {
        let Some(Case::Resuming { incident, fold, ledger }) = world.orchestrators[replica] else { return None };
        let there = world.workload.map(|workload| Object::new(object(workload)));
        let course = match superseded(&self.book.fold(fold), there.as_ref()) {
            Some(fact) => self.book.keep_course(vec![Command::Supersede(fact)]),
            None => self.course(world, incident, world.workload?, ledger),
        };
        let edits = world.workload.map_or(0, |workload| workload.edits);
        world.orchestrators[replica] = Some(Case::Decided { incident, course, edits, alert: None });
        Some(())
    }

    /// Stores the decision, while it is still wanted.
    pub(super) fn orchestrator_stores(&self, world: &mut World, replica: usize) -> Option<()> {
        let Some(Case::Decided { incident, course, edits, alert }) = world.orchestrators[replica] else { return None };
        let index = usize::from(incident);
        world.orchestrators[replica] = None;
        let undecided = is_undecided(&self.book.fold(world.log.incidents[index]));
        let stored = undecided && self.append(world, incident, Order::Course(course), false);
        if stored && self.book.fold(world.log.incidents[index]).plan.is_some() {
            world.ghost.edits[index] = edits;
        }
        match alert {
            Some(alert) => world.alerts[usize::from(alert)].notified = false,
            None => world.undecided[index] = undecided && !stored,
        }
        Some(())
    }

    /// The occurrence's disposition is on the log: an incident, or that it is dismissed.
    fn dispose(&self, world: &mut World, alert: u8, incident: Option<u8>) {
        let known = &mut world.alerts[usize::from(alert)];
        known.dispositions += 1;
        known.incident = incident;
        if known.dispositions > 1 {
            self.breaks(world, Promise::OneDisposition);
        }
    }

    /// The orchestrator's own course, as commands.
    fn course(&self, world: &World, incident: u8, workload: Workload, ledger: LedgerId) -> CourseId {
        let settings =
            Settings { window: std::time::Duration::from_hours(48), soak: std::time::Duration::ZERO, ..Settings::default() };
        let last = world.log.incidents.iter().take(usize::from(incident)).enumerate();
        let rollbacks = last.filter_map(|(index, fold)| {
            let before = self.book.fold(*fold);
            let intent = before.attempts.last()?.intent.clone();
            Some((u8::try_from(index).ok()?, intent))
        });
        let last_rollback = rollbacks.last();
        let view = self.book.ledger(ledger);
        let view = match &last_rollback {
            Some((by, intent)) if !self.book.is(Mutation::ForgetsRolledBackFrom) => {
                view.as_ref().clone().knowing_of(&subject(*by).incident.to_string(), intent)
            }
            _ => view.as_ref().clone(),
        };
        let switch = v1::PauseSwitched { paused: world.paused, ..v1::PauseSwitched::default() };
        let mut deployment = object(workload);
        if self.scenario.asks {
            deployment["metadata"]["annotations"][MODE] = "approve".into();
        }
        let deployment = Object::new(deployment);
        let policy = effective(&deployment, &settings);
        let known = view.current_since(&hash_of(workload.version)).is_some();
        let sets: Vec<_> = if known { Vec::new() } else { replica_set(workload).into_iter().collect() };
        let now = hour(incident);
        let course = decide_course(&Inputs {
            kind: Kind::Deployment,
            workload: &deployment,
            sets: &sets,
            ledger: &view,
            running: &[],
            rules: (&policy).into(),
            alert_since: now,
            about: None,
            requested: None,
            switch: Some(&switch),
            failing_workloads: 1,
            last_rollback: last_rollback.map(|(by, _)| hour(by)),
            policy: &policy,
            now,
        });
        let planned = match &course.step {
            Step::Roll(target) | Step::Hold(target, _, _) => {
                let mut from = course.current.version.clone().unwrap_or_default();
                if self.book.is(Mutation::TrustsOldRevision) {
                    from.revision = remembered_revision(&view, workload);
                }
                let not_after = now.saturating_add(SignedDuration::from_mins(2)).unwrap_or(now);
                let planned = build(Kind::Deployment, &deployment, &from, target, &[], None, not_after);
                Some((planned.plan, planned.summary))
            }
            Step::Halt(..) | Step::Missing(_) => None,
        };
        self.book.keep_course(course_commands(&course, planned))
    }
}

fn remembered_revision(view: &LedgerView, workload: Workload) -> i64 {
    view.known(&hash_of(workload.version)).map_or(0, |known| known.version.revision)
}

/// What a firing notification means, given what the log says.
fn means(known: Alert, alert: u8) -> Meaning {
    let disposition = match known.incident {
        Some(incident) => Some(Disposition::Incident(subject(incident))),
        None => (known.dispositions > 0).then_some(Disposition::Dismissed),
    };
    let ended_at = (known.ended && disposition.is_some()).then(|| hour(alert));
    let told_at = disposition.is_some().then(|| hour(alert));
    let firing = v1::Alert {
        status: v1::AlertStatus::Firing.into(),
        starts_at: Some(contracts::time::to_proto(hour(alert))),
        ..v1::Alert::default()
    };
    let known = Known { disposition, began_at: told_at, disposed_at: told_at, ended_at, sequence: 0, disposed_as: 0, told_at };
    meaning(&known, &firing, hour(alert))
}
