//! Supervised processes: signals, logs in errors, and an end with their owner, also when the owner is killed.

use std::{process::Command, time::Duration};

use testbed::{
    Error,
    process::{Daemon, Process},
    tools, wait,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn signals_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::spawn("sleeper", sh("sleep 1000 & wait"), dir.path().join("log")).unwrap();
    assert!(process.is_running() && process.rss_kib().unwrap() > 0);
    process.pause();
    wait::until("T", DEADLINE, || async { (state(process.pid()) == Some('T')).then_some(()) }).await.unwrap();
    process.resume();
    wait::until("S", DEADLINE, || async { (state(process.pid()) == Some('S')).then_some(()) }).await.unwrap();
    let status = process.terminate(DEADLINE).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));

    let stubborn =
        Process::spawn("stubborn", sh("trap '' TERM; echo up; while :; do sleep 0.1; done"), dir.path().join("log2")).unwrap();
    wait::until("the trap", DEADLINE, || async { stubborn.log_tail().contains("up").then_some(()) }).await.unwrap();
    let status = stubborn.terminate(Duration::from_millis(200)).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[tokio::test]
async fn an_early_end_shows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start("failing", dir.path().join("log"), || sh("echo no such luck >&2; exit 3")).unwrap();
    let error = daemon.ready(DEADLINE, || async { Err("not ready".to_owned()) }).await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }) && error.to_string().contains("no such luck"), "{error}");
}

/// Runs as a child of the next test: starts a sleeper, tells its pid, and waits to be killed.
#[tokio::test]
#[ignore = "the helper of the_orphans_of_a_killed_test_die"]
async fn helper_that_gets_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os("HELPER_DIR").unwrap());
    let first = Process::spawn("gone", sh("true"), dir.join("first.log")).unwrap();
    first.wait_exit(DEADLINE).await.unwrap();
    let sleeper = Process::spawn("sleeper", sh("sleep 1000 & wait"), dir.join("sleeper.log")).unwrap();
    std::fs::write(dir.join("pid.tmp"), sleeper.pid().to_string()).unwrap();
    std::fs::rename(dir.join("pid.tmp"), dir.join("pid")).unwrap();
    sleeper.wait_exit(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn the_orphans_of_a_killed_test_die() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "helper_that_gets_killed"]).env("HELPER_DIR", dir.path());
    let helper = Process::spawn("helper", command, dir.path().join("helper.log")).unwrap();
    let pid =
        wait::until("the sleeper's pid", DEADLINE, || async { std::fs::read_to_string(dir.path().join("pid")) }).await.unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(state(pid).is_some());
    helper.kill();
    wait::until("the orphan to die", DEADLINE, || async { state(pid).is_none_or(|state| state == 'Z').then_some(()) })
        .await
        .unwrap();
}

#[tokio::test]
async fn every_tool_is_found_or_fetched_also_by_several_at_once() {
    let (first, second) = tokio::join!(tools::nats_server(), tools::nats_server());
    assert_eq!(first.unwrap(), second.unwrap());
    let (first, second) = tokio::join!(tools::webhook(), tools::webhook());
    assert_eq!(first.unwrap(), second.unwrap());
    for tool in [tools::kubectl().await, tools::prometheus().await, tools::alertmanager().await] {
        assert!(tool.unwrap().is_file());
    }
}
