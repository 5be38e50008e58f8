//! Archiving: what is over leaves the log for the archive and can be read back; what is needed stays, whatever is cut off in between.

use std::time::Duration;

use chassis::bus::Stored;
use contracts::subjects::{self, streams};
use contracts::{Fact, IncidentSubject, v1};
use lastgood_core::incident::Phase;
use orchestrator::archive::volume::{self, Leaving};
use orchestrator::archive::{self, Archivist, Round};
use orchestrator::config::Settings;
use serde_json::json;
use testbed::wait::until;

use super::world::{DEADLINE, World, resolved, still, unsoaked};

/// Everything that is closed is old at once.
fn hasty() -> Settings {
    let mut settings = Settings { cooldown: Duration::ZERO, window: Duration::ZERO, ..unsoaked() };
    settings.archive.after = Duration::from_millis(1);
    settings.archive.unresolved_after = Duration::from_hours(1);
    settings.archive.volume = 1_000;
    settings.mass_failure.window = Duration::ZERO;
    settings
}

/// A world without consumers, and its bucket.
async fn world(settings: Settings) -> anyhow::Result<(World, Archivist)> {
    let world = still(settings).await?;
    world.engine.bus.ensure_bucket(streams::ARCHIVE_BUCKET, Duration::ZERO).await?;
    let archivist = Archivist::new(world.engine.clone());
    Ok((world, archivist))
}

impl World {
    /// An incident as it would be after a halt, with `facts` in the place of its close.
    async fn write(&self, name: &str, fingerprint: &str, facts: &[Fact]) -> anyhow::Result<IncidentSubject> {
        let subject = IncidentSubject { workload: self.workload(name), incident: self.engine.bus.ids().incident() };
        let trigger = v1::Occurrence { fingerprint: fingerprint.into(), source: "test".into(), ..v1::Occurrence::default() };
        let opening = v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() };
        let mut all = vec![Fact::from(opening)];
        all.extend(facts.iter().cloned());
        let expected = self.engine.incidents.expected(&subject.workload).await?;
        self.engine.incidents.append(&subject, expected, &all).await?;
        Ok(subject)
    }

    async fn on_log(&self, subject: &IncidentSubject) -> anyhow::Result<usize> {
        self.count(&subject.filter()).await
    }

    /// Rounds until one finds nothing more to do.
    async fn rounds(&self, archivist: &Archivist) -> anyhow::Result<Round> {
        // What is old is so by more than the limit, on the server's clock.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut all = Round::default();
        for _ in 0..20 {
            let round = archivist.round().await?;
            all.archived += round.archived;
            all.forgotten += round.forgotten;
            all.stayed = round.stayed;
            if !round.more {
                return Ok(all);
            }
        }
        anyhow::bail!("there always was more to do: {all:?}")
    }
}

