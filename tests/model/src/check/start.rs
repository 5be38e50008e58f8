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
            world = self.step(&world, step).unwrap_or(world);
        }
        match self.scenario.start {
            Start::Alert | Start::AboutToWrite => {}
            // The plan came before the thread: its message asked for nothing yet.
            Start::Planned => world.wakes[0].acknowledge(Wake::Planned),
            Start::Shifted | Start::Closing => world.wakes = [Wakes::default(); INCIDENTS],
        }
        world.crashes_left = self.scenario.crashes;
        world.acts_left = self.scenario.acts;
        world
    }
}

/// The steps that lead there.
fn way_to(start: Start) -> Vec<Action> {
    let look = Action::ExecutorLooks { replica: 0, late: false };
    let act = Action::ExecutorActs { replica: 0, late: false };
    let take = |wake| Action::ExecutorTakes { replica: 0, incident: 0, wake, workload_first: false };
    let check = |check| Action::CheckFinishes { incident: 0, check, verdict: 0 };
    let planned = [
        Action::AlertBegins { alert: 0 },
        Action::OrchestratorHears { replica: 0, alert: 0 },
        Action::OrchestratorReads { replica: 0 },
        Action::OrchestratorSettles { replica: 0 },
        Action::OrchestratorStores { replica: 0 },
        Action::ThreadOpens { incident: 0 },
    ];
    let about_to_write = [take(Wake::Announced), look, act, look];
    let report = Action::ExecutorReports { replica: 0 };
    let shifted = [act, report, report, report, report];
    let verified = [check(0), check(1), Action::VerifierConcludes { incident: 0 }];
    let closing = [take(Wake::Passed), look, act, act, act];
    let ways: [(Start, &[Action]); 5] = [
        (Start::Planned, &planned),
        (Start::AboutToWrite, &about_to_write),
        (Start::Shifted, &shifted),
        (Start::Closing, &verified),
        (Start::Closing, &closing),
    ];
    ways.into_iter().filter(|(leads_to, _)| *leads_to <= start).flat_map(|(_, steps)| steps).copied().collect()
}
