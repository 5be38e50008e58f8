//! What the HTTP channels share: one client, and what an answer means.
//!
//! Guarantees: no redirect is followed (it would carry the secret elsewhere); 429, 408, 5xx and transport errors can be tried again
//! and `Retry-After` is read; other statuses are permanent; an answer's body is read up to a bound. Must not: put a URL's path or
//! query into an error, since webhook URLs are secrets of their own.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use crate::channels::SendError;
use crate::text::{cut, one_line};

/// Bytes of an answer that are read; providers answer in a few hundred.
const BODY: usize = 64 * 1024;
/// The longest `Retry-After` that is believed.
const LONGEST: Duration = Duration::from_hours(1);

/// The client of all channels.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_mins(5))
        .tcp_nodelay(true)
        .user_agent(concat!("lastgood-notifier/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// An answer that came, with a success status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Sends, and sorts what comes back.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Result<Answer, SendError> {
    let mut response = request.send().await.map_err(|error| transport(&error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < BODY {
        match response.chunk().await.map_err(|error| transport(&error))? {
            Some(chunk) => body.extend_from_slice(&chunk[..chunk.len().min(BODY - body.len())]),
            None => break,
        }
    }
    match classify(status, &headers, &body) {
        None => Ok(Answer { headers, body }),
        Some(error) => Err(error),
    }
}

/// What a status means; `None` is success.
fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<SendError> {
    if status.is_success() {
        return None;
    }
    let reason = format!("{status}: {}", excerpt(body));
    let again = status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    Some(if again { SendError::Retry { reason, after: retry_after(headers) } } else { SendError::Permanent { reason } })
}

/// The start of an answer, for people.
pub(crate) fn excerpt(body: &[u8]) -> String {
    cut(&one_line(&String::from_utf8_lossy(body)), 500)
}

/// The provider's wish, in seconds or as a date (read against the answer's own `Date`, so that no clock is needed).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = |text: &str| -> Option<Timestamp> { jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()) };
    let until = date(text)?;
    let now = date(headers.get(header::DATE)?.to_str().ok()?)?;
    Duration::try_from(until.duration_since(now)).ok().map(|wait| wait.min(LONGEST))
}

/// A transport error and its causes in one line, without the URL.
fn transport(error: &reqwest::Error) -> SendError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "can't connect"
    } else {
        "the connection failed"
    };
    let mut reason = what.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    SendError::Retry { reason: cut(&one_line(&reason), 500), after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn statuses_are_sorted() {
        for (status, again) in
            [(429, true), (408, true), (500, true), (503, true), (400, false), (401, false), (404, false), (302, false)]
        {
            let error = classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), b"why").unwrap();
            assert_eq!(matches!(error, SendError::Retry { .. }), again, "{status}");
            assert!(error.to_string().contains("why"));
        }
        assert_eq!(classify(StatusCode::ACCEPTED, &HeaderMap::new(), b""), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let none = headers(&[]);
        let seconds = headers(&[(header::RETRY_AFTER, "7")]);
        let date =
            headers(&[(header::RETRY_AFTER, "Sun, 22 Nov 2026 10:00:30 GMT"), (header::DATE, "Sun, 22 Nov 2026 10:00:00 GMT")]);
        let past =
            headers(&[(header::RETRY_AFTER, "Sun, 22 Nov 2026 09:00:30 GMT"), (header::DATE, "Sun, 22 Nov 2026 10:00:00 GMT")]);
        let far = headers(&[(header::RETRY_AFTER, "99999999")]);
        let bad = headers(&[(header::RETRY_AFTER, "soon")]);
        for (headers, wait) in [(none, None), (seconds, Some(7)), (date, Some(30)), (past, None), (far, Some(3600)), (bad, None)]
        {
            assert_eq!(retry_after(&headers), wait.map(Duration::from_secs), "{headers:?}");
        }
    }
}
