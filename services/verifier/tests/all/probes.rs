//! The http and tcp checks against real servers on loopback.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use contracts::v1::Verdict;
use tokio::time::Instant;
use verifier::definitions::{Definition, Own, of_workload};
use verifier::eyes::NoLook;
use verifier::runner::smoke_test;
use verifier::sight::{ServiceSight, Sight};

use crate::support::{FakeEyes, pod, serve, sight, tools, workload};

fn router() -> Router {
    Router::new()
        .route("/smoke", get(async || "all ok"))
        .route("/broken", get(async || (StatusCode::INTERNAL_SERVER_ERROR, format!("no\n{}", "x".repeat(500)))))
        .route("/moved", get(async || Redirect::temporary("/smoke")))
        .route("/large", get(async || format!("{}needle", "x".repeat(100 * 1024))))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(20)).await))
        .route(
            "/header",
            get(async |headers: HeaderMap| match headers.get("x-token") {
                Some(value) if value == "yes" => StatusCode::NO_CONTENT,
                _ => StatusCode::FORBIDDEN,
            }),
        )
}

fn definition(kind: &str, body: &str, more: &str) -> Definition {
    let text = format!("- {{name: it, {kind}: {{{body}}}, timeout: 300ms, interval: 20ms, passes: 2, retries: 1{more}}}");
    of_workload(&[], Own::new(Some(&text), ""), &workload()).unwrap().remove(0)
}

async fn run(definition: &Definition, looks: Vec<Result<Sight, NoLook>>) -> (Verdict, String, u32) {
    let eyes = FakeEyes::new(None, looks);
    let until = Instant::now() + Duration::from_secs(10);
    let finished = smoke_test(definition, &workload(), &tools(), &eyes, until).await.unwrap();
    (finished.verdict(), finished.evidence.clone(), finished.tries)
}

#[tokio::test]
async fn http_answers_are_judged() {
    let address = serve("127.0.0.1", router()).await;
    let port = address.port();
    let cases = [
        ("path: /smoke, expect_body: all ok", Verdict::Passed, "2 passes in a row; a (127.0.0.1:"),
        ("path: /smoke, expect_body: missing", Verdict::Failed, "without `missing`"),
        ("path: /smoke, method: HEAD", Verdict::Passed, "HTTP 200 OK"),
        ("path: /broken", Verdict::Failed, "HTTP 500 Internal Server Error `no xxx"),
        ("path: /broken, expect_status: '500'", Verdict::Passed, "HTTP 500"),
        ("path: /moved", Verdict::Failed, "HTTP 307 Temporary Redirect"),
        ("path: /moved, expect_status: '200-299,307'", Verdict::Passed, "HTTP 307"),
        ("path: /large, expect_body: needle", Verdict::Failed, "without `needle`"),
        ("path: /slow", Verdict::Failed, "no answer within 300ms"),
        ("path: /header, headers: {x-token: 'yes'}", Verdict::Passed, "HTTP 204"),
        ("path: /header", Verdict::Failed, "HTTP 403"),
        ("path: /none, expect_status: 404", Verdict::Passed, "HTTP 404"),
    ];
    for (body, wanted, says) in cases {
        let definition = definition("http", &format!("port: {port}, {body}"), "");
        let (verdict, evidence, tries) = run(&definition, vec![Ok(sight(vec![pod("a", address)], vec![]))]).await;
        assert_eq!(verdict, wanted, "{body}: {evidence}");
        assert!(evidence.contains(says), "{body}: {evidence}");
        assert!(evidence.chars().count() < 320, "{body}: {evidence}");
        assert_eq!(tries, 2, "{body}");
    }
}

#[tokio::test]
async fn a_refused_connection_fails_and_an_absent_pod_is_no_data() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for kind in ["tcp", "http"] {
        let definition = definition(kind, &format!("port: {}", free.port()), "");
        let (verdict, evidence, _) = run(&definition, vec![Ok(sight(vec![pod("a", free)], vec![]))]).await;
        assert_eq!(verdict, Verdict::Failed, "{evidence}");
        assert!(evidence.to_lowercase().contains("refused"), "{evidence}");
        let (verdict, evidence, _) = run(&definition, vec![Ok(Sight::default())]).await;
        assert_eq!(verdict, Verdict::NoData, "{evidence}");
        let (verdict, evidence, _) = run(&definition, vec![Err(NoLook::Unseen("the API server is away".into()))]).await;
        assert_eq!((verdict, evidence.as_str()), (Verdict::NoData, "the API server is away"));
    }
}

#[tokio::test]
async fn ipv6_services_and_every_pod_are_probed() {
    let address = serve("::1", router()).await;
    let port = address.port();
    let pods = definition("http", &format!("port: {port}, path: /smoke"), "");
    let (verdict, evidence, _) = run(&pods, vec![Ok(sight(vec![pod("six", address)], vec![]))]).await;
    assert_eq!(verdict, Verdict::Passed, "{evidence}");
    assert!(evidence.contains(&format!("[::1]:{port}")), "{evidence}");

    let service = definition("tcp", &format!("port: {port}"), ", target: service");
    let web = ServiceSight { name: "web".into(), address: Some(address.ip()), ports: vec![port] };
    let (verdict, evidence, _) = run(&service, vec![Ok(sight(vec![], vec![web]))]).await;
    assert_eq!(verdict, Verdict::Passed, "{evidence}");

    // Nobody listens at this port of 127.0.0.2, so one of the two pods fails.
    let four = serve("127.0.0.1", router()).await;
    let other = pod("dead", format!("127.0.0.2:{}", four.port()).parse().unwrap());
    let both = definition("http", &format!("port: {}, path: /smoke", four.port()), "");
    let (verdict, evidence, _) = run(&both, vec![Ok(sight(vec![pod("well", four), other], vec![]))]).await;
    assert_eq!(verdict, Verdict::Failed, "{evidence}");
    assert!(evidence.starts_with("1 of 2: dead (127.0.0.2:"), "{evidence}");
}

#[tokio::test]
async fn tries_are_counted_over_changing_pods_and_end_in_time() {
    let address = serve("127.0.0.1", router()).await;
    let definition = definition("tcp", &format!("port: {}", address.port()), "");
    let good = || Ok(sight(vec![pod("a", address)], vec![]));
    let blind = || Err(NoLook::Unseen("away".into()));
    let (verdict, _, tries) = run(&definition, vec![good(), blind(), good(), good()]).await;
    assert_eq!((verdict, tries), (Verdict::Passed, 4), "a look without data breaks the row");

    let slow = Definition { pace: verifier::checks::Pace { passes: 1000, ..definition.pace }, ..definition };
    let eyes = FakeEyes::new(None, vec![good()]);
    let until = Instant::now() + Duration::from_millis(200);
    let finished = smoke_test(&slow, &workload(), &tools(), &eyes, until).await.unwrap();
    assert_eq!(finished.verdict(), Verdict::NoData, "{}", finished.evidence);
    assert!(finished.evidence.starts_with("not decided in time"), "{}", finished.evidence);
}
