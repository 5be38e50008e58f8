//! How the current version stands: when its soak begins, what ends it, and when it has proved itself.
//!
//! Guarantees: pure; a soak passes only on a look that found the version as available as when the soak began, with no container restarted
//! and no incident or alert going on; once a version is proved its ups and downs are recorded no more. Must not: take time that nobody
//! watched for proof: the look at the end of the soak is the proof, and it is made of the live objects.

use std::time::Duration;

use contracts::{LedgerFact, time, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::image;
use lastgood_core::ledger::Known;
use serde_json::Value;

use super::availability::{Counts, is_available};
use crate::cluster::{Kind, Object};

/// What a look saw of the current version.
#[derive(Debug, Clone)]
pub struct Stand {
    /// Whether all wanted replicas run it and are available, and none runs another.
    pub available: bool,
    /// How many replicas are available.
    pub replicas: u32,
    /// How many are wanted.
    pub wanted: u32,
    /// Restarts of its containers so far.
    pub restarts: u32,
    /// What its containers run: container and digest.
    pub images: Vec<v1::ContainerImage>,
    /// Whether no incident of the workload is open and none of its alerts goes on.
    pub quiet: bool,
    /// Now, by the stream's clock.
    pub now: Timestamp,
}

impl Stand {
    /// Of a workload and its current version's pods.
    #[must_use]
    pub fn of(kind: Kind, workload: &Object, pods: &[Object], quiet: bool, now: Timestamp) -> Self {
        let (counts, count) = (Counts::of(kind, workload), |number: i64| u32::try_from(number).unwrap_or_default());
        Self {
            available: is_available(kind, workload),
            replicas: count(counts.available),
            wanted: count(counts.desired),
            restarts: restarts(pods),
            images: image::ran(pods.iter().filter(|pod| !pod.is_terminating()).map(Object::json)),
            quiet,
            now,
        }
    }
}

/// Whether these pods run with the version's configuration. One that was changed under running pods is read by those containers only that
/// have started since: how the others do proves nothing of it.
#[must_use]
pub fn took_up(known: &Known, since: Option<Timestamp>, pods: &[Object]) -> bool {
    if !known.version.in_place {
        return true;
    }
    // The kubelet tells whole seconds: one that started within the second of the change may have started before it.
    let Some(since) = since.and_then(|since| Timestamp::from_second(since.as_second()).ok()) else { return false };
    let started = |status: &Value| {
        let at = status.pointer("/state/running/startedAt").and_then(Value::as_str);
        at.and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at > since)
    };
    let statuses = |pod: &Object| pod.at("/status/containerStatuses").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut staying = pods.iter().filter(|pod| !pod.is_terminating()).peekable();
    staying.peek().is_some() && staying.flat_map(statuses).all(|status| started(&status))
}

/// Restarts of all containers of these pods.
#[must_use]
pub fn restarts(pods: &[Object]) -> u32 {
    let statuses = |pod: &Object| pod.at("/status/containerStatuses").and_then(Value::as_array).cloned().unwrap_or_default();
    let of = |status: &Value| status.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
    let sum: u64 = pods.iter().flat_map(statuses).map(|status| of(&status)).sum();
    u32::try_from(sum).unwrap_or(u32::MAX)
}

/// Whether nothing more has to be seen of a version.
#[must_use]
pub fn is_proved(known: &Known, soak: Duration) -> bool {
    let stood = known.soaked.is_some_and(|soaked| soaked.stood >= soak);
    known.version.fully_available_at.is_some() && (soak.is_zero() || stood)
}

/// When the soak that is under way will have passed; `None` where none is, or none is needed any more.
#[must_use]
pub fn due(known: &Known, soak: Duration) -> Option<Timestamp> {
    let since = known.clean_since.filter(|_| !is_proved(known, soak))?;
    Some(since.saturating_add(SignedDuration::try_from(soak).ok()?).unwrap_or(Timestamp::MAX))
}

/// What this look adds about how the current version stands.
#[must_use]
pub fn prove(known: &Known, stand: &Stand, soak: Duration) -> Vec<LedgerFact> {
    let template_hash = known.id().to_owned();
    if is_proved(known, soak) {
        return Vec::new();
    }
    let begins = || v1::VersionAvailable {
        template_hash: template_hash.clone(),
        replicas: stand.replicas,
        restarts: stand.restarts,
        images: stand.images.clone(),
    };
    let Some(since) = known.clean_since else {
        // That it was fully available once is worth knowing in any case; a soak begins in quiet only.
        let first = known.version.fully_available_at.is_none();
        return if stand.available && (first || stand.quiet) { vec![begins().into()] } else { Vec::new() };
    };
    if stand.replicas < known.clean_replicas.min(stand.wanted) {
        let detail = format!("{} of {} replicas available", stand.replicas, stand.wanted);
        return vec![v1::VersionUnavailable { template_hash, detail }.into()];
    }
    // Fewer than before are pods that were replaced.
    if stand.restarts > known.clean_restarts {
        let detail = format!("its containers restarted {} times", stand.restarts.saturating_sub(known.clean_restarts));
        let kind = "restarts".to_owned();
        let mut facts =
            vec![v1::VersionTroubled { template_hash: template_hash.clone(), kind, detail, incident: String::new() }.into()];
        if stand.available && stand.quiet {
            facts.push(begins().into());
        }
        return facts;
    }
    let stood = Duration::try_from(stand.now.duration_since(since)).unwrap_or_default();
    if stood < soak || !stand.quiet {
        return Vec::new();
    }
    let stood = Some(time::duration_to_proto(stood));
    let images = stand.images.clone();
    vec![v1::VersionSoaked { template_hash, stood, replicas: stand.replicas, restarts: stand.restarts, images }.into()]
}

