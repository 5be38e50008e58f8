//! The real process under attack: every peer gets a clear answer, the memory stays bounded, and good alerts are taken all the while.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use testbed::services::{Binaries, Service};
use testbed::{ports, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{PATIENCE, payload};

/// What a process may take in all of this: sixteen bodies of 16 MiB may be in hand, and they are read one at a time here.
const LARGEST_KIB: u64 = 400 * 1024;
/// How long a peer may take for a head or a body here.
const TIMEOUT: Duration = Duration::from_secs(2);
const PATH: &str = "/v1/alerts/alertmanager";

struct Stage {
    _nats: Nats,
    _logs: tempfile::TempDir,
    service: Service,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Stage {
    async fn set() -> Self {
        let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap();
        let logs = tempfile::tempdir().unwrap();
        let loopback = || SocketAddr::from(([127, 0, 0, 1], ports::free().unwrap()));
        let (admin, address) = (loopback(), loopback());
        let env = [
            ("NATS__URLS", nats.url()),
            ("ADMIN__LISTEN", admin.to_string()),
            ("INGEST__LISTEN", address.to_string()),
            ("INGEST__TIMEOUTS__HEADER", "2s".to_owned()),
            ("INGEST__TIMEOUTS__BODY", "2s".to_owned()),
            ("DETECTOR__ENABLED", "false".to_owned()),
        ];
        let env = env.into_iter().map(|(key, value)| (format!("LASTGOOD_{key}"), value)).collect();
        let binaries = Binaries::at(Path::new(env!("CARGO_BIN_EXE_lastgood-alert-ingest")).parent().unwrap());
        let service = Service::start("lastgood-alert-ingest", &binaries, env, logs.path(), admin).await.unwrap();
        // Each request on a connection of its own: the server closes one that was idle for its two seconds, at the instant of a request too.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { _nats: nats, _logs: logs, service, address, http }
    }

    async fn post(&self, body: impl Into<reqwest::Body>, encoding: Option<&str>) -> (u16, Value) {
        let request = self.http.post(format!("http://{}{PATH}", self.address)).header("content-type", "application/json");
        let request = encoding.into_iter().fold(request, |request, encoding| request.header("content-encoding", encoding));
        let answer = tokio::time::timeout(PATIENCE, request.body(body).send()).await.expect("an answer in time").unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Refused with this status, and told why.
    async fn refused(&self, what: &str, body: impl Into<reqwest::Body>, encoding: Option<&str>, status: u16) {
        let (got, answer) = self.post(body, encoding).await;
        assert_eq!(got, status, "{what}: {answer}");
        for told in ["error", "field", "reason", "remedy"] {
            assert!(answer[told].as_str().is_some_and(|text| !text.is_empty()), "{what}: no {told} in {answer}");
        }
    }

    async fn is_well(&self, after: &str) {
        let (status, answer) = self.post(payload(1, 10).to_string(), None).await;
        assert_eq!(status, 202, "after {after}: {answer}");
        let rss = self.service.process().rss_kib().expect("it runs");
        println!("after {after}: {} MiB", rss / 1024);
        assert!(rss < LARGEST_KIB, "after {after} the process takes {} MiB", rss / 1024);
    }

    /// A chunked body without an end: refused at the limit, not at the end.
    async fn endless(&self) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head =
            format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
        let (mut from, mut to) = stream.into_split();
        let sending = async { while to.write_all(chunk.as_bytes()).await.is_ok() {} };
        let mut answer = Vec::new();
        let reading = async { from.read_to_end(&mut answer).await };
        let both = async { tokio::join!(sending, reading) };
        let _ = tokio::time::timeout(PATIENCE, both).await.expect("an endless body is not read for ever");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    }

    /// What comes back on a raw connection until it is closed.
    async fn raw(&self, head: &[u8]) -> String {
        let (mut from, mut to) = TcpStream::connect(self.address).await.unwrap().into_split();
        let mut answer = Vec::new();
        // The server may answer and close before it has read all.
        let both = async { tokio::join!(to.write_all(head), from.read_to_end(&mut answer)) };
        let _ = tokio::time::timeout(PATIENCE, both).await.expect("the server closes it");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn with_labels(labels: Value) -> String {
    let mut body = payload(1, 1);
    body["alerts"][0]["labels"] = labels;
    body.to_string()
}

fn gzipped(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_bears_what_is_sent_to_break_it() {
    let stage = Stage::set().await;
    bodies(&stage).await;
    labels(&stage).await;
    heads(&stage).await;
    slow_peers(&stage).await;
    let metrics = stage.service.metrics().await.unwrap();
    assert!(metrics.contains("lastgood_ingest_refused_total{reason=\"body_too_large\"}"), "refusals are counted");
}

async fn bodies(stage: &Stage) {
    let over = (16 << 20) + 1;
    stage.refused("an oversized body", vec![b' '; over], None, 413).await;
    stage.endless().await;
    let bomb = gzipped(1 << 30);
    println!("a gzip bomb of {} KiB holds 1 GiB", bomb.len() / 1024);
    for _ in 0..4 {
        stage.refused("a gzip bomb", bomb.clone(), Some("gzip"), 413).await;
    }
    stage.refused("damaged gzip", payload(1, 1).to_string(), Some("gzip"), 400).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        stage.refused("a deep body", deep.clone(), None, 400).await;
        stage.refused("deep alerts", format!("{{\"version\":\"4\",\"alerts\":{deep}}}"), None, 400).await;
        // What a newer Alertmanager adds is passed over, however deep, without a stack that could overflow.
        let inside = format!("{{\"version\":\"4\",\"alerts\":[],\"new\":{deep}}}");
        assert_eq!(stage.post(inside, None).await.0, 202);
    }
    stage.refused("no JSON at all", vec![0_u8; 10_000], None, 400).await;
    stage.is_well("hostile bodies").await;
}

async fn labels(stage: &Stage) {
    stage.refused("a label of 1 MB", with_labels(json!({"big": "x".repeat(1_000_000)})), None, 413).await;
    let many: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("label_{n}"), json!("v"))).collect();
    assert_eq!(stage.post(with_labels(Value::Object(many)), None).await.0, 202, "10,000 labels fit into a message");
    let strange = json!({
        "alertname": "a\u{0}b\nc\r\n\u{7}", "<!channel>": "<http://evil|ok> & `x` ```", "": "", "url": "javascript:alert(1)",
        "promql": "\"}) or vector(1) #", "bidi": "\u{202e}gnihton", "nats": "lastgood.incident.>",
    });
    assert_eq!(stage.post(with_labels(strange), None).await.0, 202, "labels may be anything; who shows them escapes them");
    for fingerprint in ["", "a.b", "*", ">", "a b", "a\n", "x".repeat(200).as_str()] {
        let mut body = payload(1, 1);
        body["alerts"][0]["fingerprint"] = fingerprint.into();
        stage.refused("a fingerprint that can be no subject", body.to_string(), None, 400).await;
    }
    stage.is_well("hostile labels").await;
}

async fn heads(stage: &Stage) {
    let long = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = stage.raw(long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    let many = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let answer = stage.raw(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    for nonsense in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\0\0\0\0 / \r\n\r\n"] {
        let answer = stage.raw(nonsense).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{nonsense:?}: {answer:?}");
    }
    // Both lengths: a request that a proxy may read as another one.
    let smuggled = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 5\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1 HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    let answer = stage.raw(smuggled.as_bytes()).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1 && !answer.starts_with("HTTP/1.1 2"), "{answer}");
    stage.is_well("hostile heads").await;
}

/// Two hundred peers that send a byte and then nothing: each is dropped at its deadline, and nobody waits for them.
async fn slow_peers(stage: &Stage) {
    let mut peers = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let part = match n % 2 {
            0 => format!("POST {PATH} HT"),
            _ => format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"),
        };
        stream.write_all(part.as_bytes()).await.unwrap();
        peers.push(stream);
    }
    let started = tokio::time::Instant::now();
    let taken = wait::until("a good alert among slow peers", PATIENCE, || async {
        let (status, answer) = stage.post(payload(1, 10).to_string(), None).await;
        if status == 202 { Ok(()) } else { Err(answer.to_string()) }
    });
    taken.await.unwrap();
    println!("a good alert among 200 slow peers was taken after {:?}", started.elapsed());
    assert!(started.elapsed() < TIMEOUT, "it waited for the slow ones: {:?}", started.elapsed());
    for (n, mut peer) in peers.into_iter().enumerate() {
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(TIMEOUT * 10, peer.read_to_end(&mut answer)).await.expect("a slow peer is dropped");
        let answer = String::from_utf8_lossy(&answer);
        // Half a head asks for nothing that could be answered.
        let silence = n % 2 == 0 && answer.is_empty();
        assert!(silence || answer.starts_with("HTTP/1.1 408") || answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    }
    stage.is_well("slow peers").await;
}
