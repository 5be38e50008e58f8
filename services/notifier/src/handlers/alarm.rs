//! `lastgood.dead.>`: dead letters that no incident's log can tell of, told directly.
//!
//! A letter about an incident is the orchestrator's: it escalates through the log, and that page comes here as any other. What is left is
//! letters about no incident (alerts, ledgers), and that very page where this notifier gave it up.
//! Guarantees: the team lead is told over the first channel that takes it, the fallback first where the notifier itself failed; one message
//! for each consumer in [`INTERVAL`], so that ten thousand damaged alerts are no ten thousand pages; giving up is loud. Must not: fail a
//! message, since its dead letter would come here again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler, consumer_of};
use contracts::v1::DeadLetter;
use contracts::{Fact, FailureReason, IncidentSubject};
use tokio::time::Instant;

use super::{Desk, stopping};
use crate::deliver::Undelivered;
use crate::rules::alarm_route;
use crate::templates::alarm::Alarm;

/// The least time between two alarms about the same consumer.
pub const INTERVAL: Duration = Duration::from_mins(10);
/// The least time for tries.
const LEAST: Duration = Duration::from_secs(30);
/// Consumers remembered; there are a dozen or two.
const REMEMBERED: usize = 1024;

/// Raises alarms.
pub struct Alarms {
    desk: Arc<Desk>,
    told: Mutex<HashMap<String, Instant>>,
}

impl Alarms {
    /// Over the channels of this desk.
    #[must_use]
    pub fn new(desk: Arc<Desk>) -> Self {
        Self { desk, told: Mutex::default() }
    }

    async fn raise(&self, letter: &DeadLetter, delivery: &Delivery) -> Result<(), HandleError> {
        let alarm = alarm(letter, delivery.sequence(), delivery.stored.at);
        if self.is_told(&alarm.key) {
            tracing::warn!(key = alarm.key, "one more dead letter; people were told a short while ago");
            return Ok(());
        }
        let channels = self.desk.channels();
        for channel in alarm_route(&channels, self.desk.fallback, letter.service == "notifier") {
            let budget = self.desk.budget(alarm.at, LEAST);
            match self.desk.persistence.persist("an alarm", budget, || channel.alarm(&alarm)).await {
                Ok(()) => {
                    tracing::info!(channel = channel.name(), key = alarm.key, "told of a dead letter");
                    metrics::counter!("lastgood_alarms_sent_total", "channel" => channel.name().to_owned()).increment(1);
                    self.note(alarm.key);
                    return Ok(());
                }
                Err(Undelivered::Stopping) => return Err(stopping()),
                Err(error) => tracing::error!(channel = channel.name(), %error, "an alarm could not be delivered"),
            }
        }
        tracing::error!(key = alarm.key, summary = alarm.summary, "nobody could be told of a dead letter");
        metrics::counter!("lastgood_alarms_failed_total").increment(1);
        Ok(())
    }

    fn is_told(&self, key: &str) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(key).is_some_and(|at| at.elapsed() < INTERVAL)
    }

    fn note(&self, key: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.retain(|_, at| at.elapsed() < INTERVAL);
        }
        told.insert(key, Instant::now());
    }
}

/// Whether nobody else tells people of it.
fn is_ours(letter: &DeadLetter) -> bool {
    let Ok((_, event_type)) = IncidentSubject::parse(&letter.subject) else { return true };
    // The page that says that a message was given up was given up itself.
    consumer_of(letter) == "notifier"
        && matches!(Fact::decode(event_type, &letter.data),
            Ok(Fact::NotificationRequested(request)) if request.reason == FailureReason::DeadLetter.code())
}

fn alarm(letter: &DeadLetter, sequence: u64, at: jiff::Timestamp) -> Alarm {
    let consumer = consumer_of(letter);
    let incident = IncidentSubject::parse(&letter.subject).ok().map(|(subject, _)| subject);
    let about = incident.as_ref().map_or_else(|| letter.subject.clone(), ToString::to_string);
    let key = incident.map_or_else(|| consumer.to_owned(), |subject| format!("{consumer}/{}", subject.incident));
    Alarm {
        key: format!("dead_letter/{key}"),
        summary: format!("{consumer} gave up on a message about {about}: it is dead letter {sequence}"),
        detail: format!("message {} of {}: {}", letter.sequence, letter.stream, letter.reason),
        at,
    }
}

#[async_trait]
impl Handler for Alarms {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        match delivery.decode::<DeadLetter>() {
            Ok(letter) if is_ours(&letter) => self.raise(&letter, delivery).await,
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(sequence = delivery.sequence(), %error, "a dead letter can't be read");
                Ok(())
            }
        }
    }

    /// One at a time for each consumer that gave up, so that the second one finds that the first was told.
    fn key(&self, delivery: &Delivery) -> String {
        delivery.decode::<DeadLetter>().map_or_else(|_| String::new(), |letter| consumer_of(&letter).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contracts::v1::NotificationRequested;

    use super::*;

    fn letter(consumer: &str, subject: &str, fact: &Fact) -> DeadLetter {
        let headers = BTreeMap::from([("Lastgood-Consumer".to_owned(), consumer.to_owned())]);
        DeadLetter { service: "x".into(), subject: subject.into(), headers, data: fact.encode(), ..DeadLetter::default() }
    }

    #[test]
    fn what_the_log_tells_of_is_left_to_it() {
        let id = "inc_0000000000000000000000000000002a";
        let subject = format!("lastgood.incident.eu.shop.deployment.web.{id}.notification_requested");
        let request =
            |reason: &str| Fact::from(NotificationRequested { reason: reason.into(), ..NotificationRequested::default() });
        assert!(is_ours(&letter("orchestrator-alerts", "lastgood.alert.alertmanager", &request(""))));
        assert!(is_ours(&letter("notifier", &subject, &request("dead_letter"))));
        assert!(!is_ours(&letter("notifier", &subject, &request("halted.paused"))));
        assert!(!is_ours(&letter("notifier-copies", &subject, &request("dead_letter"))));
        let alarm = alarm(&letter("notifier", &subject, &request("dead_letter")), 9, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(alarm.key, format!("dead_letter/notifier/{id}"));
    }
}
