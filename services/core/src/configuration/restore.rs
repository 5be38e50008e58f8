//! What of a version's configuration comes back with it.
//!
//! Guarantees: what is restored is restored through a copy and nothing else; whatever is left as it is now although it was another then
//! carries the reason, for people. Must not: restore what was not recorded by content.

use std::collections::BTreeMap;

use contracts::v1;

use super::{Kind, Place, copy_name};
use crate::policy::{Effective, Mode, RestoreConfigMaps};

/// What the policy says of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Which ConfigMaps come back.
    pub config_maps: RestoreConfigMaps,
    /// Whether Secrets that have changed do.
    pub secrets: bool,
    /// Whether anything may be written for it: where lastgood only observes, no copies are made either.
    pub keep: bool,
}

impl From<&Effective> for Rules {
    fn from(policy: &Effective) -> Self {
        let keep = policy.mode != Mode::Observe;
        Self { config_maps: policy.restore_config_maps, secrets: policy.restore_secrets, keep }
    }
}

impl Rules {
    /// Whether copies of this kind are kept, so that it can come back.
    #[must_use]
    pub fn keeps(self, kind: Kind) -> bool {
        self.keep && self.of(kind) != RestoreConfigMaps::Never
    }

    fn of(self, kind: Kind) -> RestoreConfigMaps {
        match kind {
            Kind::ConfigMap => self.config_maps,
            Kind::Secret if self.secrets => RestoreConfigMaps::Changed,
            Kind::Secret => RestoreConfigMaps::Never,
        }
    }
}

/// What an object is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now {
    /// There is none of this name.
    Absent,
    /// It is there, and could not be fingerprinted.
    Unread,
    /// It has this fingerprint.
    Has(String),
}

/// For each object that a version ran with, whether it comes back; `now` tells what the object of that name is now.
#[must_use]
pub fn planned(recorded: &[v1::Configuration], rules: Rules, now: impl Fn(&Place) -> Now) -> Vec<v1::PlannedConfiguration> {
    let plan = |one: &v1::Configuration| {
        let kind = Kind::parse(&one.kind)?;
        let now = now(&(kind, one.name.clone()));
        let known = !one.fingerprint.is_empty();
        let same = now == Now::Has(one.fingerprint.clone());
        let restored = known
            && match rules.of(kind) {
                RestoreConfigMaps::Always => true,
                RestoreConfigMaps::Changed => !same,
                RestoreConfigMaps::Never => false,
            };
        let copy = if restored { copy_name(&one.name, &one.fingerprint).unwrap_or_default() } else { String::new() };
        let note = if restored { String::new() } else { note(kind, one, &now) };
        let (kind, name, fingerprint) = (one.kind.clone(), one.name.clone(), one.fingerprint.clone());
        Some(v1::PlannedConfiguration { kind, name, fingerprint, copy, restored, note })
    };
    recorded.iter().filter_map(plan).collect()
}

fn note(kind: Kind, then: &v1::Configuration, now: &Now) -> String {
    let said = match now {
        Now::Has(now) if !then.fingerprint.is_empty() && *now != then.fingerprint => {
            "has changed since, and the policy does not restore it"
        }
        Now::Has(_) if then.absent => "was not there then and is now; it stays",
        Now::Absent if !then.absent && !then.fingerprint.is_empty() => {
            "is not there any more, and the policy does not restore it"
        }
        Now::Absent if !then.absent => "is not there any more, and what it held was not recorded",
        _ => return String::new(),
    };
    format!("{kind} {} {said}", then.name)
}

/// What a template is pointed to.
#[must_use]
pub fn copies(planned: &[v1::PlannedConfiguration]) -> BTreeMap<Place, String> {
    let restored = planned.iter().filter(|one| one.restored && !one.copy.is_empty());
    restored.filter_map(|one| Some(((Kind::parse(&one.kind)?, one.name.clone()), one.copy.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "0123456789abcdef";

    fn one(kind: Kind, fingerprint: &str, absent: bool) -> v1::Configuration {
        let (kind, name, fingerprint) = (kind.name().to_owned(), "web".to_owned(), fingerprint.to_owned());
        v1::Configuration { kind, name, fingerprint, absent, keep: true }
    }

    fn restored(kind: Kind, rules: Rules, now: &Now) -> (bool, String) {
        let planned = planned(&[one(kind, FINGERPRINT, false)], rules, |_| now.clone());
        (planned[0].restored, planned[0].note.clone())
    }

    #[test]
    fn config_maps_come_back_as_the_policy_says() {
        let (same, other) = (Now::Has(FINGERPRINT.into()), Now::Has("another".into()));
        for (config_maps, now, comes) in [
            (RestoreConfigMaps::Changed, &same, false),
            (RestoreConfigMaps::Changed, &other, true),
            (RestoreConfigMaps::Changed, &Now::Absent, true),
            (RestoreConfigMaps::Changed, &Now::Unread, true),
            (RestoreConfigMaps::Always, &same, true),
            (RestoreConfigMaps::Never, &other, false),
        ] {
            let rules = Rules { config_maps, secrets: false, keep: true };
            assert_eq!(restored(Kind::ConfigMap, rules, now).0, comes, "{config_maps:?} {now:?}");
        }
    }

    #[test]
    fn a_rotated_secret_does_not_come_back_and_it_is_said() {
        let rules = Rules::from(&Effective { mode: Mode::Auto, ..Effective::default() });
        let (comes, note) = restored(Kind::Secret, rules, &Now::Has("another".into()));
        assert!(!comes && note.contains("Secret web has changed since"), "{note}");
        assert_eq!(restored(Kind::Secret, rules, &Now::Has(FINGERPRINT.into())), (false, String::new()));
        assert!(!rules.keeps(Kind::Secret) && rules.keeps(Kind::ConfigMap));
        assert!(!Rules::from(&Effective::default()).keeps(Kind::ConfigMap), "who only observes writes no copy");
        let asked = Rules { secrets: true, ..rules };
        assert!(asked.keeps(Kind::Secret) && restored(Kind::Secret, asked, &Now::Has("another".into())).0);
    }

    #[test]
    fn what_was_not_recorded_can_not_come_back() {
        let rules = Rules { config_maps: RestoreConfigMaps::Always, secrets: true, keep: true };
        let all = planned(&[one(Kind::Secret, "", false), one(Kind::ConfigMap, "", true)], rules, |_| Now::Has("x".into()));
        assert!(all.iter().all(|one| !one.restored));
        assert!(all[1].note.contains("was not there then"), "{all:?}");
        assert!(copies(&all).is_empty());
    }

    #[test]
    fn a_copy_is_what_the_template_is_pointed_to() {
        let rules = Rules { config_maps: RestoreConfigMaps::Always, secrets: false, keep: true };
        let all = planned(&[one(Kind::ConfigMap, FINGERPRINT, false)], rules, |_| Now::Absent);
        let expected = [((Kind::ConfigMap, "web".to_owned()), "web-lastgood-0123456789".to_owned())];
        assert_eq!(copies(&all), expected.into());
        let mut endless = one(Kind::ConfigMap, FINGERPRINT, false);
        endless.name = "a".repeat(250);
        let all = planned(&[endless], rules, |_| Now::Absent);
        assert!(all[0].restored && all[0].copy.is_empty(), "it has to come back and can't: nothing is done silently without it");
    }
}
