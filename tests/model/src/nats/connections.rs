//! Connections: up, down, dead; and the server's own going and coming back.
//!
//! Guarantees: what was on its way to a client whose connection broke is gone; what was on its way to the server arrives or not, as on
//! TCP; what a client says while its connection is down is said when it is up again. Must not: lose what is stored.

use std::time::Duration;

use chassis::bus::{Connection, Outgoing};
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::state::{Event, State};

/// One end of a connection: a process's.
pub(super) struct Link {
    pub(super) process: String,
    connection: Connection,
    /// A channel for each receiver: tokio wakes several receivers of one in an order that no seed decides.
    shown: Vec<watch::Sender<Connection>>,
    /// Counts the times that the connection was up: what was on its way in an earlier one is gone.
    pub(super) epoch: u64,
    /// What was sent in this epoch or before never arrives.
    pub(super) sunk: u64,
    /// Whether the process is dead; it hears nothing, and nothing that it says is heard.
    pub(super) dead: bool,
    /// What the client keeps until the connection is up again.
    pub(super) buffer: Vec<Outgoing>,
    pub(super) to_server: Instant,
    pub(super) to_client: Instant,
    pub(super) operations: u64,
    pub(super) inboxes: u64,
}

impl Link {
    pub(super) fn hears(&self) -> bool {
        !self.dead && self.connection.up
    }

    /// A receiver of the connection's state.
    pub(super) fn show(&mut self) -> watch::Receiver<Connection> {
        let (sender, receiver) = watch::channel(self.connection);
        self.shown.retain(|shown| !shown.is_closed());
        self.shown.push(sender);
        receiver
    }

    fn set(&mut self, up: bool) {
        self.connection = Connection { up, times: self.connection.times + u64::from(up) };
        for shown in &self.shown {
            shown.send_replace(self.connection);
        }
    }
}

impl State {
    pub(super) fn connect(&mut self, process: &str, now: Instant) -> u64 {
        self.counter += 1;
        let (id, up) = (self.counter, !self.away);
        let link = Link {
            process: process.to_owned(),
            connection: Connection { up, times: u64::from(up) },
            shown: Vec::new(),
            epoch: 1,
            sunk: 0,
            dead: false,
            buffer: Vec::new(),
            to_server: now,
            to_client: now,
            operations: 0,
            inboxes: 0,
        };
        self.links.insert(id, link);
        id
    }

    /// Takes a connection down for a while; `None`: until the server is back.
    pub(super) fn down(&mut self, id: u64, length: Option<Duration>, now: Instant) {
        let sunk = self.rng.random_bool(0.5);
        let Some(link) = self.links.get_mut(&id).filter(|link| link.hears()) else { return };
        if sunk {
            link.sunk = link.epoch;
        }
        link.epoch += 1;
        link.set(false);
        let epoch = link.epoch;
        self.forget_pulls(id);
        if let Some(length) = length {
            self.push(now + length, Event::Up { link: id, epoch });
        }
    }

    pub(super) fn up(&mut self, id: u64, epoch: u64, now: Instant) {
        if self.away {
            return; // it is brought up when the server is back
        }
        let Some(link) = self.links.get_mut(&id).filter(|link| link.epoch == epoch && !link.dead) else { return };
        if link.connection.up {
            return;
        }
        link.set(true);
        for message in std::mem::take(&mut link.buffer) {
            self.send(id, message, now);
        }
    }

    /// The process is dead: what it has sent still arrives, and that is all.
    pub(super) fn kill(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.dead = true;
            link.buffer.clear();
            self.forget_pulls(id);
        }
    }

    pub(super) fn go_away(&mut self, until: Instant, now: Instant) {
        *self.injected.entry("server away").or_default() += 1;
        self.away_until = Some(until);
        self.push(until, Event::Back);
        if !std::mem::replace(&mut self.away, true) {
            self.life += 1;
            let links: Vec<u64> = self.links.keys().copied().collect();
            for link in links {
                self.down(link, None, now);
            }
            for link in self.links.values_mut() {
                // Nobody is there to read what is on its way.
                link.sunk = link.sunk.max(link.epoch.saturating_sub(1));
            }
        }
    }

    pub(super) fn back(&mut self, now: Instant) {
        (self.away, self.away_until) = (false, None);
        self.restarted(now);
        let links: Vec<(u64, u64)> = self.links.iter().map(|(id, link)| (*id, link.epoch)).collect();
        for (link, epoch) in links {
            // Clients try again at growing intervals.
            let pause = self.up_to(Duration::from_secs(3));
            self.push(now + pause, Event::Up { link, epoch });
        }
        let streams: Vec<String> = self.streams.keys().cloned().collect();
        for stream in streams {
            self.pump_all(&stream, now);
            self.schedules_due(&stream, now);
        }
    }

    pub(super) fn restarted(&mut self, now: Instant) {
        let mut streams = std::mem::take(&mut self.streams);
        for stream in streams.values_mut() {
            stream.restarted();
            for consumer in stream.consumers.values_mut() {
                let forgetful = self.chance("forgotten acks", self.faults.forgotten_acks);
                consumer.restarted(forgetful, now);
            }
        }
        self.streams = streams;
    }

    pub(super) fn forget_pulls(&mut self, link: u64) {
        let inboxes: Vec<String> = self.subs.of(link).map(|sub| sub.filter.clone()).collect();
        for consumer in self.streams.values_mut().flat_map(|stream| stream.consumers.values_mut()) {
            consumer.pulls.retain(|pull| !inboxes.contains(&pull.inbox));
        }
    }
}
