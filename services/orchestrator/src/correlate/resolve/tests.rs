//! Where each clue leads.

use serde_json::json;

use super::*;
use crate::cluster::fake::{FakeCluster, owner};

fn shop() -> FakeCluster {
    FakeCluster::default()
        .with_web("shop", "web", "app")
        .with_web("shop", "api", "app")
        .with_web("shop", "db", "db")
        .with(Kind::StatefulSet, json!({"metadata": {"namespace": "shop", "name": "pg", "uid": "uid-pg"}}))
        .with(Kind::DaemonSet, json!({"metadata": {"namespace": "shop", "name": "agent", "uid": "uid-agent"}}))
        .with(Kind::Pod, json!({"metadata": {"namespace": "shop", "name": "job-1", "ownerReferences": [owner("Job", "job")]}}))
        .with(Kind::Service, json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"selector": {"app": "web"}}}))
        .with(Kind::Service, json!({"metadata": {"namespace": "shop", "name": "ext"}, "spec": {}}))
}

async fn lead(clue: Clue) -> String {
    match resolve(&shop(), &[clue]).await.unwrap() {
        Correlation::Found(workload) => format!("{}/{}", workload.kind, workload.object.name()),
        Correlation::Dismissed(dismissal) => dismissal.reason.code().to_owned(),
    }
}

#[tokio::test]
async fn each_clue_leads_to_its_workload_or_nowhere() {
    let at = |make: fn(String, String) -> Clue, name: &str| make("shop".into(), name.into());
    for (clue, leads_to) in [
        (Clue::Explicit(Kind::Deployment, "shop".into(), "web".into()), "Deployment/web"),
        (Clue::Explicit(Kind::Deployment, "shop".into(), "gone".into()), "no_workload"),
        (at(Clue::ReplicaSet, "web-abc"), "Deployment/web"),
        (at(Clue::Pod, "web-abc-x1"), "Deployment/web"),
        (at(Clue::Pod, "web-abc-gone1"), "Deployment/web"),
        (at(Clue::Pod, "web-old-gone1"), "no_workload"),
        (at(Clue::Pod, "job-1"), "no_workload"),
        (at(Clue::Pod, "pg-0"), "StatefulSet/pg"),
        (at(Clue::Pod, "agent-x2x2x"), "DaemonSet/agent"),
        (at(Clue::Service, "web"), "Deployment/web"),
        (at(Clue::Service, "ext"), "no_workload"),
        (at(Clue::Container, "db"), "Deployment/db"),
        (at(Clue::Container, "app"), "ambiguous_workload"),
        (at(Clue::Container, "none"), "no_workload"),
    ] {
        assert_eq!(lead(clue.clone()).await, leads_to, "{clue}");
    }
}

#[tokio::test]
async fn a_pod_tells_which_version_it_is_about() {
    let template = json!({"spec": {"containers": [{"name": "app", "image": "web:v1"}]}});
    let cluster = shop().with(
        Kind::ReplicaSet,
        json!({"metadata": {"namespace": "shop", "name": "web-v1", "ownerReferences": [owner("Deployment", "web")]},
            "spec": {"template": template}}),
    );
    let Correlation::Found(found) = resolve(&cluster, &[Clue::Pod("shop".into(), "web-v1-gone1".into())]).await.unwrap() else {
        panic!("the ReplicaSet is there")
    };
    assert_eq!((found.object.name(), found.about), ("web", Some(template::hash(&template))));
}

#[tokio::test]
async fn a_pod_without_a_replica_set_tells_it_by_its_label() {
    let template = json!({"spec": {"containers": [{"name": "pg", "image": "pg:v1"}]}});
    let cluster = [("StatefulSet", "pg", "pg-0", "pg-77f"), ("DaemonSet", "agent", "agent-x2x4q", "77f")].into_iter().fold(
        shop(),
        |cluster, (kind, name, pod, label)| {
            let mut patch = template.clone();
            patch["$patch"] = json!("replace");
            let owners = json!([owner(kind, name)]);
            cluster
                .with(
                    Kind::Pod,
                    json!({"metadata": {"namespace": "shop", "name": pod, "labels": {revision::POD_LABEL: label}, "ownerReferences": owners}}),
                )
                .with(
                    Kind::ControllerRevision,
                    json!({"metadata": {"namespace": "shop", "name": format!("{name}-77f"), "ownerReferences": owners},
                        "revision": 1, "data": {"spec": {"template": patch}}}),
                )
        },
    );
    for (pod, kind) in [("pg-0", Kind::StatefulSet), ("agent-x2x4q", Kind::DaemonSet)] {
        let found = resolve(&cluster, &[Clue::Pod("shop".into(), pod.into())]).await.unwrap();
        let Correlation::Found(found) = found else { panic!("{found:?}") };
        assert_eq!((found.kind, found.about), (kind, Some(template::hash(&template))), "{pod}");
    }
}

#[tokio::test]
async fn several_candidates_are_named() {
    let answer = resolve(&shop(), &[Clue::Container("shop".into(), "app".into())]).await.unwrap();
    let Correlation::Dismissed(dismissal) = answer else { panic!("{answer:?}") };
    assert!(dismissal.detail.contains("Deployment/api, Deployment/web"), "{}", dismissal.detail);
}

#[tokio::test]
async fn an_outage_dismisses_nothing() {
    let away = FakeCluster { away: true, ..shop() };
    assert!(resolve(&away, &[Clue::Pod("shop".into(), "web-abc-x1".into())]).await.is_err());
}

#[tokio::test]
async fn a_clue_that_leads_nowhere_gives_way_to_the_next() {
    let clues = [Clue::Pod("shop".into(), "gone-1-2".into()), Clue::Workload(Kind::Deployment, "shop".into(), "web".into())];
    assert!(matches!(resolve(&shop(), &clues).await.unwrap(), Correlation::Found(_)));
}
