//! What a refused request is told: which error, which field, why, and what to do about it.
//!
//! Guarantees: every refusal of every endpoint is JSON of this one form and is counted by its error. Must not: carry anything of the
//! configured secrets, or say more of a body than the part that is wrong.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

/// A refusal, as the sender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable `snake_case` word; also the metric's label.
    pub error: &'static str,
    /// Where it is, e.g. `alerts[3].startsAt`, `body`, `header Authorization`.
    pub field: String,
    /// What is wrong, for people.
    pub reason: String,
    /// What to do about it, for people.
    pub remedy: String,
    /// Headers that the status asks for.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Told<'a> {
    error: &'a str,
    field: &'a str,
    reason: &'a str,
    remedy: &'a str,
}

impl Problem {
    /// A refusal without extra headers.
    pub fn new(
        status: StatusCode,
        error: &'static str,
        field: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status, error, field: field.into(), reason: reason.into(), remedy: remedy.into(), headers: Vec::new() }
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The 404 of a path that is nothing here.
    #[must_use]
    pub fn no_such_path(path: &str) -> Self {
        let reason = format!("nothing is served at {}", shortened(path, 200));
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "path", reason, "GET /v1 lists what there is")
    }

    /// The 405 of a path that takes another method.
    #[must_use]
    pub fn wrong_method(method: &str) -> Self {
        let reason = format!("{} is not a method of this path", shortened(method, 20));
        let remedy = "use the method that the Allow header names";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "method", reason, remedy)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        metrics::counter!("lastgood_ingest_refused_total", "reason" => self.error).increment(1);
        tracing::info!(error = self.error, field = %self.field, reason = %self.reason, status = self.status.as_u16(), "request refused");
        let told = Told { error: self.error, field: &self.field, reason: &self.reason, remedy: &self.remedy };
        let mut response = (self.status, Json(told)).into_response();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// At most this many characters of a text, marked where something was cut.
#[must_use]
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("größer", 3), "grö…");
        assert_eq!(shortened("größer", 6), "größer");
    }
}
