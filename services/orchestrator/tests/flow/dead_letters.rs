//! What no service could process: in the dead-letter stream, told of, in nobody's way, and replayed by command.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use chassis::bus::{Bus, ConsumerSpec, Delivery, Group, HandleError, Handler, NewEvent};
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::incidents::LoadError;
use contracts::subjects::{facts_of_type, streams};
use contracts::v1::{Audience, Outcome};
use contracts::{Fact, IncidentSubject};
use lastgood_core::incident::Phase;
use orchestrator::dead_letters::command::{DONE, DeadLettersCommand, NO_SUCH_LETTER, Output, run};
use serde_json::{Value, json};
use testbed::wait::until;

use crate::world::{DEADLINE, World, auto, start, unsoaked};

/// Appends bytes that are no fact.
async fn damage(world: &World, subject: &IncidentSubject, event_type: &str) -> anyhow::Result<u64> {
    let bus = &world.engine.bus;
    let expected = world.engine.incidents.expected(&subject.workload).await?;
    let event =
        NewEvent { id: bus.ids().event(), subject: subject.fact(event_type), ce_type: "x".into(), data: b"\xff\xff".to_vec() };
    Ok(bus.append(vec![Group { filter: subject.workload_filter(), expected, events: vec![event] }]).await?.last)
}

/// A workload with a good version and a bad one, whose alert has been planned for.
async fn planned(world: &World, name: &str) -> anyhow::Result<IncidentSubject> {
    world.good_then_bad(name, auto()).await?;
    world.fire(vec![world.alert(&format!("of-{name}"), name)]).await?;
    Ok(world.incident(name, "rollback_planned").await?.0)
}

async fn letters(world: &World, wanted: usize) -> anyhow::Result<Vec<Value>> {
    let list = DeadLettersCommand::List { consumer: None };
    let found = until("the dead letters", DEADLINE, async || {
        let answer = run(&world.engine.bus, &list, Output::Json).await.map_err(|error| error.to_string())?;
        let letters: Vec<Value> = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
        if letters.len() >= wanted { Ok(letters) } else { Err(answer.text) }
    });
    Ok(found.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_fact_is_told_of_blocks_nothing_and_is_replayed() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let web = planned(&world, "web").await?;
    let damaged = damage(&world, &web, "pods_ready").await?;
    let letter = letters(&world, 1).await?.remove(0);
    assert_eq!((&letter["consumer"], &letter["original_sequence"]), (&json!("orchestrator-deadlines"), &json!(damaged)));
    assert_eq!(letter["incident"], web.incident.to_string());
    assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains("pods_ready")), "{letter}");

    let given_up = until("the incident given up", DEADLINE, async || {
        let salvaged = world.engine.incidents.salvage(&web, None).await.map_err(|error| error.to_string())?;
        let incident = salvaged.loaded.incident;
        if incident.closed.is_some() { Ok(incident) } else { Err(format!("{:?}", incident.phase())) }
    });
    let given_up = given_up.await?;
    assert_eq!(given_up.phase(), Phase::Closed(Outcome::Unspecified));
    assert!(given_up.notice(Audience::TeamLead, "dead_letter").is_some(), "the team lead is asked for");
    assert!(matches!(world.engine.incidents.load(&web, None).await, Err(LoadError::Damaged { .. })));

    // Nobody else waits for it, and neither does the workload's next alert.
    planned(&world, "api").await?;
    world.fire(vec![world.alert("the-next", "web")]).await?;
    world.wait_occurrence("the-next", &["occurrence_opened"]).await?;

    replayed(&world, &web, &letter).await?;
    world.end().await
}

/// What a plan reads of the workload's earlier incidents is damaged: the ledger has to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_intent_keeps_no_later_alert_waiting() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let web = planned(&world, "web").await?;
    damage(&world, &web, "rollback_started").await?;
    letters(&world, 1).await?;
    world.fire(vec![world.alert("the-next", "web")]).await?;
    world.wait_occurrence("the-next", &["occurrence_opened"]).await?;
    world.end().await
}

