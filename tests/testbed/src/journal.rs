//! The incident log as a test reads it: every fact of the incidents, occurrences and the ledger, in order, with waits.
//!
//! Guarantees: it only reads, by a consumer of its own that the server forgets; a wait that runs out of time says what had happened
//! until then. It must not be used to change anything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
use contracts::subjects::{self, streams};
use contracts::v1;
use contracts::{Fact, IncidentId, IncidentSubject, LedgerFact, OccurrenceFact};
use futures::StreamExt as _;
use jiff::Timestamp;
use lastgood_core::incident::{Incident, Recorded, evolve};
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an entry of the log says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A fact of an incident.
    Incident(IncidentSubject, Box<Fact>),
    /// What became of an alert, by its fingerprint.
    Occurrence(String, OccurrenceFact),
    /// What is known of a workload's version, by `namespace/name`.
    Ledger(String, Box<LedgerFact>),
    /// An alert notification as it was stored.
    Alert(Box<v1::AlertNotification>),
    /// Something that this test does not know; its subject.
    Unknown(String),
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The stream's sequence.
    pub sequence: u64,
    /// When the stream stored it.
    pub at: Timestamp,
    /// The service that wrote it (`ce-source` without `lastgood/`); empty where nobody says so.
    pub source: String,
    /// The atomic batch that it came in.
    pub batch: Option<String>,
    /// Its subject.
    pub subject: String,
    /// What it says.
    pub said: Said,
}

