//! Prometheus' rules and two Alertmanagers: what fires, and how alert-ingest hears of it.
//!
//! Guarantees: an alert fires while ready pods of its workload fail (or while it is told to go on whatever they do), with one `startsAt` for
//! each continuous firing; a notification is repeated until it is answered with 2xx, and again every [`REPEAT`]. Must not: tell anything that
//! is not so at that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::workload::Behaviour;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use verifier::rules::{Answer, Group, Groups, Instance, Rule};

use super::dice::Dice;
use super::history::{Heard, What};
use super::{NAMESPACE, Shared, lock};

/// The one alerting rule.
pub const RULE: &str = "HighErrorRate";
/// From one evaluation to the next.
const EVALUATE: Duration = Duration::from_secs(2);
/// How long something has to be so.
const HOLD: Duration = Duration::from_secs(4);
/// How often an Alertmanager looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often a firing alert is told again.
const REPEAT: Duration = Duration::from_secs(90);
/// How much later the second Alertmanager tells the same.
const PEER: Duration = Duration::from_secs(5);

/// A request to alert-ingest, and where its answer goes.
pub struct HttpCall {
    /// The request.
    pub request: Request<Body>,
    /// Takes the status.
    pub answer: oneshot::Sender<u16>,
    /// What is heard if it is answered with 2xx.
    pub heard: Vec<Heard>,
}

/// One alert as the rule has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Since when it fires; `None` while it does not.
    pub since: Option<Timestamp>,
    /// The last firing's start and end.
    pub last: Option<(Timestamp, Timestamp)>,
    turned: Option<Instant>,
}

/// What Prometheus holds to be so.
#[derive(Debug, Default)]
pub struct Rules {
    alerts: BTreeMap<String, Alert>,
    evaluated: Timestamp,
}

fn labels(workload: &str) -> BTreeMap<String, String> {
    let pairs = [("alertname", RULE), ("namespace", NAMESPACE), ("deployment", workload), ("severity", "page")];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The fingerprint of a workload's alert.
#[must_use]
pub fn fingerprint(workload: &str) -> String {
    format!("f00d-{workload}")
}

impl Rules {
    /// The answer of the rules API.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let firing = self.alerts.iter().filter(|(_, alert)| alert.since.is_some());
        let alerts = firing.map(|(workload, _)| Instance { labels: labels(workload), state: "firing".to_owned() }).collect();
        let rule = Rule {
            name: RULE.to_owned(),
            kind: "alerting".to_owned(),
            health: "ok".to_owned(),
            last_evaluation: self.evaluated,
            alerts,
        };
        Answer { data: Groups { groups: vec![Group { rules: vec![rule] }] } }
    }

    /// The alerts by workload.
    #[must_use]
    pub const fn alerts(&self) -> &BTreeMap<String, Alert> {
        &self.alerts
    }

    fn evaluate(&mut self, workload: &str, bad: bool, now: Timestamp) {
        self.evaluated = now;
        let alert = self.alerts.entry(workload.to_owned()).or_insert(Alert { since: None, last: None, turned: None });
        if alert.since.is_some() == bad {
            alert.turned = None;
            return;
        }
        let turned = *alert.turned.get_or_insert_with(Instant::now);
        if turned.elapsed() < HOLD {
            return;
        }
        alert.turned = None;
        match alert.since.take() {
            Some(since) => alert.last = Some((since, now)),
            None => alert.since = Some(now),
        }
    }
}

/// Evaluates the rule for these workloads for ever.
pub async fn prometheus(world: Shared, workloads: Vec<String>) {
    loop {
        for workload in &workloads {
            let stubborn = lock(&world.stubborn).get(workload).copied().unwrap_or_default();
            let bad = stubborn || fails(&world, workload);
            lock(&world.rules).evaluate(workload, bad, world.time.now());
        }
        sleep(EVALUATE).await;
    }
}

/// Whether a ready pod of the workload answers its users with errors.
fn fails(world: &Shared, workload: &str) -> bool {
    world.cluster.list("pods", NAMESPACE).iter().any(|pod| {
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
        ready && pod["metadata"]["labels"]["app"] == workload && world.cluster.behaviour(pod) == Behaviour::Failing
    })
}

/// What one Alertmanager has told of one alert.
#[derive(Debug, Clone, Default)]
struct Notified {
    /// The start that was told last, and whether as firing.
    told: Option<(Timestamp, bool)>,
    again_at: Option<Instant>,
    failures: u32,
}

