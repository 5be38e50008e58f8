//! Who has the last word, by table; and that order does not matter.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::read::{Limits, Origin, read};

fn policy(namespace: Option<&str>, name: &str, spec: &Value) -> Policy {
    let kind = if namespace.is_some() { "RollbackPolicy" } else { "ClusterRollbackPolicy" };
    let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    read(&document, Origin::Cluster, &Limits::default()).unwrap()
}

fn annotated(pairs: &[(&str, &str)], policies: &[Policy]) -> Effective {
    let annotations = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    let workload = Workload { namespace: "shop", kind: "Deployment", name: "web", labels: &labels, annotations: &annotations };
    combine(policies, &workload, &Effective::default(), "2026-11-28T10:00:00Z".parse().unwrap())
}

fn plain(policies: &[Policy]) -> Effective {
    annotated(&[], policies)
}

#[test]
fn nothing_said_is_observe() {
    let effective = plain(&[]);
    assert_eq!(effective, Effective::default());
    let elsewhere = [
        policy(Some("other"), "all", &json!({"mode": "auto"})),
        policy(Some("shop"), "api", &json!({"mode": "auto", "workloads": {"names": ["api"]}})),
    ];
    assert_eq!(plain(&elsewhere), Effective::default(), "neither governs it");
}

#[test]
fn the_more_specific_is_heard_first_field_by_field() {
    let policies = [
        policy(None, "default", &json!({"mode": "observe", "soak": "1h", "cooldown": "2h", "budgets": {"clusterConcurrent": 9}})),
        policy(
            Some("shop"),
            "all",
            &json!({"mode": "approve", "approval": {"within": "5m"}, "soak": "30m", "changeWindow": "10m"}),
        ),
        policy(
            Some("shop"),
            "front",
            &json!({"workloads": {"selector": {"matchLabels": {"tier": "front"}}}, "changeWindow": "20m", "budgets": {"workloadPerHour": 2}}),
        ),
        policy(Some("shop"), "web", &json!({"workloads": {"names": ["web"]}, "approval": {"onTimeout": "Proceed"}})),
    ];
    let effective = plain(&policies);
    let minutes =
        |effective: &Effective| [effective.soak, effective.cooldown, effective.window].map(|length| length.as_secs() / 60);
    assert_eq!(minutes(&effective), [30, 120, 20]);
    assert_eq!(effective.mode, Mode::Approve { within: Duration::from_mins(5), on_timeout: ApprovalTimeout::Proceed });
    assert_eq!(effective.mode_because, "RollbackPolicy shop/all says approve");
    assert_eq!((effective.budgets.workload_per_hour, effective.budgets.cluster_concurrent), (Some(2), Some(9)));
    assert_eq!(
        effective.sources,
        ["RollbackPolicy shop/web", "RollbackPolicy shop/front", "RollbackPolicy shop/all", "ClusterRollbackPolicy default"]
    );
    let first = policy(Some("shop"), "zz", &json!({"priority": 1, "mode": "auto"}));
    let effective = plain(&[policies.as_slice(), &[first]].concat());
    assert_eq!((effective.mode, effective.sources[0].as_str()), (Mode::Auto, "RollbackPolicy shop/zz"), "priority goes first");
}

#[test]
fn equals_are_heard_by_name() {
    let one = policy(Some("shop"), "a", &json!({"soak": "1m"}));
    let other = policy(Some("shop"), "b", &json!({"soak": "2m"}));
    assert_eq!(plain(&[other.clone(), one.clone()]).soak, Duration::from_mins(1));
    assert_eq!(plain(&[one, other]).soak, Duration::from_mins(1));
}

#[test]
fn annotations_go_before_policies() {
    let auto = policy(Some("shop"), "all", &json!({"mode": "auto", "allowUnknown": true}));
    let policies = std::slice::from_ref(&auto);
    assert_eq!(annotated(&[(MODE, "observe")], policies).mode, Mode::Observe);
    assert!(!annotated(&[(ALLOW_UNKNOWN, "false")], policies).allow_unknown && plain(policies).allow_unknown);
    let typo = annotated(&[(MODE, "Auto")], policies);
    assert_eq!(typo.mode, Mode::Observe);
    assert!(typo.mode_because.contains("`Auto`, which is none of"), "{}", typo.mode_because);
    assert_eq!(annotated(&[(MODE, "auto"), (ALLOW_UNKNOWN, "true")], &[]).sources.len(), 2);
    let approve = policy(Some("shop"), "ask", &json!({"approval": {"within": "1m"}}));
    let asked = annotated(&[(MODE, "approve")], std::slice::from_ref(&approve)).mode;
    assert_eq!(asked, Mode::Approve { within: Duration::from_mins(1), on_timeout: ApprovalTimeout::Halt });
}

