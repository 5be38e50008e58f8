//! Notifications over real HTTP to recording receivers: which channel, how often, and what is recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::world::{ALL, NONE, With, World, inform, opened, page, request, with_thread, world, world_with};
use chassis::bus::HandleError;
use contracts::Fact;
use contracts::v1::{self, Audience, Outcome, Urgency};
use hmac::{Hmac, KeyInit, Mac};
use testbed::wait::until;

const PAGER: With = With { pagerduty: true, ..NONE };
const CHAT: With = With { slack: true, ..NONE };
const PAGER_AND_CHAT: With = With { webhook: false, ..ALL };

/// Announced without a chat, and one request; its sequence.
fn asked(world: &World, request: v1::NotificationRequested) -> u64 {
    with_thread(&world.log, "", "");
    world.log.push(request)
}

fn last(world: &World) -> Fact {
    world.log.all().pop().unwrap()
}

#[tokio::test]
async fn a_page_goes_to_its_audience_once() {
    let world = world(PAGER).await;
    let on_call = asked(&world, page());
    let lead = world.log.push(request(Audience::TeamLead, Urgency::Page, "halted.cooldown"));
    for sequence in [on_call, on_call, lead, lead] {
        world.desk.notify(&world.subject, sequence).await.unwrap();
    }
    let pages = world.pagerduty.pages();
    let seen: Vec<_> =
        pages.iter().map(|page| (page.routing_key.chars().next().unwrap(), page.dedup_key.as_str(), page.triggers)).collect();
    let incident = world.subject.incident;
    let (one, two) =
        (format!("lastgood/{incident}/on_call/halted.cooldown"), format!("lastgood/{incident}/team_lead/halted.cooldown"));
    assert_eq!(seen, [('a', one.as_str(), 1), ('b', two.as_str(), 1)]);
    let Fact::Escalated(escalated) = last(&world) else { panic!("{:?}", last(&world)) };
    assert_eq!((escalated.channel.as_str(), escalated.dedup_key), ("pagerduty", two));
}

#[tokio::test]
async fn retry_after_and_server_errors_are_waited_out() {
    let world = world(PAGER).await;
    world.pagerduty.fail_next(1, 429, Some(Duration::from_secs(1)));
    world.pagerduty.fail_next(1, 500, None);
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    let calls = world.pagerduty.received();
    assert_eq!(calls.len(), 3);
    let waited = calls[1].call.at.duration_since(calls[0].call.at);
    assert!(waited >= jiff::SignedDuration::from_secs(1), "{waited:?}");
    assert_eq!(world.pagerduty.pages().len(), 1);
    assert!(matches!(last(&world), Fact::OnCallNotified(_)));
}

#[tokio::test]
async fn a_hang_and_a_lying_answer_are_tried_again() {
    let world = world(PAGER).await;
    world.pagerduty.hang_next(1);
    world.pagerduty.lie_next(1);
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert_eq!(world.pagerduty.pages()[0].triggers, 1);
}

#[tokio::test]
async fn a_refusal_goes_to_the_fallback_at_once() {
    let world = world(PAGER_AND_CHAT).await;
    world.pagerduty.fail_next(1, 400, None);
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert_eq!(world.pagerduty.received().len(), 1);
    assert!(world.slack.messages()[0].text().contains("The on-call engineer is needed"), "{}", world.slack.render());
    assert!(world.slack.render().contains("sent here because pagerduty could not be reached"), "{}", world.slack.render());
    let Fact::OnCallNotified(told) = last(&world) else { panic!("{:?}", last(&world)) };
    assert_eq!(told.channel, "slack");
}

#[tokio::test]
async fn a_pager_that_stays_away_ends_at_the_fallback() {
    let world = world_with(PAGER_AND_CHAT, |config| config.give_up_after = Duration::from_secs(2)).await;
    world.pagerduty.go_down().await;
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert_eq!(world.slack.messages().len(), 1);
    assert!(matches!(last(&world), Fact::OnCallNotified(_)));
}