/// Follows the log until it is dropped.
#[derive(Debug)]
pub struct Journal {
    entries: watch::Receiver<Arc<Vec<Entry>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Journal {
    /// Follows the log on this server, or on these (separated by commas); the streams must exist.
    pub async fn follow(nats_url: &str) -> Result<Self> {
        let servers: Vec<&str> = nats_url.split(',').collect();
        let client = async_nats::connect(servers.as_slice()).await.context("connecting the journal")?;
        let context = jetstream::new(client);
        let (sender, entries) = watch::channel(Arc::new(Vec::new()));
        let sender = Arc::new(sender);
        let mut tasks = Vec::new();
        for stream in [streams::INCIDENTS, streams::LEDGER, streams::ALERTS] {
            let stream = context.get_stream(stream).await.with_context(|| format!("stream {stream}"))?;
            let consumer = stream.create_consumer(OrderedConfig::default()).await.context("the journal's consumer")?;
            let mut messages = consumer.messages().await.context("the journal's messages")?;
            let sender = Arc::clone(&sender);
            tasks.push(tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    if let Ok(message) = message
                        && let Some(entry) = read(&message)
                    {
                        sender.send_modify(|entries| Arc::make_mut(entries).push(entry));
                    }
                }
            }));
        }
        Ok(Self { entries, tasks })
    }

    /// Everything so far, in the order in which it was heard.
    #[must_use]
    pub fn entries(&self) -> Arc<Vec<Entry>> {
        self.entries.borrow().clone()
    }

    /// A channel that changes with each entry.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Vec<Entry>>> {
        self.entries.clone()
    }

    /// The incidents of a workload, oldest first.
    #[must_use]
    pub fn incidents(&self, namespace: &str, name: &str) -> Vec<IncidentSubject> {
        let mut found: Vec<IncidentSubject> = Vec::new();
        for entry in self.entries().iter() {
            if let Said::Incident(subject, fact) = &entry.said
                && matches!(**fact, Fact::AnomalyDetected(_))
                && subject.workload.namespace == namespace
                && subject.workload.name == name
            {
                found.push(subject.clone());
            }
        }
        found
    }

    /// The facts of an incident so far.
    #[must_use]
    pub fn facts(&self, incident: IncidentId) -> Vec<Recorded> {
        let entries = self.entries();
        let facts = entries.iter().filter_map(|entry| match &entry.said {
            Said::Incident(subject, fact) if subject.incident == incident => {
                Some(Recorded { sequence: entry.sequence, at: entry.at, fact: (**fact).clone() })
            }
            _ => None,
        });
        facts.collect()
    }

    /// The fold of an incident's facts so far.
    #[must_use]
    pub fn state(&self, incident: IncidentId) -> Incident {
        self.facts(incident).iter().fold(Incident::default(), evolve)
    }

    /// The event types of an incident so far.
    #[must_use]
    pub fn event_types(&self, incident: IncidentId) -> Vec<&'static str> {
        self.facts(incident).iter().map(|recorded| recorded.fact.event_type()).collect()
    }

    /// Waits until `find` finds what it looks for; the error has `seen`'s words.
    pub async fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        find: impl Fn(&Self) -> Option<T>,
        seen: impl Fn(&Self) -> String,
    ) -> Result<T> {
        let mut changes = self.entries.clone();
        let end = tokio::time::Instant::now() + deadline;
        loop {
            changes.mark_unchanged();
            if let Some(found) = find(self) {
                return Ok(found);
            }
            if !matches!(tokio::time::timeout_at(end, changes.changed()).await, Ok(Ok(()))) {
                bail!("{what} did not happen within {deadline:?}; until then: {}", seen(self));
            }
        }
    }

    /// Waits for the newest incident of a workload, the `nth` (0 is the first).
    pub async fn wait_incident(&self, namespace: &str, name: &str, nth: usize, deadline: Duration) -> Result<IncidentSubject> {
        let what = format!("incident {} of {namespace}/{name}", nth + 1);
        let find = |journal: &Self| journal.incidents(namespace, name).into_iter().nth(nth);
        self.wait(&what, deadline, find, |journal| journal.occurrences_in_words(namespace)).await
    }

    /// Waits for a fact of this type on an incident.
    pub async fn wait_fact(&self, incident: IncidentId, event_type: &str, deadline: Duration) -> Result<Recorded> {
        let find = |journal: &Self| journal.facts(incident).into_iter().find(|recorded| recorded.fact.event_type() == event_type);
        let what = format!("`{event_type}` on {incident}");
        self.wait(&what, deadline, find, |journal| format!("{:?}", journal.event_types(incident))).await
    }

    /// Waits until the ledger has said this of a workload at least `times`.
    pub async fn wait_ledger_count(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        deadline: Duration,
        times: usize,
        wanted: impl Fn(&LedgerFact) -> bool,
    ) -> Result<()> {
        let key = format!("{namespace}/{name}");
        let facts = |journal: &Self| -> Vec<LedgerFact> {
            let entries = journal.entries();
            let of_it = entries.iter().filter_map(|entry| match &entry.said {
                Said::Ledger(workload, fact) if *workload == key => Some((**fact).clone()),
                _ => None,
            });
            of_it.collect()
        };
        let seen = |journal: &Self| format!("{:?}", facts(journal).iter().map(LedgerFact::event_type).collect::<Vec<_>>());
        let what = format!("`{what}` ({times}) in the ledger of {key}");
        let find = |journal: &Self| (facts(journal).iter().filter(|fact| wanted(fact)).count() >= times).then_some(());
        self.wait(&what, deadline, find, seen).await
    }

    /// Waits for a fact of this type about an alert's fingerprint.
    pub async fn wait_occurrence(&self, fingerprint: &str, event_type: &str, deadline: Duration) -> Result<()> {
        let of_it = |journal: &Self| {
            let facts = journal.entries();
            let types = facts.iter().filter_map(|entry| match &entry.said {
                Said::Occurrence(of, fact) if of == fingerprint => Some(fact.event_type()),
                _ => None,
            });
            types.collect::<Vec<_>>()
        };
        let what = format!("`{event_type}` of {fingerprint}");
        self.wait(
            &what,
            deadline,
            |journal| of_it(journal).contains(&event_type).then_some(()),
            |journal| format!("{:?}", of_it(journal)),
        )
        .await
    }

    /// Waits until an incident has a plan or an end, and gives its state.
    pub async fn wait_decided(&self, incident: IncidentId, deadline: Duration) -> Result<Incident> {
        let find =
            |journal: &Self| Some(journal.state(incident)).filter(|state| state.plan.is_some() || state.ending().is_some());
        let what = format!("a decision on {incident}");
        self.wait(&what, deadline, find, |journal| format!("{:?}", journal.event_types(incident))).await
    }

    /// The notifications so far that have an alert of this namespace.
    #[must_use]
    pub fn notifications(&self, namespace: &str) -> Vec<v1::AlertNotification> {
        let entries = self.entries();
        let of_it = entries.iter().filter_map(|entry| match &entry.said {
            Said::Alert(notification) if alerts_of(notification, namespace).next().is_some() => Some((**notification).clone()),
            _ => None,
        });
        of_it.collect()
    }

    /// Waits until an alert of this namespace was dismissed, and gives the reason.
    pub async fn wait_dismissed(&self, namespace: &str, deadline: Duration) -> Result<String> {
        let find = |journal: &Self| {
            let notifications = journal.notifications(namespace);
            let ours: Vec<_> =
                notifications.iter().flat_map(|n| alerts_of(n, namespace)).map(|alert| &alert.fingerprint).collect();
            journal.entries().iter().find_map(|entry| match &entry.said {
                Said::Occurrence(fingerprint, OccurrenceFact::OccurrenceDismissed(fact)) if ours.contains(&fingerprint) => {
                    Some(fact.reason.clone())
                }
                _ => None,
            })
        };
        self.wait("a dismissal", deadline, find, |journal| journal.occurrences_in_words(namespace)).await
    }

    /// What became of alerts, for error messages: dispositions that name this namespace's workloads, and all dismissals.
    fn occurrences_in_words(&self, namespace: &str) -> String {
        let entries = self.entries();
        let said = entries.iter().filter_map(|entry| match &entry.said {
            Said::Occurrence(fingerprint, OccurrenceFact::OccurrenceDismissed(dismissed)) => {
                Some(format!("{fingerprint} dismissed: {} ({})", dismissed.reason, dismissed.detail))
            }
            Said::Incident(subject, fact) if subject.workload.namespace == namespace => {
                Some(format!("{} {}", subject.incident, fact.event_type()))
            }
            _ => None,
        });
        format!("{:?}", said.collect::<Vec<_>>())
    }
}

