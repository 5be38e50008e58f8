//! The executor's replicas: its loop, step by step, around its own rule (`executor::attempt`).
//!
//! Follows `services/executor/src/run`: `tell` decides on what was loaded or, when the log has moved on, on what is there then; as the append
//! expects what was read, both come to a decision on the latest fold. Guarantees: between any two effects every other actor may come.
//! Must not: decide what a read means.

use contracts::{Fact, FailureReason, HaltReason};
use executor::attempt::{Live, Seen, Step, next_step};
use executor::run::{Duty, duty};
use lastgood_core::incident::{Incident, Phase};

use super::book::clock;
use super::cluster::{self, incident_id, object};
use super::mutation::Mutation;
use super::order::{NOT_READY, Order};
use super::system::System;
use super::world::{Act, At, Hand, Wake, Workload, World};

impl System {
    /// Takes a message: reads one of log and workload.
    pub(super) fn executor_takes(&self, world: &mut World, replica: usize, (incident, wake): (u8, Wake), workload_first: bool) {
        let mut hand =
            Hand { incident, wake, fold: self.nothing, moved: false, live: None, written: false, at: At::WorkloadRead };
        if workload_first {
            hand.live = Some(world.workload);
            world.executors[replica] = Some(hand);
            return;
        }
        hand.fold = world.log.incidents[usize::from(incident)];
        hand.at = match self.duty(&self.book.fold(hand.fold)) {
            Duty::Nothing => return done(world, replica, hand),
            Duty::Rollback => At::LogRead,
            Duty::Finish => At::Finishing,
        };
        world.executors[replica] = Some(hand);
    }

    /// Reads the other of the two, and decides.
    pub(super) fn executor_looks(&self, world: &mut World, replica: usize, late: bool) -> Option<()> {
        let mut hand = world.executors[replica]?;
        match hand.at {
            At::WorkloadRead => {
                (hand.fold, hand.moved) = (world.log.incidents[usize::from(hand.incident)], false);
                let incident = self.book.fold(hand.fold);
                hand.at = match self.duty(&incident) {
                    Duty::Nothing if self.book.is(Mutation::HandsBack) => {
                        world.executors[replica] = None;
                        return Some(());
                    }
                    Duty::Nothing => {
                        done(world, replica, hand);
                        return Some(());
                    }
                    Duty::Finish => At::Finishing,
                    // Only what no intent precedes may be judged by an earlier read.
                    Duty::Rollback if incident.attempt() > 0 && !self.book.is(Mutation::LooksBeforeTheLog) => At::LogRead,
                    Duty::Rollback => At::About(self.next(world, &hand, late)?),
                };
            }
            At::LogRead => {
                let begun = self.book.fold(hand.fold).attempt() > 0;
                if begun && hand.moved {
                    if self.book.is(Mutation::LooksBeforeTheLog) {
                        hand.live = Some(world.workload);
                        hand.at = At::WorkloadRead;
                    } else {
                        self.reload(world, replica, hand);
                        return Some(());
                    }
                } else {
                    hand.live = Some(world.workload);
                    hand.at = At::About(self.next(world, &hand, late)?);
                }
            }
            At::Finishing => {
                hand.live = Some(world.workload);
                let step = self.rule(&hand, true, late);
                let status = self.book.fold(hand.fold).status_updated;
                hand.at = match step {
                    Some(Step::Supersede { what, .. }) => At::About(Act::Supersede(what)),
                    _ if world.workload.is_none() => {
                        done(world, replica, hand);
                        return Some(());
                    }
                    _ if status => At::About(Act::CleanUp),
                    _ => At::About(Act::Annotate),
                };
            }
            At::About(_) | At::Watching => return None,
        }
        world.executors[replica] = Some(hand);
        Some(())
    }

    fn duty(&self, incident: &Incident) -> Duty {
        let waits = incident.phase() == Phase::AwaitingApproval;
        if waits && self.book.is(Mutation::ActsUnapproved) { Duty::Rollback } else { duty(incident) }
    }

    fn rule(&self, hand: &Hand, written: bool, late: bool) -> Option<Step> {
        let live = hand.live?.map(|workload| Live::of(&object(workload)));
        let incident = self.book.fold(hand.fold);
        next_step(&incident, incident_id(hand.incident), Seen { live: live.as_ref(), written }, clock(hand.incident, late))
    }

