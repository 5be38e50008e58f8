//! Which pod of a StatefulSet goes next, by table; and that a stuck one always comes to its end.

use lastgood_core::rollout::Rollout;
use proptest::prelude::*;

use super::*;
use crate::attempt::Live;
use crate::carriers::Carrier;
use crate::cluster::Kind;
use crate::counts::Counts;
use crate::view::Which;

const ORDERED: Rollout = Rollout { on_delete: false, ordered: true, first_ordinal: 0, kept: 0 };
const PARALLEL: Rollout = Rollout { ordered: false, ..ORDERED };
const ON_DELETE: Rollout = Rollout { on_delete: true, ..ORDERED };

fn pod(ordinal: usize, which: Which, ready: bool) -> Pod {
    Pod {
        name: format!("db-{ordinal}"),
        uid: format!("{which:?}-{ordinal}"),
        ip: String::new(),
        which,
        template_hash: String::new(),
        ready,
        leaving_by: None,
        phase: "Running".into(),
        object: Value::Null,
    }
}

/// A StatefulSet whose controller has seen the restored template.
fn view(rollout: Rollout, pods: Vec<Pod>) -> View {
    View {
        kind: Kind::StatefulSet,
        name: "db".into(),
        live: Some(Live { generation: 3, ..Live::default() }),
        counts: Counts { desired: 3 - rollout.kept, observed: 3, ..Counts::default() },
        carriers: vec![Carrier { name: "db-a".into(), which: Which::Restored, ..Carrier::default() }],
        rollout,
        pods,
        ..View::default()
    }
}

fn next(rollout: Rollout, pods: &[(Which, bool)]) -> Option<String> {
    let pods = pods.iter().enumerate().map(|(n, (which, ready))| pod(n, *which, *ready)).collect();
    next_pod(&view(rollout, pods)).map(|pod| pod.name.clone())
}

#[test]
fn which_one_goes_next() {
    use Which::{Bad, Kept, Restored};
    let kept = Rollout { first_ordinal: 2, kept: 2, ..ORDERED };
    for (what, rollout, pods, expected) in [
        ("the one that never gets ready", ORDERED, [(Restored, true), (Restored, true), (Bad, false)], Some("db-2")),
        ("of several the highest first", ORDERED, [(Bad, false), (Bad, true), (Bad, false)], Some("db-2")),
        ("also while lower ones are not ready", ORDERED, [(Bad, false), (Restored, false), (Restored, true)], Some("db-0")),
        ("a ready one is the controller's", ORDERED, [(Restored, true), (Bad, true), (Bad, true)], None),
        ("a restored one gets its time", ORDERED, [(Restored, true), (Restored, true), (Restored, false)], None),
        ("one that is kept stays", kept, [(Kept, false), (Kept, true), (Restored, true)], None),
        ("nobody waits where it is parallel", PARALLEL, [(Bad, false), (Bad, true), (Bad, false)], None),
        ("by hand, one by one", ON_DELETE, [(Bad, true), (Bad, true), (Bad, true)], Some("db-2")),
        ("by hand, once its successor is ready", ON_DELETE, [(Bad, true), (Bad, true), (Restored, false)], None),
        ("by hand, and then the next", ON_DELETE, [(Bad, true), (Bad, true), (Restored, true)], Some("db-1")),
        ("by hand, those that don't serve first", ON_DELETE, [(Bad, false), (Bad, true), (Bad, true)], Some("db-0")),
        ("by hand, and nothing else", ON_DELETE, [(Restored, true), (Restored, true), (Restored, true)], None),
    ] {
        assert_eq!(next(rollout, &pods).as_deref(), expected, "{what}");
    }
}

#[test]
fn none_goes_before_the_controller_has_seen_the_restored_template() {
    let stuck = || vec![pod(0, Which::Restored, true), pod(1, Which::Restored, true), pod(2, Which::Bad, false)];
    let behind = View { counts: Counts { observed: 2, ..view(ORDERED, vec![]).counts }, ..view(ORDERED, stuck()) };
    assert_eq!(next_pod(&behind), None);
    assert_eq!(next_pod(&View { carriers: Vec::new(), ..view(ORDERED, stuck()) }), None);
}

#[test]
fn by_hand_none_goes_while_one_is_missing_or_leaving() {
    let bad = |n| pod(n, Which::Bad, true);
    assert_eq!(next_pod(&view(ON_DELETE, vec![bad(0), bad(1)])), None, "its successor is not there yet");
    let leaving = Pod { leaving_by: Some(jiff::Timestamp::UNIX_EPOCH), ..bad(2) };
    assert_eq!(next_pod(&view(ON_DELETE, vec![bad(0), bad(1), leaving])), None);
}

/// What the controller of a StatefulSet does by itself, `OrderedReady`, one step; pods of the restored version get ready.
fn controller(pods: &mut [Option<Pod>], on_delete: bool) {
    for (ordinal, slot) in pods.iter_mut().enumerate() {
        match slot {
            Some(pod) if pod.ready => continue,
            Some(pod) => pod.ready = pod.which == Which::Restored,
            None => *slot = Some(pod(ordinal, Which::Restored, false)),
        }
        return;
    }
    if !on_delete && let Some(old) = pods.iter_mut().rev().find(|pod| pod.as_ref().is_some_and(|pod| pod.which == Which::Bad)) {
        *old = None;
    }
}

proptest! {
    /// However many pods are of the bad version, and whichever of them are ready: it ends, and no ready pod is taken out of turn.
    #[test]
    fn a_stuck_one_is_always_put_back(bad in prop::collection::vec(prop::option::of(any::<bool>()), 3), on_delete in any::<bool>()) {
        let mut pods: Vec<_> = bad.iter().enumerate().map(|(n, ready)| {
            Some(ready.map_or_else(|| pod(n, Which::Restored, true), |ready| pod(n, Which::Bad, ready)))
        }).collect();
        for _ in 0..40 {
            let seen = view(Rollout { on_delete, ..ORDERED }, pods.iter().flatten().cloned().collect());
            if let Some(next) = next_pod(&seen) {
                prop_assert_eq!(next.which, Which::Bad);
                prop_assert!(on_delete || !next.ready);
                let others_ready = seen.pods.iter().filter(|other| other.ready).count();
                prop_assert!(!next.ready || others_ready == 3, "a ready one goes only while all are");
                let name = next.name.clone();
                pods.iter_mut().filter(|pod| pod.as_ref().is_some_and(|pod| pod.name == name)).for_each(|pod| *pod = None);
            }
            controller(&mut pods, on_delete);
        }
        prop_assert!(pods.iter().flatten().filter(|pod| pod.which == Which::Restored && pod.ready).count() == 3, "{:?}", pods);
    }
}
