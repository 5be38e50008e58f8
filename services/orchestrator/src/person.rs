//! What a person asks of lastgood: a rollback, and a yes, a no or a hold to what it has planned. For whoever talks to people: a command, later
//! a chat's button or a page.
//!
//! Guarantees: everything goes onto the log under its expectation, so that of two people who say different things at the same moment one is told
//! that the other was first; asked twice it is done once. Must not: judge whether a rollback is wise; a person says so. What a person can't
//! have is refused with what to do instead.

use chassis::bus::AppendError;
use chassis::incidents::{ExecuteError, Incidents, LoadError};
use contracts::v1::{self, Action, WorkloadRef};
use contracts::{Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{BY_COMMAND, Command, Incident, Phase, Refusal};

use crate::alerts::TRIES;
use crate::decision::fold;

/// The name of the trigger of a rollback that a person asked for.
pub const REQUESTED: &str = "RollbackRequested";

/// A rollback that a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The incident to open: the same for each try of one request.
    pub incident: IncidentId,
    /// Which workload.
    pub workload: WorkloadRef,
    /// Its uid as the person saw it, so that one that was recreated since is left alone; empty where it was not looked at.
    pub workload_uid: String,
    /// The version to go back to, by its template's hash; `None` for the newest good one.
    pub to: Option<String>,
    /// Who asks.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// A person's word about an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Who says so.
    pub who: String,
    /// By what means: "command", "api", "chat".
    pub via: String,
    /// Why; may be empty.
    pub note: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// It is on the log now.
    Stored(IncidentSubject),
    /// It was already.
    AlreadySo(IncidentSubject),
}

impl Done {
    /// The incident.
    #[must_use]
    pub const fn subject(&self) -> &IncidentSubject {
        let (Self::Stored(subject) | Self::AlreadySo(subject)) = self;
        subject
    }
}

/// Why a person does not get it.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// Another incident of the workload is under way.
    #[error(
        "{incident} of this workload is under way ({phase:?}); approve or decline what it plans, or wait for its end: two rollbacks of one \
         workload at the same time would undo each other"
    )]
    Busy {
        /// Which.
        incident: IncidentId,
        /// Where it stands.
        phase: Phase,
    },
    /// There is no such incident.
    #[error("there is no incident {0} on the log; it may be archived")]
    Unknown(IncidentId),
    /// The incident does not allow it.
    #[error("{0}")]
    Refused(Refusal),
    /// A part of the request is missing.
    #[error("`{0}` is missing: say it, so that others know")]
    Missing(&'static str),
    /// The incident can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It could not be stored.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It could not be executed.
    #[error(transparent)]
    Execute(ExecuteError),
    /// Others were faster each time.
    #[error("others were faster, again and again; try once more")]
    Contended,
}

/// The commands that open a person's rollback: the trigger is over as it begins, so that its end waits for no alert.
#[must_use]
pub fn opening(request: &Request, deadlines: v1::Deadlines, now: Timestamp) -> Vec<Command> {
    let fingerprint = format!("{BY_COMMAND}-{}", request.incident);
    let to = request.to.as_deref().map_or_else(|| "the newest good version".to_owned(), |hash| format!("version {hash}"));
    let summary = format!("{} asks to go back to {to}: {}", request.who, request.reason);
    let trigger = v1::Occurrence {
        fingerprint: fingerprint.clone(),
        starts_at: Some(contracts::time::to_proto(now)),
        source: BY_COMMAND.to_owned(),
        alert_name: REQUESTED.to_owned(),
        annotations: [("summary".to_owned(), summary)].into(),
        ..v1::Occurrence::default()
    };
    let open = v1::AnomalyDetected {
        trigger: Some(trigger),
        deadlines: Some(deadlines),
        workload_uid: request.workload_uid.clone(),
        requested: Some(asked(request)),
    };
    let ends_at = Some(contracts::time::to_proto(now));
    let over = v1::AlertResolved { fingerprint, ends_at, seen_by: BY_COMMAND.to_owned() };
    vec![Command::Open(open), Command::ResolveAlert(over)]
}

fn asked(request: &Request) -> v1::RollbackRequested {
    v1::RollbackRequested {
        to_template_hash: request.to.clone().unwrap_or_default(),
        who: request.who.clone(),
        reason: request.reason.clone(),
    }
}

/// What a request comes to, given the workload's newest incident.
fn judge(request: &Request, newest: Option<(&IncidentSubject, &Incident)>) -> Result<Option<Done>, PersonError> {
    let Some((subject, incident)) = newest else { return Ok(None) };
    let same = |opened: &lastgood_core::incident::Opened| opened.requested.as_ref() == Some(&asked(request));
    if subject.incident == request.incident || (incident.is_open() && incident.opened.as_ref().is_some_and(same)) {
        return Ok(Some(Done::AlreadySo(subject.clone())));
    }
    if incident.is_open() {
        return Err(PersonError::Busy { incident: subject.incident, phase: incident.phase() });
    }
    Ok(None)
}