fn alerts_of<'a>(notification: &'a v1::AlertNotification, namespace: &'a str) -> impl Iterator<Item = &'a v1::Alert> {
    notification.alerts.iter().filter(move |alert| alert.labels.get("namespace").is_some_and(|label| label == namespace))
}

fn read(message: &jetstream::Message) -> Option<Entry> {
    let info = message.info().ok()?;
    let at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?;
    let header =
        |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned());
    let source = header("ce-source").unwrap_or_default();
    Some(Entry {
        sequence: info.stream_sequence,
        at,
        source: source.trim_start_matches("lastgood/").to_owned(),
        batch: header("Nats-Batch-Id"),
        subject: message.subject.to_string(),
        said: said(&message.subject, &message.payload),
    })
}

fn said(subject: &str, data: &[u8]) -> Said {
    let unknown = || Said::Unknown(subject.to_owned());
    if let Ok((incident, event_type)) = IncidentSubject::parse(subject) {
        return Fact::decode(event_type, data).map_or_else(|_| unknown(), |fact| Said::Incident(incident, Box::new(fact)));
    }
    if let Ok((workload, event_type)) = subjects::parse_ledger(subject) {
        let key = format!("{}/{}", workload.namespace, workload.name);
        return LedgerFact::decode(event_type, data).map_or_else(|_| unknown(), |fact| Said::Ledger(key, Box::new(fact)));
    }
    if subject.starts_with("lastgood.alert.") {
        return v1::AlertNotification::decode(data).map_or_else(|_| unknown(), |alert| Said::Alert(Box::new(alert)));
    }
    match subject.split('.').collect::<Vec<_>>().as_slice() {
        ["lastgood", "occurrence", fingerprint, event_type] => OccurrenceFact::decode(event_type, data)
            .map_or_else(|_| unknown(), |fact| Said::Occurrence((*fingerprint).to_owned(), fact)),
        _ => unknown(),
    }
}
