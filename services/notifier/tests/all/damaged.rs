//! People are told on what can be known: of an incident whose log is damaged, and of what no incident's log can tell of.

use chassis::bus::{Advisory, AdvisoryKind, Group, NewEvent, Stored};
use chassis::clock::{Clock, SystemClock};
use contracts::Fact;
use contracts::subjects::streams;
use contracts::v1::{Audience, NotificationRequested, Urgency};
use lastgood_core::incident::Command;
use testbed::wait;

use crate::process::{SOON, Stage, halt};
use crate::world::{HOSTILE, opened, subject};

impl Stage {
    /// Appends bytes that are no fact.
    async fn damage(&self, event_type: &str) {
        let bus = self.incidents.bus();
        let expected = self.incidents.expected(&subject().workload).await.unwrap();
        let subject_ = subject().fact(event_type);
        let event = NewEvent { id: bus.ids().event(), subject: subject_, ce_type: "x".into(), data: b"\xff\xff".to_vec() };
        bus.append(vec![Group { filter: subject().workload_filter(), expected, events: vec![event] }]).await.unwrap();
    }

    /// A dead letter as another service leaves it.
    async fn letter(&self, consumer: &str, subject: &str, sequence: u64, data: Vec<u8>) {
        let (kind, stream, consumer) = (AdvisoryKind::MaxDeliveries, streams::ALERTS.into(), consumer.into());
        let advisory = Advisory { kind, stream, consumer, sequence, deliveries: 20, reason: None };
        let (subject, at, headers) = (subject.to_owned(), SystemClock.now(), async_nats::HeaderMap::default());
        let stored = Stored { subject, sequence, at, headers, data: data.into() };
        self.incidents.bus().dead_letter_of(&advisory, &stored, HOSTILE).await.unwrap();
    }

    async fn pages(&self, wanted: usize) {
        let paged = || async { (self.pagerduty.pages().len() >= wanted).then_some(()).ok_or_else(|| self.pagerduty.render()) };
        wait::until("the page", SOON, paged).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_fact_keeps_no_page_back() {
    let stage = Stage::set().await;
    stage.execute(Command::Open(opened())).await;
    stage.damage("current_version_identified").await;
    stage.incidents.execute_salvaged(&subject(), None, &halt(), SystemClock.now()).await.unwrap();
    let service = stage.service().await;
    stage.pages(1).await;
    let key = format!("lastgood/{}/on_call/halted.cooldown", subject().incident);
    assert_eq!(stage.pagerduty.pages()[0].dedup_key, key);
    let recorded = || async {
        let facts = stage.incidents.salvage(&subject(), None).await.map_err(|error| error.to_string())?.loaded.facts;
        let told = facts.iter().any(|recorded| matches!(&recorded.fact, Fact::OnCallNotified(told) if told.dedup_key == key));
        if told { Ok(()) } else { Err(format!("{facts:?}")) }
    };
    wait::until("the page's record", SOON, recorded).await.unwrap();
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_whose_opening_is_damaged_is_told_of() {
    let stage = Stage::set().await;
    stage.damage("anomaly_detected").await;
    let give_up = Command::GiveUp { detail: "fact 1 is damaged".into() };
    stage.incidents.execute_salvaged(&subject(), None, &give_up, SystemClock.now()).await.unwrap();
    let service = stage.service().await;
    stage.pages(1).await;
    let page = stage.pagerduty.pages().remove(0);
    assert_eq!(page.dedup_key, format!("lastgood/{}/team_lead/dead_letter", subject().incident));
    assert!(page.summary().contains("fact 1 is damaged"), "{}", page.summary());
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_about_no_incident_are_one_alarm() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    for sequence in 1..=20 {
        stage.letter("orchestrator-alerts", "lastgood.alert.alertmanager", sequence, b"\xff".to_vec()).await;
    }
    stage.letter("verifier-x", "lastgood.ledger.eu.shop.deployment.web.version_observed", 21, vec![]).await;
    stage.pages(2).await;
    let handled = || async {
        let client = stage.incidents.bus().client().expect("NATS").clone();
        let stream = async_nats::jetstream::new(client).get_stream(streams::DEAD).await.map_err(|error| error.to_string())?;
        let info = stream.consumer_info("notifier-dead-letters").await.map_err(|error| error.to_string())?;
        let left = info.num_pending + u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        if left == 0 { Ok(()) } else { Err(format!("{left} letters are left")) }
    };
    wait::until("all letters handled", SOON, handled).await.unwrap();
    let pages = stage.pagerduty.pages();
    let mut seen: Vec<_> = pages.iter().map(|page| (page.dedup_key.as_str(), page.triggers)).collect();
    seen.sort_unstable();
    let key = |consumer: &str| format!("lastgood/dead_letter/{consumer}");
    let (alerts, verifier) = (key("orchestrator-alerts"), key("verifier-x"));
    assert_eq!(seen, [(alerts.as_str(), 1), (verifier.as_str(), 1)]);
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escalation_that_the_notifier_gave_up_goes_over_another_channel() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    let request = NotificationRequested {
        audience: Audience::TeamLead.into(),
        urgency: Urgency::Page.into(),
        reason: "dead_letter".into(),
        ..NotificationRequested::default()
    };
    stage.letter("notifier", &subject().fact("notification_requested"), 7, Fact::from(request).encode()).await;
    let told =
        stage.slack.wait_for(|call| call.call.body.to_string().contains("gave up on a message about"), SOON).await.unwrap();
    assert!(!told.call.body.to_string().contains("<!channel>"), "{}", told.call.body);
    assert!(stage.pagerduty.pages().is_empty());
    drop(service);
}
