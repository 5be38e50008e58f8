//! What each fact says, by example.

use super::*;
use crate::demo::look::Look;

fn at(fact: impl Into<Fact>, second: i64) -> Recorded {
    Recorded { sequence: 1, at: Timestamp::from_second(second).unwrap(), fact: fact.into() }
}

fn painted(fact: impl Into<Fact>) -> String {
    let lines = lines(&at(fact, 1_007), Timestamp::from_second(1_000).unwrap());
    lines.iter().flat_map(|line| line.paint(Look::new(120, false))).collect::<Vec<_>>().join("\n")
}

fn version_of(image: &str) -> v1::Version {
    let images = vec![v1::ContainerImage { container: "web".into(), image: image.into(), ..v1::ContainerImage::default() }];
    v1::Version { images, ..v1::Version::default() }
}

#[test]
fn the_clock_starts_when_the_alert_was_raised() {
    let starts_at = Some(contracts::time::to_proto(Timestamp::from_second(1_000).unwrap()));
    let annotations = [("summary".to_owned(), "half of it fails".to_owned())].into();
    let trigger = v1::Occurrence {
        starts_at,
        source: "alertmanager".into(),
        alert_name: "HighErrorRate".into(),
        annotations,
        ..v1::Occurrence::default()
    };
    let opening = at(v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() }, 1_001);
    assert_eq!(raised(&opening).as_second(), 1_000);
    let lines = lines(&opening, raised(&opening));
    let lines: Vec<_> = lines.iter().flat_map(|line| line.paint(Look::new(120, false))).collect();
    assert_eq!(
        lines,
        [
            " +00:00.00          Prometheus alerts     HighErrorRate: half of it fails",
            " +00:01.00  n2 n3   incident opened       told by alertmanager",
        ]
    );
    assert_eq!(raised(&at(v1::Mitigated {}, 5)).as_second(), 5);
}

#[test]
fn the_telling_details_show() {
    let changed_at = Some(contracts::time::to_proto(Timestamp::from_second(999).unwrap()));
    let version = Some(version_of("docker.io/lastgood/workload:v2-failing"));
    let now = painted(v1::CurrentVersionIdentified { version, changed_at, ..Default::default() });
    assert!(now.contains("+00:07.00  n6") && now.contains("workload:v2-failing, rolled out 8 s before"), "{now}");
    let plan = v1::Plan {
        strategy: "rolling".into(),
        from: Some(version_of("x/web:v2")),
        to: Some(version_of("x/web:v1")),
        diff: ["a line"; 9].join("\n"),
        ..v1::Plan::default()
    };
    let planned = painted(v1::RollbackPlanned { plan: Some(plan) });
    assert!(planned.contains("rolling: web:v2 → web:v1") && planned.contains("… 3 more lines"), "{planned}");
    let failed = painted(v1::RollbackFailed { serving: vec!["web-1".into(), "web-2".into()], ..Default::default() });
    assert!(failed.contains("serving now: web-1, web-2"), "{failed}");
    let none = painted(v1::RollbackFailed::default());
    assert!(none.contains("serving now: no pod"), "{none}");
}

#[test]
fn people_and_ends() {
    let page = v1::NotificationRequested {
        audience: Audience::TeamLead.into(),
        urgency: Urgency::Page.into(),
        reason: "unacknowledged".into(),
        ..Default::default()
    };
    let page = painted(page);
    assert!(page.contains("n21") && page.contains("page the team lead") && page.contains("unacknowledged"), "{page}");
    for (outcome, reason, expected) in [
        (Outcome::Completed, "completed", "closed                completed"),
        (Outcome::Halted, "previous_version_missing", "halted: previous version missing"),
    ] {
        let closed = painted(v1::IncidentClosed { outcome: outcome.into(), reason: reason.into() });
        assert!(closed.ends_with(expected), "{closed}");
    }
}

#[test]
fn a_check_without_data_is_no_success() {
    for (verdict, step) in
        [(Verdict::Passed, "check passed"), (Verdict::Failed, "check failed"), (Verdict::NoData, "saw nothing")]
    {
        let check = painted(v1::SmokeTestFinished { verdict: verdict.into(), ..Default::default() });
        assert!(check.contains(step), "{check}");
    }
}
