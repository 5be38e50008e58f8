//! Prometheus and Alertmanager, the real ones: an error rate becomes a webhook, its end becomes a resolved one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use testbed::{
    alertmanager::{Alertmanager, AlertmanagerOptions},
    prometheus::{Prometheus, PrometheusOptions, StaticTarget},
    receivers::{Received, Webhook},
    wait,
};

const DEADLINE: Duration = Duration::from_mins(1);

/// A target whose errors per scrape can be set.
async fn target(errors: Arc<AtomicU64>) -> String {
    let totals = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let metrics = move || {
        let ok = totals.0.fetch_add(10, Ordering::SeqCst);
        let bad = totals.1.fetch_add(errors.load(Ordering::SeqCst), Ordering::SeqCst);
        let text = format!("http_requests_total{{code=\"200\"}} {ok}\nhttp_requests_total{{code=\"500\"}} {bad}\n");
        async move { text }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn status_is(status: &'static str) -> impl Fn(&Received) -> bool {
    move |received| received.call.body["status"] == status
}

#[tokio::test]
async fn an_error_rate_becomes_a_webhook_and_resolves() {
    let hook = Webhook::start().await.unwrap();
    let mut options = AlertmanagerOptions::new(format!("{}/alerts", hook.url()));
    options.bearer_token = Some("secret".to_owned());
    let alertmanager = Alertmanager::start(options).await.unwrap();
    let errors = Arc::new(AtomicU64::new(10));
    let labels = [("namespace", "shop"), ("deployment", "checkout")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let static_targets = vec![StaticTarget { address: target(Arc::clone(&errors)).await, labels: labels.to_vec() }];
    let external_labels = vec![("cluster".to_owned(), "testbed".to_owned())];
    let alertmanager_urls = vec![alertmanager.url()];
    let options = PrometheusOptions { static_targets, alertmanager_urls, external_labels, ..PrometheusOptions::default() };
    let prometheus = Prometheus::start(options).await.unwrap();

    let firing = hook.wait_for(status_is("firing"), DEADLINE).await.unwrap();
    assert_eq!(firing.call.headers["authorization"], "Bearer secret");
    let body = &firing.call.body;
    assert_eq!(body["version"], "4");
    let expected = json!({ "alertname": "HighErrorRate", "namespace": "shop", "deployment": "checkout", "severity": "page", "cluster": "testbed" });
    assert_eq!(body["alerts"][0]["labels"], expected);
    assert_eq!(prometheus.firing().await.unwrap().len(), 1);

    errors.store(0, Ordering::SeqCst);
    hook.wait_for(status_is("resolved"), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_refused_notification_is_told_again_and_an_open_one_repeats() {
    let hook = Webhook::start().await.unwrap();
    hook.fail_next(2, 503, None);
    let mut options = AlertmanagerOptions::new(hook.url());
    options.repeat_interval = Duration::from_secs(1);
    let (first, second) = Alertmanager::start_pair(options).await.unwrap();
    let alert = json!([{ "labels": { "alertname": "A", "namespace": "shop", "deployment": "checkout" } }]);
    first.post_alerts(&alert).await.unwrap();
    second.post_alerts(&alert).await.unwrap();
    wait::until("three accepted notifications after two refused", DEADLINE, || async {
        let accepted = hook.received().iter().filter(|received| received.took_effect()).count();
        if accepted >= 3 { Ok(()) } else { Err(format!("{accepted} accepted of {}", hook.received().len())) }
    })
    .await
    .unwrap();
    first.kill().await.unwrap();
    first.restart().await.unwrap();
    assert_eq!(second.alerts().await.unwrap().as_array().unwrap().len(), 1);
}
