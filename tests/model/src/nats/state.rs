//! The server in memory: connections, messages on their way, streams.
//!
//! Guarantees: what happens is decided by what was sent, the virtual time and the seed alone; messages of one connection keep their
//! order, as on TCP, unless a fault says otherwise. Must not: wait or wake anybody; it is moved on by its owner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use chassis::bus::{Outgoing, Stored};
use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connections::Link;
use super::faults::Faults;
use super::stream::{Incoming, Stream};
use super::subscriptions::{Sub, Subscriptions};

/// Where a message goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Request(String),
    Sub(u64),
}

/// Something that will happen.
pub(super) enum Event {
    Arrive {
        link: u64,
        epoch: u64,
        message: Outgoing,
    },
    Deliver {
        link: u64,
        epoch: u64,
        target: Target,
        message: Message,
    },
    /// A message has waited for its turn on a stream.
    Store {
        stream: String,
        life: u64,
        message: Incoming,
        reply: Option<String>,
    },
    Unsubscribe {
        sub: u64,
    },
    Close {
        sub: u64,
    },
    Up {
        link: u64,
        epoch: u64,
    },
    Back,
    Consumer {
        stream: String,
        consumer: String,
    },
    Schedules {
        stream: String,
    },
}

pub(super) struct State {
    epoch: Timestamp,
    zero: Instant,
    pub(super) rng: StdRng,
    pub(super) faults: Faults,
    pub(super) injected: BTreeMap<&'static str, u64>,
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) subs: Subscriptions,
    requests: BTreeMap<String, (u64, oneshot::Sender<Message>)>,
    timeline: BTreeMap<(Instant, u64), Event>,
    pub(super) counter: u64,
    /// Counts the server's lives; what waits in memory does not outlive one.
    pub(super) life: u64,
    pub(super) away: bool,
    pub(super) away_until: Option<Instant>,
    /// Stored, and not shown to the observers yet.
    pub(super) stored: Vec<(String, Arc<Stored>)>,
}

impl State {
    pub(super) fn new(seed: u64, epoch: Timestamp) -> Self {
        Self {
            epoch,
            zero: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
            faults: Faults::none(),
            injected: BTreeMap::new(),
            streams: BTreeMap::new(),
            links: BTreeMap::new(),
            subs: Subscriptions::default(),
            requests: BTreeMap::new(),
            timeline: BTreeMap::new(),
            counter: 0,
            life: 0,
            away: false,
            away_until: None,
            stored: Vec::new(),
        }
    }

    // Time.

