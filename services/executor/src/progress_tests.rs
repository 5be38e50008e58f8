//! Tables for progress: what is seen, and what is not yet.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::attempt::Live;
use crate::carriers::Carrier;
use crate::counts::Counts;

fn pod(name: &str, which: Which, ready: bool) -> Pod {
    Pod {
        name: name.into(),
        uid: String::new(),
        ip: format!("ip-{name}"),
        which,
        template_hash: String::new(),
        ready,
        leaving_by: None,
        phase: "Running".into(),
        object: Value::Null,
    }
}

fn set(name: &str, which: Which) -> Carrier {
    Carrier { name: name.into(), which, ..Carrier::default() }
}

fn labels(version: &str) -> BTreeMap<String, String> {
    [("app", "web"), ("v", version)].into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn service(name: &str, selector: &[(&str, &str)], pods: &[&str]) -> Service {
    Service {
        name: name.into(),
        uid: "s".into(),
        selector: selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ready: pods.iter().map(|pod| Address { pod: (*pod).to_owned(), ip: format!("ip-{pod}") }).collect(),
    }
}

/// Two restored pods, ready, and everything caught up.
fn done() -> View {
    View {
        live: Some(Live { generation: 4, ..Live::default() }),
        counts: Counts { desired: 2, max_unavailable: 0, observed: 4, replicas: 2, updated: 2, ready: 2, available: 2 },
        labels: labels("1"),
        carriers: vec![set("web-1", Which::Restored), set("web-2", Which::Bad)],
        pods: vec![pod("web-1-a", Which::Restored, true), pod("web-1-b", Which::Restored, true)],
        services: vec![service("web", &[("app", "web")], &["web-1-a", "web-1-b"])],
        ..View::default()
    }
}

#[test]
fn all_of_it_seen() {
    let progress = assess(&done(), &[], &[]);
    assert!(progress.bad_pods_down);
    assert_eq!(progress.deployed.as_deref(), Some("web-1"));
    assert_eq!(progress.ready, Some(2));
    assert_eq!(progress.shifted, Some(vec!["web: 2 ready endpoints, all restored".to_owned()]));
}

#[test]
fn nothing_counts_before_the_controller_has_seen_the_write() {
    let mut view = done();
    view.counts.observed = 3;
    let progress = assess(&view, &[], &[]);
    assert_eq!((progress.bad_pods_down, progress.deployed, progress.ready, progress.shifted), (false, None, None, None));
}

#[test]
fn bad_pods_are_down_when_none_is_about() {
    let mut leaving = pod("web-2-a", Which::Bad, true);
    let mut view = done();
    view.pods.push(leaving.clone());
    assert!(!assess(&view, &[], &[]).bad_pods_down);
    leaving.leaving_by = Some(jiff::Timestamp::UNIX_EPOCH);
    *view.pods.last_mut().unwrap() = leaving;
    assert!(assess(&view, &[], &[]).bad_pods_down, "on its way out it gets no traffic");
}

#[test]
fn each_count_has_to_be_reached() {
    let changes: [fn(&mut Counts); 4] = [|c| c.replicas = 3, |c| c.updated = 1, |c| c.ready = 1, |c| c.available = 1];
    for change in changes {
        let mut view = done();
        change(&mut view.counts);
        let progress = assess(&view, &[], &[]);
        assert_eq!((progress.ready, progress.shifted), (None, None), "{:?}", view.counts);
    }
    let mut view = done();
    view.pods[0].which = Which::Bad;
    assert_eq!(assess(&view, &[], &[]).ready, None, "ready pods of another version do not count");
}

#[test]
fn traffic_has_shifted_when_endpoints_say_so() {
    for (pods, shifted, why) in [
        (vec!["web-1-a"], true, "one is enough"),
        (vec![], false, "no endpoint"),
        (vec!["web-1-a", "web-2-x"], false, "a bad pod that is gone already is still an endpoint"),
        (vec!["web-1-a", "api-7-x"], true, "another workload behind the same Service is none of ours"),
    ] {
        let view = View { services: vec![service("web", &[("app", "web")], &pods)], ..done() };
        assert_eq!(assess(&view, &[], &[]).shifted.is_some(), shifted, "{why}");
    }
    let unrelated = View { services: vec![service("db", &[("app", "db")], &[])], ..done() };
    assert_eq!(assess(&unrelated, &[], &[]).shifted, Some(vec!["no Service selects these pods".to_owned()]));
}

#[test]
fn a_workload_scaled_to_zero_is_done_without_endpoints() {
    let counts = Counts { observed: 4, ..Counts::default() };
    let view = View { counts, pods: Vec::new(), services: vec![service("web", &[("app", "web")], &[])], ..done() };
    let progress = assess(&view, &[], &[]);
    assert_eq!(progress.ready, Some(0));
    assert_eq!(progress.shifted, Some(vec!["web: 0 ready endpoints, all restored".to_owned()]));
}

#[test]
fn a_pinned_service_has_to_be_switched_first() {
    let switch = ServiceSwitch { name: "pin".into(), to_selector: labels("1"), ..ServiceSwitch::default() };
    let pinned = |version| service("pin", &[("app", "web"), ("v", version)], &["web-1-a"]);
    let view = |version| View { services: vec![pinned(version)], ..done() };
    let switches = [switch];
    assert_eq!(assess(&view("2"), &switches, &[]).shifted, None);
    assert!(assess(&view("1"), &switches, &[]).shifted.is_some());
    let left = assess(&view("3"), &switches, &["pin".to_owned()]).shifted.unwrap();
    assert_eq!(left, ["pin: somebody else changed its selector; left as it is"]);
}

#[test]
fn enough_is_what_the_deployment_itself_calls_enough() {
    for (desired, max_unavailable, expected) in [(2, 0, true), (3, 0, false), (3, 1, true), (1, 1, true)] {
        let mut view = done();
        (view.counts.desired, view.counts.max_unavailable) = (desired, max_unavailable);
        assert_eq!(enough_restored(&view), expected, "{desired} {max_unavailable}");
    }
}

#[test]
fn who_serves_is_named() {
    assert_eq!(serving(&done(), &[])[0], "web-1-a (ip-web-1-a) via Service web");
    let alone = View { services: Vec::new(), ..done() };
    assert_eq!(serving(&alone, &[])[0], "web-1-a (ip-web-1-a) is ready; no Service selects it");
}

#[test]
fn an_ended_pods_address_belongs_to_its_successor() {
    let mut view = done();
    let ended = Pod { ip: "ip-web-1-a".into(), phase: "Failed".into(), ..pod("a-web-2-evicted", Which::Bad, false) };
    view.pods.insert(0, ended);
    assert!(assess(&view, &[], &[]).shifted.is_some(), "{:?}", assess(&view, &[], &[]).waiting);
    view.services[0].ready.iter_mut().for_each(|address| address.pod.clear());
    view.pods.remove(0);
    assert!(assess(&view, &[], &[]).shifted.is_some(), "an endpoint without a name is known by its address");
}

#[test]
fn a_report_on_thousands_of_endpoints_fits_into_a_fact() {
    let mut view = done();
    view.services[0].ready = (0..5000).map(|n| Address { pod: format!("web-2-{n:04}"), ip: format!("10.0.0.{n}") }).collect();
    let lines = serving(&view, &[]);
    assert_eq!((lines.len(), lines[50].as_str()), (51, "and 4950 more"));
    let waiting = assess(&view, &[], &[]).waiting.join("; ");
    assert!(waiting.len() < 4096 && waiting.ends_with("and 4950 more"), "{waiting}");
}

/// `done`, as a StatefulSet of two.
fn set_of_two() -> View {
    View {
        kind: Kind::StatefulSet,
        name: "web".into(),
        pods: vec![pod("web-0", Which::Restored, true), pod("web-1", Which::Restored, true)],
        services: vec![service("web", &[("app", "web")], &["web-0", "web-1"])],
        ..done()
    }
}

#[test]
fn a_name_that_comes_back_is_not_yet_its_endpoint() {
    assert!(assess(&set_of_two(), &[], &[]).shifted.is_some());
    let mut view = set_of_two();
    view.services[0].ready[1].ip = "ip of the bad pod of that name".into();
    assert!(assess(&view, &[], &[]).shifted.is_none());
    view.pods[1].object = serde_json::json!({"status": {"podIPs": [{"ip": "ip of the bad pod of that name"}]}});
    assert!(assess(&view, &[], &[]).shifted.is_some(), "its other address, after all");
    view.services[0].ready.push(Address { pod: "web-2".into(), ip: "x".into() });
    assert!(assess(&view, &[], &[]).shifted.is_none(), "one that is gone by its name");
}

#[test]
fn what_a_partition_keeps_neither_counts_nor_is_waited_for() {
    let mut view = set_of_two();
    view.rollout = lastgood_core::rollout::Rollout { first_ordinal: 1, kept: 1, ordered: true, on_delete: false };
    view.counts = Counts { desired: 1, max_unavailable: 1, observed: 4, replicas: 1, updated: 1, ready: 1, available: 1 };
    view.pods[0].which = Which::Kept;
    let progress = assess(&view, &[], &[]);
    assert_eq!((progress.bad_pods_down, progress.ready), (true, Some(1)));
    assert_eq!(progress.shifted, Some(vec!["web: 1 ready endpoints, all restored, and 1 that the partition keeps".to_owned()]));
    view.pods[0].which = Which::Restored;
    view.pods[1] = pod("web-1", Which::Bad, true);
    assert_eq!(assess(&view, &[], &[]).ready, None, "what the partition keeps runs it already, and proves nothing");
}
