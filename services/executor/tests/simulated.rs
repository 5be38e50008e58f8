//! The executor on the simulated cluster and a real NATS: every way that a rollback can go.

mod support;

use std::sync::Arc;
use std::time::Duration;

use chassis::Clock;
use contracts::{Fact, v1};
use executor::cluster::Kind;
use executor::strategies::{INCIDENT, ROLLED_BACK_BY, STATUS};
use lastgood_core::incident::Command;
use serde_json::json;
use support::{SOON, World, map};
use testbed::wait::until;

fn index(types: &[&str], event_type: &str) -> usize {
    types.iter().position(|t| *t == event_type).unwrap_or_else(|| panic!("no {event_type} in {types:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way() {
    let world = World::simulated().await;
    world.service("web", &map(&[("app", "web")])).await;
    world.deploy("web", "v1", 3).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 3).await;
    world.rolled_out("web", "v2-failing").await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    assert!(world.our_writes("web").is_empty(), "nothing before the thread is open");
    world.announce(&subject).await;
    let Fact::TrafficShifted(shifted) = world.fact(&subject, "traffic_shifted").await else { panic!() };
    assert_eq!(shifted.services, ["web: 3 ready endpoints, all restored"]);
    let types = world.types(&subject).await;
    assert!(index(&types, "rollback_started") < index(&types, "previous_version_deployed"), "{types:?}");
    assert!(index(&types, "pods_ready") < index(&types, "traffic_shifted"), "{types:?}");
    assert!(index(&types, "bad_pods_scaled_down") < index(&types, "traffic_shifted"), "{types:?}");
    let live = world.deployment("web").await;
    assert_eq!(live["spec"]["template"], good["spec"]["template"]);
    assert_eq!(live["spec"]["replicas"], 3);
    assert_eq!(live["metadata"]["annotations"][INCIDENT], subject.incident.to_string());
    assert_eq!(world.our_writes("web").len(), 1);
    println!("from the thread's opening to the accepted write: {:?}", world.announced_to_write(&subject, "web").await);

    world.verify(&subject).await;
    let Fact::OldResourcesCleaned(cleaned) = world.fact(&subject, "old_resources_cleaned").await else { panic!() };
    assert!(cleaned.cleaned.iter().any(|line| line.contains("ReplicaSet")), "{cleaned:?}");
    let live = world.deployment("web").await;
    let status = live["metadata"]["annotations"][STATUS].as_str().unwrap();
    assert_eq!(status, format!("rolled back to docker.io/local/web:v1 by {}", subject.incident));
    let Fact::StatusUpdated(updated) = world.fact(&subject, "status_updated").await else { panic!() };
    let event = world.cluster.get(Kind::Event, "default", &updated.event_name).await.unwrap().unwrap();
    assert_eq!((&event["reason"], &event["type"]), (&json!("RolledBack"), &json!("Normal")));
    let sets = world.cluster.list(Kind::ReplicaSet, "default", "app=web").await.unwrap();
    let marked = sets.iter().filter(|set| set["metadata"]["annotations"][ROLLED_BACK_BY] == subject.incident.to_string());
    assert_eq!(marked.count(), 1);
}

#[tokio::test]
async fn paused_means_nothing_is_written() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.switch(true).await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    let Fact::RollbackHalted(halted) = world.fact(&subject, "rollback_halted").await else { panic!() };
    assert_eq!(halted.reason, "paused");
    assert!(halted.detail.contains("ann"), "{halted:?}");
    assert!(world.our_writes("web").is_empty());
    world.switch(false).await;
}

#[tokio::test]
async fn an_expired_plan_and_a_refused_dry_run_write_nothing() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.start_executor();
    let yesterday = contracts::time::to_proto("2020-01-01T00:00:00Z".parse().unwrap());
    let subject = world.plan("web", &good, |plan| plan.not_after = Some(yesterday)).await;
    world.announce(&subject).await;
    let Fact::RollbackHalted(halted) = world.fact(&subject, "rollback_halted").await else { panic!() };
    assert_eq!(halted.reason, "plan_expired");

    world.deploy("other", "v1", 1).await;
    let good = world.rolled_out("other", "v1").await;
    world.deploy("other", "v2-failing", 1).await;
    let mut invalid = good["spec"]["template"].clone();
    invalid["metadata"]["labels"] = json!({"app": "somebody-elses"});
    let subject = world.plan("other", &good, |plan| plan.template_json = invalid.to_string().into_bytes()).await;
    world.announce(&subject).await;
    let Fact::RollbackHalted(halted) = world.fact(&subject, "rollback_halted").await else { panic!() };
    assert_eq!(halted.reason, "dry_run_refused");
    assert!(halted.detail.contains("selector") || halted.detail.contains("label"), "the server's words: {}", halted.detail);
    assert!(world.our_writes("web").is_empty() && world.our_writes("other").is_empty());
}