#[tokio::test]
async fn a_wish_beyond_the_deadline_is_not_waited_for() {
    let world = world(PAGER_AND_CHAT).await;
    world.pagerduty.fail_next(1, 429, Some(Duration::from_mins(50)));
    let sequence = asked(&world, page());
    tokio::time::timeout(Duration::from_secs(3), world.desk.notify(&world.subject, sequence)).await.unwrap().unwrap();
    assert_eq!(world.slack.messages().len(), 1);
}

#[tokio::test]
async fn when_all_fails_that_is_recorded_and_not_tried_again() {
    let world = world(PAGER_AND_CHAT).await;
    world.pagerduty.fail_next(9, 400, None);
    world.slack.fail_next(9, 403, None);
    let sequence = asked(&world, page());
    for _ in 0..2 {
        world.desk.notify(&world.subject, sequence).await.unwrap();
    }
    let Fact::NotificationFailed(failed) = last(&world) else { panic!("{:?}", last(&world)) };
    assert!(failed.error.contains("pagerduty: 400") && failed.error.contains("slack: 403"), "{}", failed.error);
    assert_eq!((world.pagerduty.received().len(), world.slack.received().len()), (1, 1));
}

/// A page that no channel takes, under way, once that is on the log.
async fn owed(world: &World) -> tokio::task::JoinHandle<Result<(), HandleError>> {
    world.pagerduty.go_down().await;
    world.slack.go_down().await;
    let sequence = asked(world, page());
    let (desk, subject) = (Arc::clone(&world.desk), world.subject.clone());
    let telling = tokio::spawn(async move { desk.notify(&subject, sequence).await });
    let recorded = async || matches!(last(world), Fact::NotificationFailed(failed) if failed.owed).then_some(());
    until("the page is on the log as owed", Duration::from_secs(20), recorded).await.unwrap();
    telling
}

#[tokio::test]
async fn a_page_that_no_channel_takes_is_told_when_one_answers_again() {
    let world = world_with(PAGER_AND_CHAT, |config| config.give_up_after = Duration::from_secs(1)).await;
    let telling = owed(&world).await;
    world.pagerduty.come_back().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), telling).await.unwrap().unwrap().unwrap();
    assert_eq!(world.pagerduty.pages()[0].triggers, 1);
    assert!(matches!(last(&world), Fact::OnCallNotified(told) if told.channel == "pagerduty"));
}

#[tokio::test]
async fn a_stop_hands_an_owed_page_back_and_the_next_notifier_tells_it() {
    let world = world_with(PAGER_AND_CHAT, |config| config.give_up_after = Duration::from_secs(1)).await;
    let telling = owed(&world).await;
    world.stop.cancel();
    assert!(telling.await.unwrap().is_err());
    world.pagerduty.come_back().await.unwrap();
    let sequence = world.log.all().len() as u64 - 1;
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert_eq!(world.pagerduty.pages()[0].triggers, 1);
}

#[tokio::test]
async fn news_that_no_channel_takes_is_given_up() {
    let world = world_with(CHAT, |config| config.give_up_after = Duration::from_secs(1)).await;
    world.slack.go_down().await;
    let sequence = asked(&world, inform());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    let facts = world.log.all();
    assert!(facts.iter().any(|fact| matches!(fact, Fact::NotificationFailed(failed) if !failed.owed)), "{facts:?}");
}

#[tokio::test]
async fn nothing_configured_is_never_silent() {
    let world = world_with(NONE, |config| config.allow_silent = true).await;
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert!(matches!(last(&world), Fact::NotificationFailed(_)));
}

#[tokio::test]
async fn news_goes_to_the_thread_and_wakes_nobody() {
    let world = world(ALL).await;
    let sequence = world.log.push(opened());
    world.desk.announce(&world.subject, sequence).await.unwrap();
    world.log.push(crate::world::planned());
    let sequence = world.log.push(inform());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    world.desk.copy(&world.subject, sequence).await.unwrap();
    let threads = world.slack.threads();
    assert_eq!((threads.len(), threads[0].1.len()), (1, 1), "{}", world.slack.render());
    assert!(world.pagerduty.pages().is_empty());
    let changes = world.pagerduty.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].payload["summary"], "shop/web rolled back from web:2 to web:1");
    assert_eq!(world.webhook.received().len(), 1);
}

