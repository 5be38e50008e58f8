//! Each refusal, and their order, by table.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::LedgerFact;
use lastgood_core::configuration::{Kind as Held, Read, Reference, recorded as record};
use lastgood_core::policy::{ApprovalTimeout, Effective, RestoreConfigMaps};
use serde_json::{Value, json};

use super::*;
use crate::config::Settings;
use crate::effective::{APPROVE_WITHIN, GRACE, MODE, effective};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "web", "image": image}]}})
}

fn hash(image: &str) -> String {
    template::hash(&template(image))
}

struct Case {
    kind: Kind,
    workload: Value,
    ledger: LedgerView,
    sets: Vec<Carrier>,
    switch: Option<v1::PauseSwitched>,
    failing: usize,
    last_rollback: Option<Timestamp>,
    alert_since: Timestamp,
    about: Option<String>,
    running: Vec<Seen>,
    rules: Rules,
    requested: Option<v1::RollbackRequested>,
}

fn observed(image: &str) -> LedgerFact {
    let version =
        v1::Version { template_hash: hash(image), images: template::images(&template(image)), ..v1::Version::default() };
    v1::VersionObserved {
        version: Some(version),
        template_json: template(image).to_string().into_bytes(),
        ..v1::VersionObserved::default()
    }
    .into()
}

fn available(image: &str) -> LedgerFact {
    v1::VersionAvailable { template_hash: hash(image), replicas: 2, restarts: 0, images: Vec::new() }.into()
}

fn ledger(facts: &[LedgerFact]) -> LedgerView {
    (1..).zip(facts).fold(LedgerView::default(), |view, (sequence, fact)| view.with(sequence, at(0), fact))
}

