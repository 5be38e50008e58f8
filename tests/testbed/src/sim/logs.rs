//! The last log lines of the pods' containers, of the present and of the previous run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// How many lines of a run are kept.
const KEPT: usize = 200;

#[derive(Debug, Default)]
struct Runs {
    current: VecDeque<String>,
    previous: Option<VecDeque<String>>,
}

/// All containers' logs, by the pod's uid and the container's name.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<(String, String), Runs>>);

impl Logs {
    /// Starts a run: what was the current one becomes the previous one.
    pub(crate) fn start(&self, uid: &str, container: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid.to_owned(), container.to_owned());
        let previous = all.remove(&key).map(|runs| runs.current);
        let runs = Runs { current: VecDeque::new(), previous };
        all.insert(key, runs);
    }

    /// Adds a line to the current run.
    pub(crate) fn push(&self, uid: &str, container: &str, line: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runs) = all.get_mut(&(uid.to_owned(), container.to_owned())) {
            if runs.current.len() == KEPT {
                runs.current.pop_front();
            }
            runs.current.push_back(line.to_owned());
        }
    }

    /// The lines of a run, if there was one.
    pub(crate) fn read(&self, uid: &str, container: &str, previous: bool) -> Option<Vec<String>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = all.get(&(uid.to_owned(), container.to_owned()))?;
        let lines = if previous { runs.previous.as_ref()? } else { &runs.current };
        Some(lines.iter().cloned().collect())
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(owner, _), _| owner != uid);
    }
}
