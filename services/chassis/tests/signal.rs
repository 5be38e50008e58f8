//! A signal while a service is being wired, in a process of its own: it stops everything that listens.

use std::time::Duration;

use chassis::config;
use testbed::nats::{Nats, NatsOptions};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_between_start_and_run_is_not_lost() {
    let nats = Nats::start(NatsOptions::default()).await.unwrap();
    let bus = config::Nats { urls: vec![nats.url()], max_bytes: 8 << 20, ..config::Nats::default() };
    let (admin, telemetry) = (config::Admin::default(), config::Telemetry::default());
    let starting = chassis::service::start("tester", &bus, &admin, &telemetry);
    let service = tokio::time::timeout(PATIENCE, starting).await.unwrap().unwrap();
    let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
    assert!(killed.success());
    let stopping = service.lifecycle.stopping();
    tokio::time::timeout(PATIENCE, stopping.cancelled()).await.expect("the signal was heard");
    let code = tokio::time::timeout(PATIENCE, service.run()).await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}