fn set(image: &str, revision: i64) -> Carrier {
    let set = Object::new(json!({"metadata": {"name": format!("web-{revision}"), "creationTimestamp": at(0).to_string(),
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": [{"kind": "Deployment", "uid": "u", "controller": true}]},
        "spec": {"template": template(image)}}));
    Carrier::of(&set).unwrap()
}

/// v1 proved itself, v2 was rolled out at minute 0, the alert fires since minute 5: everything allows it.
fn good() -> Case {
    Case {
        kind: Kind::Deployment,
        workload: json!({"metadata": {"name": "web", "uid": "u", "generation": 7, "annotations": {MODE: "auto"}},
            "spec": {"template": template("web:v2")}}),
        ledger: ledger(&[observed("web:v1"), available("web:v1"), observed("web:v2")]),
        sets: Vec::new(),
        switch: None,
        failing: 1,
        last_rollback: None,
        alert_since: at(5),
        about: Some(hash("web:v2")),
        running: Vec::new(),
        rules: Rules::from(&Effective::default()),
        requested: None,
    }
}

fn course(case: &Case) -> Course {
    let settings = Settings { soak: std::time::Duration::ZERO, ..Settings::default() };
    let workload = Object::new(case.workload.clone());
    course_by(case, &effective(&workload, &settings))
}

fn course_by(case: &Case, policy: &Effective) -> Course {
    let workload = Object::new(case.workload.clone());
    decide_course(&Inputs {
        kind: case.kind,
        workload: &workload,
        sets: &case.sets,
        ledger: &case.ledger,
        running: &case.running,
        rules: case.rules,
        alert_since: case.alert_since,
        about: case.about.as_deref(),
        requested: case.requested.as_ref(),
        switch: case.switch.as_ref(),
        failing_workloads: case.failing,
        last_rollback: case.last_rollback,
        policy,
        now: at(6),
    })
}

fn word(case: &Case) -> String {
    match course(case).step {
        Step::Halt(reason, _) => reason.code().to_owned(),
        Step::Missing(_) => "missing".to_owned(),
        Step::Hold(target, reason, _) => format!("{reason}, else {}", target.version.images[0].image),
        Step::Roll(target) => format!("roll to {}", target.version.images[0].image),
    }
}

#[test]
fn the_newest_good_version_is_restored_when_nothing_speaks_against_it() {
    assert_eq!(word(&good()), "roll to web:v1");
    let current = course(&good()).current;
    assert_eq!((current.workload_generation, current.workload_uid.as_str()), (7, "u"));
    assert_eq!(contracts::time::from_proto(current.changed_at.as_ref()), Some(at(0)));
}

type Change = fn(&mut Case);

#[test]
fn each_refusal_has_its_reason() {
    let changes: BTreeMap<&str, Change> = BTreeMap::from([
        ("unsupported_kind", (|c| c.kind = Kind::ReplicaSet) as Change),
        ("managed_elsewhere", |c| c.workload["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "shop"})),
        ("rollout_paused", |c| c.workload["spec"]["paused"] = json!(true)),
        ("no_recent_change", |c| c.alert_since = at(120)),
        ("missing", |c| c.ledger = ledger(&[observed("web:v1"), observed("web:v2")])),
        ("observe_mode, else web:v1", |c| c.workload["metadata"]["annotations"] = json!({})),
        ("paused, else web:v1", |c| c.switch = Some(v1::PauseSwitched { paused: true, ..v1::PauseSwitched::default() })),
        ("mass_failure, else web:v1", |c| c.failing = 10),
        ("cooldown, else web:v1", |c| c.last_rollback = Some(at(1))),
    ]);
    for (expected, change) in changes {
        let mut case = good();
        change(&mut case);
        assert_eq!(word(&case), expected);
    }
}

#[test]
fn what_a_plan_waits_for_is_what_the_policy_asks() {
    let mut case = good();
    assert_eq!(course(&case).waits, Waits::default());
    case.workload["metadata"]["annotations"] = json!({MODE: "approve", APPROVE_WITHIN: "5m", GRACE: "30s"});
    assert_eq!(word(&case), "roll to web:v1");
    let approval = Some((Duration::from_mins(5), ApprovalTimeout::Halt));
    assert_eq!(course(&case).waits, Waits { approval, grace: Some(Duration::from_secs(30)) });
}

#[expect(clippy::unnecessary_wraps, reason = "as the case has it")]
fn asked(image: &str) -> Option<v1::RollbackRequested> {
    let to_template_hash = if image.is_empty() { String::new() } else { hash(image) };
    Some(v1::RollbackRequested { to_template_hash, who: "ann".into(), reason: "it is slow".into() })
}

#[test]
fn what_a_person_asks_for_is_done_where_it_can_be() {
    // Nothing that keeps lastgood from acting by itself keeps a person from it; and no policy makes it wait.
    let annotations = json!({MODE: "observe", GRACE: "1h"});
    let mut case = Case { requested: asked(""), failing: 99, last_rollback: Some(at(5)), alert_since: at(900), ..good() };
    case.workload["metadata"]["annotations"] = annotations;
    assert_eq!(word(&case), "roll to web:v1");
    assert_eq!(course(&case).waits, Waits::default());
    let bad = v1::VersionRolledBackFrom { template_hash: hash("web:v1"), incident: "inc_1".into() };
    case.ledger = case.ledger.with(4, at(0), &bad.into());
    assert_eq!(word(&case), "missing", "no good version is left");
    case.requested = asked("web:v1");
    let Step::Roll(target) = course(&case).step else { panic!("a person says so") };
    assert!(target.evidence.contains("ann") && target.evidence.contains("it is bad"), "{}", target.evidence);
}

#[test]
fn what_a_person_asks_for_and_can_not_be_done_is_refused() {
    let changes: BTreeMap<&str, Change> = BTreeMap::from([
        ("unsupported_kind", (|c| c.kind = Kind::ReplicaSet) as Change),
        ("managed_elsewhere", |c| c.workload["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "shop"})),
        ("rollout_paused", |c| c.workload["spec"]["paused"] = json!(true)),
        ("missing", |c| c.requested = asked("web:v2")),
        ("paused, else web:v1", |c| c.switch = Some(v1::PauseSwitched { paused: true, ..v1::PauseSwitched::default() })),
    ]);
    for (expected, change) in changes {
        let mut case = Case { requested: asked("web:v1"), ..good() };
        change(&mut case);
        assert_eq!(word(&case), expected);
    }
    let unknown = Case { requested: asked("web:v9"), ..good() };
    let Step::Missing(considered) = course(&unknown).step else { panic!("nobody recorded it") };
    assert!(considered[0].contains("is recorded"), "{considered:?}");
}

#[test]
fn a_freeze_window_holds_what_would_be_done() {
    let mut policy = effective(&Object::new(good().workload), &Settings { soak: Duration::ZERO, ..Settings::default() });
    policy.frozen = Some("weekend, until Monday".to_owned());
    let Step::Hold(target, reason, detail) = course_by(&good(), &policy).step else { panic!("not held") };
    assert_eq!((reason, detail.as_str()), (HaltReason::Frozen, "weekend, until Monday"));
    assert_eq!(target.version.images[0].image, "web:v1");
}

fn marked(image: &str) -> LedgerFact {
    let mut template = template(image);
    template["metadata"] = json!({"annotations": {"lastgood.dev/irreversible": "migrated orders"}});
    let version = v1::Version { template_hash: format!("marked {image}"), ..v1::Version::default() };
    let template_json = template.to_string().into_bytes();
    v1::VersionObserved { version: Some(version), template_json, ..v1::VersionObserved::default() }.into()
}

#[test]
fn nothing_is_restored_behind_a_version_without_a_way_back() {
    let mut case = good();
    case.workload["metadata"]["annotations"]["lastgood.dev/irreversible"] = json!("migrated orders");
    assert_eq!(word(&case), "irreversible, else web:v1", "the version that runs, by its workload");
    case.workload["metadata"]["annotations"]["lastgood.dev/irreversible"] = json!("false");
    assert_eq!(word(&case), "roll to web:v1");
    let (v1, v2) = ([observed("web:v1"), available("web:v1")], observed("web:v2"));
    case.ledger = ledger(&[v1.as_slice(), &[marked("web:v1b"), v2.clone()]].concat());
    assert_eq!(word(&case), "irreversible, else web:v1", "one between the two");
    case.ledger = ledger(&[[marked("web:v0")].as_slice(), &v1, &[v2]].concat());
    assert_eq!(word(&case), "roll to web:v1", "an older one is no obstacle");
    let mut template = template("web:v1b");
    template["metadata"] = json!({"annotations": {"lastgood.dev/irreversible": ""}});
    let between = Carrier { hash: template::hash(&template), template, ..set("web:v1b", 2) };
    case.sets = vec![set("web:v1", 1), between, set("web:v2", 3)];
    assert_eq!(word(&case), "irreversible, else web:v1", "one that only the cluster knows");
}

#[test]
fn an_alert_about_another_version_says_nothing_of_this_one() {
    let case = Case { about: Some(hash("web:v1")), ..good() };
    assert_eq!(word(&case), "no_recent_change");
    assert_eq!(word(&Case { about: None, ..good() }), "roll to web:v1");
}

#[test]
fn what_cannot_be_done_comes_before_what_may_not() {
    let mut case = good();
    case.workload["metadata"]["annotations"] = json!({});
    case.failing = 10;
    assert!(word(&case).starts_with("observe_mode"));
    case.alert_since = at(-9);
    assert_eq!(word(&case), "no_recent_change");
    case.workload["spec"]["paused"] = json!(true);
    assert_eq!(word(&case), "rollout_paused");
}

#[test]
fn a_version_that_was_rolled_back_from_is_no_target() {
    let mut case = good();
    let bad = v1::VersionRolledBackFrom { template_hash: hash("web:v1"), incident: "inc_1".into() };
    case.ledger = case.ledger.with(4, at(0), &bad.into());
    assert_eq!(word(&case), "missing");
    case.workload["metadata"]["annotations"][ALLOW_UNKNOWN] = json!("true");
    case.sets = vec![set("web:v1", 1), set("web:v2", 2)];
    assert_eq!(word(&case), "missing", "not even for a workload that takes unknown ones");
}

#[test]
fn an_unknown_version_is_restored_only_where_it_is_allowed() {
    let mut case = good();
    case.ledger = LedgerView::default();
    case.sets = vec![set("web:v0", 1), set("web:v1", 2), set("web:v2", 3)];
    assert_eq!(word(&case), "missing");
    case.workload["metadata"]["annotations"][ALLOW_UNKNOWN] = json!("true");
    assert_eq!(word(&case), "roll to web:v1");
}

#[test]
fn a_ledger_that_has_not_caught_up_is_helped_by_the_replica_sets() {
    let mut case = good();
    case.ledger = ledger(&[observed("web:v1"), available("web:v1")]);
    assert_eq!(word(&case), "no_recent_change", "nothing tells when v2 was rolled out");
    case.sets = vec![set("web:v1", 1), set("web:v2", 2)];
    assert_eq!(word(&case), "roll to web:v1");
}

#[test]
fn an_object_without_anything_in_it_still_has_a_course() {
    let case = Case { workload: json!({}), ledger: LedgerView::default(), about: None, ..good() };
    assert_eq!(word(&case), "no_recent_change");
}

#[test]
fn a_plan_starts_from_the_revision_that_runs_and_not_from_the_one_that_the_ledger_saw() {
    let mut case = good();
    let revision = |case: &Case| course(case).current.version.unwrap().revision;
    assert_eq!(revision(&case), 0, "the ledger's, where the object has none");
    // Somebody deployed another version and this one again, and the watch saw neither.
    case.workload["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("4");
    assert_eq!(revision(&case), 4);
}

#[test]
fn every_kind_of_workload_is_put_back() {
    for kind in Kind::WORKLOADS {
        assert_eq!(word(&Case { kind, ..good() }), "roll to web:v1", "{kind}");
    }
}

#[test]
fn a_partition_that_keeps_every_pod_is_a_pause() {
    let with = |partition: i64, replicas: i64, kind: Kind| {
        let mut case = Case { kind, ..good() };
        case.workload["spec"]["replicas"] = json!(replicas);
        case.workload["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
        word(&case)
    };
    assert_eq!(with(3, 3, Kind::StatefulSet), "rollout_paused");
    assert_eq!(with(2, 3, Kind::StatefulSet), "roll to web:v1");
    assert_eq!(with(0, 0, Kind::StatefulSet), "roll to web:v1");
    assert_eq!(with(3, 3, Kind::Deployment), "roll to web:v1", "it knows no partition");
}

#[test]
fn the_number_of_a_controller_revision_is_the_revision_that_runs() {
    let mut case = Case { kind: Kind::StatefulSet, ..good() };
    case.sets = vec![Carrier { revision: 5, ..set("web:v2", 2) }, set("web:v1", 1)];
    let current = course(&case).current;
    assert_eq!(current.version.map(|version| (version.revision, version.replica_set)), Some((5, "web-2".to_owned())));
    assert_eq!(contracts::time::from_proto(current.changed_at.as_ref()), Some(at(0)));
}

#[test]
fn when_a_controller_revision_came_back_only_the_ledger_tells() {
    let mut case = Case { kind: Kind::DaemonSet, ..good() };
    case.ledger = ledger(&[observed("web:v2"), available("web:v2"), observed("web:v1"), available("web:v1")]);
    case.sets = vec![set("web:v2", 3), set("web:v1", 2)];
    assert_eq!(word(&case), "no_recent_change");
    case.kind = Kind::Deployment;
    assert_eq!(word(&case), "roll to web:v1", "a ReplicaSet's creation stands in where its rollout tells no time");
}

/// What a template that refers to the ConfigMap `web` was seen with.
fn seen(mode: &str) -> Seen {
    let reference = Reference { kind: Held::ConfigMap, name: "web".into(), optional: false, at_start: false };
    let object = Object::new(json!({"data": {"mode": mode}}));
    let recorded = record(&reference, Read::Object(object.json()), None);
    Seen { reference, recorded, written_at: Some(at(4)), object: Some(object) }
}

/// The same template with an edited ConfigMap; `with` is whether the ledger has seen that.
fn edited(with: bool) -> Case {
    let observed = |mode: &str| {
        let configuration = vec![seen(mode).recorded];
        let template = template("web:v2");
        let id = version_id(&template, &configuration);
        let images = template::images(&template);
        let version =
            v1::Version { template_hash: hash("web:v2"), id: id.clone(), configuration, images, ..v1::Version::default() };
        let template_json = template.to_string().into_bytes();
        let observed = v1::VersionObserved { version: Some(version), template_json, ..v1::VersionObserved::default() };
        let available = v1::VersionAvailable { template_hash: id, replicas: 2, restarts: 0, images: Vec::new() };
        [LedgerFact::from(observed), available.into()]
    };
    let mut facts = observed("old").to_vec();
    if with {
        facts.extend(observed("new"));
    }
    Case { ledger: ledger(&facts), running: vec![seen("new")], ..good() }
}

#[test]
fn an_edited_config_map_is_what_changed_last() {
    let course = course(&edited(true));
    let Step::Roll(target) = course.step else { panic!("{:?}", course.step) };
    let current = course.current.version.unwrap();
    assert_eq!(target.version.template_hash, current.template_hash);
    assert_ne!(target.version.id, current.id);
    assert_eq!(target.version.configuration[0].fingerprint, seen("old").recorded.fingerprint);
}

#[test]
fn an_edit_that_the_ledger_has_not_seen_yet_happened_when_it_was_written() {
    let found = course(&edited(false)).current;
    assert_eq!(contracts::time::from_proto(found.changed_at.as_ref()), Some(at(4)));
    assert_eq!(word(&edited(false)), "roll to web:v2");
}

#[test]
fn what_does_not_come_back_is_no_reason_to_write_the_same_again() {
    let rules = Rules { config_maps: RestoreConfigMaps::Never, secrets: false, keep: true };
    let Step::Missing(considered) = course(&Case { rules, ..edited(true) }).step else { panic!() };
    assert!(considered[0].contains(SAME_TEMPLATE), "{considered:?}");
}