    pub(super) fn time(&self, now: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(now - self.zero).unwrap_or(SignedDuration::MAX);
        self.epoch.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn instant(&self, at: Timestamp, now: Instant) -> Instant {
        let ahead = Duration::try_from(at.duration_since(self.epoch)).unwrap_or_default();
        (self.zero + ahead).max(now)
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.counter += 1;
        self.timeline.insert((at, self.counter), event);
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timeline.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does one thing that is due; false when nothing is.
    pub(super) fn step(&mut self, now: Instant) -> bool {
        let Some(entry) = self.timeline.first_entry().filter(|entry| entry.key().0 <= now) else { return false };
        match entry.remove() {
            Event::Arrive { link, epoch, message } => {
                let there = self.links.get(&link).filter(|there| epoch > there.sunk);
                if let Some(live) = there.filter(|_| !self.away).map(|there| there.hears() && epoch == there.epoch) {
                    self.arrived(message, live, now);
                }
            }
            Event::Deliver { link, epoch, target, message } => {
                if self.links.get(&link).is_some_and(|there| there.epoch == epoch && !there.dead) {
                    self.hand_over(&target, message);
                }
            }
            Event::Store { stream, life, message, reply } => {
                if life == self.life {
                    self.store(&stream, message, reply.as_deref(), now);
                }
            }
            Event::Unsubscribe { sub } => self.unsubscribed(sub, now),
            Event::Close { sub } => self.subs.remove(sub),
            Event::Up { link, epoch } => self.up(link, epoch, now),
            Event::Back => {
                if self.away_until.is_some_and(|until| until <= now) {
                    self.back(now);
                }
            }
            Event::Consumer { stream, consumer } => self.consumer_due(&stream, &consumer, now),
            Event::Schedules { stream } => self.schedules_due(&stream, now),
        }
        true
    }

    // Messages from clients.

    /// Sends a message on its way to the server.
    pub(super) fn send(&mut self, id: u64, message: Outgoing, now: Instant) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.hears() {
            link.buffer.push(message);
            return;
        }
        if self.chance("disconnect", self.faults.disconnect) {
            let length = self.up_to(self.faults.longest_disconnect);
            return self.down(id, Some(length), now);
        }
        if self.chance("lost request", self.faults.lost_request) {
            return;
        }
        let way = self.travel();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.to_server = link.to_server.max(now + way);
        let (at, epoch) = (link.to_server, link.epoch);
        self.push(at, Event::Arrive { link: id, epoch, message });
    }

    pub(super) fn subscribe(&mut self, link: u64, filter: String, sender: mpsc::UnboundedSender<Message>) -> u64 {
        self.counter += 1;
        self.subs.insert(self.counter, Sub { link, filter, sender });
        self.counter
    }

    /// Ends a subscription: at once when its owner is gone, else after what is on its way.
    pub(super) fn unsubscribe(&mut self, sub: u64, at_once: bool, now: Instant) {
        let Some(there) = self.subs.get(sub) else { return };
        let link = there.link;
        let dead = self.links.get(&link).is_none_or(|link| link.dead);
        if dead {
            return; // a dead process's streams stay silent for ever rather than end
        }
        if at_once {
            self.unsubscribed(sub, now);
            self.subs.remove(sub);
            return;
        }
        let way = self.travel();
        let Some(link) = self.links.get_mut(&link) else { return };
        link.to_server = link.to_server.max(now + way);
        let at = link.to_server;
        self.push(at, Event::Unsubscribe { sub });
    }

    fn unsubscribed(&mut self, sub: u64, now: Instant) {
        let Some(there) = self.subs.get(sub) else { return };
        let (link, inbox) = (there.link, there.filter.clone());
        for consumer in self.streams.values_mut().flat_map(|stream| stream.consumers.values_mut()) {
            consumer.pulls.retain(|pull| pull.inbox != inbox);
        }
        let at = self.links.get(&link).map_or(now, |link| link.to_client.max(now));
        self.push(at, Event::Close { sub });
    }

    pub(super) fn await_reply(&mut self, link: u64, inbox: String, sender: oneshot::Sender<Message>) {
        self.requests.insert(inbox, (link, sender));
    }

    pub(super) fn give_up(&mut self, inbox: &str) {
        self.requests.remove(inbox);
    }

    // Messages to clients.

    /// Sends a message to whoever listens on `to`; false when nobody does.
    pub(super) fn deliver(&mut self, to: &str, message: &Message, reordered: bool, now: Instant) -> bool {
        let mut targets = Vec::new();
        if let Some((link, _)) = self.requests.get(to) {
            targets.push((*link, Target::Request(to.to_owned())));
        }
        targets.extend(self.subs.on(to).map(|(id, link)| (link, Target::Sub(id))));
        targets.retain(|(link, _)| self.links.get(link).is_some_and(Link::hears));
        for (id, target) in &targets {
            let way = self.travel();
            let Some(link) = self.links.get_mut(id) else { continue };
            let at = if reordered {
                link.to_client.max(now + way) + Duration::from_millis(20)
            } else {
                link.to_client = link.to_client.max(now + way);
                link.to_client
            };
            let (id, epoch) = (*id, link.epoch);
            self.push(at, Event::Deliver { link: id, epoch, target: target.clone(), message: message.clone() });
        }
        !targets.is_empty()
    }

    fn hand_over(&mut self, target: &Target, message: Message) {
        // Whoever has stopped listening meanwhile misses nothing.
        match target {
            Target::Request(inbox) => {
                if let Some((_, sender)) = self.requests.remove(inbox) {
                    let _ = sender.send(message);
                }
            }
            Target::Sub(id) => {
                if let Some(sub) = self.subs.get(*id) {
                    let _ = sub.sender.send(message);
                }
            }
        }
    }

    /// Keeps the timeline's look at a consumer where it is needed.
    pub(super) fn watch_consumer(&mut self, stream: &str, consumer: &str) {
        let Some(there) = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(consumer)) else { return };
        let Some(due) = there.next_due().filter(|due| there.due.is_none_or(|planned| *due < planned)) else { return };
        there.due = Some(due);
        self.push(due, Event::Consumer { stream: stream.to_owned(), consumer: consumer.to_owned() });
    }

    /// Keeps the timeline's look at a stream's schedules where it is needed.
    pub(super) fn watch_schedules(&mut self, stream: &str, now: Instant) {
        let Some(at) = self.streams.get(stream).and_then(Stream::next_schedule) else { return };
        // Never at once again: what is due has fired, and what is not may be by less than a tick.
        let due = self.instant(at, now).max(now + Duration::from_millis(1));
        self.push(due, Event::Schedules { stream: stream.to_owned() });
    }

    pub(super) fn is_away(&self) -> bool {
        self.away
    }
}
