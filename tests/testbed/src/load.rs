//! A bounded load generator: so many requests a second to loopback or a cluster's private addresses, counted by answer.
//!
//! Guarantee: it never addresses anything public, and it ends by time, by count and when it is dropped. A slow target makes it skip
//! requests, not pile them up.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use url::{Host, Url};

use crate::{Error, process::lock, wait};

/// The most requests a second.
const MAX_PER_SECOND: u32 = 500;
/// The longest time.
const MAX_TIME: Duration = Duration::from_mins(15);
/// The most requests under way at once.
const MAX_OPEN: usize = 64;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the requests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests without an answer: refused, reset, or too late.
    pub no_answer: u64,
    /// Requests not sent, because there was no target or too many were under way.
    pub not_sent: u64,
}

impl Counts {
    /// All requests that were sent and have ended.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.no_answer
    }

    /// Those that failed: 5xx or no answer.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.by_status.range(500..).map(|(_, count)| count).sum::<u64>() + self.no_answer
    }
}

/// The targets of the next request; one is taken by turns. It is asked before every request, so it should be quick.
pub type Targets = dyn Fn() -> Vec<String> + Send + Sync;

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Mutex<Counts>>,
    task: JoinHandle<()>,
}

impl Load {
    /// `GET url`, `per_second` times a second (500 at most) for a time (15 minutes at most).
    pub fn start(url: &str, per_second: u32, time: Duration) -> Result<Self, Error> {
        allowed(url)?;
        let url = url.to_owned();
        Self::balanced(Arc::new(move || vec![url.clone()]), per_second, time)
    }

    /// [`Load::start`] over targets that change, for instance a Service's endpoints. A target that is not private counts as not sent.
    pub fn balanced(targets: Arc<Targets>, per_second: u32, time: Duration) -> Result<Self, Error> {
        if per_second == 0 || per_second > MAX_PER_SECOND || time > MAX_TIME {
            return Err(Error::Refused(format!(
                "a load of {per_second}/s for {time:?}; 1 to {MAX_PER_SECOND}/s and {MAX_TIME:?} are allowed"
            )));
        }
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Error::request("an HTTP client", wait::chain(&error)))?;
        let counts = Arc::<Mutex<Counts>>::default();
        let task = tokio::spawn(drive(client, targets, per_second, time, Arc::clone(&counts)));
        Ok(Self { counts, task })
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn drive(client: reqwest::Client, targets: Arc<Targets>, per_second: u32, time: Duration, counts: Arc<Mutex<Counts>>) {
    let end = Instant::now() + time;
    let mut remaining = u64::from(per_second) * time.as_secs().max(1);
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let open = Arc::new(Semaphore::new(MAX_OPEN));
    // Dropped with this task, so that aborting it also ends the requests under way.
    let mut requests = tokio::task::JoinSet::new();
    let mut turn = 0_usize;
    while remaining > 0 && Instant::now() < end {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        remaining -= 1;
        let now = targets();
        turn = turn.wrapping_add(1);
        let target = now.get(turn % now.len().max(1)).filter(|url| allowed(url).is_ok()).cloned();
        let (Some(url), Ok(permit)) = (target, Arc::clone(&open).try_acquire_owned()) else {
            lock(&counts).not_sent += 1;
            continue;
        };
        let (client, counts) = (client.clone(), Arc::clone(&counts));
        requests.spawn(async move {
            let answer = client.get(url).send().await;
            let mut counts = lock(&counts);
            match answer {
                Ok(answer) => *counts.by_status.entry(answer.status().as_u16()).or_default() += 1,
                Err(_) => counts.no_answer += 1,
            }
            drop(permit);
        });
    }
    while requests.join_next().await.is_some() {}
}

/// Only plain HTTP to loopback and private addresses.
fn allowed(url: &str) -> Result<(), Error> {
    let refused = || Error::Refused(format!("load on {url}: only http:// to loopback or private addresses is allowed"));
    let parsed = Url::parse(url).map_err(|_| refused())?;
    let private = match parsed.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback() || address.is_unique_local(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if private && parsed.scheme() == "http" { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_targets() {
        for (url, expected) in [
            ("http://127.0.0.1:80/", true),
            ("http://127.9.8.7:8080/x", true),
            ("http://10.96.0.1/", true),
            ("http://[::1]:80/", true),
            ("http://localhost:1/", true),
            ("http://93.184.216.34/", false),
            ("http://example.org/", false),
            ("https://127.0.0.1/", false),
            ("nonsense", false),
        ] {
            assert_eq!(allowed(url).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn only_bounded_loads() {
        let none: Arc<Targets> = Arc::new(Vec::new);
        for (per_second, time) in [(0, 1), (501, 1), (1, 901)] {
            assert!(Load::balanced(Arc::clone(&none), per_second, Duration::from_secs(time)).is_err());
        }
    }
}