/// A replay wakes the consumer (which finds the fact still damaged) and adds nothing to the stream.
async fn replayed(world: &World, about: &IncidentSubject, letter: &Value) -> anyhow::Result<()> {
    let bus = &world.engine.bus;
    let sequence = letter["sequence"].as_u64().context("its number")?;
    let settled = letters(world, 1).await?.len();
    let before = world.count(&about.filter()).await?;
    let replay = DeadLettersCommand::Replay { sequence: Some(sequence), all: false, consumer: None };
    let answer = run(bus, &replay, Output::Json).await?;
    assert_eq!((answer.code, answer.text), (DONE, json!({"replayed": [sequence], "failed": []}).to_string()));
    let again = letters(world, settled + 1).await?;
    let woken = again.last().context("the letter of the replay")?;
    assert_eq!((&woken["consumer"], &woken["original_sequence"]), (&letter["consumer"], &letter["original_sequence"]));
    assert_eq!(world.count(&about.filter()).await?, before, "nothing is appended");
    let all = DeadLettersCommand::Replay { sequence: None, all: true, consumer: Some("nobody".into()) };
    assert_eq!(run(bus, &all, Output::Text).await?.text, "there is nothing to replay");
    let show = DeadLettersCommand::Show { sequence };
    assert!(run(bus, &show, Output::Text).await?.text.contains("ffff"));
    let missing = DeadLettersCommand::Replay { sequence: Some(99_999), all: false, consumer: None };
    assert_eq!(run(bus, &missing, Output::Text).await?.code, NO_SUCH_LETTER);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_gave_up_on_is_a_dead_letter_and_halts_what_waits_for_it() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    // An executor whose process dies over each plan: nobody ever acknowledges.
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("executor".into()),
        filter_subject: facts_of_type("rollback_planned"),
        ack_wait: std::time::Duration::from_millis(300),
        max_deliver: 1,
        ..Default::default()
    };
    let client = world.engine.bus.client().context("NATS")?.clone();
    let stream = async_nats::jetstream::new(client).get_stream(streams::INCIDENTS).await?;
    let doomed = stream.create_consumer(config).await?;
    let mut messages = doomed.messages().await?;
    let web = planned(&world, "web").await?;
    let _ = futures::StreamExt::next(&mut messages).await;
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    assert_eq!(incident.halted.map(|halted| halted.reason).as_deref(), Some("undeliverable"));
    let letter = letters(&world, 1).await?.remove(0);
    assert_eq!((&letter["service"], &letter["consumer"]), (&json!("executor"), &json!("executor")));
    assert_eq!(letter["incident"], web.incident.to_string());
    world.end().await
}

/// A notifier that can't handle any page but the one that says so.
struct Failing(std::sync::Mutex<Vec<String>>);

#[async_trait]
impl Handler for Failing {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        match delivery.fact()? {
            (_, Fact::NotificationRequested(request)) if request.reason == "dead_letter" => {
                self.0.lock().expect("no panic").push(request.summary);
                Ok(())
            }
            _ => Err(HandleError::dead("the template panicked")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_the_notifier_gave_up_reaches_the_team_lead() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = chassis::config::Nats { urls: vec![world.nats.url()], ..Default::default() };
    let bus = Bus::connect(&config, "notifier", Arc::clone(&clock), Ids::new(clock)).await?;
    let failing = Arc::new(Failing(std::sync::Mutex::default()));
    let spec = ConsumerSpec::new(streams::INCIDENTS, "notifier", vec![facts_of_type("notification_requested")]);
    bus.consume(spec, failing.clone(), &world.life);
    // Not opted in: it halts, and the on-call is to be told of that.
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("of-web", "web")]).await?;
    world.incident("web", "notification_failed").await?;
    let told =
        until("the escalation", DEADLINE, async || failing.0.lock().expect("no panic").first().cloned().ok_or("nobody was told"));
    let summary = told.await?;
    assert!(summary.contains("was given up by notifier: the template panicked"), "{summary}");
    world.end().await
}
