//! NATS away, hanging, or not lastgood's; and a configuration that is refused.

use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::nats::{Nats, NatsOptions};

use crate::world::{finished, program};

const COMMANDS: [&str; 6] = [
    "history shop/deploy/web",
    "mark bad shop/deploy/web v1 --reason x",
    "incidents",
    "show inc_0000000000000000000000000000002a",
    "pause --reason x",
    "dead-letters list",
];

#[tokio::test]
async fn nobody_there_is_said_at_once_with_what_to_change() -> Result<()> {
    let port = testbed::ports::free()?;
    for command in COMMANDS {
        let url = format!("nats://ann:secret@127.0.0.1:{port}");
        let ran = finished(program(&url).args(command.split(' '))).await?;
        assert!(ran.code == 1 && ran.out.is_empty(), "{command}: {ran:?}");
        for part in [&format!("NATS can't be reached at nats://127.0.0.1:{port}"), "LASTGOOD_NATS__URLS"] {
            assert!(ran.err.contains(part), "{command}: no `{part}` in {ran:?}");
        }
        assert!(!ran.err.contains("secret"), "{ran:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() -> Result<()> {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("nats://{}", silent.local_addr()?);
    let begun = now();
    let ran = finished(program(&url).env("LASTGOOD_NATS__REQUEST_TIMEOUT", "300ms").arg("incidents")).await?;
    assert!(ran.code == 1 && ran.err.contains("NATS can't be reached"), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let ran = finished(program(&url).args(["incidents", "--timeout", "200ms"])).await?;
    assert!(ran.code == 1 && ran.err.contains("not done within"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn another_systems_server_is_left_as_it_is() -> Result<()> {
    let nats = Nats::start(NatsOptions::default()).await?;
    let ran = finished(program(&nats.url()).args(["pause", "--reason", "x"])).await?;
    assert!(ran.code == 1 && ran.err.contains("has no stream LASTGOOD_INCIDENTS"), "{ran:?}");
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    assert!(context.get_stream("LASTGOOD_INCIDENTS").await.is_err(), "no stream was made");
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_with_its_key() -> Result<()> {
    let ran = finished(program("nats://127.0.0.1:1").env("LASTGOOD_KUBERNETES__CLUSTER", "a b").arg("incidents")).await?;
    assert!(ran.code == 1 && ran.err.contains("kubernetes.cluster"), "{ran:?}");
    let ran = finished(program("nats://127.0.0.1:1").args(["incidents", "--config", "/nowhere.toml"])).await?;
    assert!(ran.code == 1 && ran.err.contains("/nowhere.toml"), "{ran:?}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long a process takes is no decision")]
fn now() -> Instant {
    Instant::now()
}
