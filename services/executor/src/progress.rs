//! How far the rollback has come, from one view of the cluster.
//!
//! Guarantees: each step is said to be done only when the objects show it; traffic counts as shifted only when endpoints do.
//! Must not: assume that a write had its effect.

use contracts::v1::ServiceSwitch;
use lastgood_core::plan::services::selects;

use crate::cluster::Kind;
use crate::view::{Address, Pod, Service, View, Which};

/// How many pods a line of a report or a list of who serves names.
const MOST: usize = 50;

/// What one view shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// n11: no pod of the bad version is about.
    pub bad_pods_down: bool,
    /// n12: the controller has seen the write, and this carries the restored version.
    pub deployed: Option<String>,
    /// n13, n14: how many are ready.
    pub ready: Option<u32>,
    /// n15: a line for each Service, once traffic has shifted.
    pub shifted: Option<Vec<String>>,
    /// What traffic still waits for; empty once it has shifted.
    pub waiting: Vec<String>,
}

/// Judges a view; `switches` are the Services to be switched, but for those that somebody else has changed since.
#[must_use]
pub fn assess(view: &View, switches: &[ServiceSwitch], superseded: &[String]) -> Progress {
    let deployed = deployed(view);
    let seen = deployed.is_some();
    let (lines, waiting) = traffic(view, switches, superseded);
    let ready = if seen { ready(view) } else { None };
    Progress {
        bad_pods_down: seen && !view.pods.iter().any(|pod| pod.which == Which::Bad && pod.is_about()),
        deployed,
        shifted: (ready.is_some() && waiting.is_empty()).then_some(lines),
        ready,
        waiting,
    }
}

/// What carries the restored version, once the controller has seen the write.
#[must_use]
pub fn deployed(view: &View) -> Option<String> {
    let live = view.live.as_ref()?;
    let restored = view.carriers.iter().find(|carrier| carrier.which == Which::Restored)?;
    (view.counts.observed >= live.generation).then(|| restored.name.clone())
}

fn ready(view: &View) -> Option<u32> {
    let counts = &view.counts;
    let pods = restored_ready(view);
    let all = [counts.replicas, counts.updated, counts.ready, counts.available].iter().all(|count| *count == counts.desired);
    (all && i64::from(pods) >= counts.desired).then_some(pods)
}

/// How many restored pods are ready, of those that follow.
#[must_use]
pub fn restored_ready(view: &View) -> u32 {
    let restored = |pod: &&Pod| pod.which == Which::Restored && view.rollout.follows(&pod.name);
    let pods = view.pods.iter().filter(|pod| restored(pod) && pod.is_about() && pod.ready);
    u32::try_from(pods.count()).unwrap_or(u32::MAX)
}

/// Whether so many restored pods are ready that a Service may select them alone.
#[must_use]
pub fn enough_restored(view: &View) -> bool {
    let needed = (view.counts.desired - view.counts.max_unavailable).max(1);
    i64::from(restored_ready(view)) >= needed
}

/// The Services that carry this workload's traffic: those that select its pods, and those that are to be switched.
pub fn carrying<'a>(view: &'a View, switches: &'a [ServiceSwitch]) -> impl Iterator<Item = &'a Service> {
    view.services
        .iter()
        .filter(|service| selects(&service.selector, &view.labels) || switches.iter().any(|switch| switch.name == service.name))
}

fn traffic(view: &View, switches: &[ServiceSwitch], superseded: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut waiting) = (Vec::new(), Vec::new());
    for service in carrying(view, switches) {
        let name = &service.name;
        if superseded.contains(name) {
            lines.push(format!("{name}: somebody else changed its selector; left as it is"));
            continue;
        }
        if switches.iter().any(|switch| switch.name == *name && switch.to_selector != service.selector) {
            waiting.push(format!("{name}: its selector is not yet switched"));
            continue;
        }
        let tally = tally(view, &service.ready);
        if !tally.stale.is_empty() {
            waiting.push(format!("{name}: still sends traffic to {}", some(tally.stale).join(", ")));
        } else if tally.restored == 0 && view.counts.desired > 0 {
            waiting.push(format!("{name}: no restored pod among its ready endpoints"));
        } else {
            let foreign = if tally.foreign == 0 { String::new() } else { format!(", and {} of other workloads", tally.foreign) };
            let kept = if tally.kept == 0 { String::new() } else { format!(", and {} that the partition keeps", tally.kept) };
            lines.push(format!("{name}: {} ready endpoints, all restored{kept}{foreign}", tally.restored));
        }
    }
    if lines.is_empty() && waiting.is_empty() {
        lines.push("no Service selects these pods".to_owned());
    }
    (lines, waiting)
}

#[derive(Default)]
struct Tally {
    restored: usize,
    kept: usize,
    foreign: usize,
    stale: Vec<String>,
}

fn tally(view: &View, ready: &[Address]) -> Tally {
    let mut tally = Tally::default();
    for address in ready {
        // An ended pod keeps its address in its status while another has it: the name decides wherever there is one.
        let is_it = |pod: &&Pod| if address.pod.is_empty() { pod.ip == address.ip } else { pod.name == address.pod };
        let known = view.pods.iter().find(is_it);
        // A StatefulSet's pod comes back under its name, while the endpoints still have the address of the one before.
        let is_before = |pod: &Pod| view.kind == Kind::StatefulSet && !pod.has_address(&address.ip);
        match known {
            Some(pod) if is_before(pod) => tally.stale.push(format!("{} at {}", pod.name, address.ip)),
            Some(pod) if pod.which == Which::Kept => tally.kept += 1,
            Some(pod) if pod.which == Which::Restored => tally.restored += 1,
            Some(pod) => tally.stale.push(pod.name.clone()),
            // Gone already, or not seen yet: either way the endpoints have to catch up.
            None if view.is_own_name(&address.pod) => tally.stale.push(address.pod.clone()),
            None => tally.foreign += 1,
        }
    }
    tally
}

/// The pods that receive traffic now, for people.
#[must_use]
pub fn serving(view: &View, switches: &[ServiceSwitch]) -> Vec<String> {
    let mut lines: Vec<String> = carrying(view, switches)
        .flat_map(|service| service.ready.iter().map(|a| format!("{} ({}) via Service {}", a.pod, a.ip, service.name)))
        .collect();
    if carrying(view, switches).next().is_none() {
        let ready = view.pods.iter().filter(|pod| pod.ready && pod.is_about());
        lines.extend(ready.map(|pod| format!("{} ({}) is ready; no Service selects it", pod.name, pod.ip)));
    }
    lines.sort();
    some(lines)
}

/// The first of them, and how many more there are: a fact and a page have to hold it.
fn some(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST);
    if more > 0 {
        lines.truncate(MOST);
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
