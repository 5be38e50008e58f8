//! Whole verifications on a log in memory that decides by the real core.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use chassis::clock::SystemClock;
use contracts::Fact;
use contracts::v1::{SmokeTestFinished, Superseded, Verdict, VerificationFailed};
use lastgood_core::incident::{Command, Phase};
use verifier::eyes::NoLook;
use verifier::runner::Stabilisation;
use verifier::sight::Sight;
use verifier::verify::Verification;

use crate::support::{FakeEyes, MemoryLog, pod, serve, sight, subject, tools, until_traffic_shifted};

const VERIFY: Duration = Duration::from_secs(20);

fn log(verify: Duration) -> Arc<MemoryLog> {
    let log = Arc::new(MemoryLog::default());
    for command in until_traffic_shifted("uid-1", "good", verify) {
        log.say(&command).unwrap();
    }
    assert_eq!(log.incident().phase(), Phase::Verifying);
    log
}

async fn verify(log: &Arc<MemoryLog>, annotation: Option<&str>, looks: Vec<Result<Sight, NoLook>>) {
    let verification = Verification {
        log: Arc::clone(log) as _,
        clock: Arc::new(SystemClock),
        tools: tools(),
        rules: vec![],
        stabilisation: Stabilisation { window: Duration::from_millis(200), every: Duration::from_millis(20) },
    };
    let eyes = FakeEyes::new(annotation, looks);
    let state = log.incident();
    let deadline = Duration::from_secs(30);
    tokio::time::timeout(deadline, verification.run(&subject(), &state, &eyes)).await.expect("an end in time").unwrap();
}

fn check(log: &MemoryLog, name: &str) -> SmokeTestFinished {
    log.incident().checks.get(name).cloned().unwrap_or_else(|| panic!("no fact of check {name}"))
}

fn failure(log: &MemoryLog) -> VerificationFailed {
    log.incident().verification_failed.expect("a failed verification")
}

async fn site() -> (std::net::SocketAddr, String) {
    let router = Router::new()
        .route("/smoke", get(async || "ok"))
        .route("/broken", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "no")));
    let address = serve("127.0.0.1", router).await;
    let home = format!("- {{name: home, http: {{port: {}, path: /smoke}}, interval: 20ms}}\n", address.port());
    (address, home)
}

fn broken(port: u16) -> String {
    format!("- {{name: broken, http: {{port: {port}, path: /broken}}, interval: 20ms, retries: 1}}\n")
}

