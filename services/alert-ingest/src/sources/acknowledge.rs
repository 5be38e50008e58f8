//! `POST /v1/incidents/{id}/acknowledge` with `{"who": "…", "note": "…"}`: a person has seen the page.
//!
//! Guarantees: 200 only after `PersonActed` is on the incident's log, or was before (`"already": true`). 404 for an incident that nobody
//! knows, 409 with the reason where the incident doesn't take it. Must not: decide; core does.

use std::fmt;

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, Request, State};
use contracts::IncidentId;
use contracts::v1::{Action, PersonActed};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, unavailable};
use crate::problem::{Problem, shortened};

/// What an acknowledgement led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// It is on the log now.
    Recorded,
    /// Somebody did it before.
    Already,
}

/// Why it was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcknowledgeError {
    /// No such incident.
    #[error("there is no incident {0}")]
    Unknown(IncidentId),
    /// The incident doesn't take it.
    #[error("{0}")]
    Refused(String),
    /// The log can't be reached.
    #[error("the incident log can't be reached: {0}")]
    Unavailable(String),
}

/// Where persons' acts go: the incidents' logs.
#[async_trait]
pub trait Incidents: Send + Sync + 'static {
    /// Records an act on an incident.
    async fn act(&self, incident: IncidentId, act: PersonActed) -> Result<Acknowledged, AcknowledgeError>;
}

impl From<AcknowledgeError> for Problem {
    fn from(error: AcknowledgeError) -> Self {
        let reason = error.to_string();
        match error {
            AcknowledgeError::Unknown(_) => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_incident",
                "id",
                reason,
                "use the incident's id as the page shows it (inc_…)",
            ),
            AcknowledgeError::Refused(_) => {
                Self::new(StatusCode::CONFLICT, "refused", "incident", reason, "look at where the incident stands now")
            }
            AcknowledgeError::Unavailable(_) => unavailable("bus_unavailable", reason),
        }
    }
}

/// What the body says.
#[derive(Debug, Deserialize)]
struct Given {
    who: String,
    note: Option<String>,
}

/// The handler.
pub(super) async fn post(State(app): State<App>, Path(id): Path<String>, request: Request) -> Result<Json<Value>, Problem> {
    let incident: IncidentId = id.parse().map_err(|error| malformed("id", &error))?;
    let (head, body) = request.into_parts();
    let body = app.small_body(&head.headers, body).await?;
    let given: Given = serde_json::from_slice(&body).map_err(|error| malformed("body", &error))?;
    let who = given.who.trim();
    if who.is_empty() {
        return Err(malformed("who", &"it is empty"));
    }
    record(&app, incident, who, "api", given.note.as_deref().unwrap_or_default()).await
}

fn malformed(field: &str, reason: &dyn fmt::Display) -> Problem {
    let remedy = r#"send {"who": "your name", "note": "optional"} to /v1/incidents/inc_…/acknowledge"#;
    Problem::new(StatusCode::BAD_REQUEST, "malformed", field, shortened(&reason.to_string(), 300), remedy)
}

/// Records an acknowledgement within the deadline, and answers.
pub(super) async fn record(app: &App, incident: IncidentId, who: &str, via: &str, note: &str) -> Result<Json<Value>, Problem> {
    let act = PersonActed {
        action: Action::Acknowledge.into(),
        who: shortened(who, 200),
        via: via.to_owned(),
        note: shortened(note, 2000),
    };
    let done = tokio::time::timeout(app.timeouts.store, app.incidents.act(incident, act)).await;
    let done = done.unwrap_or_else(|_| Err(AcknowledgeError::Unavailable("no answer in time".to_owned())))?;
    tracing::info!(%incident, via, ?done, "acknowledged");
    Ok(Json(json!({"incident": incident.to_string(), "acknowledged": true, "already": done == Acknowledged::Already})))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ID, Sent, World};
    use super::*;

    fn path() -> String {
        format!("/v1/incidents/{ID}/acknowledge")
    }

    fn body() -> Vec<u8> {
        br#"{"who": " Ada ", "note": "on it"}"#.to_vec()
    }

    #[tokio::test]
    async fn a_person_is_recorded_once() {
        let world = World::default();
        let answer = world.post(&path(), body()).await;
        assert_eq!((answer.status, &answer.json["already"]), (StatusCode::OK, &json!(false)));
        let (incident, act) = world.incidents.acts().remove(0);
        assert_eq!(incident.to_string(), ID);
        assert_eq!(
            (act.action(), act.who.as_str(), act.via.as_str(), act.note.as_str()),
            (Action::Acknowledge, "Ada", "api", "on it")
        );
        world.incidents.answer(Ok(Acknowledged::Already));
        assert_eq!(world.post(&path(), body()).await.json["already"], json!(true));
    }

    #[tokio::test]
    async fn refusals_by_table() {
        let world = World::default();
        let table = [
            (AcknowledgeError::Unknown(ID.parse().unwrap()), 404, "no_such_incident"),
            (AcknowledgeError::Refused("it is closed".into()), 409, "refused"),
            (AcknowledgeError::Unavailable("away".into()), 503, "bus_unavailable"),
        ];
        for (error, status, word) in table {
            world.incidents.answer(Err(error));
            let answer = world.post(&path(), body()).await;
            assert_eq!((answer.status.as_u16(), answer.error()), (status, word));
        }
    }

    #[tokio::test]
    async fn what_is_malformed_is_named() {
        let world = World::default();
        let table = [
            ("/v1/incidents/inc_7/acknowledge".to_owned(), body(), "id"),
            (path(), b"{}".to_vec(), "body"),
            (path(), br#"{"who": "  "}"#.to_vec(), "who"),
        ];
        for (path, body, field) in table {
            let answer = world.post(&path, body).await;
            assert_eq!((answer.status.as_u16(), answer.json["field"].as_str().unwrap()), (400, field));
        }
        assert!(world.incidents.acts().is_empty());
    }

    #[tokio::test]
    async fn without_credentials_nobody_acknowledges() {
        let world = World::with_token("t0ken");
        assert_eq!(world.post(&path(), body()).await.status, StatusCode::UNAUTHORIZED);
        let sent = Sent { authorization: Some("Bearer t0ken"), ..Sent::json(body()) };
        assert_eq!(world.send(&path(), sent).await.status, StatusCode::OK);
    }
}
