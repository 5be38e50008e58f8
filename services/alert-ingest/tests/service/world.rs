//! What the tests share: a nats-server, the endpoints on a socket, and what is stored.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alert_ingest::config::Ingest;
use alert_ingest::{server, sources};
use chassis::bus::Stored;
use chassis::clock::{Clock, Ids, ManualClock, SystemClock};
use chassis::config::Secret;
use chassis::{Bus, Incidents};
use contracts::IncidentId;
use contracts::subjects::{ALL_ALERTS, streams};
use contracts::v1::AlertNotification;
use prost::Message;
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const TOKEN: &str = "t0ken";
const PATH: &str = "/v1/alerts/alertmanager";

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: tokio::task::JoinHandle<()>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(64 << 20, |_| {}).await
    }

    pub(crate) async fn start_with(max_bytes: i64, change: impl FnOnce(&mut Ingest)) -> Self {
        let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap();
        let config = chassis::config::Nats {
            urls: vec![nats.url()],
            request_timeout: Duration::from_secs(2),
            max_bytes,
            ..chassis::config::Nats::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let bus = Bus::connect(&config, "alert-ingest", Arc::clone(&clock), Ids::new(clock)).await.unwrap();
        let mut ingest = Ingest { bearer_token: Some(Secret::new(TOKEN)), ..Ingest::default() };
        change(&mut ingest);
        // It stands still, so that no test depends on where in a repeat window it happens to run.
        let still = Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap()));
        let app = sources::App::new(Arc::new(bus.clone()), Arc::new(Incidents::new(bus.clone())), still, &ingest);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, stop) = (sources::router(app, &ingest.auth()), CancellationToken::new());
        let serving = tokio::spawn(server::serve(listener, router, ingest.timeouts.header, ingest.max_connections, stop.clone()));
        Self { nats, bus, address, stop, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.post_to(&self.url(), body).await
    }

    pub(crate) async fn acknowledge(&self, incident: IncidentId, body: &str) -> Answer {
        self.post_to(&format!("http://{}/v1/incidents/{incident}/acknowledge", self.address), body.to_owned()).await
    }

    async fn post_to(&self, url: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(TOKEN);
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        Answer { status, json: answer.json().await.unwrap_or(Value::Null) }
    }

    pub(crate) async fn stored(&self) -> Vec<Stored> {
        self.bus.read(streams::ALERTS, ALL_ALERTS, 1, None).await.unwrap()
    }

    pub(crate) async fn heard(&self) -> Vec<AlertNotification> {
        notifications(&self.stored().await)
    }
}

pub(crate) fn notifications(stored: &[Stored]) -> Vec<AlertNotification> {
    stored.iter().map(|message| AlertNotification::decode(message.data.clone()).unwrap()).collect()
}

/// A payload of this many alerts, each with about this many bytes of annotations.
pub(crate) fn payload(alerts: usize, text: usize) -> Value {
    let alert = |index: usize| {
        json!({
            "status": "firing", "labels": {"alertname": "HighErrorRate", "namespace": "shop", "pod": format!("web-{index}")},
            "annotations": {"description": "x".repeat(text)}, "startsAt": "2026-11-21T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus", "fingerprint": format!("{index:016x}"),
        })
    };
    json!({
        "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "lastgood", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am-1:9093", "alerts": (0..alerts).map(alert).collect::<Vec<_>>(),
    })
}
