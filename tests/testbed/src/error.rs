//! What can go wrong while bringing up or steering a piece of the testbed.
//!
//! Guarantee: each message names the piece and, where there is one, the remedy or the end of its log. It carries no secrets.

use std::{path::PathBuf, process::ExitStatus};

use crate::wait::TimedOut;

/// Why a piece of the testbed could not be started, steered or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is neither on this machine nor could it be fetched.
    #[error("{tool} is not to be had: {reason}. Remedy: {remedy}")]
    Tool {
        /// The program wanted.
        tool: String,
        /// Why the search and the installation failed.
        reason: String,
        /// What a person can do about it.
        remedy: String,
    },
    /// A file, directory or socket of the testbed.
    #[error("{what}")]
    Io {
        /// What was attempted, with the path or address.
        what: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A process ended that should run.
    #[error("{name} ended ({status}); the end of {log}:\n{tail}", log = log.display())]
    Exited {
        /// The process's name in the testbed.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A process did not come to the awaited state in time.
    #[error("{timed_out}; the end of the log:\n{tail}")]
    NotReady {
        /// What was awaited, and what was seen last.
        timed_out: TimedOut,
        /// The last lines of the log.
        tail: String,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// The exit status, or what happened instead.
        status: String,
        /// Its output, cut to the end.
        output: String,
    },
    /// A wait ran out.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// A request to a piece of the testbed failed or was refused.
    #[error("{what}: {reason}")]
    Request {
        /// What was asked.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// The caller asked for something that the testbed refuses to do.
    #[error("refused: {0}")]
    Refused(String),
}

impl Error {
    /// An [`Error::Io`] maker for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// An [`Error::Request`].
    pub(crate) fn request(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Request { what: what.into(), reason: reason.to_string() }
    }
}
