//! nats-server, one node and three: they come up, keep what was acknowledged over a kill, and elect a leader anew.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use testbed::{
    nats::{Nats, NatsCluster, NatsOptions},
    wait,
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn messages(client: &async_nats::Client) -> Result<u64, String> {
    let context = jetstream::new(client.clone());
    let mut stream = context.get_stream("facts").await.map_err(|error| error.to_string())?;
    Ok(stream.info().await.map_err(|error| error.to_string())?.state.messages)
}

#[tokio::test]
async fn a_node_keeps_its_port_and_store_over_a_kill() {
    let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let config = stream::Config { name: "facts".into(), subjects: vec!["facts.>".into()], ..stream::Config::default() };
    context.create_stream(config).await.unwrap();
    context.publish("facts.one", "1".into()).await.unwrap().await.unwrap();
    assert!(nats.process().rss_kib().unwrap() > 1000);

    nats.kill().await.unwrap();
    assert!(!nats.process().is_running());
    nats.restart().await.unwrap();
    wait::until("the message to be there again", DEADLINE, || async {
        messages(&client).await.and_then(|count| if count == 1 { Ok(()) } else { Err(format!("{count} messages")) })
    })
    .await
    .unwrap();
}

async fn publishes(context: &jetstream::Context, subject: &'static str) {
    wait::until("a publish", DEADLINE, || async {
        let publish = context.publish(subject, "1".into()).await.map_err(|error| error.to_string())?;
        publish.await.map(drop).map_err(|error| error.to_string())
    })
    .await
    .expect("two of three nodes take a message");
}

#[tokio::test]
async fn three_nodes_survive_the_loss_of_their_leader() {
    let cluster = NatsCluster::start(3).await.unwrap();
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let servers: Vec<String> = cluster.url().split(',').map(str::to_owned).collect();
    let client = client.connect(servers).await.unwrap();
    let context = jetstream::new(client.clone());
    let config =
        stream::Config { name: "facts".into(), subjects: vec!["facts.>".into()], num_replicas: 3, ..stream::Config::default() };
    wait::until("a stream with three replicas", DEADLINE, || async {
        context.create_stream(config.clone()).await.map(drop).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    // It is made before its leader listens.
    publishes(&context, "facts.one").await;

    let leader = cluster.meta_leader().await.unwrap();
    cluster.kill(leader).await.unwrap();
    let next = cluster.meta_leader().await.unwrap();
    assert_ne!(leader, next);
    publishes(&context, "facts.two").await;

    cluster.restart(leader).await.unwrap();
    assert!(messages(&client).await.unwrap() >= 2);
}
