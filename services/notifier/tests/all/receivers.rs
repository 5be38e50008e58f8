//! Receivers that policies name: each is told, and none that is unknown or away loses a message.

use std::time::Duration;

use chassis::config::Secret;
use contracts::Fact;
use contracts::v1::{self, Audience, NotificationRequested, Outcome, Urgency};
use notifier::config::{Notifier, Receiver, Webhook};

use crate::world::{ALL, NONE, With, World, inform, page, request, with_thread, world_with};

const PAGER_AND_CHAT: With = With { webhook: false, ..ALL };

/// `pager` and `other` are keys of PagerDuty, `chat` is another channel of the workspace.
fn named(config: &mut Notifier) {
    let key = |letter: &str| Receiver { pagerduty_routing_key: Some(Secret::new(letter.repeat(32))), ..Receiver::default() };
    let chat = Receiver { slack_channel: Some("C0SHOP".into()), ..Receiver::default() };
    config.receivers = [("pager".into(), key("c")), ("other".into(), key("d")), ("chat".into(), chat)].into();
}

fn to(receivers: &[&str], request: NotificationRequested) -> NotificationRequested {
    NotificationRequested { receivers: receivers.iter().map(|&name| name.to_owned()).collect(), ..request }
}

async fn told(world: &World, request: NotificationRequested) -> Fact {
    with_thread(&world.log, "", "");
    let sequence = world.log.push(request);
    // The second time it is answered already.
    for _ in 0..2 {
        world.desk.notify(&world.subject, sequence).await.unwrap();
    }
    world.log.all().pop().unwrap()
}

/// The first letters of the routing keys that were paged, sorted.
fn paged(world: &World) -> String {
    let mut keys: Vec<_> = world.pagerduty.pages().iter().filter_map(|page| page.routing_key.chars().next()).collect();
    keys.sort_unstable();
    keys.into_iter().collect()
}

#[tokio::test]
async fn each_receiver_is_told_and_nobody_else() {
    let world = world_with(PAGER_AND_CHAT, named).await;
    let Fact::OnCallNotified(told) = told(&world, to(&["pager", "chat", "other", "pager"], page())).await else {
        panic!("{:?}", world.log.all())
    };
    assert_eq!(told.channel, "chat", "one of them answers for it");
    assert_eq!(paged(&world), "cd");
    let messages = world.slack.messages();
    assert_eq!((messages.len(), messages[0].channel.as_str(), &messages[0].thread_ts), (1, "C0SHOP", &None));
    assert!(!world.slack.render().contains("sent here because"), "{}", world.slack.render());
}

#[tokio::test]
async fn a_receiver_gets_one_page_for_both_audiences_and_it_is_resolved_with_the_incident() {
    let world = world_with(PAGER_AND_CHAT, named).await;
    told(&world, to(&["chat", "pager"], page())).await;
    let lead = world.log.push(to(&["chat", "pager"], request(Audience::TeamLead, Urgency::Page, "halted.cooldown")));
    world.desk.notify(&world.subject, lead).await.unwrap();
    let pages = world.pagerduty.pages();
    let key = format!("lastgood/{}/pager/halted.cooldown", world.subject.incident);
    assert_eq!(pages.iter().map(|page| (page.dedup_key.as_str(), page.triggers)).collect::<Vec<_>>(), [(key.as_str(), 2)]);
    let end = world.log.push(v1::IncidentClosed { outcome: Outcome::Completed.into(), reason: String::new() });
    world.desk.resolve(&world.subject, end).await.unwrap();
    assert!(world.pagerduty.pages()[0].resolved_at.is_some(), "though the chat's message is what is on the log");
}

