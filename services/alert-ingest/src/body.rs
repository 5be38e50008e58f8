//! Reads a request's JSON body within limits.
//!
//! Guarantees: never holds more than the limit, also of a gzip bomb (the limit counts what comes out of the decompression); a body
//! that trickles in ends at the deadline. Must not: look into the body.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::problem::{Problem, shortened};

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Not complete within the deadline.
    #[error("the body was not complete after {0:?}")]
    TooSlow(Duration),
    /// The connection or the compression broke.
    #[error("the body could not be read: {0}")]
    Broken(String),
    /// Not declared as JSON.
    #[error("the content type is {0}")]
    NotJson(String),
    /// Compressed in a way that is not supported.
    #[error("the content encoding is `{0}`")]
    UnknownEncoding(String),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let reason = error.to_string();
        let new = |status, word, field: &str, remedy: &str| Self::new(status, word, field, &reason, remedy);
        match error {
            BodyError::TooLarge(_) => new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "body",
                "send less at once (Alertmanager: max_alerts), or raise ingest.max_body",
            ),
            BodyError::TooSlow(_) => {
                new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "body", "send it faster, or raise ingest.timeouts.body")
            }
            BodyError::Broken(_) => new(StatusCode::BAD_REQUEST, "body_broken", "body", "send the body complete and undamaged"),
            BodyError::NotJson(_) => {
                new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "header Content-Type", "send Content-Type: application/json")
            }
            BodyError::UnknownEncoding(_) => new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unknown_encoding",
                "header Content-Encoding",
                "send the body plain or with gzip",
            ),
        }
    }
}

/// The whole body of a request that says it is JSON.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, limit: usize, deadline: Duration) -> Result<Bytes, BodyError> {
    check_type(headers)?;
    if let Some(encoding) =
        headers.get(header::CONTENT_ENCODING).filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(BodyError::UnknownEncoding(shortened(&String::from_utf8_lossy(encoding.as_bytes()), 40)));
    }
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    if declared.is_some_and(|length: u64| length > limit as u64) {
        return Err(BodyError::TooLarge(limit));
    }
    match tokio::time::timeout(deadline, Limited::new(body, limit).collect()).await {
        Err(_) => Err(BodyError::TooSlow(deadline)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(limit)),
        Ok(Err(error)) => Err(BodyError::Broken(error.to_string())),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), BodyError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Err(BodyError::NotJson("missing".to_owned())) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(BodyError::NotJson(format!("`{}`", shortened(&text, 100))))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn json() -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))])
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        let read = |size| async move { read_json(&json(), Body::from(vec![b'x'; size]), 10, Duration::from_secs(5)).await };
        assert_eq!(read(10).await.unwrap().len(), 10);
        assert_eq!(read(11).await, Err(BodyError::TooLarge(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_meets_the_deadline() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let deadline = Duration::from_secs(10);
        assert_eq!(read_json(&json(), body, 10, deadline).await, Err(BodyError::TooSlow(deadline)));
    }

    #[tokio::test]
    async fn what_is_not_json_is_refused_unread() {
        let mut headers = json();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let refused = read_json(&headers, Body::empty(), 10, Duration::from_secs(5)).await;
        assert_eq!(refused, Err(BodyError::NotJson("`text/plain`".into())));
        assert!(matches!(
            read_json(&HeaderMap::new(), Body::empty(), 10, Duration::from_secs(5)).await,
            Err(BodyError::NotJson(_))
        ));
    }

    #[tokio::test]
    async fn a_compression_that_nobody_undid_is_refused() {
        let mut headers = json();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        let refused = read_json(&headers, Body::empty(), 10, Duration::from_secs(5)).await;
        assert_eq!(refused, Err(BodyError::UnknownEncoding("br".into())));
    }
}
