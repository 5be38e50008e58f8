//! The attempt rule's table.

use contracts::v1::{Plan, RollbackStarted, Version};
use lastgood_core::incident::Attempt;
use serde_json::json;

use super::*;

const INC: &str = "inc_0193a0000000700080000000000000aa";

fn incident(generations: &[i64]) -> Incident {
    let at: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let version = |hash: &str, revision| Some(Version { template_hash: hash.into(), revision, ..Version::default() });
    let plan = Plan {
        from: version("bad", 2),
        to: version("good", 1),
        workload_uid: "u".into(),
        workload_generation: 5,
        not_after: Some(contracts::time::to_proto("2026-11-22T00:02:00Z".parse().unwrap())),
        ..Plan::default()
    };
    let attempts = generations.iter().zip(1..).map(|(generation, attempt)| Attempt {
        at,
        intent: RollbackStarted {
            attempt,
            workload_uid: "u".into(),
            workload_generation: *generation,
            template_hash: "bad".into(),
            target_template_hash: "good".into(),
            ..RollbackStarted::default()
        },
    });
    Incident { plan: Some((at, plan)), attempts: attempts.collect(), ..Incident::default() }
}

fn bad(generation: i64) -> Live {
    Live { uid: "u".into(), generation, template_hash: "bad".into(), revision: 2, ..Live::default() }
}

fn good(incident: &str, attempt: u32) -> Live {
    let stamped_template = if attempt > 0 { "good".into() } else { String::new() };
    Live { template_hash: "good".into(), incident: incident.into(), attempt, stamped_template, revision: 3, ..bad(6) }
}

fn step_at(incident: &Incident, live: Option<&Live>, written: bool, now: &str) -> Step {
    next_step(incident, INC.parse().unwrap(), Seen { live, written }, now.parse().unwrap()).unwrap()
}

fn step(incident: &Incident, live: &Live) -> Step {
    step_at(incident, Some(live), false, "2026-11-22T00:00:01Z")
}

fn superseded(step: &Step) -> &'static str {
    match step {
        Step::Supersede { what, .. } => what,
        other => panic!("not superseded but {other:?}"),
    }
}

#[test]
fn the_intent_comes_first_and_then_the_write() {
    assert_eq!(step(&incident(&[]), &bad(5)), Step::Intend(1));
    assert_eq!(step(&incident(&[]), &bad(9)), Step::Intend(1), "replicas changed between plan and intent");
    assert_eq!(step(&incident(&[5]), &bad(5)), Step::Write(1));
}

#[test]
fn a_moved_generation_needs_a_new_attempt() {
    assert_eq!(step(&incident(&[5]), &bad(6)), Step::Intend(2));
    assert_eq!(step(&incident(&[5, 6]), &bad(6)), Step::Write(2));
}

#[test]
fn our_write_is_known_by_its_annotations() {
    assert_eq!(step(&incident(&[5]), &good(INC, 1)), Step::Watch(1));
    assert_eq!(step(&incident(&[5, 6]), &good(INC, 1)), Step::Watch(2), "an earlier attempt's write is ours too");
    let webhooked = Live { template_hash: "good+sidecar".into(), stamped_template: "good+sidecar".into(), ..good(INC, 1) };
    assert_eq!(step(&incident(&[5]), &webhooked), Step::Watch(1), "admission added to the template, as the dry run had shown");
    assert_eq!(step(&incident(&[]), &good(INC, 1)), Step::Intend(1), "the log was lost; the annotation is a witness");
}

#[test]
fn the_target_without_our_annotations_is_somebody_elses() {
    for live in [good("", 0), good("inc_0193a0000000700080000000000000bb", 1), good(INC, 0)] {
        assert_eq!(superseded(&step(&incident(&[5]), &live)), "template", "{live:?}");
        assert_eq!(superseded(&step_at(&incident(&[5]), Some(&live), true, "2026-11-22T00:00:01Z")), "template");
    }
    assert_eq!(superseded(&step(&incident(&[]), &good("", 0))), "template", "a manual undo before our write");
}