/// Opens the incident of a rollback that a person asks for; the orchestrator decides it then.
pub async fn request_rollback(
    incidents: &Incidents,
    deadlines: v1::Deadlines,
    request: &Request,
    now: Timestamp,
) -> Result<Done, PersonError> {
    for (field, text) in [("who", &request.who), ("reason", &request.reason)] {
        if text.trim().is_empty() {
            return Err(PersonError::Missing(field));
        }
    }
    let facts: Vec<Fact> = fold(&Incident::default(), &opening(request, deadlines, now), now).facts;
    let subject = IncidentSubject { workload: request.workload.clone(), incident: request.incident };
    for _ in 0..TRIES {
        let newest = incidents.latest(&request.workload).await?;
        if let Some(done) = judge(request, newest.as_ref().map(|(subject, loaded)| (subject, &loaded.incident)))? {
            return Ok(done);
        }
        let expected = newest.map_or(0, |(_, loaded)| loaded.expected);
        match incidents.append(&subject, expected, &facts).await {
            Ok(_) => {
                tracing::info!(incident = %subject, who = request.who, "a person asked for a rollback");
                return Ok(Done::Stored(subject));
            }
            Err(AppendError::Lost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PersonError::Contended)
}

/// Says yes to what an incident plans.
pub async fn approve(incidents: &Incidents, incident: IncidentId, word: &Word, now: Timestamp) -> Result<Done, PersonError> {
    say(incidents, incident, Action::Approve, word, now).await
}

/// Says no: nothing is rolled back.
pub async fn decline(incidents: &Incidents, incident: IncidentId, word: &Word, now: Timestamp) -> Result<Done, PersonError> {
    say(incidents, incident, Action::Decline, word, now).await
}

/// Takes an incident over: nothing is rolled back, a person sees to it.
pub async fn hold(incidents: &Incidents, incident: IncidentId, word: &Word, now: Timestamp) -> Result<Done, PersonError> {
    say(incidents, incident, Action::Hold, word, now).await
}

/// A person's act, as a command.
#[must_use]
pub fn act(action: Action, word: &Word) -> Command {
    let Word { who, via, note } = word.clone();
    Command::PersonAct(v1::PersonActed { action: action.into(), who, via, note })
}

async fn say(
    incidents: &Incidents,
    incident: IncidentId,
    action: Action,
    word: &Word,
    now: Timestamp,
) -> Result<Done, PersonError> {
    if word.who.trim().is_empty() {
        return Err(PersonError::Missing("who"));
    }
    let Some((subject, _)) = incidents.find(incident).await? else { return Err(PersonError::Unknown(incident)) };
    match incidents.execute(&subject, None, &act(action, word), now).await {
        Ok(_) => {
            tracing::info!(incident = %subject, who = word.who, action = action.as_str_name(), "a person said so");
            Ok(Done::Stored(subject))
        }
        Err(ExecuteError::Refused(Refusal::AlreadySo)) => Ok(Done::AlreadySo(subject)),
        Err(ExecuteError::Refused(refusal)) => Err(PersonError::Refused(refusal)),
        Err(error) => Err(PersonError::Execute(error)),
    }
}

#[cfg(test)]
mod tests {
    use lastgood_core::incident::{Recorded, evolve};

    use super::*;

    fn request(incident: &str, to: Option<&str>) -> Request {
        Request {
            incident: incident.parse().unwrap(),
            workload: WorkloadRef::default(),
            workload_uid: "u".into(),
            to: to.map(str::to_owned),
            who: "ann".into(),
            reason: "it is slow".into(),
        }
    }

    const FIRST: &str = "inc_0000000000000000000000000000002a";
    const SECOND: &str = "inc_0000000000000000000000000000002b";

    fn opened(request: &Request) -> (IncidentSubject, Incident) {
        let now = Timestamp::UNIX_EPOCH;
        let facts = fold(&Incident::default(), &opening(request, v1::Deadlines::default(), now), now).facts;
        assert_eq!(facts.iter().map(Fact::event_type).collect::<Vec<_>>(), ["anomaly_detected", "alert_resolved"]);
        let incident = (1..)
            .zip(facts)
            .fold(Incident::default(), |incident, (sequence, fact)| evolve(incident, &Recorded { sequence, at: now, fact }));
        (IncidentSubject { workload: request.workload.clone(), incident: request.incident }, incident)
    }

    #[test]
    fn its_trigger_is_over_as_it_begins() {
        let (_, incident) = opened(&request(FIRST, None));
        assert!(incident.is_requested() && incident.trigger_resolved() && incident.phase() == Phase::Detected);
    }

    #[test]
    fn the_same_request_is_one_and_another_waits() {
        let (subject, incident) = opened(&request(FIRST, Some("abc")));
        let newest = Some((&subject, &incident));
        for again in [request(FIRST, Some("abc")), request(SECOND, Some("abc"))] {
            assert_eq!(judge(&again, newest).unwrap(), Some(Done::AlreadySo(subject.clone())));
        }
        let other = judge(&request(SECOND, None), newest).unwrap_err();
        assert!(
            matches!(&other, PersonError::Busy { phase: Phase::Detected, .. }) && other.to_string().contains(FIRST),
            "{other}"
        );
        assert_eq!(judge(&request(FIRST, None), None).unwrap(), None);
    }
}
