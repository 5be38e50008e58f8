//! What the notifier's tests share: an incident log in memory that decides as the real one does, receivers, and a desk wired to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::HandleError;
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::Secret;
use contracts::v1::{self, Audience, Urgency};
use contracts::{Fact, IncidentId, IncidentSubject, time};
use lastgood_core::incident::{Command, Incident, Recorded, Refusal, decide, evolve};
use notifier::channels::{named, registry};
use notifier::config::{Notifier, Webhook};
use notifier::deliver::Persistence;
use notifier::handlers::{Desk, Log};
use testbed::receivers;
use tokio_util::sync::CancellationToken;

pub(crate) const HOSTILE: &str = "<!channel> & ```<https://evil|ok>`*_ \u{202e}gnihton\u{7}\nnext";

/// An incident log in memory.
pub(crate) struct MemoryLog {
    facts: Mutex<Vec<Recorded>>,
    /// So many records fail as if the process died before them.
    pub(crate) lose_records: AtomicUsize,
}

impl MemoryLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { facts: Mutex::default(), lose_records: AtomicUsize::new(0) })
    }

    /// Stores a fact as it is; its sequence.
    pub(crate) fn push(&self, fact: impl Into<Fact>) -> u64 {
        let mut facts = self.facts.lock().unwrap();
        let sequence = facts.last().map_or(0, |last| last.sequence) + 1;
        facts.push(Recorded { sequence, at: SystemClock.now(), fact: fact.into() });
        sequence
    }

    pub(crate) fn all(&self) -> Vec<Fact> {
        self.facts.lock().unwrap().iter().map(|recorded| recorded.fact.clone()).collect()
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.facts.lock().unwrap().last().map_or(0, |last| last.sequence)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn facts(&self, _: &IncidentSubject, _: u64) -> Result<Vec<Recorded>, HandleError> {
        Ok(self.facts.lock().unwrap().clone())
    }

    async fn record(&self, _: &IncidentSubject, _: u64, command: &Command) -> Result<(), HandleError> {
        let lost = self.lose_records.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if lost.is_ok() {
            return Err(HandleError::outage("the process died here"));
        }
        let state = self.facts.lock().unwrap().iter().fold(Incident::default(), evolve);
        match decide(&state, command, SystemClock.now()) {
            Ok(facts) => {
                for fact in facts {
                    self.push(fact);
                }
                Ok(())
            }
            Err(Refusal::AlreadySo) => Ok(()),
            Err(refusal) => Err(HandleError::dead(refusal)),
        }
    }
}

/// Which receivers a world has.
#[derive(Clone, Copy)]
pub(crate) struct With {
    pub(crate) pagerduty: bool,
    pub(crate) slack: bool,
    pub(crate) webhook: bool,
}

pub(crate) const ALL: With = With { pagerduty: true, slack: true, webhook: true };
pub(crate) const NONE: With = With { pagerduty: false, slack: false, webhook: false };

/// Receivers, a log, and a desk between them.
pub(crate) struct World {
    pub(crate) pagerduty: receivers::PagerDuty,
    pub(crate) slack: receivers::Slack,
    pub(crate) webhook: receivers::Webhook,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) subject: IncidentSubject,
    pub(crate) stop: CancellationToken,
}

pub(crate) async fn world(with: With) -> World {
    world_with(with, |_| {}).await
}

