//! How a command ends: what it says, and the exit code that scripts go by.
//!
//! Guarantee: the codes never change their meaning. Must not: print.

use chassis::bus::{AppendError, ConnectError, ReadError};
use chassis::config::ConfigError;
use orchestrator::archive::ArchiveError;
use orchestrator::ledger::StoreError;
use orchestrator::person::PersonError;
use orchestrator::policy::check::CheckError;
use serde_json::Value;

/// What was asked for is done, or was so already.
pub const DONE: u8 = 0;
/// It could not be done.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const WRONG_USE: u8 = 2;
/// There is no such workload, version, incident or dead letter.
pub const NO_SUCH_THING: u8 = 3;

/// What `--help` says of them.
pub const HELP: &str = "Exit codes: 0 done (or so already), 1 could not be done, 2 wrong command line, 3 no such thing.\n\
    Configuration is that of the services: LASTGOOD_NATS__URLS, LASTGOOD_KUBERNETES__CLUSTER, … or --config FILE.";

/// What a command has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For people.
    pub text: String,
    /// For programs; null where all is printed already.
    pub json: Value,
    /// The exit code.
    pub code: u8,
}

impl Answer {
    /// What was asked for is done.
    #[must_use]
    pub fn done(lines: &[String], json: Value) -> Self {
        Self { text: lines.join("\n"), json, code: DONE }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What it names is not there.
    #[error("{0}")]
    NoSuch(String),
    /// It can't be done.
    #[error("{0}")]
    Impossible(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kubeconfig, which says the namespace.
    #[error("the kubeconfig can't be read, which says the namespace; give one with -n")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// The bus.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A stream can't be read.
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    /// A stream can't be written to.
    #[error("nothing could be recorded")]
    Append(#[from] AppendError),
    /// A ledger can't be used.
    #[error("the ledger can't be used")]
    Ledger(#[from] StoreError),
    /// A person does not get what they ask for.
    #[error(transparent)]
    Person(PersonError),
    /// A policy file can't be checked.
    #[error(transparent)]
    Policy(#[from] CheckError),
    /// A file can't be read.
    #[error("{0} can't be read")]
    File(String, #[source] std::io::Error),
    /// The cluster can't be reached.
    #[error("the cluster can't be reached; leave it out with --offline")]
    Cluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The archive can't be read.
    #[error("the archive can't be read")]
    Archive(#[from] ArchiveError),
    /// It took too long.
    #[error("not done within {0} (--timeout)")]
    TimedOut(String),
    /// Standard output is gone.
    #[error("can't write to standard output")]
    Output(#[from] std::io::Error),
}

impl From<PersonError> for Failure {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Unknown(_) => Self::NoSuch(error.to_string()),
            PersonError::Missing(_) => Self::Usage(error.to_string()),
            other => Self::Person(other),
        }
    }
}

impl Failure {
    /// Its exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => WRONG_USE,
            Self::NoSuch(_) => NO_SUCH_THING,
            _ => FAILED,
        }
    }
}
