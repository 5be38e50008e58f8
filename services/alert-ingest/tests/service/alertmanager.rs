//! What the real Alertmanager sends: alone, as a pair, and as it was once recorded.

use alert_ingest::sources::alertmanager::parse;
use contracts::v1::AlertStatus;
use serde_json::{Value, json};
use testbed::alertmanager::{Alertmanager, AlertmanagerOptions};
use testbed::receivers::Webhook;

use super::world::{PATIENCE, TOKEN, World};

fn alert() -> Value {
    json!({"labels": {"alertname": "HighErrorRate", "namespace": "shop", "deployment": "web", "path": "/ü?\"x\""},
        "annotations": {"summary": "many errors"}, "generatorURL": "http://prometheus.example/graph"})
}

fn options(url: String) -> AlertmanagerOptions {
    AlertmanagerOptions { bearer_token: Some(TOKEN.to_owned()), ..AlertmanagerOptions::new(url) }
}

#[test]
fn what_was_recorded_from_alertmanager_0_25_is_read() {
    let firing = parse(include_bytes!("fixtures/alertmanager-0.25-firing.json")).unwrap();
    assert_eq!((firing.alerts.len(), firing.alerts[0].status()), (1, AlertStatus::Firing));
    assert_eq!(firing.alerts[0].ends_at, None);
    assert_eq!(firing.alerts[0].labels["path"], "/ü?\"x\"");
    let resolved = parse(include_bytes!("fixtures/alertmanager-0.25-resolved.json")).unwrap();
    assert_eq!(resolved.alerts[0].status(), AlertStatus::Resolved);
    assert!(resolved.alerts[0].ends_at.is_some());
    assert_eq!(resolved.alerts[0].fingerprint, firing.alerts[0].fingerprint);
}

#[tokio::test]
async fn a_pairs_firing_and_resolved_are_stored_once_each() {
    let world = World::start().await;
    let (one, two) = Alertmanager::start_pair(options(world.url())).await.unwrap();
    let begun = alert();
    for peer in [&one, &two] {
        peer.post_alerts(&json!([begun])).await.unwrap();
    }
    let heard = |status: AlertStatus| {
        let world = &world;
        move || async move {
            let heard = world.heard().await;
            let found = heard.iter().flat_map(|part| part.alerts.clone()).find(|alert| alert.status() == status);
            found.ok_or_else(|| format!("{heard:?}"))
        }
    };
    let firing = testbed::wait::until("the alert is stored", PATIENCE, heard(AlertStatus::Firing)).await.unwrap();
    assert_eq!(firing.labels["path"], "/ü?\"x\"");
    let mut over = alert();
    over["startsAt"] = contracts::time::from_proto(firing.starts_at.as_ref()).unwrap().to_string().into();
    over["endsAt"] = over["startsAt"].clone();
    for peer in [&one, &two] {
        peer.post_alerts(&json!([over])).await.unwrap();
    }
    let resolved = testbed::wait::until("its end is stored", PATIENCE, heard(AlertStatus::Resolved)).await.unwrap();
    assert_eq!(resolved.fingerprint, firing.fingerprint);
}

/// Records the fixtures: `cargo test -p alert-ingest --test service -- --ignored record`.
#[tokio::test]
#[ignore = "writes the fixtures anew"]
async fn record() {
    let webhook = Webhook::start().await.unwrap();
    let alertmanager = Alertmanager::start(AlertmanagerOptions::new(webhook.url())).await.unwrap();
    for name in ["firing", "resolved"] {
        let mut sent = alert();
        sent["startsAt"] = "2026-11-21T10:00:00.123Z".into();
        if name == "resolved" {
            sent["endsAt"] = "2026-11-21T10:05:00Z".into();
        }
        alertmanager.post_alerts(&json!([sent])).await.unwrap();
        let told = || async { webhook.received().into_iter().find(|received| received.call.body["status"] == name) };
        let told = testbed::wait::until("Alertmanager tells it", PATIENCE, told).await.unwrap();
        let path = format!("{}/tests/service/fixtures/alertmanager-0.25-{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(path, told.call.raw).unwrap();
    }
}
