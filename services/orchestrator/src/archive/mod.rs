//! Archiving: closed incidents leave the log for an object store, and occurrences that are over are forgotten, so that the log holds what
//! decisions need and nothing grows with the years (`runbooks/decisions/0008`).
//!
//! `rules` says what may go and `volume` where to (both pure), `record` keeps archived incidents, `incident` archives some, `forget` takes
//! occurrences away. Guarantees: an incident is purged only after its archived form was read back; every step may be repeated, cut off anywhere, and done by several
//! replicas at once. Must not: touch anything open, or anything that a decision or a consumer may still read.

mod forget;
mod incident;
mod record;
pub mod rules;
pub mod volume;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::bus::{ConsumerState, HandleError, ReadError};
use contracts::IncidentSubject;
use contracts::subjects::{self, streams};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::decision::Engine;
use rules::{Limits, Stays};

pub use record::{Archive, ArchiveError, FoldError, Kept, facts, fold};

/// Incidents archived together: a volume is written once for all of them.
const TOGETHER: usize = 64;
/// The longest pause after a round that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Archives what may go; clones of the engine share nothing with it but the bus.
pub struct Archivist {
    engine: Engine,
    archive: Archive,
    pass: Mutex<Pass>,
}

/// One pass over what there is, round by round.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// The sequence at which the closed incidents go on; `None` when this pass is through with them.
    incidents: Option<u64>,
    /// The same of the occurrences.
    occurrences: Option<u64>,
}

impl Pass {
    const BEGIN: Self = Self { incidents: Some(1), occurrences: Some(1) };
}

/// What one round came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Round {
    /// Incidents that left the log.
    pub archived: usize,
    /// Occurrence facts that were forgotten.
    pub forgotten: u64,
    /// Why others stayed, and how many.
    pub stayed: BTreeMap<&'static str, usize>,
    /// Whether this pass has more to look at.
    pub more: bool,
}

