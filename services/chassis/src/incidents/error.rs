//! Why an incident can't be read or decided on, and what a handler does about it.
//!
//! Guarantee: an outage, a newer binary's fact, damage and a refusal are told apart, because each wants something else. Must not: retry.

use std::time::Duration;

use contracts::IncidentSubject;
use lastgood_core::incident::Refusal;

use super::Executed;
use crate::bus::{HandleError, ReadError};

/// Why an incident can't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// NATS is away, or no replica is new enough.
    #[error("the incident can't be read")]
    Read(#[from] ReadError),
    /// A newer binary has written on it: leave it alone.
    #[error("the incident holds a fact that this binary does not know: {0}")]
    UnknownFact(String),
    /// Something lies on its workload's subjects that names no incident.
    #[error("message {sequence}: {reason}")]
    Stranger {
        /// Its sequence.
        sequence: u64,
        /// What is wrong with its subject.
        reason: String,
    },
    /// A fact on it is damaged.
    #[error("fact {sequence} of {incident} is damaged: {reason}")]
    Damaged {
        /// The incident: not always the one that was asked for.
        incident: Box<IncidentSubject>,
        /// Its sequence.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a command made no facts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecuteError {
    /// The core refuses it.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// NATS is away.
    #[error("NATS is unavailable: {0}")]
    Unavailable(String),
    /// A newer binary has written on the incident.
    #[error("the incident holds a fact that this binary does not know: {0}")]
    UnknownFact(String),
    /// A fact on the log is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The append can never succeed.
    #[error("{0}")]
    Broken(String),
    /// Others were faster every time.
    #[error("lost against other writers {0} times")]
    Contended(u32),
}

impl From<LoadError> for ExecuteError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(ReadError::Refused(reason)) => Self::Broken(reason),
            LoadError::Read(away) => Self::Unavailable(away.to_string()),
            LoadError::UnknownFact(what) => Self::UnknownFact(what),
            LoadError::Damaged { .. } | LoadError::Stranger { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl From<ExecuteError> for HandleError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Unavailable(_) => Self::outage(error),
            ExecuteError::UnknownFact(_) => Self::LeaveAlone { reason: error.to_string() },
            // What is stored stays as it is: trying again can't mend it.
            ExecuteError::Damaged(_) => Self::dead(error),
            ExecuteError::Contended(_) => Self::retry(Duration::from_millis(200), error),
            // Which refusals are success only the caller knows ([`ExecuteError::settled`]); one that it does not expect is looked at
            // again, and by people in the end.
            ExecuteError::Refused(_) | ExecuteError::Broken(_) => Self::retry(Duration::from_secs(1), error),
        }
    }
}

impl From<LoadError> for HandleError {
    fn from(error: LoadError) -> Self {
        ExecuteError::from(error).into()
    }
}

impl ExecuteError {
    /// Takes "the log says so already" for the success that it is for a redelivered message.
    pub fn settled(result: Result<Executed, Self>) -> Result<Option<Executed>, Self> {
        match result {
            Ok(executed) => Ok(Some(executed)),
            Err(Self::Refused(Refusal::AlreadySo)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