#[test]
fn an_annotation_that_cannot_be_read_only_observes() {
    let read = annotated(&[(MODE, "approve"), (APPROVE_WITHIN, "90s"), (GRACE, "30s")], &[]);
    assert_eq!(read.mode, Mode::Approve { within: Duration::from_secs(90), on_timeout: ApprovalTimeout::Halt });
    assert_eq!(read.grace, Duration::from_secs(30));
    for annotation in [APPROVE_WITHIN, GRACE] {
        let unread = annotated(&[(MODE, "auto"), (annotation, "a while")], &[]);
        assert_eq!(unread.mode, Mode::Observe);
        assert!(unread.mode_because.contains(annotation), "{}", unread.mode_because);
    }
}

#[test]
fn an_invalid_policy_never_fails_open() {
    let bad = policy(Some("shop"), "typo", &json!({"freez": [], "workloads": {"names": ["web"]}}));
    let auto = policy(Some("shop"), "all", &json!({"priority": 100, "mode": "auto"}));
    let effective = annotated(&[(MODE, "auto")], &[auto.clone(), bad]);
    assert_eq!(effective.mode, Mode::Observe);
    assert!(
        effective.mode_because.starts_with("RollbackPolicy shop/typo is invalid")
            && effective.mode_because.contains("spec.freez:")
    );
    let elsewhere = policy(Some("shop"), "typo", &json!({"freez": [], "workloads": {"names": ["api"]}}));
    assert_eq!(plain(&[auto.clone(), elsewhere]).mode, Mode::Auto, "it is not about this one");
    let unclear = policy(Some("shop"), "typo", &json!({"workloads": {"name": ["api"]}}));
    assert_eq!(plain(&[auto, unclear]).mode, Mode::Observe, "whom it is about can't be told");
}

#[test]
fn freeze_windows_add_up() {
    let weekend =
        json!({"freeze": [{"reason": "weekend", "days": ["Sat", "Sun"], "start": "00:00", "end": "24:00", "timeZone": "UTC"}]});
    let own = json!({"freeze": [{"reason": "own", "from": "2027-01-01T00:00:00Z", "until": "2027-01-02T00:00:00Z"}]});
    let effective = plain(&[policy(None, "default", &weekend), policy(Some("shop"), "all", &own)]);
    assert_eq!(effective.frozen.as_deref(), Some("weekend, until 2026-11-30T00:00:00Z"));
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let spec = (
        -1_i32..2,
        prop::option::of(prop::sample::select(vec!["observe", "approve", "auto"])),
        prop::option::of(1_u32..9),
        prop::option::of(1_u32..9),
        prop::sample::select(vec![
            json!({}),
            json!({"names": ["web"]}),
            json!({"names": ["api"]}),
            json!({"kinds": ["Deployment"]}),
            json!({"selector": {"matchLabels": {"tier": "front"}}}),
        ]),
        prop::bool::weighted(0.1),
    );
    let named = (prop::option::of(prop::sample::select(vec!["shop", "other"])), "[a-c]");
    (named, spec).prop_map(|((namespace, name), (priority, mode, soak, cooldown, workloads, broken))| {
        let length = |minutes: Option<u32>| minutes.map(|minutes| format!("{minutes}m"));
        let mut spec = json!({"priority": priority, "mode": mode, "soak": length(soak), "cooldown": length(cooldown), "workloads": workloads});
        if broken {
            spec["colour"] = json!("red");
        }
        policy(namespace, &name, &spec)
    })
}

proptest! {
    #[test]
    fn the_order_in_which_policies_are_given_does_not_matter(
        policies in prop::collection::vec(some_policy(), 0..8).prop_map(|mut policies| {
            // A cluster holds one of a name.
            policies.sort_by(|one, other| one.id.cmp(&other.id));
            policies.dedup_by(|one, other| one.id == other.id);
            policies
        }),
        seed in any::<u64>(),
        own in prop::option::of(prop::sample::select(vec!["auto", "observe", "x"])),
    ) {
        let mut shuffled = policies.clone();
        for at in 0..shuffled.len() {
            let with = usize::try_from(seed.rotate_left(u32::try_from(at).unwrap() * 7) % 97).unwrap() % shuffled.len();
            shuffled.swap(at, with);
        }
        let annotation: Vec<(&str, &str)> = own.iter().map(|mode| (MODE, *mode)).collect();
        let effective = annotated(&annotation, &policies);
        prop_assert_eq!(&effective, &annotated(&annotation, &shuffled));
        let invalid = policies.iter().any(|policy| {
            policy.says.is_err() && effective.sources.contains(&policy.id.to_string())
        });
        prop_assert!(!invalid || effective.mode == Mode::Observe);
    }
}
