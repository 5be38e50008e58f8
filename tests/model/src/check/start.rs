//! Where a scenario begins: the first world, and the way from there that nobody disturbs.
//!
//! Guarantees: every beginning is a state that the product's own decisions led to. Must not: put anything on the log by itself.

use orchestrator::ledger::LedgerView;

use super::action::Action;
use super::cluster;
use super::scenario::Start;
use super::system::System;
use super::world::{Alert, Ghost, INCIDENTS, Log, REPLICAS, Wake, Wakes, Workload, World};

impl System {
    fn first(&self) -> World {
        let facts =
            [(Workload { version: 1, revision: 1, ..cluster::fresh() }, true), (cluster::fresh(), self.scenario.bad_was_good)];
        let mut ledger = self.book.keep_ledger(LedgerView::default());
        for (workload, proved) in facts {
            ledger = self.book.record(ledger, &cluster::observed(workload));
            if proved {
                ledger = self.book.record(ledger, &cluster::available(workload.version));
            }
        }
        World {
            log: Log { opened: 0, incidents: [self.nothing; INCIDENTS] },
            workload: Some(cluster::fresh()),
            ledger,
            paused: self.scenario.paused,
            executors: [None; REPLICAS],
            orchestrators: [None; REPLICAS],
            notifier: None,
            alerts: [Alert { repeats_left: self.scenario.repeats, ..Alert::default() }; INCIDENTS],
            wakes: [Wakes::default(); INCIDENTS],
            undecided: [false; INCIDENTS],
            crashes_left: 0,
            acts_left: 0,
            ghost: Ghost::default(),
        }
    }

    /// The first world, brought to where the scenario starts by the product's own steps.
    pub(super) fn started(&self) -> World {
        let mut world = self.first();
        for step in way_to(self.scenario.start) {
            world = self.step(&world, step).expect("nobody disturbs the way there");
        }
        if self.scenario.start == Start::Stopped {
            world = self.closed_meanwhile(world);
        }
        match self.scenario.start {
            Start::Alert | Start::Stopped => {}
            // The plan came before the thread: its message asked for nothing yet.
            Start::Planned => world.wakes[0].acknowledge(Wake::Planned),
            Start::Shifted | Start::Closing => world.wakes = [Wakes::default(); INCIDENTS],
        }
        world.crashes_left = self.scenario.crashes;
        world.acts_left = self.scenario.acts;
        world
    }

    /// Its deadlines pass, and people are told, until it is closed.
    fn closed_meanwhile(&self, mut world: World) -> World {
        loop {
            let mut steps = Vec::new();
            self.possible(&world, &mut steps);
            let closes = |step: &Action| matches!(step, Action::TimerFires { .. } | Action::NotifierSends { .. });
            let next = steps.into_iter().find(closes).and_then(|step| self.step(&world, step));
            match next {
                Some(next) => world = next,
                None => return world,
            }
        }
    }
}

const LOOK: Action = Action::ExecutorLooks { replica: 0, late: false };
const ACT: Action = Action::ExecutorActs { replica: 0, late: false };

const fn take(incident: u8, wake: Wake) -> Action {
    Action::ExecutorTakes { replica: 0, incident, wake, workload_first: false }
}

/// The steps that lead there.
fn way_to(start: Start) -> Vec<Action> {
    let planned = [
        Action::AlertBegins { alert: 0 },
        Action::OrchestratorHears { replica: 0, alert: 0 },
        Action::OrchestratorReads { replica: 0 },
        Action::OrchestratorSettles { replica: 0 },
        Action::OrchestratorStores { replica: 0 },
        Action::ThreadOpens { incident: 0 },
    ];
    let about_to_write = [take(0, Wake::Announced), LOOK, ACT, LOOK];
    let watching = [&planned[..], &about_to_write, &[ACT]].concat();
    match start {
        Start::Alert => Vec::new(),
        Start::Planned => planned.into(),
        Start::Stopped => [&planned[..], &about_to_write].concat(),
        Start::Shifted => [&watching[..], &REPORTS].concat(),
        Start::Closing => [watching, to_the_end(0)].concat(),
    }
}

const REPORTS: [Action; 4] = [Action::ExecutorReports { replica: 0 }; 4];

/// From the write to where an incident only waits for its alert, all being well.
pub(super) fn to_the_end(incident: u8) -> Vec<Action> {
    let check = |check| Action::CheckFinishes { incident, check, verdict: 0 };
    let verified = [check(0), check(1), Action::VerifierConcludes { incident }];
    [&REPORTS[..], &verified, &[take(incident, Wake::Passed), LOOK, ACT, ACT, ACT]].concat()
}
