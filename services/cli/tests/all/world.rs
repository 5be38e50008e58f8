//! A nats-server with lastgood's streams, what services write there, and the program as a person runs it.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chassis::Incidents;
use chassis::bus::Bus;
use chassis::clock::{Clock, Ids, SystemClock};
use contracts::v1::{self, WorkloadRef};
use contracts::{Fact, IncidentSubject, LedgerFact, time};
use orchestrator::ledger::LedgerStore;
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use tokio::process::Command;

/// How long the program may take; its own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(40);
const CLUSTER: &str = "test";
/// What nothing that is printed may hold.
pub(crate) const HOSTILE: &str = "evil\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\r\u{9b}31m";

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it printed as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("not JSON: {self:?}"))
    }
}

/// The program with an environment of its own.
pub(crate) fn program(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.env_clear().env("LASTGOOD_NATS__URLS", url).env("LASTGOOD_KUBERNETES__CLUSTER", CLUSTER).env("USER", "sam");
    command.kill_on_drop(true);
    command
}

/// Runs it to its end; what it prints is harmless whatever it is about.
pub(crate) async fn finished(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } =
        tokio::time::timeout(PATIENCE, command.output()).await.context("the program hangs")?.context("running it")?;
    let ran = Ran { code: status.code().unwrap_or(-1), out: String::from_utf8(stdout)?, err: String::from_utf8(stderr)? };
    for text in [&ran.out, &ran.err] {
        ensure!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "control characters in {ran:?}");
    }
    Ok(ran)
}

impl World {
    pub(crate) async fn start() -> Result<Self> {
        let nats = Nats::start(NatsOptions::default()).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = chassis::config::Nats { urls: vec![nats.url()], ..chassis::config::Nats::default() };
        let bus = Bus::connect(&config, "orchestrator", Arc::clone(&clock), Ids::new(clock)).await?;
        Ok(Self { nats, bus })
    }

    /// Runs the program with these arguments, separated by blanks.
    pub(crate) async fn run(&self, arguments: &str) -> Result<Ran> {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>()).await
    }

    pub(crate) async fn run_with(&self, arguments: &[&str]) -> Result<Ran> {
        finished(program(&self.nats.url()).args(arguments)).await
    }

    /// The same, where it has to end well; with and without `-o json`. For what changes nothing, or nothing more.
    pub(crate) async fn reads(&self, arguments: &str) -> Result<(String, Value)> {
        let text = self.run(arguments).await?;
        // There is no cluster here; what that means for what is told is `governed`'s.
        ensure!(text.code == 0 && (text.err.is_empty() || text.err.starts_with("note: ")), "{arguments}: {text:?}");
        let json = self.run(&format!("{arguments} -o json")).await?;
        ensure!(json.code == 0, "{arguments}: {json:?}");
        Ok((text.out.clone(), json.json()?))
    }

    /// Where it has to fail like this, and say so on standard error alone.
    pub(crate) async fn fails(&self, arguments: &str, code: i32, said: &str) -> Result<()> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == code && ran.err.contains(said) && ran.out.is_empty(), "{arguments}: {ran:?}");
        let ran = self.run(&format!("{arguments} -o json")).await?;
        ensure!(ran.code == code, "{arguments} -o json: {ran:?}");
        // A command line that clap refuses is refused before it is known how to print.
        if let Ok(error) = serde_json::from_str::<Value>(&ran.err) {
            ensure!(error["exit_code"] == code && error["error"].as_str().is_some_and(|text| text.contains(said)), "{error}");
        }
        Ok(())
    }

    /// Adds facts to a workload's ledger.
    pub(crate) async fn record(&self, name: &str, facts: &[LedgerFact]) -> Result<()> {
        let (store, workload) = (LedgerStore::new(self.bus.clone()), workload(name));
        let view = store.load(&workload).await?;
        Ok(store.append(&workload, &view, facts).await?)
    }

    /// Adds facts to an incident.
    pub(crate) async fn append(&self, subject: &IncidentSubject, facts: &[Fact]) -> Result<()> {
        let incidents = Incidents::new(self.bus.clone());
        let expected = incidents.expected(&subject.workload).await?;
        incidents.append(subject, expected, facts).await?;
        Ok(())
    }

    /// Opens an incident.
    pub(crate) async fn open(&self, name: &str, alert: &str) -> Result<IncidentSubject> {
        let subject = IncidentSubject { workload: workload(name), incident: self.bus.ids().incident() };
        let trigger = v1::Occurrence {
            fingerprint: "f00".into(),
            source: "alertmanager".into(),
            alert_name: alert.into(),
            annotations: [("summary".to_owned(), alert.to_owned())].into(),
            ..v1::Occurrence::default()
        };
        self.append(&subject, &[v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() }.into()]).await?;
        Ok(subject)
    }
}

fn workload(name: &str) -> WorkloadRef {
    WorkloadRef { cluster: CLUSTER.into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() }
}

/// A version of this image came to run.
pub(crate) fn observed(hash: &str, image: &str) -> LedgerFact {
    let images = vec![v1::ContainerImage { container: "web".into(), image: image.into(), ..v1::ContainerImage::default() }];
    let template =
        json!({"spec": {"containers": [{"name": "web", "image": image, "env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}});
    let version = v1::Version { template_hash: hash.into(), images, ..v1::Version::default() };
    v1::VersionObserved {
        version: Some(version),
        template_json: template.to_string().into_bytes(),
        ..v1::VersionObserved::default()
    }
    .into()
}

/// It stood this long.
pub(crate) fn soaked(hash: &str, length: Duration) -> [LedgerFact; 2] {
    let stood = Some(time::duration_to_proto(length));
    [
        v1::VersionAvailable { template_hash: hash.into(), replicas: 3, restarts: 0, images: Vec::new() }.into(),
        v1::VersionSoaked { template_hash: hash.into(), stood, replicas: 3, restarts: 0, images: Vec::new() }.into(),
    ]
}

pub(crate) fn halted(reason: &str) -> Fact {
    v1::RollbackHalted { reason: "paused".into(), detail: reason.into(), would_do: reason.into() }.into()
}

pub(crate) fn closed() -> Fact {
    v1::IncidentClosed { outcome: v1::Outcome::Halted.into(), reason: "paused".into() }.into()
}
