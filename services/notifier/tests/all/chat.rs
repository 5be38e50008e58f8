//! The chat thread: one an incident, open before anything waits for it, and in the end showing the last state.

use std::sync::Arc;
use std::time::Duration;

use crate::world::{NONE, With, World, failed, halted, opened, planned, world, world_with};
use contracts::Fact;
use contracts::v1::{self, Outcome, Verdict};
use notifier::handlers::thread::Threads;
use testbed::receivers::Fault;

const CHAT: With = With { slack: true, ..NONE };
const INTERVAL: Duration = Duration::from_millis(300);

async fn open(world: &World) -> Threads {
    let sequence = world.log.push(opened());
    world.desk.announce(&world.subject, sequence).await.unwrap();
    let threads = Threads::new(Arc::clone(&world.desk), INTERVAL);
    threads.tell(&world.subject, world.log.last_sequence()).await.unwrap();
    threads
}

async fn add(world: &World, threads: &Threads, fact: impl Into<Fact>) {
    let sequence = world.log.push(fact);
    threads.tell(&world.subject, sequence).await.unwrap();
}

fn announced(world: &World) -> Vec<v1::Announced> {
    let all = world.log.all().into_iter();
    all.filter_map(|fact| if let Fact::Announced(fact) = fact { Some(fact) } else { None }).collect()
}

#[tokio::test]
async fn one_thread_tells_the_whole_story() {
    let world = world(CHAT).await;
    let threads = open(&world).await;
    let check = v1::SmokeTestFinished {
        check: "home".into(),
        kind: "http".into(),
        verdict: Verdict::Failed.into(),
        evidence: format!("500 {}", crate::world::HOSTILE),
        tries: 3,
    };
    add(&world, &threads, planned()).await;
    add(&world, &threads, v1::PodsReady { attempt: 1, ready: 3, desired: 3 }).await;
    add(&world, &threads, failed()).await;
    add(&world, &threads, check).await;
    add(&world, &threads, v1::VerificationFailed { reason: "smoke_tests_failed".into(), failed_checks: vec!["home".into()] })
        .await;
    add(&world, &threads, halted()).await;
    add(&world, &threads, v1::Superseded { what: "template".into(), detail: "by kubectl".into(), ..Default::default() }).await;
    add(&world, &threads, v1::IncidentClosed { outcome: Outcome::VerificationFailed.into(), reason: "x".into() }).await;
    let parents = world.slack.threads();
    assert_eq!(parents.len(), 1);
    let (parent, replies) = &parents[0];
    assert_eq!(replies.len(), 5, "{}", world.slack.render());
    let shown = world.slack.render();
    for word in [
        "web:2",
        "web-7",
        "CrashLoopBackOff",
        "4 more pods",
        "smoke tests failed",
        "kubectl",
        "Pods ready (3/3)",
        "Closed: verification failed",
    ] {
        assert!(
            shown.contains(word) || replies.iter().any(|reply| reply.blocks().to_string().contains(word)),
            "{word} is missing in {shown}"
        );
    }
    assert!(parent.text().starts_with("🚨 shop/web: verification failed"), "{}", parent.text());
    let all = world.slack.messages().iter().map(|message| message.blocks().to_string()).collect::<String>();
    assert!(!all.contains("<!channel>") && !all.contains("<https://evil"), "{all}");
    assert!(world.slack.received().iter().all(testbed::receivers::Received::took_effect));
}