pub(crate) async fn world_with(with: With, change: impl FnOnce(&mut Notifier)) -> World {
    let pagerduty = receivers::PagerDuty::start().await.unwrap();
    let slack = receivers::Slack::start().await.unwrap();
    let webhook = receivers::Webhook::start().await.unwrap();
    let mut config = Notifier {
        give_up_after: Duration::from_secs(4),
        request_timeout: Duration::from_secs(1),
        edit_interval: Duration::from_millis(300),
        ..Notifier::default()
    };
    config.pagerduty.base_url = pagerduty.url().parse().unwrap();
    config.slack.base_url = slack.url().parse().unwrap();
    if with.pagerduty {
        config.pagerduty.on_call_routing_key = Some(Secret::new("a".repeat(32)));
        config.pagerduty.team_lead_routing_key = Some(Secret::new("b".repeat(32)));
    }
    if with.slack {
        config.slack.token = Some(Secret::new(receivers::slack::TOKEN));
        config.slack.channel = "C0INCIDENTS".into();
    }
    if with.webhook {
        config.webhook = vec![Webhook { url: webhook.url().parse().unwrap(), secret: Some(Secret::new("s3cret")) }];
    }
    change(&mut config);
    let (log, stop) = (MemoryLog::new(), CancellationToken::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let desk = Arc::new(Desk {
        log: log.clone(),
        channels: registry(&config, &clock).unwrap(),
        named: named(&config, &clock).unwrap(),
        fallback: config.fallback.map(notifier::config::ChannelName::as_str),
        links: config.links(),
        give_up_after: config.give_up_after,
        persistence: Persistence::new(Ids::seeded(Arc::clone(&clock), 7), stop.clone()),
        owed: tokio::sync::Semaphore::new(notifier::handlers::OWED),
        clock,
    });
    World { pagerduty, slack, webhook, log, desk, subject: subject(), stop }
}

pub(crate) fn subject() -> IncidentSubject {
    let incident: IncidentId = "inc_0190a8a5c3f77b3c8000000000000001".parse().unwrap();
    let (cluster, namespace, kind, name) = ("eu".into(), "shop".into(), "Deployment".into(), "web".into());
    IncidentSubject { workload: v1::WorkloadRef { cluster, namespace, kind, name }, incident }
}

pub(crate) fn version(image: &str) -> v1::Version {
    let images = vec![v1::ContainerImage { container: "web".into(), image: image.into(), ..v1::ContainerImage::default() }];
    v1::Version { template_hash: format!("hash-of-{image}"), images, ..Default::default() }
}

pub(crate) fn opened() -> v1::AnomalyDetected {
    let labels = HashMap::from([("pod".to_owned(), HOSTILE.to_owned())]);
    let annotations = HashMap::from([("summary".to_owned(), HOSTILE.to_owned())]);
    let (labels, annotations) = (labels.into_iter().collect(), annotations.into_iter().collect());
    let trigger = v1::Occurrence {
        fingerprint: "f00".into(),
        source: "alertmanager".into(),
        alert_name: "HighErrorRate".into(),
        labels,
        annotations,
        ..Default::default()
    };
    let announce = Some(time::duration_to_proto(Duration::from_secs(2)));
    let deadlines = v1::Deadlines { announce, ..Default::default() };
    v1::AnomalyDetected { trigger: Some(trigger), deadlines: Some(deadlines), workload_uid: "uid".into(), requested: None }
}

pub(crate) fn planned() -> v1::RollbackPlanned {
    let diff = "-  image: web:2\n+  image: web:1\n".to_owned();
    let (from, to) = (Some(version("web:2")), Some(version("web:1")));
    v1::RollbackPlanned { plan: Some(v1::Plan { strategy: "rolling".into(), from, to, diff, ..Default::default() }) }
}

pub(crate) fn halted() -> v1::RollbackHalted {
    v1::RollbackHalted { reason: "cooldown".into(), detail: format!("rolled back {HOSTILE}"), would_do: "web:2 → web:1".into() }
}

pub(crate) fn failed() -> v1::RollbackFailed {
    let pod = v1::PodReport {
        name: "web-1".into(),
        reason: "CrashLoopBackOff".into(),
        restarts: 4,
        last_log_lines: vec!["starting".into(), HOSTILE.into()],
        template_hash: "h".into(),
    };
    let (reason, detail) = ("pods_not_ready".into(), "2 of 3 ready".into());
    v1::RollbackFailed { attempt: 1, reason, detail, pods: vec![pod; 12], serving: vec!["web-7".into()] }
}

pub(crate) fn request(audience: Audience, urgency: Urgency, reason: &str) -> v1::NotificationRequested {
    v1::NotificationRequested {
        audience: audience.into(),
        urgency: urgency.into(),
        reason: reason.into(),
        summary: format!("Nothing was rolled back: {HOSTILE}"),
        runbook: "cooldown".into(),
        ..v1::NotificationRequested::default()
    }
}

pub(crate) fn page() -> v1::NotificationRequested {
    request(Audience::OnCall, Urgency::Page, "halted.cooldown")
}

pub(crate) fn inform() -> v1::NotificationRequested {
    request(Audience::OnCall, Urgency::Inform, "completed")
}

/// An incident whose thread is open.
pub(crate) fn with_thread(log: &MemoryLog, channel: &str, thread: &str) {
    log.push(opened());
    log.push(v1::Announced { channel: channel.into(), thread: thread.into() });
}