#[cfg(test)]
mod tests {
    use lastgood_core::ledger::Soaked;
    use serde_json::json;

    use super::*;

    const SOAK: Duration = Duration::from_mins(10);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn stand(minute: i64) -> Stand {
        Stand { available: true, replicas: 3, wanted: 3, restarts: 1, images: Vec::new(), quiet: true, now: at(minute) }
    }

    fn soaking() -> Known {
        let version =
            v1::Version { template_hash: "a".into(), fully_available_at: Some(time::to_proto(at(0))), ..v1::Version::default() };
        Known { version, clean_since: Some(at(0)), clean_restarts: 1, clean_replicas: 3, ..Known::default() }
    }

    fn told(known: &Known, stand: &Stand) -> Vec<&'static str> {
        prove(known, stand, SOAK).iter().map(LedgerFact::event_type).collect()
    }

    #[test]
    fn a_soak_passes_on_a_look_at_its_end() {
        assert_eq!(due(&soaking(), SOAK), Some(at(10)));
        assert!(told(&soaking(), &stand(9)).is_empty());
        assert_eq!(told(&soaking(), &stand(10)), ["version_soaked"]);
        let proved = Known { soaked: Some(Soaked { stood: SOAK, replicas: 3, restarts: 1, at: at(10) }), ..soaking() };
        assert!(told(&proved, &Stand { replicas: 0, available: false, ..stand(11) }).is_empty());
        assert_eq!(due(&proved, SOAK), None);
        assert_eq!(due(&proved, SOAK * 2), Some(at(20)), "a longer soak is asked for since");
    }

    #[test]
    fn what_speaks_against_it_ends_its_soak() {
        assert_eq!(told(&soaking(), &Stand { replicas: 2, available: false, ..stand(10) }), ["version_unavailable"]);
        assert_eq!(told(&soaking(), &Stand { restarts: 2, ..stand(10) }), ["version_troubled", "version_available"]);
        assert_eq!(told(&soaking(), &Stand { restarts: 2, quiet: false, ..stand(10) }), ["version_troubled"]);
        assert!(told(&soaking(), &Stand { quiet: false, ..stand(10) }).is_empty(), "an alert goes on: not yet");
    }

    #[test]
    fn an_autoscaler_is_no_trouble() {
        assert_eq!(told(&soaking(), &Stand { wanted: 6, available: false, ..stand(10) }), ["version_soaked"]);
        assert_eq!(told(&soaking(), &Stand { wanted: 2, replicas: 2, ..stand(10) }), ["version_soaked"]);
    }

    #[test]
    fn a_soak_begins_in_quiet_only_but_the_first_availability_is_always_told() {
        let new = Known { version: v1::Version { template_hash: "a".into(), ..v1::Version::default() }, ..Known::default() };
        assert_eq!(told(&new, &Stand { quiet: false, ..stand(0) }), ["version_available"]);
        let again = Known { clean_since: None, ..soaking() };
        assert!(told(&again, &Stand { quiet: false, ..stand(5) }).is_empty());
        assert_eq!(told(&again, &stand(5)), ["version_available"]);
        assert!(told(&again, &Stand { available: false, ..stand(5) }).is_empty());
    }

    #[test]
    fn without_a_soak_one_look_is_proof() {
        assert!(is_proved(&soaking(), Duration::ZERO));
        assert!(prove(&soaking(), &Stand { restarts: 9, ..stand(1) }, Duration::ZERO).is_empty());
    }

    #[test]
    fn what_pods_have_not_read_proves_nothing() {
        let pod = |minute: i64| {
            Object::new(json!({"status": {"containerStatuses": [{"state": {"running": {"startedAt": at(minute).to_string()}}}]}}))
        };
        let version = v1::Version { in_place: true, ..v1::Version::default() };
        let edited = Known { version, ..Known::default() };
        assert!(!took_up(&edited, Some(at(5)), &[pod(6), pod(4)]));
        assert!(!took_up(&edited, Some(at(5)), &[pod(6), pod(5)]), "within the second of the change");
        assert!(took_up(&edited, Some(at(5)), &[pod(6), pod(7)]));
        assert!(!took_up(&edited, None, &[pod(6)]) && !took_up(&edited, Some(at(5)), &[]));
        assert!(took_up(&Known::default(), None, &[pod(1)]), "a rollout brought it");
    }

    #[test]
    fn restarts_are_those_of_all_containers() {
        let pod = |counts: &[u64]| {
            let statuses: Vec<_> = counts.iter().map(|count| json!({"restartCount": count})).collect();
            Object::new(json!({"status": {"containerStatuses": statuses}}))
        };
        assert_eq!(restarts(&[pod(&[1, 2]), pod(&[3]), Object::new(json!({}))]), 6);
    }
}
