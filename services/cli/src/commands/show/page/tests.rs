//! How incidents read.

use contracts::{Fact, IncidentSubject, v1};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An incident of these facts, three seconds apart.
fn dossier(facts: &[Fact]) -> Dossier {
    let id = "inc_0000000000000000000000000000002a";
    let subject = IncidentSubject::parse(&format!("lastgood.incident.eu.shop.deployment.web.{id}.x")).unwrap().0;
    let mut dossier = Dossier::new(subject);
    for (index, fact) in (0..).zip(facts) {
        dossier.add(10 + u64::try_from(index).unwrap(), at(3 * index), fact.event_type(), &fact.encode());
    }
    dossier
}

fn opening() -> Fact {
    let trigger = v1::Occurrence {
        fingerprint: "f00".into(),
        source: "alertmanager".into(),
        alert_name: "Errors".into(),
        annotations: [("summary".to_owned(), "too many\u{1b}[2J".to_owned())].into(),
        ..v1::Occurrence::default()
    };
    v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() }.into()
}

fn version(hash: &str, image: &str) -> v1::Version {
    let images = vec![v1::ContainerImage { container: "web".into(), image: image.into(), ..v1::ContainerImage::default() }];
    v1::Version { template_hash: hash.into(), images, ..v1::Version::default() }
}

fn plan() -> v1::Plan {
    v1::Plan {
        strategy: "rolling".into(),
        from: Some(version("bbbbbbbbbbbb", "web:v2")),
        to: Some(version("aaaaaaaaaaaa", "web:v1")),
        diff: "~ containers[web].image: web:v2 → web:v1".into(),
        not_after: Some(contracts::time::to_proto(at(120))),
        ..v1::Plan::default()
    }
}

#[test]
fn an_open_incident_is_a_story_that_ends_with_what_it_waits_for() {
    let found = v1::PreviousVersionFound { version: Some(version("aaaaaaaaaaaa", "web:v1")), evidence: "stood for 1h".into() };
    let dossier = dossier(&[opening(), found.into(), v1::RollbackPlanned { plan: Some(plan()) }.into()]);
    assert_eq!(
        text(&dossier, at(66), Look::new(false)),
        [
            "inc_0000000000000000000000000000002a of deployment/web -n shop in cluster eu",
            "  alert    Errors",
            "  opened   2027-01-15 08:00:00Z (1m 06s ago)",
            "  bad      web:v2",
            "  good     web:v1",
            "",
            "08:00:00Z     +0.0s  Detected: Errors",
            "                     Errors, told by alertmanager, fingerprint f00",
            "                     too many\\u{1b}[2J",
            "08:00:03Z     +3.0s  Last good version: web:v1",
            "                     template aaaaaaaaaa, stood for 1h",
            "08:00:06Z     +6.0s  Rollback planned (rolling)",
            "                     web:v2 → web:v1",
            "                     to be begun before 2027-01-15 08:02:00Z",
            "                       ~ containers[web].image: web:v2 → web:v1",
            "",
            "rollback planned",
            "waits for the chat thread until 2027-01-15 08:00:09Z (57s ago)",
            "waits for the first attempt until 2027-01-15 08:02:00Z (in 54s)",
        ]
    );
}

#[test]
fn a_closed_one_says_how_it_ended_and_after_how_long() {
    let halted =
        v1::RollbackHalted { reason: "paused".into(), detail: "by ann".into(), would_do: "back to web:v1\n~ image".into() };
    let closed = v1::IncidentClosed { outcome: Outcome::Halted.into(), reason: "paused".into() };
    let dossier = dossier(&[opening(), halted.into(), closed.into()]);
    let lines = text(&dossier, at(3_600), Look::new(false));
    assert_eq!(
        lines[7..],
        [
            "08:00:03Z     +3.0s  Halted: paused",
            "                     by ann",
            "                     what would have been done:",
            "                       back to web:v1",
            "                       ~ image",
            "                     runbook: paused",
            "08:00:06Z     +6.0s  Closed: halted",
            "                     paused",
            "",
            "halted, closed at 2027-01-15 08:00:06Z after 6s",
        ]
    );
    let json = json(&dossier);
    assert_eq!((&json["outcome"], &json["open"], &json["phase"]), (&json!("halted"), &json!(false), &json!("closed")));
    assert_eq!(json["halted"]["would_do"], "back to web:v1\n~ image");
}

#[test]
fn what_cant_be_read_is_shown_and_hides_nothing() {
    let mut dossier = dossier(&[opening()]);
    dossier.add(20, at(6), "sung_about", b"");
    dossier.add(21, at(7), "pods_ready", b"\xff\xff");
    let shown = text(&dossier, at(9), Look::new(false)).join("\n");
    assert!(shown.contains("sung_about: a newer lastgood wrote this") && shown.contains("pods_ready: damaged"), "{shown}");
    assert!(shown.contains("a part of its log can't be read"), "{shown}");
    assert_eq!(json(&dossier)["unreadable_facts"], 2);
}

#[test]
fn colours_are_ours_alone() {
    let passed = v1::VerificationPassed { checks: 1 };
    let painted = text(&dossier(&[opening(), passed.into()]), at(9), Look::new(true)).join("\n");
    assert!(painted.contains("\u{1b}[32m") && !painted.contains("\u{1b}[2J"), "{painted:?}");
}
