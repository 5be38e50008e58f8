//! What is firing: from one judgement after the other to the alerts that begin and end.
//!
//! Guarantees: pure but for its own memory: time is passed in. An alert begins once (after the grace where it may pass by itself) and ends
//! once: when the pods are calm, another template was rolled out, or the workload is gone. What was told before a restart and is not so
//! any more ends after it. Must not: end anything on the strength of what it can't see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::v1::{Alert, AlertStatus};
use jiff::Timestamp;

use super::alerts::{alert, fingerprint, identity, resolved};
use super::judge::{Judgement, Reason};
use super::view::Workload;

/// How the tracker is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The alerts' label for it, where one is configured.
    pub cluster_label: Option<String>,
    /// How long what may pass by itself must last.
    pub grace: Duration,
}

#[derive(Debug)]
struct Fired {
    uid: String,
    template_hash: String,
    reason: Reason,
    alert: Alert,
}

/// The memory.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    /// By fingerprint.
    firing: BTreeMap<String, Fired>,
    /// Since when what may pass lasts, by fingerprint, for each workload.
    suspected: BTreeMap<String, BTreeMap<String, Timestamp>>,
}

impl Tracker {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, firing: BTreeMap::new(), suspected: BTreeMap::new() }
    }

    /// Takes over what was told before a restart.
    pub fn restore(&mut self, alerts: Vec<Alert>) {
        for alert in alerts.into_iter().filter(|alert| alert.status() == AlertStatus::Firing) {
            if let Some((uid, template_hash, reason)) = identity(&alert) {
                self.firing.insert(alert.fingerprint.clone(), Fired { uid, template_hash, reason, alert });
            }
        }
    }

    /// Everything that fires now.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.firing.values().map(|fired| &fired.alert)
    }

    /// The uids of all workloads with something firing.
    #[must_use]
    pub fn workloads(&self) -> BTreeSet<String> {
        self.firing.values().map(|fired| fired.uid.clone()).collect()
    }

    /// What begins and ends by this judgement, and when to judge again although nothing changes.
    pub fn observe(&mut self, workload: &Workload, judgement: &Judgement, now: Timestamp) -> (Vec<Alert>, Option<Timestamp>) {
        let mut news = self
            .end(&workload.uid, now, |fired| fired.template_hash != workload.template_hash || is_over(fired.reason, judgement));
        let over_at = judgement.recheck.filter(|_| self.firing.values().any(|fired| fired.uid == workload.uid));
        let mut recheck = over_at.into_iter().chain(judgement.due).min();
        let suspected = self.suspects(workload, judgement);
        for failure in &judgement.failures {
            let print = fingerprint(&self.settings.cluster, &workload.uid, &workload.template_hash, failure.reason);
            if self.firing.contains_key(&print) {
                continue;
            }
            let since = suspected.get(&print).copied().unwrap_or(now);
            let due = since.checked_add(self.settings.grace).unwrap_or(Timestamp::MAX);
            if failure.may_pass && due > now {
                self.suspected.entry(workload.uid.clone()).or_default().insert(print, since);
                recheck = Some(recheck.map_or(due, |other| other.min(due)));
                continue;
            }
            let alert = alert(&self.settings.cluster, self.settings.cluster_label.as_deref(), workload, failure, now);
            news.push(alert.clone());
            let (uid, template_hash) = (workload.uid.clone(), workload.template_hash.clone());
            self.firing.insert(print, Fired { uid, template_hash, reason: failure.reason, alert });
        }
        (news, recheck)
    }

    /// What ends because the workload is gone.
    pub fn gone(&mut self, uid: &str, now: Timestamp) -> Vec<Alert> {
        self.suspected.remove(uid);
        self.end(uid, now, |_| true)
    }

    /// Since when this workload's suspicions last; forgets those that are over: between two crashes nothing is seen, but nothing is well.
    fn suspects(&mut self, workload: &Workload, judgement: &Judgement) -> BTreeMap<String, Timestamp> {
        if judgement.calm {
            self.suspected.remove(&workload.uid);
        }
        let Some(suspected) = self.suspected.get_mut(&workload.uid) else { return BTreeMap::new() };
        let cluster = &self.settings.cluster;
        let current = Reason::ALL.map(|reason| fingerprint(cluster, &workload.uid, &workload.template_hash, reason));
        suspected.retain(|print, _| current.contains(print));
        suspected.clone()
    }

    fn end(&mut self, uid: &str, now: Timestamp, over: impl Fn(&Fired) -> bool) -> Vec<Alert> {
        let ended = self.firing.extract_if(.., |_, fired| fired.uid == uid && over(fired));
        ended.map(|(_, fired)| resolved(&fired.alert, now)).collect()
    }
}

