//! Waiting for a condition with a deadline, instead of sleeping and hoping.
//!
//! Guarantee: a wait that fails says what was awaited, for how long, and what was seen last. It must never wait unbounded.

use std::{fmt::Display, future::Future, sync::OnceLock, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(30);

/// A condition did not come true in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("waited {waited:?} in vain for {what}; last seen: {last_seen}")]
pub struct TimedOut {
    /// What was awaited.
    pub what: String,
    /// The deadline that passed.
    pub waited: Duration,
    /// The last answer of the probe.
    pub last_seen: String,
}

/// One look at a condition: `Some` and `Ok` end the wait, `None` and `Err` continue it.
pub trait Look {
    /// What the wait yields.
    type Value;
    /// The value, or what was seen instead.
    fn verdict(self) -> Result<Self::Value, String>;
}

impl<T> Look for Option<T> {
    type Value = T;
    fn verdict(self) -> Result<T, String> {
        self.ok_or_else(|| "not yet".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Value = T;
    fn verdict(self) -> Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Looks every 30 ms until `probe` yields a value; at `deadline` it fails with the last thing seen. A probe that hangs is cut off.
pub async fn until<L, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<L::Value, TimedOut>
where
    L: Look,
    F: FnMut() -> Fut,
    Fut: Future<Output = L>,
{
    let end = Instant::now() + deadline;
    let mut last_seen = "nothing at all".to_owned();
    loop {
        match timeout_at(end, probe()).await.map(Look::verdict) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last_seen = seen,
            Err(_) => last_seen = format!("{last_seen} (and then a probe that did not return)"),
        }
        if Instant::now() + POLL >= end {
            return Err(TimedOut { what: what.to_owned(), waited: deadline, last_seen });
        }
        sleep(POLL).await;
    }
}

/// The HTTP client of the testbed's own probes: no proxies, 5 s a request.
///
/// # Panics
/// Never in practice: a client with built-in certificates alone always builds.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(0) // what is probed gets killed and restarted; each test has a runtime of its own
            .build()
            .expect("a client without certificates of its own always builds")
    })
}

/// The body of a `GET` that answered 2xx; anything else is the text to show.
pub async fn get(url: &str) -> Result<String, String> {
    let answer = http().get(url).send().await.map_err(|error| format!("{url}: {}", chain(&error)))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("{url}: {}", chain(&error)))?;
    if status.is_success() { Ok(body) } else { Err(format!("{url}: {status} {body}")) }
}

/// An error with its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_what_was_awaited_and_seen() {
        let mut looks = 0;
        let error = until("a miracle", Duration::from_millis(100), || {
            looks += 1;
            let seen = looks;
            async move { Err::<(), _>(format!("look {seen}")) }
        })
        .await
        .expect_err("never comes true");
        let text = error.to_string();
        assert!(text.contains("a miracle") && text.contains("look ") && looks > 1, "{text}");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_off() {
        let error = until("news", Duration::from_millis(50), std::future::pending::<Option<()>>).await.expect_err("hangs");
        assert!(error.last_seen.contains("did not return"), "{error}");
    }
}