/// Why a round, or one incident in it, came to nothing; all is as before and can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The log can't be read.
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    /// The archive can't be written or read.
    #[error("the archive can't be used")]
    Archive(#[from] ArchiveError),
    /// Messages can't be taken away.
    #[error("the log can't be purged")]
    Purge(#[from] chassis::bus::AppendError),
    /// A fingerprint's facts can't be read.
    #[error("an occurrence can't be read: {0}")]
    Occurrence(HandleError),
}

impl RoundError {
    /// Whether everything else would fail now as well.
    const fn is_outage(&self) -> bool {
        use chassis::bus::AppendError;
        match self {
            Self::Read(error) => !matches!(error, ReadError::Refused(_)),
            Self::Purge(error) => matches!(error, AppendError::Unavailable(_) | AppendError::Full(_)),
            Self::Archive(error) => error.is_outage(),
            Self::Occurrence(error) => matches!(error, HandleError::RetryAfter { outage: true, .. }),
        }
    }
}

/// What all steps of a round go by.
#[derive(Debug)]
struct Look {
    limits: Limits,
    /// The last sequence of the log then: what was stored later waits for the next look.
    last: u64,
    consumers: Vec<ConsumerState>,
    /// Every notification that was stored before this has been handled.
    heard_before: Timestamp,
    /// The limits as of then: how long nothing was heard of an alert is not known beyond it.
    heard_limits: Limits,
}

impl Archivist {
    /// With this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let archive = Archive::new(engine.bus.clone()).with_volumes_of(engine.settings.archive.volume);
        Self { archive, engine, pass: Mutex::new(Pass::BEGIN) }
    }

    /// The archive, for reading it back.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Archives for the rest of the process's life. Failing is told and never fatal: what is not archived stays on the log.
    pub async fn run(self, stopping: CancellationToken) -> Result<(), String> {
        let every = self.engine.settings.archive.every;
        loop {
            let pause = match self.prepared_round().await {
                Ok(round) if round.more => Duration::ZERO,
                Ok(_) => every,
                Err(reason) => {
                    tracing::warn!(reason, "archiving failed; trying again later");
                    metrics::counter!("lastgood_archive_failures_total").increment(1);
                    every.min(AFTER_FAILURE)
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.engine.bus.ids().jitter(pause)) => {}
            }
        }
    }

    async fn prepared_round(&self) -> Result<Round, String> {
        let keep = self.engine.settings.archive.keep;
        self.engine.bus.ensure_bucket(streams::ARCHIVE_BUCKET, keep).await.map_err(|error| error.to_string())?;
        self.engine.bus.measure_bucket(streams::ARCHIVE_BUCKET).await;
        let round = self.round().await.map_err(|error| chain(&error))?;
        if round.archived > 0 || round.forgotten > 0 {
            tracing::info!(archived = round.archived, forgotten = round.forgotten, stayed = ?round.stayed, "archived");
        }
        Ok(round)
    }

    /// One bounded round: a page of occurrences, or of closed incidents when this pass is through with those. The bucket is there.
    pub async fn round(&self) -> Result<Round, RoundError> {
        let look = self.look().await?;
        let mut pass = *self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let mut round = Round::default();
        // Occurrences first, all of them: an incident stays while one of them names it.
        if let Some(from) = pass.occurrences {
            (round.forgotten, pass.occurrences) = self.forget(&look, from).await?;
        } else if let Some(from) = pass.incidents {
            (round, pass.incidents) = self.incidents(&look, from).await?;
        }
        round.more = pass.incidents.is_some() || pass.occurrences.is_some();
        *self.pass.lock().unwrap_or_else(PoisonError::into_inner) = if round.more { pass } else { Pass::BEGIN };
        Ok(round)
    }

    async fn look(&self) -> Result<Look, RoundError> {
        let bus = &self.engine.bus;
        // Before the consumers are asked: what comes later they may not know of yet.
        let (now, last) = bus.server_time(streams::INCIDENTS).await?;
        let (consumers, listeners) = futures::try_join!(bus.consumers(streams::INCIDENTS), bus.consumers(streams::ALERTS))?;
        let mut heard_before = now;
        for listener in listeners.iter().filter(|listener| !listener.idle) {
            if let Some(first) = bus.first_from(streams::ALERTS, listener.floor.saturating_add(1)).await? {
                heard_before = heard_before.min(first.at);
            }
        }
        let [limits, heard_limits] = [now, heard_before].map(|at| Limits::at(at, &self.engine.settings));
        Ok(Look { limits, last, consumers, heard_before, heard_limits })
    }

    /// A page of closed incidents; where the next one begins.
    async fn incidents(&self, look: &Look, from: u64) -> Result<(Round, Option<u64>), RoundError> {
        let closings = subjects::facts_of_type("incident_closed");
        let (page, more) = self.engine.bus.page(streams::INCIDENTS, &closings, from).await?;
        let old: Vec<_> = page.iter().take_while(|closing| closing.at < look.limits.ended_before).collect();
        let next = old.last().filter(|_| more && old.len() == page.len()).map(|last| last.sequence + 1);
        let mut subjects: Vec<IncidentSubject> =
            old.iter().filter_map(|closing| Some(IncidentSubject::parse(&closing.subject).ok()?.0)).collect();
        // Neighbours share volumes.
        subjects.sort_by_key(|subject| subject.incident);
        let mut round = Round::default();
        for some in subjects.chunks(TOGETHER) {
            let told = self.archive_incidents(some.to_vec(), look).await;
            round.archived += told.archived;
            metrics::counter!("lastgood_incidents_archived_total").increment(told.archived as u64);
            for (subject, stays) in told.stayed {
                note(&subject, &stays);
                *round.stayed.entry(stays.label()).or_default() += 1;
            }
            for (subjects, error) in told.failed {
                if error.is_outage() {
                    return Err(error);
                }
                let incidents = subjects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::error!(incidents, error = chain(&error), "these can't be archived; they stay on the log");
                *round.stayed.entry("failed").or_default() += subjects.len();
            }
        }
        Ok((round, next))
    }
}

fn note(subject: &IncidentSubject, stays: &Stays) {
    metrics::counter!("lastgood_archive_stays_total", "reason" => stays.label()).increment(1);
    match stays {
        Stays::Young | Stays::Newest | Stays::LastWord => {}
        Stays::Unhandled(consumer) => {
            tracing::debug!(incident = %subject, consumer, "it stays until this consumer has come past it");
        }
        Stays::Occurrence(fingerprint) => {
            tracing::debug!(incident = %subject, fingerprint, "it stays while this alert's end is not old");
        }
        Stays::Headless | Stays::Unreadable => tracing::warn!(incident = %subject, ?stays, "it can't be archived"),
    }
}

/// An error with its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
