//! Messages by table: whatever labels, names and log lines hold, they stay within the providers' limits and harmless.

use contracts::v1::{self, Audience, Outcome, Urgency, Verdict};
use contracts::{Fact, IncidentSubject};
use jiff::{SignedDuration, Timestamp};
use notifier::channels::Notice;
use notifier::config::Notifier;
use notifier::story::Story;
use notifier::templates::{ChatMessage, event, notice, page, reply, thread};

use crate::world::{HOSTILE, failed, halted, opened, planned, request, subject};

/// Facts whose every text is this one.
fn facts(text: &str) -> Vec<Fact> {
    let long = |count: usize| vec![text.to_owned(); count];
    let mut detected = opened();
    if let Some(trigger) = &mut detected.trigger {
        trigger.alert_name = text.into();
        trigger.annotations.insert("summary".into(), text.to_owned());
    }
    let mut plan = planned();
    if let Some(plan) = &mut plan.plan {
        plan.diff = text.into();
        plan.from = Some(crate::world::version(text));
    }
    let pod = v1::PodReport { name: text.into(), reason: text.into(), last_log_lines: long(50), ..Default::default() };
    let (reason, detail) = (text.to_owned(), text.to_owned());
    let mut facts = vec![
        detected.into(),
        plan.into(),
        v1::RollbackHalted { reason: reason.clone(), detail: detail.clone(), would_do: detail.clone() }.into(),
        v1::RollbackFailed { attempt: 1, reason, detail, pods: vec![pod; 100], serving: long(500) }.into(),
    ];
    for index in 0..60 {
        let (check, kind, evidence) = (format!("{index} {text}"), text.to_owned(), text.to_owned());
        facts.push(v1::SmokeTestFinished { check, kind, verdict: Verdict::NoData.into(), evidence, tries: 3 }.into());
    }
    facts.extend([
        v1::VerificationFailed { reason: text.into(), failed_checks: long(60) }.into(),
        v1::Superseded { what: text.into(), detail: text.into(), workload_generation: 1 }.into(),
        v1::OnCallNotified { reason: text.into(), channel: "pagerduty".into(), dedup_key: text.into() }.into(),
        v1::Escalated { reason: text.into(), channel: "pagerduty".into(), dedup_key: text.into() }.into(),
        v1::NotificationFailed { audience: 1, reason: text.into(), error: text.into(), owed: false }.into(),
        v1::PersonActed { action: 4, who: text.into(), via: text.into(), note: text.into() }.into(),
        v1::NotificationRequested { summary: text.into(), ..request(Audience::TeamLead, Urgency::Page, text) }.into(),
        v1::IncidentClosed { outcome: Outcome::Unresolved.into(), reason: text.into() }.into(),
    ]);
    facts
}

fn at(step: usize) -> Timestamp {
    let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    start + SignedDuration::from_millis(i64::try_from(step).unwrap() * 1300)
}

fn story(subject: IncidentSubject, facts: &[Fact]) -> Story {
    Story::of(subject, facts.iter().enumerate().map(|(index, fact)| (index as u64 + 1, at(index), fact)))
}

fn check(message: &ChatMessage) {
    assert!(message.text.chars().count() <= 4000 && message.blocks.len() <= 50);
    for block in &message.blocks {
        let texts: Vec<_> = match block["type"].as_str().unwrap() {
            "context" => block["elements"].as_array().unwrap().iter().collect(),
            _ => vec![&block["text"]],
        };
        for text in texts {
            let (kind, text) = (text["type"].as_str().unwrap(), text["text"].as_str().unwrap());
            let limit = if block["type"] == "header" { 150 } else { 3000 };
            assert!(!text.is_empty() && text.chars().count() <= limit, "{} characters", text.chars().count());
            if kind == "mrkdwn" {
                let links = text.matches("<https://github.com/lastgood/").count();
                assert_eq!(text.matches('<').count(), links, "only our own links: {text}");
                assert_eq!(text.matches("```").count() % 2, 0, "{text}");
            }
        }
    }
}