#[tokio::test]
async fn a_crash_between_send_and_record_sends_at_most_once_more() {
    let world = world(PAGER).await;
    world.log.lose_records.store(1, Ordering::SeqCst);
    let sequence = asked(&world, page());
    assert!(world.desk.notify(&world.subject, sequence).await.is_err());
    for _ in 0..3 {
        world.desk.notify(&world.subject, sequence).await.unwrap();
    }
    let pages = world.pagerduty.pages();
    assert_eq!((pages.len(), pages[0].triggers), (1, 2), "the same dedup key: still one page");
}

#[tokio::test]
async fn a_stop_hands_the_message_back() {
    let world = world(PAGER).await;
    world.pagerduty.fail_next(9, 500, None);
    let sequence = asked(&world, page());
    world.stop.cancel();
    assert!(world.desk.notify(&world.subject, sequence).await.is_err());
    assert!(!matches!(last(&world), Fact::NotificationFailed(_)));
}

#[tokio::test]
async fn webhooks_are_signed_and_keep_their_delivery_id() {
    let world = world(With { webhook: true, ..PAGER }).await;
    world.webhook.fail_next(1, 503, None);
    let sequence = asked(&world, page());
    world.desk.copy(&world.subject, sequence).await.unwrap();
    let calls = world.webhook.received();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].call.headers["x-lastgood-delivery"], calls[1].call.headers["x-lastgood-delivery"]);
    let call = &calls[1].call;
    let signature = call.headers["x-lastgood-signature"].clone();
    let (t, v1) = signature.split_once(",v1=").unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(t.strip_prefix("t=").unwrap().as_bytes());
    mac.update(b".");
    mac.update(&call.raw);
    mac.verify_slice(&hex::decode(v1).unwrap()).unwrap();
    assert_eq!(call.body["workload"]["name"], "web");
    assert_eq!(call.body["urgency"], "page");
    assert!(call.body["runbook"].as_str().unwrap().ends_with("/cooldown.md"));
}

#[tokio::test]
async fn a_lone_webhook_answers_and_gets_no_copy() {
    let world = world(With { webhook: true, ..NONE }).await;
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    world.desk.copy(&world.subject, sequence).await.unwrap();
    assert_eq!(world.webhook.received().len(), 1);
    assert!(matches!(last(&world), Fact::OnCallNotified(told) if told.channel == "webhook"));
}

#[tokio::test]
async fn settled_pages_are_resolved_and_open_questions_are_not() {
    for (end, later, resolved) in
        [(Outcome::Completed, false, true), (Outcome::Completed, true, false), (Outcome::Halted, false, false)]
    {
        let world = world(PAGER).await;
        with_thread(&world.log, "", "");
        let ask = || world.log.push(page());
        let mut sequence = if later { 0 } else { ask() };
        let close = world.log.push(v1::IncidentClosed { outcome: end.into(), reason: String::new() });
        if later {
            sequence = ask();
        }
        world.desk.notify(&world.subject, sequence).await.unwrap();
        for sequence in [close, world.log.last_sequence()] {
            world.desk.resolve(&world.subject, sequence).await.unwrap();
        }
        assert_eq!(world.pagerduty.pages()[0].resolved_at.is_some(), resolved, "{end:?} {later}");
    }
}

#[tokio::test]
async fn a_superseded_incident_resolves_its_pages() {
    let world = world(PAGER).await;
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    let sequence = world.log.push(v1::Superseded { what: "template".into(), ..Default::default() });
    world.desk.resolve(&world.subject, sequence).await.unwrap();
    assert!(world.pagerduty.pages()[0].resolved_at.is_some());
}

#[tokio::test]
async fn the_chat_alone_takes_pages_too() {
    let world = world(CHAT).await;
    let sequence = asked(&world, page());
    world.desk.notify(&world.subject, sequence).await.unwrap();
    assert_eq!(world.slack.messages().len(), 1);
}
