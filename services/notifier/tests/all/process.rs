//! The program on a real nats-server: facts in, messages out, also across a kill.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::bus::Bus;
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::incidents::Incidents;
use contracts::v1::{self, Audience};
use contracts::{DeadlineKind, Fact, HaltReason, IncidentSubject};
use lastgood_core::incident::{Command, Incident};
use testbed::nats::{Nats, NatsOptions};
use testbed::receivers::{PagerDuty, Slack, Webhook, slack::TOKEN};
use testbed::services::{Binaries, Service};
use testbed::{ports, wait};

use crate::world::{opened, subject};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    nats: Nats,
    pub(crate) pagerduty: PagerDuty,
    pub(crate) slack: Slack,
    pub(crate) webhook: Webhook,
    pub(crate) incidents: Incidents,
    logs: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = chassis::config::Nats { urls: vec![nats.url()], ..Default::default() };
        let bus = Bus::connect(&config, "test", Arc::clone(&clock), Ids::new(clock)).await.unwrap();
        let (pagerduty, slack) = (PagerDuty::start().await.unwrap(), Slack::start().await.unwrap());
        let webhook = Webhook::start().await.unwrap();
        Self { nats, pagerduty, slack, webhook, incidents: Incidents::new(bus), logs: tempfile::tempdir().unwrap() }
    }

    pub(crate) async fn service(&self) -> Service {
        let program = Path::new(env!("CARGO_BIN_EXE_lastgood-notifier"));
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], ports::free().unwrap()));
        let webhook = format!(r#"[{{"url": "{}", "secret": "s3cret"}}]"#, self.webhook.url());
        let env = [
            ("NATS__URLS", format!(r#"["{}"]"#, self.nats.url())),
            ("ADMIN__LISTEN", admin.to_string()),
            ("NOTIFIER__PAGERDUTY__BASE_URL", self.pagerduty.url()),
            ("NOTIFIER__PAGERDUTY__ON_CALL_ROUTING_KEY", "a".repeat(32)),
            ("NOTIFIER__PAGERDUTY__TEAM_LEAD_ROUTING_KEY", "b".repeat(32)),
            ("NOTIFIER__SLACK__BASE_URL", self.slack.url()),
            ("NOTIFIER__SLACK__TOKEN", TOKEN.to_owned()),
            ("NOTIFIER__SLACK__CHANNEL", "C0INCIDENTS".to_owned()),
            ("NOTIFIER__WEBHOOK", webhook),
            ("NOTIFIER__RECEIVERS", format!("{{shop: {{pagerduty_routing_key: {}}}}}", "c".repeat(32))),
        ];
        let env = env.into_iter().map(|(key, value)| (format!("LASTGOOD_{key}"), value)).collect();
        let binaries = Binaries::at(program.parent().unwrap());
        Service::start("lastgood-notifier", &binaries, env, self.logs.path(), admin).await.unwrap()
    }

    pub(crate) async fn execute(&self, command: Command) {
        self.incidents.execute(&subject(), None, &command, SystemClock.now()).await.unwrap();
    }

    async fn facts(&self) -> Vec<Fact> {
        let loaded = self.incidents.load(&subject(), None).await.unwrap();
        loaded.facts.into_iter().map(|recorded| recorded.fact).collect()
    }

    async fn wait_for(&self, what: &str, found: impl Fn(&Fact) -> bool) -> Fact {
        let look = || async {
            let facts = self.facts().await;
            let types: Vec<_> = facts.iter().map(Fact::event_type).collect();
            facts.into_iter().find(|fact| found(fact)).ok_or(format!("{types:?}"))
        };
        wait::until(what, SOON, look).await.unwrap()
    }
}

pub(crate) fn halt() -> Command {
    Command::Halt { reason: HaltReason::Cooldown, detail: "rolled back 3 minutes ago".into(), would_do: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_is_announced_paged_told_and_recorded() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    stage.execute(Command::Open(opened())).await;
    let announced = stage.wait_for("the announcement", |fact| matches!(fact, Fact::Announced(_))).await;
    assert!(matches!(announced, Fact::Announced(announced) if !announced.thread.is_empty()));
    stage.execute(halt()).await;
    stage.wait_for("the page's record", |fact| matches!(fact, Fact::OnCallNotified(_))).await;
    assert_eq!(stage.pagerduty.pages().len(), 1);
    let shown = || async {
        let shown = stage.slack.render();
        let done = shown.contains("Halted: cooldown") && shown.contains("On-call told over pagerduty");
        if done { Ok(()) } else { Err(shown) }
    };
    wait::until("the thread", SOON, shown).await.unwrap();
    assert_eq!(stage.slack.threads().len(), 1);
    stage.webhook.wait_for(|call| call.call.body["reason"] == "halted.cooldown", SOON).await.unwrap();
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_amid_the_tries_loses_nothing_and_doubles_no_page() {
    let stage = Stage::set().await;
    stage.pagerduty.go_down().await;
    let service = stage.service().await;
    let subject: IncidentSubject = subject();
    stage.execute(Command::Open(opened())).await;
    stage.wait_for("the announcement", |fact| matches!(fact, Fact::Announced(_))).await;
    stage.execute(halt()).await;
    stage.slack.wait_for(|call| call.call.body.to_string().contains("Halted"), SOON).await.unwrap();
    drop(service);
    stage.pagerduty.come_back().await.unwrap();
    // What the killed one had in hand comes again after the ack wait (10 s); what it had recorded doesn't.
    let service = stage.service().await;
    let told = || async {
        let facts = stage.facts().await;
        let told = facts.into_iter().find_map(|fact| if let Fact::OnCallNotified(told) = fact { Some(told) } else { None });
        told.ok_or_else(|| "not told yet".to_owned())
    };
    let told: v1::OnCallNotified = wait::until("the page's record", Duration::from_mins(1), told).await.unwrap();
    assert_eq!(told.dedup_key, format!("lastgood/{}/on_call/halted.cooldown", subject.incident));
    assert_eq!(stage.pagerduty.pages().len(), 1);
    assert_eq!(stage.slack.threads().len(), 1, "{}", stage.slack.render());
    let incident: Incident = stage.incidents.load(&subject, None).await.unwrap().incident;
    assert!(incident.notice(Audience::OnCall, "halted.cooldown").unwrap().delivered);
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_word_sends_pages_to_its_receivers_and_calls_the_next_where_nobody_acknowledges() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    stage.execute(Command::Open(opened())).await;
    let to = |reason: &str, receiver: &str| v1::NotificationRoute {
        reasons: vec![reason.into()],
        receivers: vec![receiver.into()],
        ..v1::NotificationRoute::default()
    };
    let later = |seconds, receiver: &str| v1::EscalationStep {
        after: Some(contracts::time::duration_to_proto(Duration::from_secs(seconds))),
        receivers: vec![receiver.into()],
        ..v1::EscalationStep::default()
    };
    let routes = vec![to("frozen", "nobody"), to("cooldown", "shop")];
    let escalation = vec![later(60, "shop"), later(120, "misspelt")];
    stage.execute(Command::Route(v1::NotificationsRouted { routes, escalation })).await;
    stage.execute(halt()).await;
    stage.wait_for("the page's record", |fact| matches!(fact, Fact::OnCallNotified(told) if told.channel == "shop")).await;
    // The timers are the orchestrator's.
    let now = SystemClock.now() + jiff::SignedDuration::from_mins(3);
    stage.incidents.execute(&subject(), None, &Command::PassDeadline(DeadlineKind::Escalate), now).await.unwrap();
    let called =
        |fact: &Fact| matches!(fact, Fact::Escalated(told) if told.channel == "pagerduty" && told.reason == "unacknowledged.2");
    stage.wait_for("the last call's record", called).await;
    stage.wait_for("the close", |fact| matches!(fact, Fact::IncidentClosed(_))).await;
    let pages = stage.pagerduty.pages();
    let keys: Vec<_> = pages.iter().map(|page| page.routing_key.chars().next().unwrap()).collect();
    assert_eq!(
        (keys.iter().filter(|key| **key == 'c').count(), keys.iter().filter(|key| **key == 'b').count()),
        (2, 1),
        "{keys:?}"
    );
    let misspelt = pages.iter().find(|page| page.routing_key.starts_with('b')).unwrap();
    assert!(misspelt.summary().contains("whom the notifier does not know: misspelt"), "{}", misspelt.summary());
    drop(service);
}
