//! The table of a switch's steps.

use serde_json::json;

use super::*;

fn map(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn switch(shared: &[(&str, &str)]) -> ServiceSwitch {
    ServiceSwitch {
        name: "web".into(),
        uid: "u".into(),
        from_selector: map(&[("app", "web"), ("v", "2")]),
        shared_selector: map(shared),
        to_selector: map(&[("app", "web"), ("v", "1")]),
    }
}

fn service(selector: &[(&str, &str)]) -> Service {
    Service { name: "web".into(), uid: "u".into(), selector: map(selector), ready: Vec::new() }
}

#[test]
fn through_what_both_share() {
    let switch = switch(&[("app", "web")]);
    let (from, shared, to) =
        (service(&[("app", "web"), ("v", "2")]), service(&[("app", "web")]), service(&[("app", "web"), ("v", "1")]));
    for (live, one, enough, step) in [
        (&from, false, false, SwitchStep::Select(shared.selector.clone())),
        (&from, true, true, SwitchStep::Select(shared.selector.clone())),
        (&shared, true, false, SwitchStep::Wait),
        (&shared, true, true, SwitchStep::Select(to.selector.clone())),
        (&to, true, true, SwitchStep::Done),
    ] {
        assert_eq!(next_switch(&switch, Some(live), one, enough), step, "{live:?} {one} {enough}");
    }
}

#[test]
fn directly_when_foreign_pods_share_it() {
    let (switch, from) = (switch(&[]), service(&[("app", "web"), ("v", "2")]));
    assert_eq!(next_switch(&switch, Some(&from), false, false), SwitchStep::Wait);
    assert_eq!(next_switch(&switch, Some(&from), true, false), SwitchStep::Select(switch.to_selector.clone()));
}

#[test]
fn somebody_elses_selector_stays() {
    let switch = switch(&[("app", "web")]);
    let (changed, anew) = (service(&[("app", "web"), ("v", "3")]), Service { uid: "other".into(), ..service(&[("app", "web")]) });
    for live in [Some(&changed), Some(&anew), None] {
        assert!(matches!(next_switch(&switch, live, true, true), SwitchStep::Superseded(_)), "{live:?}");
    }
}

#[test]
fn the_selector_is_replaced_also_in_what_was_applied() {
    let applied = json!({"spec": {"selector": {"v": "2"}, "ports": []}}).to_string();
    let live = json!({"metadata": {"annotations": {LAST_APPLIED: applied}}, "spec": {"selector": {"v": "2"}, "clusterIP": "x"}});
    let object = with_selector(&live, &map(&[("v", "1")]));
    assert_eq!(object["spec"], json!({"selector": {"v": "1"}, "clusterIP": "x"}));
    let text = object["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({"spec": {"selector": {"v": "1"}, "ports": []}}));
    let plain = json!({"metadata": {}, "spec": {"selector": {"v": "2"}}});
    let object = with_selector(&plain, &map(&[("v", "1")]));
    assert_eq!(object["metadata"]["annotations"][LAST_APPLIED], Value::Null, "none is added");
}
