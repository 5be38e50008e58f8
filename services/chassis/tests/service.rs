//! The start of a service: what its admin server says before, during and after NATS is there.

use std::time::Duration;

use chassis::config;
use testbed::nats::{Nats, NatsOptions};
use testbed::wait;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_not_ready_before_nats_is_and_ends_in_order() {
    let nats = Nats::start(NatsOptions::default()).await.unwrap();
    nats.kill().await.unwrap();
    let admin = config::Admin { listen: ([127, 0, 0, 1], testbed::ports::free().unwrap()).into() };
    let bus = config::Nats { urls: vec![nats.url()], max_bytes: 8 << 20, ..config::Nats::default() };
    let page = |path: &str| format!("http://{}/{path}", admin.listen);
    let starting = tokio::spawn({
        let admin = admin.clone();
        async move { chassis::service::start("tester", &bus, &admin, &config::Telemetry::default()).await }
    });
    wait::until("the admin server", PATIENCE, || async { wait::get(&page("livez")).await }).await.unwrap();
    let not_ready = wait::get(&page("readyz")).await.unwrap_err();
    assert!(not_ready.contains("503") && not_ready.contains("nats: "), "{not_ready}");
    nats.restart().await.unwrap();
    let service = starting.await.unwrap().unwrap();
    let life = service.lifecycle.clone();
    let run = tokio::spawn(service.run());
    wait::until("ready", PATIENCE, || async { wait::get(&page("readyz")).await }).await.unwrap();
    let metrics = wait::get(&page("metrics")).await.unwrap();
    assert!(metrics.contains("process_resident_memory_bytes") && metrics.contains("lastgood_nats_connected 1"), "{metrics}");
    nats.kill().await.unwrap();
    wait::until("not ready", PATIENCE, || async {
        wait::get(&page("readyz")).await.err().filter(|answer| answer.contains("nats: the connection is down"))
    })
    .await
    .unwrap();
    nats.restart().await.unwrap();
    wait::until("ready again", PATIENCE, || async { wait::get(&page("readyz")).await }).await.unwrap();
    life.stop();
    let code = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}
