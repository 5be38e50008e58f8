//! A nats-server in memory, as far as `chassis::bus` speaks with one, for the simulator.
//!
//! Guarantees: it says what nats-server 2.15 says (`tests/bus_fidelity.rs` runs the same scenarios on both and compares); time is tokio's,
//! which the simulator pauses; all chance comes from one seed, so the same calls give the same run. Must not: touch the network or the
//! host's clock, or be easier on its clients than the real one.

mod api;
mod chance;
mod connections;
mod consumer;
mod consumers_api;
mod deliver;
mod faults;
mod link;
mod log;
mod schedule;
mod serve;
mod state;
mod stream;
mod subjects;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chassis::bus::{Outgoing, Stored, Transport};
use chassis::clock::Clock;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use faults::{Faults, Operation, OperationKind, Verdict};

use link::LinkEnd;
use state::State;

type Hook = Box<dyn FnMut(&Operation) -> Verdict + Send>;
type Observer = Box<dyn FnMut(&str, &Arc<Stored>) + Send>;

/// The server; clones are the same one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What the server, its connections and its driver share.
pub(crate) struct Shared {
    state: Mutex<State>,
    hook: Mutex<Option<Hook>>,
    observers: Mutex<Vec<Observer>>,
    moved: Arc<Notify>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn verdict(&self, operation: &Operation) -> Verdict {
        lock(&self.hook).as_mut().map_or(Verdict::Go, |hook| hook(operation))
    }

    fn is_dead(&self, link: u64) -> bool {
        self.lock().links.get(&link).is_none_or(|link| link.dead)
    }

    /// Something new is to be done.
    fn changed(&self) {
        self.moved.notify_one();
    }

    /// Does all that is due. The observers hear of each message before anything else happens.
    fn turn(&self) {
        let now = Instant::now();
        while self.lock().step(now) {
            self.show();
        }
    }

    /// Shows the observers what was stored.
    fn show(&self) {
        // An observer that stores something is shown it when it is done with what it is looking at.
        let Ok(mut observers) = self.observers.try_lock() else { return };
        loop {
            let stored = std::mem::take(&mut self.lock().stored);
            if stored.is_empty() {
                return;
            }
            for (stream, stored) in &stored {
                observers.iter_mut().for_each(|observer| observer(stream, stored));
            }
        }
    }
}

impl Server {
    /// The version that it says it has.
    pub const VERSION: &'static str = "2.15.1";

    /// Starts a server whose time begins here; must be called within the runtime that it lives in, and ends with its last clone and
    /// connection.
    #[must_use]
    pub fn start(seed: u64, epoch: Timestamp) -> Self {
        let moved = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(seed, epoch)),
            hook: Mutex::default(),
            observers: Mutex::default(),
            moved: Arc::clone(&moved),
        });
        tokio::spawn(drive(Arc::downgrade(&shared), moved));
        Self { shared }
    }

    /// A connection of a process. It is up at once unless the server is away.
    #[must_use]
    pub fn connect(&self, process: &str) -> Arc<dyn Transport> {
        let mut state = self.shared.lock();
        let id = state.connect(process, Instant::now());
        Arc::new(LinkEnd { shared: Arc::clone(&self.shared), id, process: process.to_owned() })
    }

    /// Ends all connections of a process, as its death does: what it has sent still arrives, and it hears nothing any more.
    pub fn kill(&self, process: &str) {
        let mut state = self.shared.lock();
        for link in links(&state, process) {
            state.kill(link);
        }
    }

    /// Takes the connections of a process down for a while.
    pub fn disconnect(&self, process: &str, length: Duration) {
        let mut state = self.shared.lock();
        for link in links(&state, process) {
            state.down(link, Some(length), Instant::now());
        }
        drop(state);
        self.shared.changed();
    }

    /// Stops the server until then and starts it again with all that it has stored: connections, pulls and unfinished batches are
    /// gone. With a time in the past it is a restart.
    pub fn away_until(&self, until: Instant) {
        self.shared.lock().go_away(until, Instant::now());
        self.shared.changed();
    }

    /// Stops it for this long.
    pub fn away_for(&self, length: Duration) {
        self.away_until(Instant::now() + length);
    }

    /// Makes a stream refuse new messages as if it were full, if it refuses any; or lets it take them again.
    pub fn set_full(&self, stream: &str, full: bool) {
        if let Some(stream) = self.shared.lock().streams.get_mut(stream) {
            stream.full = full;
        }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.lock().faults.clone()
    }

    /// How often each kind of fault has befallen.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.shared.lock().injected.clone()
    }

    /// Asks this before each message that a process sends. It may call the server, and end the process.
    pub fn on_operation(&self, hook: impl FnMut(&Operation) -> Verdict + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// Shows each message to this as it is stored, with its stream, before anybody else sees it. It may call the server, except for this.
    pub fn on_stored(&self, observer: impl FnMut(&str, &Arc<Stored>) + Send + 'static) {
        lock(&self.shared.observers).push(Box::new(observer));
    }

    /// Publishes a message past all connections and faults, as an operator does; the message is on its stream when the server has had
    /// its turn.
    pub fn publish(&self, message: Outgoing) {
        self.shared.lock().published(message, Instant::now());
        self.shared.show();
        self.shared.changed();
    }

    /// What a stream holds, oldest first.
    #[must_use]
    pub fn log(&self, stream: &str) -> Vec<Arc<Stored>> {
        self.shared.lock().streams.get(stream).map(|stream| stream.log.from(1).cloned().collect()).unwrap_or_default()
    }

    /// Of each durable of a stream: how many messages are out, and how many were never delivered.
    #[must_use]
    pub fn pending(&self, stream: &str) -> BTreeMap<String, (usize, usize)> {
        let state = self.shared.lock();
        let Some(stream) = state.streams.get(stream) else { return BTreeMap::new() };
        stream.consumers.iter().map(|(name, consumer)| (name.clone(), consumer.pending(&stream.log))).collect()
    }

    /// The server's time, which stamps what is stored.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.lock().time(Instant::now())
    }

    /// A clock that shows the server's time.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(ServerClock(self.clone()))
    }
}

#[derive(Debug)]
struct ServerClock(Server);

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

fn links(state: &State, process: &str) -> Vec<u64> {
    state.links.iter().filter(|(_, link)| link.process == process).map(|(id, _)| *id).collect()
}

/// Moves the server on whenever something is due, as long as anybody has it.
async fn drive(shared: Weak<Shared>, moved: Arc<Notify>) {
    loop {
        let Some(next) = shared.upgrade().map(|shared| shared.lock().next()) else { return };
        // Without anything to do it looks now and then whether it is needed at all.
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(next) => {}
            () = moved.notified() => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.turn();
    }
}