    /// The executor's own rule, and the pause switch.
    fn next(&self, world: &World, hand: &Hand, late: bool) -> Option<Act> {
        let incident = self.book.fold(hand.fold);
        Some(match self.rule(hand, hand.written, late)? {
            Step::Intend(_) | Step::Write(_) if world.paused => {
                if incident.attempts.is_empty() || self.book.is(Mutation::HaltsAfterIntent) {
                    Act::Halt(HaltReason::Paused.code())
                } else {
                    Act::GiveUp(FailureReason::Paused.code())
                }
            }
            Step::Intend(attempt) if self.book.is(Mutation::WritesWithoutIntent) => Act::Write(attempt),
            Step::Intend(attempt) => Act::Intend(attempt),
            Step::Write(attempt) => Act::Write(attempt),
            Step::Watch(_) => Act::Watch,
            Step::Supersede { detail, .. } if self.book.is(Mutation::RepeatsTheWrite) && detail.contains("brought") => {
                Act::Write(incident.attempt())
            }
            Step::Supersede { what, .. } => Act::Supersede(what),
            Step::Halt { reason, .. } => Act::Halt(reason.code()),
            Step::GiveUp { reason, .. } => Act::GiveUp(reason.code()),
        })
    }

    /// Does what it is about to do.
    pub(super) fn executor_acts(&self, world: &mut World, replica: usize, late: bool) -> Option<()> {
        let mut hand = world.executors[replica]?;
        let At::About(act) = hand.at else { return None };
        let order = match act {
            Act::Intend(attempt) => {
                let live = hand.live??;
                self.append(world, hand.incident, Order::Start { attempt, live }, late);
                self.reload(world, replica, hand);
                return Some(());
            }
            Act::Watch => {
                hand.at = At::Watching;
                world.executors[replica] = Some(hand);
                return Some(());
            }
            Act::Write(attempt) => return self.write(world, replica, hand, attempt),
            Act::Annotate => {
                annotate(world, replica, hand);
                return Some(());
            }
            Act::TellStatus => {
                self.append(world, hand.incident, Order::UpdateStatus, false);
                self.reload_to(world, replica, hand, At::About(Act::CleanUp));
                return Some(());
            }
            Act::CleanUp => Order::CleanUp,
            Act::Halt(reason) => {
                self.append(world, hand.incident, Order::Halt(reason), late);
                // Refused: another replica has begun meanwhile.
                self.reload(world, replica, hand);
                return Some(());
            }
            Act::Supersede(what) => Order::Supersede(what),
            Act::GiveUp(reason) => Order::Fail(reason),
        };
        self.append(world, hand.incident, order, late);
        done(world, replica, hand);
        Some(())
    }

    fn write(&self, world: &mut World, replica: usize, mut hand: Hand, attempt: u32) -> Option<()> {
        let read = hand.live??;
        let incident = self.book.fold(hand.fold);
        let (_, plan) = incident.plan.as_ref()?;
        let blindly = self.book.is(Mutation::WritesBlindly);
        let there = world.workload.filter(|there| blindly || same_object(*there, read));
        let Some(there) = there else {
            // A conflict: look again.
            hand.at = At::LogRead;
            world.executors[replica] = Some(hand);
            return Some(());
        };
        let written = cluster::stored(there, cluster::restored(read, plan, hand.incident, attempt)?);
        self.judge_write(world, hand.incident, there, written);
        world.workload = Some(written);
        (hand.live, hand.written, hand.at) = (Some(Some(written)), true, At::Watching);
        world.executors[replica] = Some(hand);
        Some(())
    }

    /// Sees the workload as it is now.
    pub(super) fn executor_sees(&self, world: &mut World, replica: usize) -> Option<()> {
        let mut hand = world.executors[replica]?;
        hand.live = Some(world.workload);
        if let Some(Step::Supersede { what, .. }) = self.rule(&hand, true, false) {
            hand.at = At::About(Act::Supersede(what));
        }
        world.executors[replica] = Some(hand);
        Some(())
    }