#[tokio::test]
async fn edits_are_few_and_the_last_state_shows() {
    let world = world(CHAT).await;
    let threads = Arc::new(open(&world).await);
    let before = world.slack.messages()[0].versions.len();
    let mut sequences = Vec::new();
    for attempt in 1..=40 {
        sequences.push(world.log.push(v1::BadPodsScaledDown { attempt, pods: attempt }));
    }
    for sequence in sequences {
        threads.tell(&world.subject, sequence).await.unwrap();
    }
    let parent = world.slack.messages().remove(0);
    assert!(parent.versions.len() - before <= 2, "{} edits", parent.versions.len() - before);
    assert!(parent.blocks().to_string().contains("Bad pods scaled down (40)"), "{}", world.slack.render());
    let times: Vec<_> = parent.versions.iter().map(|(at, _, _)| *at).collect();
    let apart = times.windows(2).skip(1).map(|pair| pair[1].duration_since(pair[0]).as_millis());
    assert!(apart.into_iter().all(|millis| millis >= 280), "{times:?}");
}

#[tokio::test]
async fn without_a_chat_nobody_waits() {
    let world = world(With { pagerduty: true, ..NONE }).await;
    let sequence = world.log.push(opened());
    for _ in 0..2 {
        world.desk.announce(&world.subject, sequence).await.unwrap();
    }
    assert_eq!(announced(&world), [v1::Announced::default()]);
}

#[tokio::test]
async fn a_slow_chat_holds_nobody_up_and_opens_later() {
    let world = Arc::new(world_with(CHAT, |config| config.give_up_after = Duration::from_secs(20)).await);
    world.slack.script(2, &Fault::Hang);
    let sequence = world.log.push(opened());
    let desk = Arc::clone(&world);
    let announcing = tokio::spawn(async move { desk.desk.announce(&desk.subject, sequence).await });
    let first = testbed::wait::until("the announcement", Duration::from_secs(2), || async {
        announced(&world).first().cloned().ok_or("none yet".to_owned())
    });
    assert_eq!(first.await.unwrap().thread, "", "within the announce deadline, without a thread");
    // What happens meanwhile is told once the thread is open.
    world.log.push(planned());
    announcing.await.unwrap().unwrap();
    let all = announced(&world);
    assert_eq!(all.len(), 2);
    assert!(!all[1].thread.is_empty());
    let threads = Threads::new(Arc::clone(&world.desk), INTERVAL);
    for sequence in 1..=world.log.last_sequence() {
        threads.tell(&world.subject, sequence).await.unwrap();
    }
    let shown = world.slack.threads();
    assert_eq!((shown.len(), shown[0].1.len()), (1, 1), "{}", world.slack.render());
}

#[tokio::test]
async fn a_crash_before_the_announcement_is_recorded_opens_again() {
    let world = world(CHAT).await;
    world.log.lose_records.store(1, std::sync::atomic::Ordering::SeqCst);
    let sequence = world.log.push(opened());
    assert!(world.desk.announce(&world.subject, sequence).await.is_err());
    for _ in 0..3 {
        world.desk.announce(&world.subject, sequence).await.unwrap();
    }
    assert_eq!(announced(&world).len(), 1);
    assert_eq!(world.slack.threads().len(), 2, "sent again at most once more");
}

#[tokio::test]
async fn a_token_that_is_wrong_announces_without_a_thread() {
    let world = world_with(CHAT, |config| config.slack.token = Some(chassis::config::Secret::new("xoxb-wrong"))).await;
    let sequence = world.log.push(opened());
    world.desk.announce(&world.subject, sequence).await.unwrap();
    assert_eq!(announced(&world), [v1::Announced::default()]);
    assert_eq!(world.slack.received().len(), 1, "invalid_auth is permanent");
}

#[tokio::test]
async fn an_instant_halt_is_told_in_the_thread() {
    let world = Arc::new(world(CHAT).await);
    let opening = world.log.push(opened());
    world.log.push(halted());
    let asking = world.log.push(crate::world::inform());
    let both = tokio::join!(world.desk.notify(&world.subject, asking), world.desk.announce(&world.subject, opening));
    both.0.unwrap();
    both.1.unwrap();
    let shown = world.slack.threads();
    assert_eq!((shown.len(), shown[0].1.len()), (1, 1), "{}", world.slack.render());
}