#[tokio::test]
async fn all_well_is_mitigated() {
    let (address, home) = site().await;
    let log = log(VERIFY);
    verify(&log, Some(&home), vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    assert_eq!(log.incident().phase(), Phase::Mitigated);
    assert_eq!(log.event_types()[8..], ["smoke_test_finished", "smoke_test_finished", "verification_passed", "mitigated"]);
    assert!(check(&log, "home").evidence.contains("HTTP 200 OK `ok`"), "{:?}", check(&log, "home"));
    assert!(check(&log, "pods").evidence.contains("1 of 1 pods ready (web-1) at every look"), "{:?}", check(&log, "pods"));
}

#[tokio::test]
async fn without_smoke_tests_the_pods_are_watched_and_it_is_said() {
    let (address, _) = site().await;
    let log = log(VERIFY);
    verify(&log, None, vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    assert_eq!(log.incident().phase(), Phase::Mitigated);
    assert!(check(&log, "pods").evidence.contains("no smoke tests are configured"), "{:?}", check(&log, "pods"));
}

#[tokio::test]
async fn a_failing_smoke_test_fails_the_verification() {
    let (address, home) = site().await;
    let log = log(VERIFY);
    verify(&log, Some(&(home + &broken(address.port()))), vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    assert_eq!(failure(&log), VerificationFailed { reason: "smoke_tests_failed".into(), failed_checks: vec!["broken".into()] });
    assert_eq!(check(&log, "home").verdict(), Verdict::Passed);
    assert!(log.event_types().contains(&"notification_requested"), "people are told");
}

#[tokio::test]
async fn nothing_seen_is_not_healthy() {
    let log = log(Duration::from_millis(300));
    verify(&log, None, vec![Err(NoLook::Unseen("the API server is away".into()))]).await;
    assert_eq!(failure(&log), VerificationFailed { reason: "nothing_seen".into(), failed_checks: vec!["pods".into()] });
    assert_eq!(check(&log, "pods").verdict(), Verdict::NoData);
    assert!(check(&log, "pods").evidence.contains("the API server is away"));
}

#[tokio::test]
async fn promql_without_prometheus_sees_nothing() {
    let (address, _) = site().await;
    let log = log(VERIFY);
    let errors = "- {name: errors, promql: {query: vector(0), max: 1}}";
    verify(&log, Some(errors), vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    assert_eq!(failure(&log), VerificationFailed { reason: "nothing_seen".into(), failed_checks: vec!["errors".into()] });
}

#[tokio::test]
async fn checks_that_are_not_understood_never_pass() {
    let (address, _) = site().await;
    let log = log(VERIFY);
    verify(&log, Some("- {name: home, http: {prot: 80}}"), vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    let failed = failure(&log);
    assert_eq!(failed.reason, "checks_invalid");
    assert_eq!(failed.failed_checks, ["`lastgood.dev/smoke-tests[0].http.port`: is missing"]);
}

#[tokio::test]
async fn what_is_on_the_log_is_not_run_again() {
    let (address, home) = site().await;
    let log = log(VERIFY);
    let known = |verdict: Verdict, evidence: &str| SmokeTestFinished {
        check: "broken".into(),
        kind: "http".into(),
        verdict: verdict.into(),
        evidence: evidence.into(),
        tries: 3,
    };
    log.say(&Command::RecordCheck(known(Verdict::Passed, "before the kill"))).unwrap();
    verify(&log, Some(&(home + &broken(address.port()))), vec![Ok(sight(vec![pod("web-1", address)], vec![]))]).await;
    assert_eq!(check(&log, "broken").evidence, "before the kill");
    assert_eq!(log.incident().phase(), Phase::Mitigated);
    let recorded = log.facts().into_iter().filter(|fact| matches!(fact, Fact::SmokeTestFinished(_))).count();
    assert_eq!(recorded, 3);

    // Once more, as after a redelivery: nothing is added.
    let facts = log.facts().len();
    verify(&log, None, vec![Err(NoLook::Unseen("not to be asked".into()))]).await;
    assert_eq!(log.facts().len(), facts);
}

#[tokio::test]
async fn two_replicas_at_once_do_no_harm() {
    let (address, home) = site().await;
    let log = log(VERIFY);
    let looks = || vec![Ok(sight(vec![pod("web-1", address)], vec![]))];
    tokio::join!(verify(&log, Some(&home), looks()), verify(&log, Some(&home), looks()));
    assert_eq!(log.event_types()[8..], ["smoke_test_finished", "smoke_test_finished", "verification_passed", "mitigated"]);
}

#[tokio::test]
async fn somebodys_change_supersedes() {
    let (address, home) = site().await;
    let log = log(VERIFY);
    let changed = Superseded { what: "template".into(), detail: "somebody deployed".into(), workload_generation: 9 };
    let looks = vec![Ok(sight(vec![pod("web-1", address)], vec![])), Err(NoLook::Changed(changed.clone()))];
    verify(&log, Some(&home), looks).await;
    assert_eq!(log.incident().superseded, Some(changed));
    assert_eq!(log.incident().verification_failed, None);
}

#[tokio::test]
async fn it_stops_when_the_incident_moves_on() {
    let log = log(Duration::from_mins(10));
    let end = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let theirs = Superseded { what: "paused".into(), ..Superseded::default() };
        log.say(&Command::Supersede(theirs)).unwrap();
    };
    tokio::join!(verify(&log, None, vec![Err(NoLook::Unseen("away".into()))]), end);
    assert!(log.incident().checks.is_empty());
}
