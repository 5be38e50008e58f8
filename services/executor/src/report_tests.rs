//! Pods in trouble as a kubelet describes them.

use serde_json::json;

use super::*;

fn view(statuses: &[Value]) -> View {
    let pods = statuses.iter().zip(0..).map(|(status, index)| Pod {
        name: format!("web-{index}"),
        uid: String::new(),
        ip: String::new(),
        which: Which::Restored,
        template_hash: "h".into(),
        ready: false,
        leaving_by: None,
        phase: status["phase"].as_str().unwrap_or("Pending").into(),
        object: json!({"status": status}),
    });
    View { pods: pods.collect(), ..View::default() }
}

fn container(state: &Value, restarts: u32, last: &Value) -> Value {
    json!({"containerStatuses": [{"name": "web", "ready": false, "restartCount": restarts, "state": state, "lastState": last}]})
}

#[test]
fn each_trouble_has_its_words() {
    let none = json!({});
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
    let exited = json!({"terminated": {"exitCode": 3}});
    for (status, words, container, previous) in [
        (container(&crash, 4, &exited), "CrashLoopBackOff (container web, last exit code 3): back-off 10s", Some("web"), true),
        (
            container(&json!({"terminated": {"exitCode": 1, "reason": "Error"}}), 0, &none),
            "Error (container web, exit code 1)",
            Some("web"),
            false,
        ),
        (
            container(&json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}), 0, &none),
            "ErrImagePull (container web): not found",
            None,
            false,
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
            "Unschedulable: 0/1 nodes",
            None,
            false,
        ),
        (
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "message": "unready: [web]"}],
                "containerStatuses": [{"name": "web", "ready": false, "state": {"running": {}}}]}),
            "not ready: unready: [web]",
            Some("web"),
            false,
        ),
        (json!({}), "not ready (Pending)", None, false),
    ] {
        let trouble = troubles(&view(&[status])).remove(0);
        assert_eq!(trouble.report.reason, words);
        assert_eq!((trouble.container.as_deref(), trouble.previous), (container, previous), "{words}");
    }
}

#[test]
fn a_report_stays_readable() {
    let many = vec![json!({}); 40];
    assert_eq!(troubles(&view(&many)).len(), MOST);
    assert_eq!(last_lines("a\n\nb\nc\n", 2), ["b", "c"]);
    assert_eq!(last_lines("", 2), Vec::<String>::new());
}
