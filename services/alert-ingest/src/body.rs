//! Reads a request's JSON body within limits.
//!
//! Guarantees: never holds more than the limit, also of a gzip bomb (the limit counts what comes out of the decompression), and no more
//! of all bodies together than there is room for; a peer takes room for what it has sent, so that slow ones keep nobody waiting; a body
//! that trickles in ends at the deadline. Must not: look into the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::problem::{Problem, shortened};

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// There is no room for it among the others that are being read.
    #[error("too many requests are being read")]
    Busy,
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
            BodyError::Busy => crate::sources::unavailable("busy", reason),
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

/// How much room is taken at a time, bytes.
const UNIT: usize = 16 * 1024;

/// The memory that all bodies together may take; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    patience: Duration,
}

impl Room {
    /// So many bytes, for which a body waits this long.
    pub(crate) fn new(bytes: usize, patience: Duration) -> Self {
        let units = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), patience }
    }

    /// Room for `bytes` in all, given what is held.
    async fn take(&self, bytes: usize, held: &mut Option<OwnedSemaphorePermit>) -> Result<(), BodyError> {
        let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(UNIT).saturating_sub(have)).map_err(|_| BodyError::Busy)?;
        if more == 0 {
            return Ok(());
        }
        let acquired = timeout(self.patience, Arc::clone(&self.units).acquire_many_owned(more)).await;
        let permit = acquired.ok().and_then(Result::ok).ok_or(BodyError::Busy)?;
        match held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }
}

/// A body in memory, and its room, which is given back with it.
#[derive(Debug)]
pub(crate) struct Read {
    /// What was sent.
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// The whole body of a request that says it is JSON.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    deadline: Duration,
    room: &Room,
) -> Result<Read, BodyError> {
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
    let end = Instant::now() + deadline;
    let (mut bytes, mut held) = (BytesMut::new(), None);
    while let Some(frame) = timeout_at(end, body.frame()).await.map_err(|_| BodyError::TooSlow(deadline))? {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len().saturating_add(data.len());
        if length > limit {
            return Err(BodyError::TooLarge(limit));
        }
        room.take(length, &mut held).await?;
        bytes.extend_from_slice(&data);
    }
    Ok(Read { bytes: bytes.freeze(), _room: held })
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

    async fn read(headers: &HeaderMap, body: Body, deadline: Duration) -> Result<Bytes, BodyError> {
        let room = Room::new(1 << 20, Duration::from_secs(1));
        read_json(headers, body, 10, deadline, &room).await.map(|read| read.bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_takes_room_for_what_it_sent_and_gives_it_back() {
        let room = Room::new(4 * UNIT, Duration::from_secs(1));
        let headers = json();
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let started = futures::stream::iter([Ok(Bytes::from_static(b"{"))]);
        let slow = Body::from_stream(futures::StreamExt::chain(started, never));
        let slow = read_json(&headers, slow, 8 * UNIT, Duration::from_mins(1), &room);
        let send = |size: usize| read_json(&headers, Body::from(vec![b'x'; size]), 8 * UNIT, Duration::from_secs(5), &room);
        let others = async {
            let fits = send(3 * UNIT).await.unwrap();
            assert_eq!(send(UNIT).await.unwrap_err(), BodyError::Busy);
            drop(fits);
            assert!(send(3 * UNIT).await.is_ok());
            assert_eq!(send(4 * UNIT).await.unwrap_err(), BodyError::Busy);
        };
        tokio::select! {
            biased;
            read = slow => panic!("{read:?}"),
            () = others => {}
        }
        assert_eq!(room.units.available_permits(), 4, "nothing is kept");
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        let read = |size| async move { read(&json(), Body::from(vec![b'x'; size]), Duration::from_secs(5)).await };
        assert_eq!(read(10).await.unwrap().len(), 10);
        assert_eq!(read(11).await, Err(BodyError::TooLarge(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_meets_the_deadline() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let deadline = Duration::from_secs(10);
        assert_eq!(read(&json(), body, deadline).await, Err(BodyError::TooSlow(deadline)));
    }

    #[tokio::test]
    async fn what_is_not_json_is_refused_unread() {
        let mut headers = json();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let refused = read(&headers, Body::empty(), Duration::from_secs(5)).await;
        assert_eq!(refused, Err(BodyError::NotJson("`text/plain`".into())));
        assert!(matches!(read(&HeaderMap::new(), Body::empty(), Duration::from_secs(5)).await, Err(BodyError::NotJson(_))));
    }

    #[tokio::test]
    async fn a_compression_that_nobody_undid_is_refused() {
        let mut headers = json();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        let refused = read(&headers, Body::empty(), Duration::from_secs(5)).await;
        assert_eq!(refused, Err(BodyError::UnknownEncoding("br".into())));
    }
}