#[test]
fn hostile_and_endless_values_stay_within_limits() {
    let links = Notifier::default().links();
    for text in [
        HOSTILE.to_owned(),
        HOSTILE.repeat(2000),
        "&".repeat(5000),
        "`".repeat(5000),
        "<".repeat(9000),
        "🦀".repeat(5000),
        String::new(),
    ] {
        let mut subject = subject();
        subject.workload.name.clone_from(&text);
        let facts = facts(&text);
        let story = story(subject, &facts);
        check(&thread::parent(&story, &links));
        for fact in &facts {
            if let Some(message) = reply(&story, fact) {
                check(&message);
            }
        }
        let notice = Notice { instead_of: Some("pagerduty"), ..Notice::usual(&story, &story.requests[0]) };
        check(&notice::chat(&notice, &links));
        let trigger = page::trigger(&notice, &links);
        assert!(trigger["payload"]["summary"].as_str().unwrap().chars().count() <= 1024);
        assert!(trigger["dedup_key"].as_str().unwrap().chars().count() <= 255);
        assert!(trigger.to_string().len() < 512 * 1024, "{}", trigger.to_string().len());
        assert!(page::change(&notice, &links).to_string().len() < 512 * 1024);
        assert!(event::notification(&notice, &links).is_object());
    }
}

#[test]
fn the_parent_shows_steps_with_times_and_the_outcome() {
    let links = Notifier::default().links();
    let facts: Vec<Fact> = vec![
        opened().into(),
        planned().into(),
        v1::RollbackStarted { attempt: 1, ..Default::default() }.into(),
        v1::PodsReady { attempt: 1, ready: 3, desired: 3 }.into(),
        v1::IncidentClosed { outcome: Outcome::Completed.into(), reason: "completed".into() }.into(),
    ];
    let message = thread::parent(&story(subject(), &facts), &links);
    let shown = serde_json::to_string(&message.blocks).unwrap();
    for words in [
        "✅ Detected: HighErrorRate  _+0.0 s_",
        "✅ Pods ready (3/3)  _+3.9 s_",
        "Closed: completed  _+5.2 s_",
        "`web:2` → `web:1`",
    ] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    assert_eq!(message.text, "✅ shop/web: rolled back, verified and resolved");
}

#[test]
fn a_page_says_what_a_person_needs() {
    let links = Notifier::default().links();
    let ask = v1::NotificationRequested {
        runbook: "pods-not-ready".into(),
        ..request(Audience::OnCall, Urgency::Page, "failed.pods_not_ready")
    };
    let facts: Vec<Fact> = vec![opened().into(), planned().into(), halted().into(), failed().into(), ask.into()];
    let story = story(subject(), &facts);
    let notice = Notice::usual(&story, &story.requests[0]);
    let body = page::trigger(&notice, &links);
    let (payload, details) = (&body["payload"], &body["payload"]["custom_details"]);
    for (value, expected) in [
        (&payload["severity"], "critical"),
        (&payload["source"], "eu/shop/Deployment/web"),
        (&payload["component"], "web"),
        (&payload["group"], "shop"),
        (&payload["class"], "failed.pods_not_ready"),
        (&details["from"], "web:2"),
        (&details["to"], "web:1"),
        (&details["serving_pods"][0], "web-7"),
        (&details["pods"][0]["reason"], "CrashLoopBackOff"),
        (&body["client"], "lastgood"),
        (&body["links"][0]["href"], "https://github.com/lastgood/lastgood/blob/main/runbooks/pods-not-ready.md"),
    ] {
        assert_eq!(value, expected, "{body:#}");
    }
    assert!(details["diff"].as_str().unwrap().contains("+  image: web:1"));
}

#[test]
fn a_runbook_is_linked_only_where_its_name_can_be_a_pages() {
    let links = Notifier::default().links();
    for hostile in
        ["../../etc/passwd", "x|y>", "javascript:alert(1)", "a b", "A", "", "cooldown.md?x", "a\nb", "//evil.example/x"]
    {
        assert_eq!(links.runbook(hostile), None, "{hostile:?}");
        let ask = v1::NotificationRequested {
            runbook: hostile.into(),
            ..request(Audience::OnCall, Urgency::Page, "failed.pods_not_ready")
        };
        let story = story(subject(), &[opened().into(), ask.into()]);
        let notice = Notice::usual(&story, &story.requests[0]);
        let body = page::trigger(&notice, &links);
        assert!(body["links"].as_array().is_some_and(Vec::is_empty), "{body:#}");
        let body = body.to_string();
        assert!(!body.contains("javascript:") && !body.contains("passwd") && !body.contains("evil.example"), "{body}");
    }
    assert!(links.runbook("cooldown").is_some_and(|link| link.ends_with("/runbooks/cooldown.md")));
}