    /// Reports the next thing that is not on the log yet.
    pub(super) fn executor_reports(&self, world: &mut World, replica: usize) -> Option<()> {
        let hand = world.executors[replica]?;
        let order = self.due(&self.book.fold(hand.fold), hand.live.flatten())?;
        self.append(world, hand.incident, order, false);
        let latest = self.book.fold(world.log.incidents[usize::from(hand.incident)]);
        if latest.phase() == Phase::Acting {
            self.reload_to(world, replica, hand, At::Watching);
        } else {
            done(world, replica, hand);
        }
        Some(())
    }

    /// Its deadline passes while it watches.
    pub(super) fn executor_gives_up(&self, world: &mut World, replica: usize) -> Option<()> {
        let hand = world.executors[replica]?;
        self.append(world, hand.incident, Order::Fail(NOT_READY), true);
        done(world, replica, hand);
        Some(())
    }

    /// What the cluster shows next that the log does not have, to one who watches this workload.
    pub(super) fn due(&self, incident: &Incident, live: Option<Workload>) -> Option<Order> {
        // Its pods show what they run as soon as they are there.
        let tagged = live.filter(|live| self.scenario.tag_moved && live.version == 1 && incident.moved.is_none());
        tagged.map(Order::ImageMoved).or_else(|| due(incident))
    }

    /// From a fresh look, as if nothing had been written.
    fn begin_anew(&self, world: &mut World, replica: usize, mut hand: Hand) {
        hand.written &= self.book.is(Mutation::RemembersItsWrite);
        self.reload(world, replica, hand);
    }

    /// Loads the incident again and goes on looking, where there is something to look for.
    fn reload(&self, world: &mut World, replica: usize, hand: Hand) {
        self.reload_to(world, replica, hand, At::LogRead);
    }

    fn reload_to(&self, world: &mut World, replica: usize, mut hand: Hand, at: At) {
        let watched = self.book.fold(hand.fold).moved.is_some();
        (hand.fold, hand.moved) = (world.log.incidents[usize::from(hand.incident)], false);
        let incident = self.book.fold(hand.fold);
        let phase = incident.phase();
        // What it watched is to be replaced, whoever saw that.
        if at == At::Watching && incident.moved.is_some() && !watched {
            return self.begin_anew(world, replica, hand);
        }
        let goes_on = if at == At::About(Act::CleanUp) {
            phase == Phase::Mitigated
        } else {
            matches!(phase, Phase::Planned | Phase::Acting)
        };
        if !goes_on {
            return done(world, replica, hand);
        }
        hand.at = at;
        if at == At::LogRead {
            hand.live = None;
        }
        world.executors[replica] = Some(hand);
    }
}

/// The message is done: acknowledged.
fn done(world: &mut World, replica: usize, hand: Hand) {
    world.wakes[usize::from(hand.incident)].acknowledge(hand.wake);
    world.executors[replica] = None;
}

const fn same_object(there: super::world::Workload, read: super::world::Workload) -> bool {
    there.uid == read.uid && there.resource_version == read.resource_version
}

/// n19's annotations: an update under the read's resourceVersion, again while it is still as we wrote it.
fn annotate(world: &mut World, replica: usize, mut hand: Hand) {
    let ours = |live: &Live| live.is_as_written_by(incident_id(hand.incident));
    let read = hand.live.flatten();
    let fits =
        world.workload.filter(|there| read.is_some_and(|read| same_object(*there, read)) || ours(&Live::of(&object(*there))));
    let Some(there) = fits else {
        // Handed back: the message comes again.
        world.executors[replica] = None;
        return;
    };
    world.workload = Some(super::world::Workload { resource_version: there.resource_version + 1, ..there });
    hand.live = Some(world.workload);
    hand.at = At::About(Act::TellStatus);
    world.executors[replica] = Some(hand);
}

/// What the cluster shows next that the log does not have.
fn due(incident: &Incident) -> Option<Order> {
    let progress = &incident.progress;
    if progress.deployed.is_none() {
        Some(Order::Deployed)
    } else if progress.bad_pods_down.is_none() {
        Some(Order::BadPodsDown)
    } else if progress.pods_ready.is_none() {
        Some(Order::PodsReady)
    } else if progress.traffic_shifted.is_none() {
        Some(Order::TrafficShifted)
    } else {
        None
    }
}

/// Whether a fact is the intent of an attempt.
pub(super) const fn is_intent(fact: &Fact) -> bool {
    matches!(fact, Fact::RollbackStarted(_))
}