#[tokio::test]
async fn an_unknown_name_loses_no_page() {
    let world = world_with(PAGER_AND_CHAT, named).await;
    let hostile = "<!channel> `x`";
    let Fact::OnCallNotified(told) = told(&world, to(&["pager", "misspelt", hostile], page())).await else {
        panic!("{:?}", world.log.all())
    };
    assert_eq!((paged(&world).as_str(), told.channel.as_str()), ("ac", "pagerduty"));
    let pages = world.pagerduty.pages();
    let usual = pages.iter().find(|page| page.routing_key.starts_with('a')).unwrap();
    assert!(usual.summary().contains("does not know") && usual.summary().contains("misspelt"), "{}", usual.summary());
    let news = world_with(With { slack: true, ..NONE }, named).await;
    self::told(&news, to(&[hostile], inform())).await;
    let said = news.slack.messages()[0].blocks().to_string();
    assert!(said.contains("does not know") && !said.contains("<!channel>"), "{said}");
}

#[tokio::test]
async fn a_receiver_that_is_away_loses_no_page() {
    let world = world_with(PAGER_AND_CHAT, |config| {
        named(config);
        config.give_up_after = Duration::from_secs(1);
    })
    .await;
    world.pagerduty.fail_next(1, 400, None);
    let Fact::OnCallNotified(told) = told(&world, to(&["pager"], page())).await else { panic!("{:?}", world.log.all()) };
    assert_eq!((paged(&world).as_str(), told.channel.as_str()), ("a", "pagerduty"));
    let summary = world.pagerduty.pages()[0].summary().to_owned();
    assert!(summary.contains("sent here because pager could not be reached"), "{summary}");
}

#[tokio::test]
async fn where_one_is_told_another_that_nobody_reaches_does_not_undo_it() {
    let world = world_with(PAGER_AND_CHAT, |config| {
        named(config);
        config.give_up_after = Duration::from_secs(1);
    })
    .await;
    world.pagerduty.go_down().await;
    let fact = told(&world, to(&["pager", "chat"], page())).await;
    assert!(matches!(&fact, Fact::OnCallNotified(told) if told.channel == "slack"), "the usual way's fallback: {fact:?}");
    assert_eq!(world.slack.messages().len(), 2);
}

#[tokio::test]
async fn the_audience_is_told_as_well_where_that_is_asked_for_and_a_channel_is_a_receiver_by_its_name() {
    let world = world_with(PAGER_AND_CHAT, named).await;
    told(&world, NotificationRequested { audience_too: true, ..to(&["pager"], page()) }).await;
    assert_eq!(paged(&world), "ac");
    assert!(!world.pagerduty.pages().iter().any(|page| page.summary().contains("sent here because")));
    let world = world_with(PAGER_AND_CHAT, named).await;
    let fact = told(&world, to(&["slack"], page())).await;
    assert!(matches!(&fact, Fact::OnCallNotified(told) if told.channel == "slack"), "{fact:?}");
    let messages = world.slack.messages();
    assert_eq!((messages.len(), messages[0].channel.as_str(), paged(&world).as_str()), (1, "C0INCIDENTS", ""));
}

#[tokio::test]
async fn a_named_webhook_gets_the_same_signed_json_and_the_others_their_copies() {
    let world = world_with(ALL, |config| {
        let mine = config.webhook[0].url.join("/shop").unwrap();
        let webhook = Some(Webhook { url: mine, secret: Some(Secret::new("other")) });
        config.receivers = [("hook".into(), Receiver { webhook, ..Receiver::default() })].into();
    })
    .await;
    let fact = told(&world, to(&["hook"], page())).await;
    assert!(matches!(&fact, Fact::OnCallNotified(told) if told.channel == "hook"), "{fact:?}");
    let request = world.log.all().iter().position(|fact| matches!(fact, Fact::NotificationRequested(_))).unwrap();
    world.desk.copy(&world.subject, request as u64 + 1).await.unwrap();
    let calls = world.webhook.received();
    let at = |path: &str| calls.iter().filter(|call| call.call.path.ends_with(path)).collect::<Vec<_>>();
    let mine = at("/shop");
    assert_eq!((mine.len(), calls.len()), (1, 2), "{}", world.webhook.render());
    assert!(mine[0].call.headers["x-lastgood-delivery"].ends_with("-to-hook"));
    assert_eq!(mine[0].call.body["receivers"][0], "hook");
}
