//! Which of the bad version's pods are leftovers.

use super::*;

fn pod(phase: &str, leaving_by: Option<&str>) -> Pod {
    Pod {
        name: "p".into(),
        uid: "u".into(),
        ip: String::new(),
        which: Which::Bad,
        template_hash: String::new(),
        ready: false,
        leaving_by: leaving_by.map(|at| at.parse().unwrap()),
        phase: phase.into(),
        object: Value::Null,
    }
}

#[test]
fn only_what_does_not_go_by_itself_is_deleted() {
    let now: Timestamp = "2026-11-22T00:05:00Z".parse().unwrap();
    let patience = std::time::Duration::from_mins(1);
    for (pod, expected) in [
        (pod("Running", None), None),
        (pod("Failed", None), Some(false)),
        (pod("Unknown", None), Some(false)),
        (pod("Running", Some("2026-11-22T00:04:30Z")), None),
        (pod("Running", Some("2026-11-22T00:03:30Z")), Some(true)),
    ] {
        assert_eq!(leftover(&pod, now, patience).map(|(_, force)| force), expected, "{pod:?}");
    }
}
