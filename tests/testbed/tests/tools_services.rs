//! Services and load: a service is awaited by its readiness, an early end is told, a load is counted and ends.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use testbed::{
    Error,
    load::Load,
    ports,
    receivers::Webhook,
    services::{Binaries, Service},
    wait,
};

const DEADLINE: Duration = Duration::from_secs(30);

fn program(dir: &Path, name: &str, script: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn services_start_with_their_environment_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    std::fs::write(dir.path().join("root/readyz"), "ok").unwrap();
    std::fs::write(dir.path().join("root/metrics"), "up 1").unwrap();
    program(dir.path(), "good", "env | sort\nexec python3 -m http.server \"$PORT\" --bind 127.0.0.1 --directory \"$ROOT\"");
    program(dir.path(), "bad", "echo 'LASTGOOD_X is missing' >&2\nexit 2");
    let binaries = Binaries::at(dir.path());
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free().unwrap()));
    let env =
        vec![("PORT".to_owned(), admin.port().to_string()), ("ROOT".to_owned(), dir.path().join("root").display().to_string())];
    let service = Service::start("good", &binaries, env, dir.path(), admin).await.unwrap();
    assert_eq!(service.metrics().await.unwrap(), "up 1");
    let first = service.process().pid();
    service.kill().await.unwrap();
    service.restart().await.unwrap();
    assert_ne!(service.process().pid(), first);
    let environment = service.process().log_tail();
    assert!(environment.contains("PORT=") && !environment.contains("CARGO_PKG_NAME"), "{environment}");
    service.terminate(DEADLINE).await.unwrap();

    let error = Service::start("bad", &binaries, Vec::new(), dir.path(), admin).await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }) && error.to_string().contains("LASTGOOD_X is missing"), "{error}");
    let error = Service::start("absent", &binaries, Vec::new(), dir.path(), admin).await.unwrap_err();
    assert!(error.to_string().contains("no program absent"), "{error}");
}

#[tokio::test]
async fn a_load_counts_answers_and_ends() {
    let hook = Webhook::start().await.unwrap();
    hook.fail_next(3, 500, None);
    let load = Load::start(&hook.url(), 50, Duration::from_secs(1)).unwrap();
    wait::until("the load to end", DEADLINE, || async { load.is_finished().then_some(()) }).await.unwrap();
    let counts = load.counts();
    assert_eq!((counts.by_status[&500], counts.no_answer), (3, 0));
    assert!(counts.sent() <= 50 && counts.sent() > 10 && counts.failed() == 3, "{counts:?}");

    let load = Load::start(&hook.url(), 50, Duration::from_mins(1)).unwrap();
    wait::until("answers", DEADLINE, || async { (load.counts().sent() > 3).then_some(()) }).await.unwrap();
    drop(load);
    hook.go_down().await;
    let load = Load::start(&hook.url(), 50, Duration::from_millis(300)).unwrap();
    wait::until("the load to end", DEADLINE, || async { load.is_finished().then_some(()) }).await.unwrap();
    assert!(load.counts().no_answer > 0, "{:?}", load.counts());
}