fn is_over(reason: Reason, judgement: &Judgement) -> bool {
    let still = judgement.failures.iter().any(|failure| failure.reason == reason);
    !still && if reason == Reason::ProgressDeadline { judgement.conditions_current } else { judgement.calm }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Failure;
    use super::super::view::Kind;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn tracker() -> Tracker {
        Tracker::new(Settings { cluster: "c".into(), cluster_label: Some("cluster".into()), grace: Duration::from_secs(10) })
    }

    fn workload(hash: &str) -> Workload {
        Workload {
            kind: Kind::Deployment,
            uid: "d".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
            observed_generation: 1,
            replicas: 1,
            template_hash: hash.into(),
            restored_by_us: false,
            deadline_exceeded: None,
        }
    }

    fn failing(reason: Reason, may_pass: bool) -> Judgement {
        let failure = Failure {
            reason,
            may_pass,
            pod: "p".into(),
            container: "c".into(),
            state: "State".into(),
            message: "message".into(),
        };
        Judgement { failures: vec![failure], calm: false, conditions_current: true, recheck: None, due: None }
    }

    fn quiet(calm: bool) -> Judgement {
        Judgement { failures: vec![], calm, conditions_current: true, recheck: None, due: None }
    }

    fn statuses(alerts: &[Alert]) -> Vec<AlertStatus> {
        alerts.iter().map(Alert::status).collect()
    }

    #[test]
    fn what_may_pass_waits_for_the_grace_also_between_two_crashes() {
        let mut tracker = tracker();
        let crash = failing(Reason::CrashLoop, true);
        assert_eq!(tracker.observe(&workload("a"), &crash, at(0)), (vec![], Some(at(10))));
        assert_eq!(tracker.observe(&workload("a"), &quiet(false), at(5)).0, vec![]);
        let (news, _) = tracker.observe(&workload("a"), &crash, at(10));
        assert_eq!(statuses(&news), [AlertStatus::Firing]);
        assert_eq!(news[0].labels["cluster"], "c");
        assert_eq!(news[0].labels["alertname"], "CrashLoopBackOff");
        assert_eq!(tracker.observe(&workload("a"), &crash, at(11)), (vec![], None));
    }

    #[test]
    fn what_will_be_wrong_is_looked_at_again_in_time() {
        let due = Judgement { due: Some(at(60)), ..quiet(false) };
        assert_eq!(tracker().observe(&workload("a"), &due, at(0)), (vec![], Some(at(60))));
    }

    #[test]
    fn what_passed_within_the_grace_is_forgotten() {
        let mut tracker = tracker();
        tracker.observe(&workload("a"), &failing(Reason::CrashLoop, true), at(0));
        tracker.observe(&workload("a"), &quiet(true), at(5));
        assert_eq!(tracker.observe(&workload("a"), &failing(Reason::CrashLoop, true), at(11)).0, vec![]);
    }

    #[test]
    fn it_ends_when_calm_and_begins_anew_later() {
        let mut tracker = tracker();
        let bad = failing(Reason::ImagePull, false);
        let first = tracker.observe(&workload("a"), &bad, at(0)).0;
        assert_eq!(tracker.observe(&workload("a"), &quiet(false), at(1)).0, vec![]);
        let over = tracker.observe(&workload("a"), &quiet(true), at(2)).0;
        assert_eq!(statuses(&over), [AlertStatus::Resolved]);
        assert!(over[0].ends_at.is_some() && over[0].starts_at == first[0].starts_at);
        let again = tracker.observe(&workload("a"), &bad, at(3)).0;
        assert_eq!(again[0].fingerprint, first[0].fingerprint);
        assert_ne!(again[0].starts_at, first[0].starts_at);
    }

    #[test]
    fn scaling_changes_nothing_and_another_template_ends_it() {
        let mut tracker = tracker();
        let bad = failing(Reason::ProgressDeadline, false);
        tracker.observe(&workload("a"), &bad, at(0));
        let scaled = Workload { generation: 9, replicas: 7, ..workload("a") };
        assert_eq!(tracker.observe(&scaled, &bad, at(1)).0, vec![]);
        let behind = Judgement { conditions_current: false, ..quiet(false) };
        assert_eq!(tracker.observe(&scaled, &behind, at(2)).0, vec![]);
        assert_eq!(statuses(&tracker.observe(&workload("b"), &behind, at(3)).0), [AlertStatus::Resolved]);
    }

    #[test]
    fn a_deployment_that_is_gone_ends_it() {
        let mut tracker = tracker();
        tracker.observe(&workload("a"), &failing(Reason::ImagePull, false), at(0));
        assert_eq!(statuses(&tracker.gone("d", at(1))), [AlertStatus::Resolved]);
        assert_eq!(tracker.gone("d", at(2)), vec![]);
    }

    #[test]
    fn what_was_told_before_a_restart_goes_on_or_ends() {
        let bad = failing(Reason::ImagePull, false);
        let told = tracker().observe(&workload("a"), &bad, at(0)).0;
        let mut goes_on = tracker();
        goes_on.restore(told.clone());
        assert_eq!(goes_on.observe(&workload("a"), &bad, at(5)).0, vec![]);
        assert_eq!(goes_on.firing().next().unwrap().starts_at, told[0].starts_at);
        let mut ended = tracker();
        ended.restore(told);
        assert_eq!(statuses(&ended.observe(&workload("a"), &quiet(true), at(5)).0), [AlertStatus::Resolved]);
    }
}
