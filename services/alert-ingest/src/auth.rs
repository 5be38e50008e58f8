//! Who may post: the configured bearer token, or the configured user and password.
//!
//! Guarantees: comparisons take the same time wherever the first difference is, and whatever the length; either scheme is enough where
//! both are configured. Must not: print what was sent or what is expected.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::problem::Problem;

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization` header.
    #[error("the Authorization header is missing")]
    Missing,
    /// A scheme that is not configured, or a header that does not parse.
    #[error("the Authorization header is not of a scheme that is accepted here")]
    WrongScheme,
    /// The wrong token, user or password.
    #[error("the credentials are wrong")]
    Wrong,
}

/// What is accepted; nothing configured means that everybody is let in.
#[derive(Clone, Default)]
pub struct Auth {
    /// Of the bearer token.
    bearer: Option<[u8; 32]>,
    /// Of `user:password`.
    basic: Option<[u8; 32]>,
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Auth {
    /// Accepts this token, and this user with this password; only their digests are kept.
    #[must_use]
    pub fn new(bearer: Option<&str>, basic: Option<(&str, &str)>) -> Self {
        Self {
            bearer: bearer.map(|token| digest(token.as_bytes())),
            basic: basic.map(|(user, password)| digest(format!("{user}:{password}").as_bytes())),
        }
    }

    /// Whether nothing is configured.
    #[must_use]
    pub const fn lets_everybody_in(&self) -> bool {
        self.bearer.is_none() && self.basic.is_none()
    }

    /// Whether a request with these headers may go on.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        if self.lets_everybody_in() {
            return Ok(());
        }
        let value = headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
        let value = value.to_str().map_err(|_| AuthError::WrongScheme)?;
        let (scheme, credentials) = value.split_once(' ').ok_or(AuthError::WrongScheme)?;
        let credentials = credentials.trim();
        let (expected, given) = if scheme.eq_ignore_ascii_case("bearer") {
            (self.bearer.as_ref(), digest(credentials.as_bytes()))
        } else if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(credentials).map_err(|_| AuthError::WrongScheme)?;
            (self.basic.as_ref(), digest(&decoded))
        } else {
            return Err(AuthError::WrongScheme);
        };
        let expected = expected.ok_or(AuthError::WrongScheme)?;
        let same: Choice = expected.ct_eq(&given);
        if bool::from(same) { Ok(()) } else { Err(AuthError::Wrong) }
    }

    fn problem(&self, error: AuthError) -> Problem {
        let remedy = "send the bearer token or the user and password that ingest.bearer_token or ingest.basic name";
        let mut problem =
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "header Authorization", error.to_string(), remedy);
        let schemes =
            [(self.bearer.is_some(), r#"Bearer realm="lastgood""#), (self.basic.is_some(), r#"Basic realm="lastgood""#)];
        for (_, scheme) in schemes.iter().filter(|(configured, _)| *configured) {
            problem = problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        problem
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("bearer", &self.bearer.is_some()).field("basic", &self.basic.is_some()).finish()
    }
}

/// The middleware: lets a request through, or answers 401 before anything of its body is read.
pub async fn require(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    match auth.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => auth.problem(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn credentials_by_table() {
        let both = Auth::new(Some("t0ken"), Some(("am", "pa:ss")));
        let bearer = Auth::new(Some("t0ken"), None);
        let right = format!("Basic {}", STANDARD.encode("am:pa:ss"));
        let wrong = format!("Basic {}", STANDARD.encode("am:pass"));
        let table = [
            (&both, "Bearer t0ken", Ok(())),
            (&both, "bearer  t0ken", Ok(())),
            (&both, "Bearer t0ken2", Err(AuthError::Wrong)),
            (&both, "Bearer ", Err(AuthError::Wrong)),
            (&both, right.as_str(), Ok(())),
            (&both, wrong.as_str(), Err(AuthError::Wrong)),
            (&both, "Basic ???", Err(AuthError::WrongScheme)),
            (&both, "Digest x", Err(AuthError::WrongScheme)),
            (&both, "t0ken", Err(AuthError::WrongScheme)),
            (&bearer, right.as_str(), Err(AuthError::WrongScheme)),
        ];
        for (auth, header, expected) in table {
            assert_eq!(auth.check(&with(header)), expected, "{header}");
        }
        assert_eq!(both.check(&HeaderMap::new()), Err(AuthError::Missing));
        assert_eq!(Auth::default().check(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_schemes() {
        let problem = Auth::new(Some("t"), Some(("u", "p"))).problem(AuthError::Missing);
        assert_eq!(problem.headers.len(), 2);
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
    }
}
