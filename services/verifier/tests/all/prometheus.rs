//! `promql` checks and the watch over alerts against a real Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use contracts::v1::{SmokeTestFinished, Verdict};
use lastgood_core::incident::{Command, Phase};
use testbed::prometheus::{Prometheus, PrometheusOptions, Rule, StaticTarget};
use testbed::wait;
use tokio::time::Instant;
use verifier::checks::Tools;
use verifier::config;
use verifier::definitions::{Own, of_workload};
use verifier::runner::smoke_test;
use verifier::sight::Sight;
use verifier::watch::AlertWatch;

use crate::support::{FakeEyes, MemoryLog, serve, subject, until_traffic_shifted, workload};

fn tools(prometheus: &Prometheus) -> Tools {
    chassis::cluster::install_crypto();
    let config = config::Prometheus { url: prometheus.url().parse().ok(), ..config::Prometheus::default() };
    verifier::net::tools(&config).unwrap()
}

fn mitigated() -> Arc<MemoryLog> {
    let log = Arc::new(MemoryLog::default());
    for command in until_traffic_shifted("uid-1", "good", Duration::from_mins(1)) {
        log.say(&command).unwrap();
    }
    let pods =
        SmokeTestFinished { check: "pods".into(), kind: "pods".into(), verdict: Verdict::Passed.into(), ..Default::default() };
    log.say(&Command::RecordCheck(pods)).unwrap();
    log.say(&Command::PassVerification).unwrap();
    assert_eq!(log.incident().phase(), Phase::Mitigated);
    log
}

/// A target whose gauge `bad` a test can change, and a Prometheus whose alert fires while it is 1.
async fn world() -> (Arc<AtomicBool>, Prometheus) {
    let bad = Arc::new(AtomicBool::new(true));
    let gauge = Arc::clone(&bad);
    let metrics = get(async move || format!("bad {}\n", u8::from(gauge.load(Ordering::Relaxed))));
    let target = serve("127.0.0.1", Router::new().route("/metrics", metrics)).await;
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = vec![label("namespace", "shop"), label("deployment", "web")];
    let rule = Rule {
        alert: "HighErrorRate".into(),
        expr: "max by (namespace, deployment) (bad) > 0".into(),
        hold: "0s".into(),
        labels: vec![],
        annotations: vec![],
    };
    let options = PrometheusOptions {
        static_targets: vec![StaticTarget { address: target.to_string(), labels }],
        rules: vec![rule],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    wait::until("the alert fires", Duration::from_secs(20), async || {
        prometheus.firing().await.ok().filter(|firing| !firing.is_empty())
    })
    .await
    .unwrap();
    (bad, prometheus)
}

#[tokio::test]
async fn a_real_prometheus_is_judged() {
    let (bad, prometheus) = world().await;
    let tools = tools(&prometheus);
    let cases = [
        ("max(bad{namespace=\"{{namespace}}\",deployment=\"{{name}}\"})', equals: 1", Verdict::Passed, "the value is 1"),
        ("max(bad)', max: 0", Verdict::Failed, "the value is 1, wanted at most 0"),
        ("scalar(vector(3))', min: 3, max: 3", Verdict::Passed, "the value is 3"),
        ("nothing_like_it', max: 0", Verdict::NoData, "gives no data"),
        ("vector(0) / 0', max: 1", Verdict::NoData, "NaN"),
        ("{__name__=~\"bad|up\"}', max: 1", Verdict::NoData, "must give one"),
        ("sum(', max: 1", Verdict::NoData, "parse error"),
    ];
    for (query, wanted, says) in cases {
        let text = format!("- {{name: it, promql: {{query: '{query}}}, interval: 20ms, passes: 2, retries: 1}}");
        let definition = of_workload(&[], Own::new(Some(&text), ""), &workload()).unwrap().remove(0);
        let eyes = FakeEyes::new(None, vec![Ok(Sight::default())]);
        let until = Instant::now() + Duration::from_secs(10);
        let finished = smoke_test(&definition, &workload(), &tools, &eyes, until).await.unwrap();
        assert_eq!(finished.verdict(), wanted, "{query}: {}", finished.evidence);
        assert!(finished.evidence.contains(says), "{query}: {}", finished.evidence);
    }

    // The same Prometheus, for the watch: it fires, then Prometheus is away, then the alert is over.
    let log = mitigated();
    let watch = AlertWatch {
        log: Arc::clone(&log) as _,
        prometheus: tools.prometheus.clone().unwrap(),
        poll: Duration::from_millis(100),
        ignore_labels: vec![],
    };
    let watching = tokio::spawn(async move { watch.run(&subject(), 1).await });
    let looked = wait::until("a rule evaluation after the mitigation", Duration::from_secs(10), async || {
        let since = log.incident().mitigated_at.unwrap();
        let answer = tools.prometheus.as_ref().unwrap().alerting_rules().await?;
        let rule = &answer.data.groups[0].rules[0];
        if rule.last_evaluation > since { Ok(()) } else { Err(format!("{} of {since}", rule.last_evaluation)) }
    });
    looked.await.unwrap();
    assert!(log.incident().resolved.is_empty(), "it fires");
    prometheus.kill().await.unwrap();
    bad.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(log.incident().resolved.is_empty(), "a Prometheus that is away says nothing");
    prometheus.restart().await.unwrap();
    wait::until("the alert is over", Duration::from_secs(20), async || log.incident().resolved.first().cloned()).await.unwrap();
    assert_eq!(log.event_types().last(), Some(&"alert_resolved"));
    watching.abort();
}
