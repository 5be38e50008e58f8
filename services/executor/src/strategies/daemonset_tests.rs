//! Which pod of a DaemonSet goes next, by table.

use lastgood_core::rollout::Rollout;

use super::*;
use crate::attempt::Live;
use crate::carriers::Carrier;
use crate::cluster::Kind;
use crate::counts::Counts;
use crate::view::Which;

fn view(on_delete: bool, pods: &[(&str, Which, bool)]) -> View {
    let pod = |(name, which, ready): &(&str, Which, bool)| Pod {
        name: (*name).into(),
        uid: (*name).into(),
        ip: String::new(),
        which: *which,
        template_hash: String::new(),
        ready: *ready,
        leaving_by: None,
        phase: "Running".into(),
        object: Value::Null,
    };
    View {
        kind: Kind::DaemonSet,
        name: "agent".into(),
        live: Some(Live { generation: 3, ..Live::default() }),
        counts: Counts { desired: 2, observed: 3, ..Counts::default() },
        carriers: vec![Carrier { name: "agent-a".into(), which: Which::Restored, ..Carrier::default() }],
        rollout: Rollout { on_delete, ..Rollout::default() },
        pods: pods.iter().map(pod).collect(),
        ..View::default()
    }
}

#[test]
fn only_on_delete_takes_any_and_one_at_a_time() {
    use Which::{Bad, Restored};
    for (what, on_delete, pods, expected) in [
        ("its controller does it", false, [("agent-x", Bad, false), ("agent-y", Bad, true)], None),
        ("those that don't serve first", true, [("agent-x", Bad, false), ("agent-y", Bad, true)], Some("agent-x")),
        ("its successor is awaited", true, [("agent-z", Restored, false), ("agent-y", Bad, true)], None),
        ("and then the next", true, [("agent-z", Restored, true), ("agent-y", Bad, true)], Some("agent-y")),
        ("until none is left", true, [("agent-z", Restored, true), ("agent-w", Restored, true)], None),
    ] {
        assert_eq!(next_pod(&view(on_delete, &pods)).map(|pod| pod.name.as_str()), expected, "{what}");
    }
    let behind = View { carriers: Vec::new(), ..view(true, &[("agent-x", Bad, false), ("agent-y", Bad, true)]) };
    assert_eq!(next_pod(&behind), None, "the controller has not seen the restored template");
}
