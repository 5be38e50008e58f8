//! The check that always runs: the restored version's pods stay ready and do not restart over a stabilisation window.
//!
//! Guarantees: it passes only after looks over the whole window, at each of which all desired pods were ready and no restart count
//! had grown; a look that saw nothing, or another number of desired pods, starts the window anew.
//! Must not: fail because an autoscaler asks for more pods: new ones get time to become ready, bounded by `PATIENCE`.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::v1::Verdict;

use crate::sight::{PodSight, Sight};
use crate::text::excerpt;

/// Its name among the checks, which no smoke test may take, and its kind.
pub const NAME: &str = "pods";

/// How long pods that were never ready may take, where the window is not longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The looks so far.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    window: Duration,
    /// Since when every look was good.
    since: Option<Duration>,
    /// Since when pods that were never ready are waited for.
    waiting: Option<Duration>,
    /// How many pods were desired at the last good look.
    desired: Option<u32>,
    /// Each pod's restarts and whether it was ever seen ready.
    pods: BTreeMap<String, (u32, bool)>,
    looks: u32,
    bad: bool,
    last: String,
}

impl Watch {
    /// Nothing was looked at yet; all has to stay well for this long.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, ..Self::default() }
    }

    /// How many looks there were.
    #[must_use]
    pub fn looks(&self) -> u32 {
        self.looks
    }

    /// What was seen last, for people.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last
    }

    /// A look that saw nothing: the window starts anew.
    pub fn unseen(&mut self, why: &str) {
        self.looks += 1;
        (self.since, self.bad) = (None, false);
        self.last = excerpt(&format!("nothing was seen: {why}"), 300);
    }

    /// A look, this long after the first one; the verdict where it decides.
    pub fn look(&mut self, at: Duration, sight: &Sight) -> Option<Verdict> {
        self.looks += 1;
        let (ready, desired) = (sight.ready(), usize::try_from(sight.desired).unwrap_or(usize::MAX));
        let names: Vec<&str> = sight.pods.iter().map(|pod| pod.name.as_str()).take(20).collect();
        self.last = excerpt(&format!("{ready} of {desired} pods ready ({})", names.join(", ")), 600);
        let troubles = self.troubles(sight);
        if !troubles.is_empty() {
            self.last = excerpt(&format!("{}; {}", self.last, troubles.join(", ")), 900);
            return Some(Verdict::Failed);
        }
        if ready < desired {
            return self.too_few(at, sight);
        }
        (self.waiting, self.bad) = (None, false);
        if desired == 0 {
            // No pod is wanted, so there is nothing that could be seen to be healthy.
            self.since = None;
            return None;
        }
        if self.desired.replace(sight.desired) != Some(sight.desired) {
            self.since = None;
        }
        let stable = at.saturating_sub(*self.since.get_or_insert(at));
        (stable >= self.window).then(|| {
            self.last = format!("{} at every look over {:?}, no restarts", self.last, Duration::from_millis(millis(stable)));
            Verdict::Passed
        })
    }

    /// The verdict when time is over before the window was: never a pass.
    #[must_use]
    pub fn without_pass(&self) -> Verdict {
        if self.bad { Verdict::Failed } else { Verdict::NoData }
    }

    /// What the version is to blame for: restarts, pods that were ready before, pods that can't start.
    fn troubles(&mut self, sight: &Sight) -> Vec<String> {
        let first_look = self.pods.is_empty();
        let mut troubles = Vec::new();
        for pod in &sight.pods {
            // A pod that came later has restarted within the window if it has restarted at all.
            let (restarts, was_ready) =
                self.pods.entry(pod.name.clone()).or_insert((if first_look { pod.restarts } else { 0 }, false));
            if pod.restarts > *restarts {
                troubles.push(format!("{} restarted (from {restarts} to {} times)", pod.name, pod.restarts));
            } else if !pod.ready && (*was_ready || pod.trouble.is_some()) {
                troubles.push(not_ready(pod));
            }
            *was_ready |= pod.ready;
        }
        troubles.truncate(10);
        troubles
    }

    /// Fewer ready than desired, by pods that are missing or new.
    fn too_few(&mut self, at: Duration, sight: &Sight) -> Option<Verdict> {
        let new: Vec<String> = sight.pods.iter().filter(|pod| !pod.ready).map(not_ready).take(10).collect();
        if !new.is_empty() {
            self.last = excerpt(&format!("{}; {}", self.last, new.join(", ")), 900);
        }
        (self.since, self.bad) = (None, true);
        if self.desired == Some(sight.desired) {
            return Some(Verdict::Failed);
        }
        let waited = at.saturating_sub(*self.waiting.get_or_insert(at));
        (waited >= self.window.max(PATIENCE)).then_some(Verdict::Failed)
    }
}