#[test]
fn annotations_alone_prove_nothing() {
    let ours = |live: &Live| live.is_as_written_by(INC.parse().unwrap());
    assert!(ours(&good(INC, 1)));
    let applied = Live { template_hash: "third".into(), ..good(INC, 1) };
    for live in [applied, good("", 0), bad(5), Live { paused: true, ..good(INC, 1) }, Live { deleting: true, ..good(INC, 1) }] {
        assert!(!ours(&live), "{live:?}");
    }
}

#[test]
fn another_template_is_somebody_elses() {
    let third = Live { template_hash: "third".into(), ..bad(6) };
    assert_eq!(superseded(&step(&incident(&[]), &third)), "template");
    assert_eq!(superseded(&step(&incident(&[5]), &third)), "template");
    assert_eq!(
        superseded(&step(&incident(&[5]), &Live { incident: INC.into(), attempt: 1, stamped_template: "good".into(), ..third })),
        "template"
    );
}

#[test]
fn the_bad_version_brought_back_after_our_write_is_somebody_elses() {
    let applied = Live { incident: INC.into(), attempt: 1, stamped_template: "good".into(), ..bad(7) };
    assert_eq!(superseded(&step(&incident(&[5]), &applied)), "template", "apply keeps our annotations");
    assert_eq!(
        superseded(&step_at(&incident(&[5]), Some(&bad(7)), true, "2026-11-22T00:00:01Z")),
        "template",
        "replace drops them"
    );
    let replaced = Live { revision: 4, ..bad(7) };
    assert_eq!(superseded(&step(&incident(&[5]), &replaced)), "template", "and the revision tells it after a crash");
    let mut reported = incident(&[5]);
    reported.progress.deployed = Some(Timestamp::UNIX_EPOCH);
    let unnumbered = Live { revision: 0, ..bad(7) };
    assert_eq!(superseded(&step(&reported, &unnumbered)), "template", "and so does what was reported, without a revision");
}

#[test]
fn uid_pause_and_deletion_supersede() {
    let at = "2026-11-22T00:00:01Z";
    for incident in [incident(&[]), incident(&[5])] {
        assert_eq!(superseded(&step(&incident, &Live { uid: "other".into(), ..bad(1) })), "uid");
        assert_eq!(superseded(&step(&incident, &Live { paused: true, ..bad(5) })), "paused");
        assert_eq!(superseded(&step(&incident, &Live { paused: true, ..good(INC, 1) })), "paused");
        assert_eq!(superseded(&step(&incident, &Live { deleting: true, ..bad(5) })), "deleted");
        assert_eq!(superseded(&step_at(&incident, None, false, at)), "deleted");
    }
}

#[test]
fn an_expired_plan_is_not_begun_but_a_begun_one_goes_on() {
    let late = "2026-11-22T00:02:01Z";
    assert!(matches!(step_at(&incident(&[]), Some(&bad(5)), false, late), Step::Halt { reason: HaltReason::PlanExpired, .. }));
    assert_eq!(step_at(&incident(&[5]), Some(&bad(5)), false, late), Step::Write(1));
}

#[test]
fn a_plan_that_was_begun_too_late_by_the_logs_clock_is_not_written_whatever_our_clock_says() {
    let ours = "2026-11-22T00:01:00Z";
    let begun_at = |at: &str| {
        let mut incident = incident(&[5, 6]);
        incident.attempts[0].at = at.parse().unwrap();
        incident
    };
    assert_eq!(step_at(&begun_at("2026-11-22T00:02:00Z"), Some(&bad(6)), false, ours), Step::Write(2), "the first one counts");
    let step = step_at(&begun_at("2026-11-22T00:02:01Z"), Some(&bad(6)), false, ours);
    assert!(matches!(step, Step::GiveUp { reason: FailureReason::PlanExpired, .. }), "{step:?}");
    let written = step_at(&begun_at("2026-11-22T00:02:01Z"), Some(&good(INC, 1)), false, ours);
    assert_eq!(written, Step::Watch(2), "what is in place is reported");
}