/// One of two Alertmanagers, for ever.
pub async fn alertmanager(world: Shared, peer: u32, dice: Dice) {
    let mut notified: BTreeMap<String, Notified> = BTreeMap::new();
    loop {
        sleep(LOOK).await;
        let alerts: Vec<(String, Alert)> =
            lock(&world.rules).alerts().iter().map(|(workload, alert)| (workload.clone(), alert.clone())).collect();
        for (workload, alert) in alerts {
            let state = notified.entry(workload.clone()).or_default();
            let Some((firing, starts_at, ends_at)) = due(&alert, state) else { continue };
            if state.failures == 0 && state.told != Some((starts_at, firing)) && peer > 0 {
                // The first one tells first; this one often learns that by gossip.
                sleep(PEER * peer).await;
                if dice.chance(0.5) {
                    *state = told(starts_at, firing);
                    continue;
                }
            }
            let body = payload(&workload, firing, starts_at, ends_at);
            let heard = vec![Heard { fingerprint: fingerprint(&workload), firing, starts_at }];
            let answered = post(&world, &dice, "/v1/alerts/alertmanager", &body, heard).await;
            *state = if answered.is_some_and(|status| (200..300).contains(&status)) {
                told(starts_at, firing)
            } else {
                let failures = state.failures + 1;
                let pause = Duration::from_secs(u64::from(failures.min(10)));
                Notified { failures, again_at: Some(Instant::now() + pause), ..state.clone() }
            };
        }
    }
}

fn told(starts_at: Timestamp, firing: bool) -> Notified {
    let again_at = firing.then(|| Instant::now() + REPEAT);
    Notified { told: Some((starts_at, firing)), again_at, failures: 0 }
}

/// What is to be told now: whether it fires, since when and until when.
fn due(alert: &Alert, state: &Notified) -> Option<(bool, Timestamp, Option<Timestamp>)> {
    let waiting = state.again_at.is_some_and(|at| Instant::now() < at);
    if let Some(since) = alert.since {
        let news = state.told != Some((since, true));
        let now = if state.failures > 0 { !waiting } else { news || !waiting };
        return now.then_some((true, since, None));
    }
    let (since, until) = alert.last?;
    // Only what was told as firing is told as resolved.
    let open = state.told == Some((since, true)) || (state.failures > 0 && state.told.is_some_and(|(told, _)| told == since));
    let resolved = state.told == Some((since, false));
    (open && !resolved && !(state.failures > 0 && waiting)).then_some((false, since, Some(until)))
}

fn payload(workload: &str, firing: bool, starts_at: Timestamp, ends_at: Option<Timestamp>) -> Value {
    let status = if firing { "firing" } else { "resolved" };
    let ends_at = ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
    json!({
        "version": "4", "groupKey": format!("{{}}:{{deployment=\"{workload}\"}}"), "truncatedAlerts": 0, "status": status,
        "receiver": "lastgood", "groupLabels": {"deployment": workload}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": [{"status": status, "labels": labels(workload), "annotations": {"summary": "too many errors"},
            "startsAt": starts_at.to_string(), "endsAt": ends_at, "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": fingerprint(workload)}],
    })
}

/// Posts to any alert-ingest that listens; `None` when there was no answer.
pub async fn post(world: &Shared, dice: &Dice, path: &str, body: &Value, heard: Vec<Heard>) -> Option<u16> {
    let weather = world.sky();
    sleep(dice.millis(1, 20)).await;
    let sender = {
        let ingests = lock(&world.ingests);
        let listening: Vec<_> = ingests.values().cloned().collect();
        if listening.is_empty() { None } else { Some(dice.pick(&listening).clone()) }
    };
    let sender = sender.filter(|_| !world.befalls("ingest: request lost", dice, weather.ingest_lost))?;
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string())).ok()?;
    let (answer, answered) = oneshot::channel();
    sender.send(HttpCall { request, answer, heard }).ok()?;
    let status = tokio::time::timeout(Duration::from_secs(10), answered).await.ok()?.ok()?;
    sleep(dice.millis(1, 20)).await;
    if status >= 500 {
        world.count("ingest: 5xx");
    }
    (!world.befalls("ingest: answer lost", dice, weather.ingest_lost)).then_some(status)
}

/// Records what an accepted notification told.
pub fn hear(world: &Shared, heard: Vec<Heard>) {
    for one in heard {
        world.record(What::Heard(one));
    }
}