fn not_ready(pod: &PodSight) -> String {
    format!("{}: {}", pod.name, pod.trouble.as_deref().unwrap_or("not ready"))
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(name: &str, ready: bool, restarts: u32) -> PodSight {
        PodSight { name: name.into(), address: None, ready, restarts, trouble: None }
    }

    fn sight(desired: u32, pods: &[(&str, bool, u32)]) -> Sight {
        Sight {
            desired,
            pods: pods.iter().map(|(name, ready, restarts)| pod(name, *ready, *restarts)).collect(),
            services: vec![],
        }
    }

    /// What it is, the looks, the verdict.
    type Case = (&'static str, Vec<Option<Sight>>, Option<Verdict>);

    /// Looks at each second; `None` is a look that saw nothing.
    fn run(window: u64, looks: &[Option<Sight>]) -> (Option<Verdict>, String) {
        let mut watch = Watch::new(Duration::from_secs(window));
        for (second, look) in looks.iter().enumerate() {
            let verdict = if let Some(sight) = look {
                watch.look(Duration::from_secs(second as u64), sight)
            } else {
                watch.unseen("the API server is away");
                None
            };
            if verdict.is_some() {
                return (verdict, watch.last().to_owned());
            }
        }
        (None, watch.last().to_owned())
    }

    #[test]
    fn the_table() {
        let good = || Some(sight(2, &[("a", true, 1), ("b", true, 0)]));
        let half = || Some(sight(2, &[("a", true, 1), ("b", false, 0)]));
        let restarted = || Some(sight(2, &[("a", true, 2), ("b", true, 0)]));
        let scaled = || Some(sight(3, &[("a", true, 1), ("b", true, 0), ("c", false, 0)]));
        let more = || Some(sight(3, &[("a", true, 1), ("b", true, 0), ("c", true, 0)]));
        let gone = || Some(sight(2, &[("a", true, 1)]));
        let replaced = || Some(sight(2, &[("a", true, 1), ("c", true, 1)]));
        let cases: Vec<Case> = vec![
            ("stays well", vec![good(), good(), good(), good()], Some(Verdict::Passed)),
            ("not long enough", vec![good(), good(), good()], None),
            ("one falls", vec![good(), half()], Some(Verdict::Failed)),
            ("one restarts, ready again by the next look", vec![good(), restarted()], Some(Verdict::Failed)),
            ("one is gone", vec![good(), gone()], Some(Verdict::Failed)),
            ("a new one has restarted already", vec![good(), replaced()], Some(Verdict::Failed)),
            ("no data starts anew", vec![good(), good(), good(), None, good(), good(), good()], None),
            ("and can pass then", vec![good(), None, good(), good(), good(), good()], Some(Verdict::Passed)),
            ("scaled up: anew", vec![good(), good(), scaled(), more(), more(), more()], None),
            ("scaled up: passes then", vec![good(), scaled(), more(), more(), more(), more()], Some(Verdict::Passed)),
            ("not there yet at the first look", vec![half(), good(), good(), good(), good()], Some(Verdict::Passed)),
            ("nothing wanted is nothing seen", vec![Some(sight(0, &[])); 10], None),
        ];
        for (what, looks, wanted) in cases {
            assert_eq!(run(3, &looks).0, wanted, "{what}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut crashing = sight(1, &[("a", false, 0)]);
        crashing.pods[0].trouble = Some("CrashLoopBackOff".into());
        let (verdict, said) = run(3, &[Some(crashing)]);
        assert_eq!((verdict, said.as_str()), (Some(Verdict::Failed), "0 of 1 pods ready (a); a: CrashLoopBackOff"));
        let never = vec![Some(sight(2, &[("a", true, 0), ("b", false, 0)])); 70];
        assert_eq!(run(3, &never).0, Some(Verdict::Failed), "new pods are not waited for without end");
    }

    fn looks() -> impl Strategy<Value = Vec<Option<bool>>> {
        prop::collection::vec(prop::option::of(any::<bool>()), 0..60)
    }

    proptest! {
        #[test]
        fn a_pass_is_a_window_of_good_looks(looks in looks(), window in 1_u64..10) {
            let mut watch = Watch::new(Duration::from_secs(window));
            for (second, look) in looks.iter().enumerate() {
                let verdict = match look {
                    None => { watch.unseen("away"); None }
                    Some(ready) => watch.look(Duration::from_secs(second as u64), &sight(1, &[("a", *ready, 0)])),
                };
                if verdict == Some(Verdict::Passed) {
                    let needed = usize::try_from(window).unwrap() + 1;
                    prop_assert!(second + 1 >= needed);
                    prop_assert!(looks[second + 1 - needed..=second].iter().all(|look| *look == Some(true)));
                }
                if verdict.is_some() { return Ok(()); }
            }
            prop_assert_ne!(watch.without_pass(), Verdict::Passed);
        }
    }
}