/// A clock that is an hour behind.
#[derive(Debug)]
struct Behind(Arc<dyn Clock>);

impl Clock for Behind {
    fn now(&self) -> jiff::Timestamp {
        self.0.now() - jiff::SignedDuration::from_hours(1)
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_begins_no_plan_that_has_expired() {
    let mut world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    let a_minute_ago = contracts::time::to_proto(world.clock.now() - jiff::SignedDuration::from_mins(1));
    let subject = world.plan("web", &good, |plan| plan.not_after = Some(a_minute_ago)).await;
    world.clock = Arc::new(Behind(Arc::clone(&world.clock)));
    world.start_executor();
    world.announce(&subject).await;
    let Fact::RollbackFailed(failed) = world.fact(&subject, "rollback_failed").await else { panic!() };
    assert_eq!(failed.reason, "plan_expired");
    assert!(failed.detail.contains("nothing was written"), "{failed:?}");
    assert!(world.our_writes("web").is_empty());
    assert_eq!(world.deployment("web").await["spec"]["template"]["metadata"]["labels"]["version"], "v2-failing");
}

#[tokio::test]
async fn somebody_elses_version_wins_before_and_after_the_write() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 2).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 2).await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.deploy("web", "v3", 2).await;
    world.announce(&subject).await;
    let Fact::Superseded(superseded) = world.fact(&subject, "superseded").await else { panic!() };
    assert_eq!(superseded.what, "template");
    assert!(world.our_writes("web").is_empty());

    // A target that never becomes ready leaves time for somebody to step in.
    world.deploy("slow", "v1-never-ready", 2).await;
    let good = world.deployment("slow").await;
    world.deploy("slow", "v2-failing", 2).await;
    let subject = world.plan("slow", &good, |_| {}).await;
    world.announce(&subject).await;
    world.fact(&subject, "previous_version_deployed").await;
    world.deploy("slow", "v2-failing", 2).await;
    let Fact::Superseded(superseded) = world.fact(&subject, "superseded").await else { panic!() };
    assert_eq!(superseded.what, "template");
    assert_eq!(world.our_writes("slow").len(), 1);
}

#[tokio::test]
async fn an_autoscaler_supersedes_nothing() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 2).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 2).await;
    world.rolled_out("web", "v2-failing").await;
    let subject = world.plan("web", &good, |_| {}).await;
    let scale = async |replicas: u32| {
        let mut done = false;
        while !done {
            let mut live = world.deployment("web").await;
            live["spec"]["replicas"] = json!(replicas);
            done = world.put_as_somebody("web", &live).await;
        }
    };
    scale(3).await;
    // The intent names a generation that has moved by the time of the write.
    let live = world.deployment("web").await;
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: live["metadata"]["uid"].as_str().unwrap().into(),
        workload_generation: live["metadata"]["generation"].as_i64().unwrap(),
        template_hash: lastgood_core::template::hash(&live["spec"]["template"]),
        target_template_hash: lastgood_core::template::hash(&good["spec"]["template"]),
        ..v1::RollbackStarted::default()
    };
    world.execute(&subject, Command::StartAttempt(intent)).await;
    scale(4).await;
    world.start_executor();
    world.announce(&subject).await;
    world.fact(&subject, "previous_version_deployed").await;
    scale(5).await;
    let Fact::TrafficShifted(shifted) = world.fact(&subject, "traffic_shifted").await else { panic!() };
    assert_eq!(shifted.attempt, 2, "only the generation had moved: a second attempt");
    assert_eq!(world.deployment("web").await["spec"]["replicas"], 5);
    assert_eq!(shifted.services, ["no Service selects these pods"]);
}

#[tokio::test]
async fn a_version_that_does_not_become_ready_fails_with_reasons() {
    let world = World::simulated().await;
    world.service("web", &map(&[("app", "web")])).await;
    world.deploy("web", "v1-crashing", 2).await;
    let good = world.deployment("web").await;
    world.deploy("web", "v2-failing", 2).await;
    world.rolled_out("web", "v2-failing").await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    let Fact::RollbackFailed(failed) = world.fact(&subject, "rollback_failed").await else { panic!() };
    assert_eq!(failed.reason, "pods_not_ready");
    let crashing = failed.pods.iter().find(|pod| pod.reason.contains("CrashLoopBackOff") || pod.reason.contains("exit code 1"));
    assert!(crashing.is_some_and(|pod| !pod.last_log_lines.is_empty() && pod.restarts > 0), "{failed:?}");
    assert!(failed.serving.iter().any(|line| line.contains("via Service web")), "{failed:?}");
}

