//! The versions of a workload as commands show them, from what the ledger knows: the one place that reads `lastgood_core::ledger`.
//!
//! Guarantee: what is said of a version's standing is what a decision would go by, with the soak that it is given. Must not: show pod templates; `diff`
//! does, with what is secret hidden.

use std::time::Duration;

use contracts::time::from_proto;
use contracts::v1::ContainerImage;
use jiff::Timestamp;
use lastgood_core::ledger::{Known, Standing};
use orchestrator::ledger::LedgerView;
use serde_json::{Value, json};

/// Digits of a hash that are shown.
const SHORT: usize = 10;

/// One version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// What the ledger knows it by: its template's hash, or one of template and configuration.
    pub hash: String,
    /// The image of each container.
    pub images: Vec<ContainerImage>,
    /// Whether it runs, as far as the ledger knows.
    pub current: bool,
    /// Since when it runs, or when it last came to.
    pub since: Timestamp,
    /// Whether it may be gone back to, and why.
    pub standing: Standing,
    /// The evidence.
    pub known: Known,
}

/// The versions, newest first: as long as `soak` a version has to have stood to be good.
#[must_use]
pub fn versions(view: &LedgerView, soak: Duration) -> Vec<Version> {
    let newest_first = view.ledger.newest_first();
    newest_first.into_iter().map(|known| of(view, known, soak)).collect()
}

fn of(view: &LedgerView, known: &Known, soak: Duration) -> Version {
    let hash = known.id().to_owned();
    Version {
        current: view.current_hash() == Some(&hash),
        since: view.current_since(&hash).unwrap_or(known.last_current_at),
        standing: known.standing(soak),
        images: known.version.images.clone(),
        known: known.clone(),
        hash,
    }
}

impl Version {
    /// The beginning of its hash.
    #[must_use]
    pub fn short(&self) -> String {
        self.hash.chars().take(SHORT).collect()
    }

    /// Its images without their registries and folders.
    #[must_use]
    pub fn image_names(&self) -> String {
        let name = |image: &ContainerImage| image.image.rsplit('/').next().unwrap_or_default().to_owned();
        self.images.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// What every command says of a version, for programs.
#[must_use]
pub fn brief(version: &Version) -> Value {
    json!({
        "hash": version.hash,
        "images": version.images.iter().map(image).collect::<Vec<_>>(),
        "current": version.current,
    })
}

/// One container's image, for programs.
#[must_use]
pub fn image(image: &ContainerImage) -> Value {
    let digest = Some(&image.digest).filter(|digest| !digest.is_empty());
    json!({"container": image.container, "image": image.image, "digest": digest})
}

/// All that the ledger knows of a version, for programs.
#[must_use]
pub fn whole(version: &Version) -> Value {
    let known = &version.known;
    let at = |at: Timestamp| at.to_string();
    let mut value = brief(version);
    value["since"] = json!(at(version.since));
    value["standing"] = json!(version.standing.word());
    value["standing_reason"] = json!(version.standing.why());
    value["revision"] = json!(known.version.revision);
    value["replica_set"] = json!(known.version.replica_set);
    value["first_seen"] = json!(from_proto(known.version.first_seen.as_ref()).map(at));
    value["fully_available_at"] = json!(from_proto(known.version.fully_available_at.as_ref()).map(at));
    value["clean_since"] = json!(known.clean_since.map(at));
    value["soaked"] = json!(known.soaked.map(|soaked| json!({
        "seconds": soaked.stood.as_secs(),
        "replicas": soaked.replicas,
        "restarts": soaked.restarts,
        "at": at(soaked.at),
    })));
    value["troubles"] = known
        .troubles
        .iter()
        .map(|trouble| {
            let incident = Some(&trouble.incident).filter(|incident| !incident.is_empty());
            json!({"kind": trouble.kind, "detail": trouble.detail, "incident": incident, "at": at(trouble.at)})
        })
        .collect();
    value["rolled_back_from_by"] = json!(known.rolled_back_from);
    value["marked"] = json!(known.marked.as_ref().map(|marked| json!({
        "standing": if marked.good { "good" } else { "bad" },
        "who": marked.who,
        "reason": marked.reason,
        "at": at(marked.at),
    })));
    value
}

#[cfg(test)]
pub(crate) mod tests {
    use contracts::v1;

    use super::*;

    /// A version of one container.
    pub(crate) fn version(hash: &str, image: &str) -> Version {
        let images = vec![ContainerImage { container: "web".into(), image: image.into(), ..ContainerImage::default() }];
        let version = v1::Version { template_hash: hash.into(), images: images.clone(), ..v1::Version::default() };
        let known = Known { version, ..Known::default() };
        let standing = known.standing(Duration::from_mins(10));
        Version { hash: hash.into(), images, current: false, since: Timestamp::UNIX_EPOCH, standing, known }
    }

    #[test]
    fn versions_come_newest_first_with_their_standing() {
        let observed = |hash: &str| {
            let version = v1::Version { template_hash: hash.into(), ..v1::Version::default() };
            v1::VersionObserved { version: Some(version), ..v1::VersionObserved::default() }
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let marked =
            v1::VersionMarked { template_hash: "a".into(), standing: v1::Standing::Bad.into(), ..v1::VersionMarked::default() };
        let view = LedgerView::default().with(1, at(100), &observed("a").into()).with(2, at(200), &observed("b").into()).with(
            3,
            at(300),
            &marked.into(),
        );
        let seen = versions(&view, Duration::ZERO);
        let told: Vec<_> = seen.iter().map(|v| (v.hash.as_str(), v.current, v.since, v.standing.word())).collect();
        assert_eq!(told, [("b", true, at(200), "unknown"), ("a", false, at(100), "bad")]);
    }
}