fn closed() -> Fact {
    v1::IncidentClosed { outcome: v1::Outcome::Halted.into(), reason: "observe_mode".into() }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_incidents_leave_the_log_and_read_back_whole() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    let old = world.write("web", "f1", &[closed()]).await?;
    let before = world.engine.bus.read(streams::INCIDENTS, &old.filter(), 1, None).await?;
    let newest = world.write("web", "f2", &[closed()]).await?;
    let open = world.write("api", "f3", &[]).await?;
    let expected = world.engine.incidents.expected(&world.workload("web")).await?;
    let round = world.rounds(&archivist).await?;
    assert_eq!((round.archived, round.stayed.get("newest")), (1, Some(&1)), "{round:?}");
    assert_eq!((world.on_log(&old).await?, world.on_log(&newest).await?, world.on_log(&open).await?), (0, 2, 1));
    assert_eq!(world.engine.incidents.expected(&world.workload("web")).await?, expected, "no append sees it");

    let kept = archivist.archive().read(old.incident).await?.expect("archived");
    assert_eq!(kept.messages.len(), before.len());
    for (kept, stored) in kept.messages.iter().zip(&before) {
        assert_eq!((&kept.subject, kept.sequence, &kept.data), (&stored.subject, stored.sequence, &stored.data.to_vec()));
        assert_eq!(contracts::time::from_proto(kept.stored_at.as_ref()), Some(stored.at));
        let id = kept.headers.iter().find(|header| header.name == "ce-id").map(|header| header.value.as_str());
        assert_eq!(id, stored.header("ce-id"));
    }
    assert_eq!(archive::fold(&kept)?.phase(), Phase::Closed(v1::Outcome::Halted));
    assert!(archivist.archive().read(newest.incident).await?.is_none());
    // A client that knows nothing of lastgood reads it too.
    let context = async_nats::jetstream::new(async_nats::connect(world.nats.url()).await?);
    let mut object = context.get_object_store(streams::ARCHIVE_BUCKET).await?.get(volume::name(old.incident, 0)).await?;
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut object, &mut bytes).await?;
    assert!(!bytes.is_empty(), "its digest was checked by the client");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_it_goes_on_to_the_same_end() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    let incidents = [
        world.write("web", "f1", &[closed()]).await?,
        world.write("web", "f2", &[closed()]).await?,
        world.write("web", "f3", &[closed()]).await?,
    ];
    world.write("web", "f4", &[closed()]).await?;
    let bus = &world.engine.bus;
    let messages = async |subject: &IncidentSubject| bus.read(streams::INCIDENTS, &subject.filter(), 1, None).await;
    // The first: stored and not purged.
    let store = async |subject: &IncidentSubject, messages: &[Stored]| {
        archivist.archive().store(&[Leaving { subject: subject.clone(), messages: messages.to_vec() }]).await
    };
    store(&incidents[0], &messages(&incidents[0]).await?).await?;
    // The second: its purge cut off after the opening.
    let second = messages(&incidents[1]).await?;
    store(&incidents[1], &second).await?;
    archivist.take_away(&incidents[1], second[0].sequence).await?;
    assert_eq!(world.on_log(&incidents[1]).await?, 1);
    // The third: another replica archived it with a late word that this one has not read.
    let (third, late) = (messages(&incidents[2]).await?, Fact::from(v1::Announced::default()));
    let expected = world.engine.incidents.expected(&world.workload("web")).await?;
    world.engine.incidents.append(&incidents[2], expected, &[late]).await?;
    store(&incidents[2], &messages(&incidents[2]).await?).await?;
    store(&incidents[2], &third).await?;
    world.write("web", "f5", &[closed()]).await?;

    let round = world.rounds(&archivist).await?;
    assert_eq!(round.archived, 4, "{round:?}");
    for (incident, facts) in incidents.iter().zip([2, 2, 3]) {
        assert_eq!(world.on_log(incident).await?, 0);
        assert_eq!(archivist.archive().read(incident.incident).await?.expect("archived").messages.len(), facts);
    }
    assert_eq!(world.rounds(&archivist).await?.archived, 0, "again is nothing");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_lose_nothing_between_them() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    let mut incidents = Vec::new();
    for index in 0..30 {
        incidents.push(world.write(["web", "api", "db"][index % 3], &format!("f{index}"), &[closed()]).await?);
    }
    let other = Archivist::new(world.engine.clone());
    let (one, two) = tokio::join!(world.rounds(&archivist), world.rounds(&other));
    let (one, two) = (one?, two?);
    assert!(one.archived + two.archived >= 27, "{one:?} {two:?}");
    for incident in &incidents[..27] {
        assert_eq!(world.on_log(incident).await?, 0);
        let kept = archivist.archive().read(incident.incident).await?.expect("archived");
        assert_eq!(archive::fold(&kept)?.phase(), Phase::Closed(v1::Outcome::Halted));
    }
    for incident in &incidents[27..] {
        assert_eq!(world.on_log(incident).await?, 2, "the newest of each workload stays");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_volume_holds_back_its_own_and_hides_no_other() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    let mut incidents = Vec::new();
    for index in 0..9 {
        incidents.push(world.write("web", &format!("f{index}"), &[closed()]).await?);
    }
    assert_eq!(world.rounds(&archivist).await?.archived, 8);
    // The day's was full; what of it is lost is told, and all others are found.
    let context = async_nats::jetstream::new(async_nats::connect(world.nats.url()).await?);
    let bucket = context.get_object_store(streams::ARCHIVE_BUCKET).await?;
    let day = volume::name(incidents[0].incident, 0);
    let chunks = format!("$O.{}.C.{}", streams::ARCHIVE_BUCKET, bucket.info(&day).await?.nuid);
    context.get_stream(format!("OBJ_{}", streams::ARCHIVE_BUCKET)).await?.purge().filter(chunks).await?;
    let (mut found, mut told) = (0, 0);
    for incident in &incidents[..8] {
        match archivist.archive().read(incident.incident).await {
            Ok(archived) => found += usize::from(archived.is_some()),
            Err(error) => told += usize::from(error.to_string().contains(&format!("volume {day} is damaged"))),
        }
    }
    assert!(found > 0 && told > 0 && found + told == 8, "{found} {told}");
    // What would go there stays on the log, until somebody has taken the damaged object away.
    world.write("web", "f9", &[closed()]).await?;
    let round = world.rounds(&archivist).await?;
    assert_eq!((round.archived, round.stayed.get("failed")), (0, Some(&1)), "{round:?}");
    assert_eq!(world.on_log(&incidents[8]).await?, 2);
    bucket.delete(&day).await?;
    assert_eq!(world.rounds(&archivist).await?.archived, 1);
    assert!(archivist.archive().read(incidents[8].incident).await?.is_some());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_has_not_handled_stays() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    let old = world.write("web", "f1", &[closed()]).await?;
    world.write("web", "f2", &[closed()]).await?;
    let context = async_nats::jetstream::new(async_nats::connect(world.nats.url()).await?);
    let stream = context.get_stream(streams::INCIDENTS).await?;
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("slow".into()),
        filter_subject: subjects::facts_of_type("incident_closed"),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    assert_eq!(world.rounds(&archivist).await?.stayed.get("unhandled"), Some(&1));
    let mut messages = consumer.fetch().max_messages(1).messages().await?;
    let first = futures::StreamExt::next(&mut messages).await.expect("the first close").map_err(|e| anyhow::anyhow!(e))?;
    assert_eq!(world.rounds(&archivist).await?.archived, 0, "delivered is not handled");
    first.double_ack().await.map_err(|e| anyhow::anyhow!(e))?;
    assert_eq!(world.rounds(&archivist).await?.archived, 1);
    assert_eq!(world.on_log(&old).await?, 0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_an_archived_incident_is_a_new_one() -> anyhow::Result<()> {
    let (world, archivist) = world(hasty()).await?;
    world.run(&world.life);
    world.good_then_bad("web", json!({})).await?;
    let first = world.alert("f1", "web");
    world.fire(vec![first.clone(), world.alert("lost", "none")]).await?;
    let (old, ..) = world.close("web").await?;
    world.rounds(&archivist).await?;
    assert_eq!(world.occurrence("f1").await?, ["occurrence_opened"], "it fires on: nothing about it goes");
    world.fire(vec![resolved(first)]).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved"]).await?;
    until("the end of the alert forgotten", DEADLINE, async || {
        world.rounds(&archivist).await.map_err(|error| error.to_string())?;
        let facts = world.occurrence("f1").await.map_err(|error| error.to_string())?;
        if facts.is_empty() { Ok(()) } else { Err(format!("{facts:?}")) }
    })
    .await?;
    assert_eq!(world.occurrence("lost").await?, ["occurrence_dismissed"], "its end was never told, so it is not over yet");
    assert!(world.on_log(&old).await? > 0, "the workload's newest stays");
    // The same alert again: a new occurrence, a new incident, and then the old one may go.
    world.deploy("web", "3", json!({})).await?;
    world.wait_ledger("web", false).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.wait_occurrence("f1", &["occurrence_opened"]).await?;
    let (new, ..) = world.close("web").await?;
    assert_ne!(new.incident, old.incident);
    until("the old incident archived", DEADLINE, async || {
        let round = world.rounds(&archivist).await.map_err(|error| error.to_string())?;
        let left = world.on_log(&old).await.map_err(|error| error.to_string())?;
        if left == 0 { Ok(()) } else { Err(format!("{left} facts, {round:?}")) }
    })
    .await?;
    let kept = archivist.archive().read(old.incident).await?.expect("archived");
    assert!(matches!(archive::fold(&kept)?.phase(), Phase::Closed(_)));
    assert!(world.on_log(&new).await? > 0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_fires_on_keeps_its_disposition() -> anyhow::Result<()> {
    let mut settings = hasty();
    settings.archive.after = Duration::from_secs(2);
    settings.archive.unresolved_after = Duration::from_secs(2);
    let (world, archivist) = world(settings).await?;
    world.run(&world.life);
    let (kept, silent) = (world.alert("kept", "none"), world.alert("silent", "none"));
    world.fire(vec![kept.clone(), silent.clone()]).await?;
    world.wait_occurrence("silent", &["occurrence_dismissed"]).await?;
    // Told every half second, for three times as long as what is old goes after; the other one is never heard of again.
    let until = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < until {
        world.fire(vec![kept.clone()]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.rounds(&archivist).await?;
    }
    let facts = world.occurrence("kept").await?;
    assert_eq!(facts.first().map(String::as_str), Some("occurrence_dismissed"), "{facts:?}");
    assert!(facts[1..].iter().all(|fact| fact == "occurrence_repeated"), "{facts:?}");
    assert!((2..=4).contains(&facts.len()), "noted now and then, and what a later one says is forgotten: {facts:?}");
    assert_eq!(world.occurrence("silent").await?, Vec::<String>::new(), "nothing was heard of it for so long");
    // Its end is its end, and a new firing a new occurrence.
    world.fire(vec![resolved(kept)]).await?;
    let ended = [facts, vec!["occurrence_resolved".to_owned()]].concat();
    world.wait_occurrence("kept", &ended.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    world.end().await
}