#[tokio::test]
async fn a_pinned_service_never_has_zero_ready_endpoints() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 3).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 3).await;
    world.rolled_out("web", "v2-failing").await;
    let service = world.service("pinned", &map(&[("app", "web"), ("version", "v2-failing")])).await;
    let ready = async || {
        let endpoints = world.cluster.get(Kind::Endpoints, "default", "pinned").await.unwrap().unwrap_or_default();
        endpoints["subsets"].as_array().into_iter().flatten().filter_map(|s| s["addresses"].as_array()).flatten().count()
    };
    until("its endpoints", SOON, || async { (ready().await == 3).then_some(()).ok_or("not yet") }).await.unwrap();
    world.start_executor();
    let switch = v1::ServiceSwitch {
        name: "pinned".into(),
        uid: service["metadata"]["uid"].as_str().unwrap().into(),
        from_selector: map(&[("app", "web"), ("version", "v2-failing")]),
        shared_selector: map(&[("app", "web")]),
        to_selector: map(&[("app", "web"), ("version", "v1")]),
    };
    let subject = world.plan("web", &good, |plan| plan.service_switches = vec![switch]).await;
    world.announce(&subject).await;
    let mut fewest = usize::MAX;
    let shifted = async {
        loop {
            let now = ready().await;
            if now == 0 && fewest > 0 {
                let service = world.cluster.get(Kind::Service, "default", "pinned").await.unwrap().unwrap();
                let pods = world.cluster.list(Kind::Pod, "default", "app=web").await.unwrap();
                let pods: Vec<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default()).collect();
                println!("no ready endpoint with the selector {} and the pods {pods:?}", service["spec"]["selector"]);
            }
            fewest = fewest.min(now);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let fact = tokio::select! {
        biased;
        fact = world.fact(&subject, "traffic_shifted") => fact,
        () = shifted => unreachable!("it looks for ever"),
    };
    assert!(fewest > 0, "a moment without a ready endpoint");
    let Fact::TrafficShifted(fact) = fact else { panic!() };
    assert_eq!(fact.services, ["pinned: 3 ready endpoints, all restored"]);
    let live = world.cluster.get(Kind::Service, "default", "pinned").await.unwrap().unwrap();
    assert_eq!(live["spec"]["selector"], json!({"app": "web", "version": "v1"}));
}

#[tokio::test]
async fn a_crash_at_any_moment_comes_to_the_same_end() {
    for crash_after in [1, 4, 8, 15, 40, 150, 400] {
        let mut world = World::simulated().await;
        world.service("web", &map(&[("app", "web")])).await;
        world.deploy("web", "v1", 2).await;
        let good = world.rolled_out("web", "v1").await;
        world.deploy("web", "v2-failing", 2).await;
        world.rolled_out("web", "v2-failing").await;
        world.start_executor();
        let subject = world.plan("web", &good, |_| {}).await;
        world.announce(&subject).await;
        tokio::time::sleep(Duration::from_millis(crash_after)).await;
        world.crash_executor();
        world.start_executor();
        world.fact(&subject, "traffic_shifted").await;
        let incident = world.incident(&subject).await;
        assert!(incident.superseded.is_none() && incident.failed.is_none(), "after {crash_after} ms: {incident:?}");
        assert_eq!(world.our_writes("web").len(), 1, "one write, crash after {crash_after} ms");
        let attempts = world.types(&subject).await.iter().filter(|t| **t == "rollback_started").count();
        assert_eq!(attempts, 1, "crash after {crash_after} ms");
    }
}

#[tokio::test]
async fn an_outage_of_the_api_server_is_waited_out() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.rolled_out("web", "v2-failing").await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.sim.as_ref().unwrap().set_available(false);
    world.announce(&subject).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!world.types(&subject).await.contains(&"rollback_halted"));
    world.sim.as_ref().unwrap().set_available(true);
    world.fact(&subject, "traffic_shifted").await;
    assert_eq!(world.our_writes("web").len(), 1);
}