#[test]
fn after_the_deadline_nothing_is_written() {
    let late = "2026-11-22T00:10:00Z";
    let given_up = |generation| match step_at(&incident(&[5]), Some(&bad(generation)), false, late) {
        Step::GiveUp { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(given_up(5), Some(FailureReason::PodsNotReady), "it was down between intent and write");
    assert_eq!(given_up(6), Some(FailureReason::PodsNotReady));
    assert_eq!(step_at(&incident(&[5]), Some(&good(INC, 1)), false, late), Step::Watch(1), "what is in place is reported");
}

#[test]
fn without_a_plan_there_is_no_step() {
    let seen = Seen { live: Some(&bad(5)), written: false };
    assert_eq!(next_step(&Incident::default(), INC.parse().unwrap(), seen, Timestamp::UNIX_EPOCH), None);
}

#[test]
fn a_read_is_understood() {
    let object = json!({"metadata": {"uid": "u", "generation": 4, "annotations": {INCIDENT: INC, ATTEMPT: "2", TEMPLATE_HASH: "h",
        REVISION: "9"}, "managedFields": [{"manager": "lastgood", "operation": "Update", "fieldsV1": {}}]},
        "spec": {"paused": true, "template": {"spec": {}}}});
    let live = Live::of(&object);
    assert_eq!(
        live,
        Live {
            uid: "u".into(),
            generation: 4,
            template_hash: template::hash(&json!({"spec": {}})),
            paused: true,
            deleting: false,
            incident: INC.into(),
            attempt: 2,
            stamped_template: "h".into(),
            revision: 9,
            entry_of_ours: true
        }
    );
    assert_eq!(Live::of(&json!({})).generation, 0);
}

/// After its first write showed other images than were recorded.
fn moved(generations: &[i64]) -> Incident {
    let moved = contracts::v1::ImageMoved {
        attempt: 1,
        template_hash: "good".into(),
        workload_revision: 3,
        ..contracts::v1::ImageMoved::default()
    };
    let mut incident = Incident { moved: Some(moved), ..incident(generations) };
    if let Some(to) = incident.plan.as_mut().and_then(|(_, plan)| plan.to.as_mut()) {
        to.template_hash = "by digest".into();
    }
    incident
}

fn by_digest(attempt: u32) -> Live {
    Live {
        template_hash: "by digest".into(),
        stamped_template: "by digest".into(),
        revision: 4,
        generation: 7,
        ..good(INC, attempt)
    }
}

#[test]
fn a_write_whose_images_had_moved_is_replaced_by_the_next_one() {
    assert_eq!(step(&moved(&[5]), &good(INC, 1)), Step::Intend(2));
    assert_eq!(step(&moved(&[5, 6]), &good(INC, 1)), Step::Write(2));
    assert_eq!(step(&moved(&[5, 6]), &by_digest(2)), Step::Watch(2));
    assert_eq!(step(&moved(&[5]), &by_digest(2)), Step::Intend(2), "the log lost the second intent");
}

#[test]
fn what_people_do_after_an_image_moved_wins_as_ever() {
    let theirs = Live { template_hash: "another".into(), ..good(INC, 1) };
    assert_eq!(superseded(&step(&moved(&[5]), &theirs)), "template");
    assert_eq!(superseded(&step(&moved(&[5]), &bad(8))), "template", "they brought the bad one back");
    let undone = Live { template_hash: "good".into(), revision: 5, ..by_digest(2) };
    assert_eq!(superseded(&step(&moved(&[5, 6]), &undone)), "template", "they brought the tag back, after our second write");
    let replaced = Live { incident: String::new(), attempt: 0, stamped_template: String::new(), ..good(INC, 1) };
    for intents in [&[5][..], &[5, 6]] {
        assert_eq!(superseded(&step(&moved(intents), &replaced)), "template", "they put the tag in the place of our write");
    }
    let unstamped = Live { incident: String::new(), attempt: 0, ..by_digest(0) };
    assert_eq!(superseded(&step(&moved(&[5, 6]), &unstamped)), "template", "theirs, although it looks like ours");
}
