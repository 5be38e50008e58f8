//! The life of a process: critical tasks, signals, a soft end and then a hard one.
//!
//! Guarantees: SIGTERM and SIGINT cancel [`Lifecycle::stopping`] (stop pulling); after the deadline [`Lifecycle::hard`] is
//! cancelled and what still runs is dropped. A critical task that ends, fails or panics before that ends the process with a
//! non-zero code and its name. Must not: know what the tasks do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// How long a soft end may take unless it is told otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(20);

/// After the hard cancel: for naks and flushes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts critical tasks and ends them in order; clones are the same life.
#[derive(Clone)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

struct Inner {
    soft: CancellationToken,
    hard: CancellationToken,
    deadline: Duration,
    tasks: Mutex<Tasks>,
    ended: mpsc::UnboundedSender<Ended>,
    ends: Mutex<Option<mpsc::UnboundedReceiver<Ended>>>,
}

#[derive(Default)]
struct Tasks {
    next: u64,
    running: BTreeMap<u64, (String, AbortHandle)>,
}

struct Ended {
    id: u64,
    name: String,
    problem: Option<String>,
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifecycle").field("stopping", &self.inner.soft.is_cancelled()).finish_non_exhaustive()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new(DEFAULT_DEADLINE)
    }
}

impl Lifecycle {
    /// A life whose soft end may take this long.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        let (ended, ends) = mpsc::unbounded_channel();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, ends) = (Mutex::default(), Mutex::new(Some(ends)));
        Self { inner: Arc::new(Inner { soft, hard, deadline, tasks, ended, ends }) }
    }

    /// Cancelled when no new work may be begun.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.soft.clone()
    }

    /// Cancelled when running work must be dropped.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.inner.hard.clone()
    }

    /// Begins the soft end, as a signal does.
    pub fn stop(&self) {
        self.inner.soft.cancel();
    }

    /// Waits for the first critical task that ends, and tells its name and problem. For simulations, which have no signals; a process
    /// calls [`Lifecycle::run_until_done`].
    pub async fn first_end(&self) -> String {
        let ends = self.inner.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut ends) = ends else { return "the lifecycle is run twice".to_owned() };
        match ends.recv().await {
            Some(end) => format!("{}: {}", end.name, end.problem.as_deref().unwrap_or("it ended by itself")),
            None => std::future::pending().await,
        }
    }

    /// Drops every task where it stands, as SIGKILL does; nothing is handed back or flushed. For simulations.
    pub fn kill(&self) {
        let tasks = std::mem::take(&mut self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).running);
        for (_, task) in tasks.into_values() {
            task.abort();
        }
    }

    /// Starts a critical task. It must run until [`Lifecycle::stopping`], and then end by itself with `Ok`.
    pub fn spawn<F, E>(&self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let (name, ended) = (name.into(), self.inner.ended.clone());
        // Held until the task is registered, so that it can't end before.
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let id = tasks.next;
        tasks.next += 1;
        let label = name.clone();
        let handle = tokio::spawn(async move {
            let problem = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("it panicked: {}", panic_text(panic.as_ref()))),
            };
            // Nobody listens once the process has been told to end and has.
            let _ = ended.send(Ended { id, name: label, problem });
        });
        tasks.running.insert(id, (name, handle.abort_handle()));
    }

    /// Runs until a signal, [`Lifecycle::stop`] or the first critical task that ends, then ends everything. The code is a success
    /// only when nothing failed and nothing had to be dropped.
    pub async fn run_until_done(&self) -> ExitCode {
        let ends = self.inner.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut ends) = ends else {
            tracing::error!("the lifecycle is run twice");
            return ExitCode::FAILURE;
        };
        let mut good = self.live(&mut ends).await;
        self.inner.soft.cancel();
        if !self.wait_for_all(&mut ends, self.inner.deadline, &mut good).await {
            tracing::warn!(tasks = ?self.running(), "still running at the deadline; dropping them");
            good = false;
            self.inner.hard.cancel();
            self.wait_for_all(&mut ends, LAST_WORDS, &mut good).await;
        }
        self.inner.hard.cancel();
        for (_, task) in self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).running.values() {
            task.abort();
        }
        tracing::info!(good, "ended");
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn live(&self, ends: &mut mpsc::UnboundedReceiver<Ended>) -> bool {
        tokio::select! {
            biased;
            () = self.inner.soft.cancelled() => true,
            signal = signal() => {
                tracing::info!(signal, "stopping");
                true
            }
            Some(end) = ends.recv() => {
                self.forget(&end);
                let problem = end.problem.as_deref().unwrap_or("it ended by itself");
                // A task that ends because of a stop that races with this select is no failure.
                if self.inner.soft.is_cancelled() && end.problem.is_none() { return true; }
                tracing::error!(task = end.name, problem, "a critical task ended; the process ends with it");
                false
            }
        }
    }

    async fn wait_for_all(&self, ends: &mut mpsc::UnboundedReceiver<Ended>, deadline: Duration, good: &mut bool) -> bool {
        let all = async {
            while !self.running().is_empty() {
                let Some(end) = ends.recv().await else { break };
                self.forget(&end);
                if let Some(problem) = &end.problem {
                    tracing::error!(task = end.name, problem, "failed while stopping");
                    *good = false;
                }
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    fn running(&self) -> Vec<String> {
        let tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.running.values().map(|(name, _)| name.clone()).collect()
    }

    fn forget(&self, end: &Ended) {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&end.id);
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

pub(crate) async fn signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        (terminate, interrupt) => {
            tracing::error!(?terminate, ?interrupt, "can't listen for signals");
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_success(code: ExitCode) -> bool {
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_tasks_finish() {
        let life = Lifecycle::new(Duration::from_secs(5));
        let stopping = life.stopping();
        life.spawn("worker", async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, String>(())
        });
        life.stop();
        assert!(is_success(life.run_until_done().await));
        assert!(life.hard().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_dropped_at_the_deadline() {
        let life = Lifecycle::new(Duration::from_secs(5));
        life.spawn("hangs", std::future::pending::<Result<(), String>>());
        life.stop();
        assert!(!is_success(life.run_until_done().await));
    }

    #[tokio::test]
    async fn an_end_an_error_and_a_panic_end_the_process() {
        let ends: [fn(&Lifecycle); 3] = [
            |life| life.spawn("ends", async { Ok::<_, String>(()) }),
            |life| life.spawn("fails", async { Err("no") }),
            |life| life.spawn("panics", async { panic!("{}", "ouch") as Result<(), String> }),
        ];
        for end in ends {
            let life = Lifecycle::default();
            let stopping = life.stopping();
            life.spawn("other", async move {
                stopping.cancelled().await;
                Ok::<_, String>(())
            });
            end(&life);
            assert!(!is_success(life.run_until_done().await));
        }
    }
}
