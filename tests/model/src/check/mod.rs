//! Model checking of the real decisions: every order in which the services, the cluster, the clock and people can act, explored to
//! the end.
//!
//! The world (`world`, `cluster`) is abstract and small; what is decided in it is not: the facts come from `lastgood_core`'s `decide` and
//! `evolve`, the executor's next step from its own `next_step`, the object that it writes from its own strategy, the course from the
//! orchestrator's `decide_course`, an alert's meaning from `occurrences`, a verification's end from the verifier's `conclude`. Each is asked
//! once for each distinct question (`book`), so that millions of steps cost little. Time is order alone: a fact has its incident's hour,
//! and whoever reads a clock may read it early or late, so that every deadline may pass at any point.
//!
//! What keeps it small is said where it is done: `alike` forgets what no later step reads, `possible` leaves out what nobody can tell from its
//! absence, and a scenario says which bounds it takes.
//!
//! Guarantees: `run` says how many states there were, and for each broken promise a path that leads there, in words; a check that finds nothing
//! has seen every state within its bounds, and from each of them all incidents can close. Must not: copy a rule of the product.

mod action;
mod alike;
mod book;
mod cluster;
mod executor;
mod judge;
mod liveness;
mod mutation;
mod orchestrator;
mod order;
mod others;
mod person;
mod possible;
mod promises;
mod report;
mod scenario;
mod start;
mod system;
mod table;
mod world;

pub use mutation::Mutation;
pub use person::Person;
pub use promises::Promise;
pub use report::{Report, hunt, run};
pub use scenario::{Depth, Scenario, Start};
pub use table::table;
