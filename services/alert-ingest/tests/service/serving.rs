//! The socket: slow peers, many of them, and the end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{PATIENCE, TOKEN, World, payload};

/// What comes back until the server closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the server closes it").ok();
    text
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/alerts/alertmanager HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn slow_peers_meet_a_deadline_and_block_nobody() {
    let world = World::start_with(64 << 20, |ingest| {
        ingest.timeouts.header = Duration::from_millis(300);
        ingest.timeouts.body = Duration::from_millis(300);
    })
    .await;
    let mut slow_head = TcpStream::connect(world.address).await.unwrap();
    slow_head.write_all(b"POST /v1/alerts/alertmanager HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut slow_body = TcpStream::connect(world.address).await.unwrap();
    slow_body.write_all(format!("{}{{\"version\":", head(1000)).as_bytes()).await.unwrap();
    assert_eq!(world.post(payload(1, 1).to_string()).await.status, 202);
    until_closed(&mut slow_head).await;
    let answer = until_closed(&mut slow_body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(world.heard().await.len(), 1);
}

#[tokio::test]
async fn a_request_under_way_is_answered_at_the_end() {
    let world = World::start().await;
    let body = payload(2, 10).to_string();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(format!("{}{}", head(body.len()), &body[..20]).as_bytes()).await.unwrap();
    // The other request's answer shows that the server has taken this one, which came before it.
    assert_eq!(world.post(payload(1, 1).to_string()).await.status, 202);
    world.stop.cancel();
    let refused = || async { TcpStream::connect(world.address).await.is_err().then_some(()) };
    testbed::wait::until("no connection is taken any more", PATIENCE, refused).await.unwrap();
    stream.write_all(&body.as_bytes()[20..]).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    tokio::time::timeout(PATIENCE, world.serving).await.unwrap().unwrap();
}