#[tokio::test]
async fn an_incident_that_has_ended_is_not_written_for() {
    let world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.rolled_out("web", "v2-failing").await;
    let sim = world.sim.as_ref().unwrap();
    sim.inject_conflicts(usize::MAX);
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    world.fact(&subject, "rollback_started").await;
    let tried = || sim.journal().iter().filter(|e| e.field_manager == "lastgood" && e.status == 409).count();
    until("a refused write", SOON, || async { (tried() > 0).then_some(()).ok_or("none") }).await.unwrap();
    // The orchestrator takes it for silent.
    let failed = v1::RollbackFailed { attempt: 1, reason: "executor_silent".into(), ..v1::RollbackFailed::default() };
    world.execute(&subject, Command::Fail(failed)).await;
    let (mut before, mut quiet) = (tried(), 0);
    until("that it lets go", SOON, || {
        let now = tried();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        let end = if quiet >= 10 { Ok(()) } else { Err(format!("{now} tries")) };
        async { end }
    })
    .await
    .unwrap();
    sim.inject_conflicts(0);
    assert!(world.our_writes("web").is_empty());
    assert_eq!(world.deployment("web").await["spec"]["template"]["metadata"]["labels"]["version"], "v2-failing");
}

/// The cluster for an executor whose roles lack what is only nice to have.
fn without_niceties(client: kube::Client) -> executor::cluster::Cluster {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let client = client.clone();
        async move {
            let (method, path) = (request.method().as_str(), request.uri().path());
            let refused = method == "POST" && path.ends_with("/events")
                || method == "DELETE"
                || method == "PATCH" && path.contains("/replicasets/");
            if !refused {
                return client.send(request).await.map_err(Box::<dyn std::error::Error + Send + Sync>::from);
            }
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
                "message": "the roles lack it"});
            let answer = http::Response::builder().status(403).header("content-type", "application/json");
            Ok(answer.body(kube::client::Body::from(status.to_string().into_bytes()))?)
        }
    });
    executor::cluster::Cluster::new(kube::Client::new(service, "default"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_is_a_note_and_no_failure() {
    let mut world = World::simulated().await;
    world.cluster = without_niceties(world.client.clone());
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    world.fact(&subject, "traffic_shifted").await;
    world.verify(&subject).await;
    let Fact::OldResourcesCleaned(cleaned) = world.fact(&subject, "old_resources_cleaned").await else { panic!() };
    assert!(cleaned.cleaned.iter().any(|line| line.contains("not marked as rolled back")), "{cleaned:?}");
    let Fact::StatusUpdated(updated) = world.fact(&subject, "status_updated").await else { panic!() };
    assert!(updated.event_name.is_empty() && updated.note.contains("the roles lack it"), "{updated:?}");
}

/// The cluster for an executor in whose way somebody puts the bad version back, and the Service with it, just as the Event is written.
fn with_somebody_who_goes_back(client: kube::Client, bad: serde_json::Value) -> executor::cluster::Cluster {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, bad) = (client.clone(), bad.clone());
        async move {
            if request.method() == "POST" && request.uri().path().ends_with("/events") {
                let cluster = executor::cluster::Cluster::new(client.clone());
                let selector = json!({"app": "web", "version": "v2-failing"});
                for (kind, name, at, value) in
                    [(Kind::Deployment, "web", "/spec/template", bad), (Kind::Service, "pinned", "/spec/selector", selector)]
                {
                    loop {
                        let mut object = cluster.get(kind, "default", name).await?.ok_or("it is there")?;
                        *object.pointer_mut(at).ok_or("it has one")? = value.clone();
                        match cluster.put(kind, "default", name, &object, false).await {
                            // The controllers write as well.
                            Err(executor::cluster::ApiError::Conflict(_)) => {}
                            done => {
                                done?;
                                break;
                            }
                        }
                    }
                }
            }
            client.send(request).await.map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        }
    });
    executor::cluster::Cluster::new(kube::Client::new(service, "default"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_went_back_with_its_workload_stays_there() {
    let mut world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    let bad = world.rolled_out("web", "v2-failing").await;
    let from = map(&[("app", "web"), ("version", "v2-failing")]);
    let service = world.service("pinned", &from).await;
    world.cluster = with_somebody_who_goes_back(world.client.clone(), bad["spec"]["template"].clone());
    world.start_executor();
    let switch = v1::ServiceSwitch {
        name: "pinned".into(),
        uid: service["metadata"]["uid"].as_str().unwrap().into(),
        from_selector: from.clone(),
        shared_selector: map(&[("app", "web")]),
        to_selector: map(&[("app", "web"), ("version", "v1")]),
    };
    let subject = world.plan("web", &good, |plan| plan.service_switches = vec![switch]).await;
    world.announce(&subject).await;
    world.fact(&subject, "traffic_shifted").await;
    world.verify(&subject).await;
    let Fact::OldResourcesCleaned(cleaned) = world.fact(&subject, "old_resources_cleaned").await else { panic!() };
    assert!(cleaned.cleaned.iter().any(|line| line.contains("somebody changed the workload")), "{cleaned:?}");
    let live = world.cluster.get(Kind::Service, "default", "pinned").await.unwrap().unwrap();
    assert_eq!(live["spec"]["selector"], json!(from));
}
