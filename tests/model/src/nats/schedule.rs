//! Schedules: messages that a stream shows at their time.
//!
//! Guarantees: one a subject, and the newest counts; a past one is due at once. Must not: look at the time; its caller does.

use std::sync::Arc;

use async_nats::HeaderMap;
use chassis::bus::Stored;
use jiff::Timestamp;

use super::stream::{Incoming, Refused, Stream};

/// A message that will be stored at its time.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) at: Timestamp,
    pub(super) sequence: u64,
}

impl Stream {
    /// The schedule that the message is, if it is one, with its subject.
    pub(super) fn schedule_of(&self, message: &Incoming) -> Result<Option<(String, Timestamp)>, Refused> {
        let Some(pattern) = message.header("Nats-Schedule") else { return Ok(None) };
        if !self.config.allow_message_schedules {
            return Err(Refused::new(400, 10188, "message schedules is disabled"));
        }
        let at = pattern.strip_prefix("@at ").and_then(|at| at.parse().ok());
        let at = at.ok_or_else(|| Refused::new(400, 10189, "message schedules pattern is invalid"))?;
        let target = message.header("Nats-Schedule-Target").filter(|target| self.captures(target));
        target.ok_or_else(|| Refused::new(400, 10190, "message schedules target is invalid"))?;
        Ok(Some((message.subject.clone(), at)))
    }

    /// The next schedule, and when it is due.
    pub(super) fn next_schedule(&self) -> Option<Timestamp> {
        self.schedules.values().map(|schedule| schedule.at).min()
    }

    /// Fires what is due: each leaves its subject and appears on its target.
    pub(super) fn fire(&mut self, at: Timestamp, stored: &mut Vec<Arc<Stored>>) {
        let due: Vec<(String, Schedule)> = self
            .schedules
            .iter()
            .filter(|(_, schedule)| schedule.at <= at)
            .map(|(subject, schedule)| (subject.clone(), schedule.clone()))
            .collect();
        for (subject, schedule) in due {
            self.schedules.remove(&subject);
            let Some(message) = self.log.remove(schedule.sequence) else { continue };
            let Some(target) = message.header("Nats-Schedule-Target").map(str::to_owned) else { continue };
            let mut headers = HeaderMap::new();
            for (name, values) in message.headers.iter() {
                let name = name.to_string();
                if let Some(value) = values.first().filter(|_| !name.starts_with("Nats-")) {
                    headers.insert(name.as_str(), value.as_str());
                }
            }
            headers.insert("Nats-Scheduler", subject.as_str());
            headers.insert("Nats-Schedule-Next", "purge");
            if let Some(ttl) = message.header("Nats-Schedule-TTL") {
                headers.insert("Nats-TTL", ttl);
            }
            let fired = Incoming { subject: target, headers, data: message.data.clone() };
            // The timers' stream forgets its oldest rather than refuse.
            let _ = self.store(fired, at, stored);
        }
    }
}
