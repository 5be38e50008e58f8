//! What the tests share: an incident log in memory that decides by the real core, eyes that see what a test says, an HTTP server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use chassis::HandleError;
use chassis::clock::{Clock, SystemClock};
use contracts::v1::{self, Plan, Version, WorkloadRef};
use contracts::{Fact, IncidentId, IncidentSubject};
use lastgood_core::incident::{Command, Incident, Recorded, decide, evolve};
use verifier::checks::Tools;
use verifier::config::Prometheus;
use verifier::eyes::{Eyes, NoLook};
use verifier::log::{Log, Said, settled};
use verifier::sight::{PodSight, ServiceSight, Sight};

pub(crate) fn workload() -> WorkloadRef {
    WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() }
}

pub(crate) fn subject() -> IncidentSubject {
    let incident: IncidentId = "inc_0190a8a5c3f77b3c8000000000000001".parse().unwrap();
    IncidentSubject { workload: workload(), incident }
}

pub(crate) fn tools() -> Tools {
    chassis::cluster::install_crypto();
    verifier::net::tools(&Prometheus::default()).unwrap()
}

/// Serves on a free port of this loopback address.
pub(crate) async fn serve(ip: &str, router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

pub(crate) fn pod(name: &str, address: SocketAddr) -> PodSight {
    PodSight { name: name.into(), address: Some(address.ip()), ready: true, restarts: 0, trouble: None }
}

pub(crate) fn sight(pods: Vec<PodSight>, services: Vec<ServiceSight>) -> Sight {
    Sight { desired: u32::try_from(pods.len()).unwrap(), pods, services }
}

/// Sees what it is told: each look takes the next, and the last one stays.
pub(crate) struct FakeEyes {
    pub(crate) annotation: Option<String>,
    looks: Mutex<VecDeque<Result<Sight, NoLook>>>,
}

impl FakeEyes {
    pub(crate) fn new(annotation: Option<&str>, looks: Vec<Result<Sight, NoLook>>) -> Self {
        Self { annotation: annotation.map(ToOwned::to_owned), looks: Mutex::new(looks.into()) }
    }
}

#[async_trait]
impl Eyes for FakeEyes {
    async fn look(&self) -> Result<Arc<Sight>, NoLook> {
        let mut looks = self.looks.lock().unwrap();
        let look = if looks.len() > 1 { looks.pop_front() } else { looks.front().cloned() };
        look.expect("a look").map(Arc::new)
    }

    async fn smoke_tests(&self) -> Result<Option<String>, NoLook> {
        Ok(self.annotation.clone())
    }
}

/// The log in memory.
#[derive(Default)]
pub(crate) struct MemoryLog(Mutex<Vec<Recorded>>);

impl MemoryLog {
    pub(crate) fn incident(&self) -> Incident {
        self.0.lock().unwrap().iter().fold(Incident::default(), evolve)
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.0.lock().unwrap().iter().map(|recorded| recorded.fact.clone()).collect()
    }

    pub(crate) fn event_types(&self) -> Vec<&'static str> {
        self.facts().iter().map(Fact::event_type).collect()
    }

    pub(crate) fn say(&self, command: &Command) -> Result<Said, HandleError> {
        let now = SystemClock.now();
        let mut facts = self.0.lock().unwrap();
        let state = facts.iter().fold(Incident::default(), evolve);
        match decide(&state, command, now) {
            Ok(new) => {
                for fact in new {
                    let sequence = facts.len() as u64 + 1;
                    facts.push(Recorded { sequence, at: now, fact });
                }
                Ok(Said::Done)
            }
            Err(refusal) => settled(refusal),
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn load(&self, _: &IncidentSubject, _: Option<u64>) -> Result<Incident, HandleError> {
        Ok(self.incident())
    }

    async fn execute(&self, _: &IncidentSubject, command: &Command) -> Result<Said, HandleError> {
        self.say(command)
    }
}

pub(crate) fn version(hash: &str) -> Version {
    Version { template_hash: hash.into(), ..Version::default() }
}

/// The commands that bring an incident to the point where it is to be verified.
pub(crate) fn until_traffic_shifted(uid: &str, restored: &str, verify: std::time::Duration) -> Vec<Command> {
    let trigger = v1::Occurrence {
        fingerprint: "f00".into(),
        source: "alertmanager".into(),
        alert_name: "HighErrorRate".into(),
        labels: [("alertname", "HighErrorRate"), ("namespace", "shop"), ("deployment", "web")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..v1::Occurrence::default()
    };
    let deadlines = v1::Deadlines { verify: Some(contracts::time::duration_to_proto(verify)), ..v1::Deadlines::default() };
    let not_after = SystemClock.now().checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
    let plan = Plan {
        from: Some(version("bad")),
        to: Some(version(restored)),
        workload_uid: uid.into(),
        not_after: Some(contracts::time::to_proto(not_after)),
        ..Plan::default()
    };
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: uid.into(),
        template_hash: "bad".into(),
        target_template_hash: restored.into(),
        ..v1::RollbackStarted::default()
    };
    vec![
        Command::Open(v1::AnomalyDetected {
            trigger: Some(trigger),
            deadlines: Some(deadlines),
            workload_uid: uid.into(),
            requested: None,
        }),
        Command::IdentifyCurrent(v1::CurrentVersionIdentified { version: Some(version("bad")), ..Default::default() }),
        Command::FindPrevious(v1::PreviousVersionFound { version: Some(version(restored)), evidence: "seen available".into() }),
        Command::Plan(Box::new(plan)),
        Command::StartAttempt(intent),
        Command::ReportDeployed(v1::PreviousVersionDeployed { attempt: 1, ..Default::default() }),
        Command::ReportPodsReady(v1::PodsReady { attempt: 1, ready: 1, desired: 1 }),
        Command::ReportTrafficShifted(v1::TrafficShifted { attempt: 1, services: vec![] }),
    ]
}
