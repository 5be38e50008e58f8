//! What every command works with: the configuration, the look, the clock and a connection to the bus.
//!
//! Guarantees: the configuration is read as the services read it; a connection is tried once and makes nothing. Must not: know a command.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chassis::bus::Bus;
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::{self, Kubernetes, Nats};
use contracts::v1::WorkloadRef;
use jiff::Timestamp;
use lastgood_core::text::visible;
use orchestrator::config::Settings;
use orchestrator::dead_letters::command::Output;
use orchestrator::ledger::{LedgerStore, LedgerView};
use serde::Deserialize;

use crate::args::Global;
use crate::exit::Failure;
use crate::look::Look;
use crate::workload::pasteable;

/// The sections that the command line reads of the services' configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bus.
    pub nats: Nats,
    /// The cluster's name, and the kubeconfig for the usual namespace.
    pub kubernetes: Kubernetes,
    /// How long a version has to stand to be good where no policy says otherwise, and where policies are.
    pub orchestrator: Settings,
}

/// What every command works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// How lines look.
    pub look: Look,
    /// How to print.
    pub output: Output,
    /// How long the command may take.
    pub timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl Context {
    /// Reads the configuration.
    pub fn new(global: &Global, look: Look) -> Result<Self, Failure> {
        let config = config::load_from(global.config.as_deref(), std::env::vars())?;
        Ok(Self { config, look, output: global.output, timeout: global.timeout, clock: Arc::new(SystemClock) })
    }

    /// Now, by this machine's clock: for ages.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How long a version has to have stood to be good where no policy says otherwise. For what tells versions apart and does not judge them;
    /// what does asks [`crate::governing`].
    #[must_use]
    pub const fn configured_soak(&self) -> Duration {
        self.config.orchestrator.soak
    }

    /// Says something beside the answer, on standard error. Programs find it in the answer.
    pub fn remark(&self, text: &str) {
        if self.output == Output::Text {
            // There is nobody to tell that nobody can be told.
            let _ = writeln!(std::io::stderr(), "note: {}", visible(text));
        }
    }

    /// Connects to the bus.
    pub async fn bus(&self) -> Result<Bus, Failure> {
        chassis::cluster::install_crypto();
        Ok(Bus::attach(&self.config.nats, "cli", Arc::clone(&self.clock), Ids::new(Arc::clone(&self.clock))).await?)
    }

    /// A workload's ledger, which holds something.
    pub async fn ledger(&self, store: &LedgerStore, workload: &WorkloadRef) -> Result<LedgerView, Failure> {
        let view = store.load(workload).await?;
        if view.ledger.versions.is_empty() {
            let (what, cluster) = (pasteable(workload), &workload.cluster);
            return Err(Failure::NoSuch(format!("the ledger of cluster {cluster} holds no version of {what}")));
        }
        Ok(view)
    }
}

/// Who gives a command, for the record: `--who`, else the login name.
#[must_use]
pub fn who(given: Option<&str>) -> String {
    orchestrator::pause::who(given.map(str::to_owned), std::env::var("USER").ok())
}

/// A reason or a name that people will read: not blank and not endless.
pub fn said(text: &str) -> Result<String, String> {
    const LONGEST: usize = 2_000;
    match text.trim() {
        "" => Err("it must say something".to_owned()),
        text if text.len() > LONGEST => Err(format!("it is longer than {LONGEST} bytes")),
        text => Ok(text.to_owned()),
    }
}
