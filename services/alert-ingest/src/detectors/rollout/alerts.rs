//! A failure as an alert, and back from the labels.
//!
//! Guarantees: an occurrence's fingerprint is made of the cluster, the workload's uid, the template's hash and the reason. The template's
//! hash stands for the generation at which this version was rolled out: the generation itself also counts replicas, pauses and annotations
//! of the spec, and would make a new occurrence each time an autoscaler acts. Must not: depend on which pod was seen first.

use std::collections::BTreeMap;

use contracts::time::to_proto;
use contracts::v1::{Alert, AlertStatus};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::judge::{Failure, Reason};
use super::view::Workload;
use crate::problem::shortened;

/// The source's name, in subjects and facts.
pub const SOURCE: &str = "rollout";

/// The label with the workload's uid.
pub const LABEL_UID: &str = "lastgood_uid";
/// The label with the template's hash.
pub const LABEL_TEMPLATE: &str = "lastgood_template_hash";
/// The label with the reason's code.
pub const LABEL_REASON: &str = "reason";

/// The identity of an occurrence.
#[must_use]
pub fn fingerprint(cluster: &str, uid: &str, template_hash: &str, reason: Reason) -> String {
    let mut hash = Sha256::new();
    for part in ["rollout", cluster, uid, template_hash, reason.code()] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// What is told of a failure; `cluster_label` is the label that names the cluster, where one is configured.
#[must_use]
pub fn alert(cluster: &str, cluster_label: Option<&str>, workload: &Workload, failure: &Failure, now: Timestamp) -> Alert {
    let pairs = [
        ("alertname", failure.reason.alert_name()),
        ("namespace", workload.namespace.as_str()),
        (workload.kind.label(), workload.name.as_str()),
        ("pod", failure.pod.as_str()),
        ("container", failure.container.as_str()),
        (LABEL_REASON, failure.reason.code()),
        (LABEL_UID, workload.uid.as_str()),
        (LABEL_TEMPLATE, workload.template_hash.as_str()),
        ("severity", "page"),
    ];
    let labels = pairs.into_iter().chain(cluster_label.map(|label| (label, cluster)));
    let labels = labels.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Alert {
        fingerprint: fingerprint(cluster, &workload.uid, &workload.template_hash, failure.reason),
        status: AlertStatus::Firing.into(),
        starts_at: Some(to_proto(now)),
        ends_at: None,
        labels,
        annotations: annotations(workload, failure),
        generator_url: String::new(),
    }
}

fn annotations(workload: &Workload, failure: &Failure) -> BTreeMap<String, String> {
    let what = match failure.reason {
        Reason::ProgressDeadline => "made no progress within its deadline",
        Reason::CrashLoop => "has containers that keep crashing",
        Reason::ImagePull => "has an image that can't be pulled",
        Reason::ContainerConfig => "has a container that can't be created",
    };
    let summary = format!("The rollout of {}/{} {what}", workload.namespace, workload.name);
    let place = match (failure.pod.as_str(), failure.container.as_str()) {
        ("", _) => String::new(),
        (pod, "") => format!("Pod {pod}: "),
        (pod, container) => format!("Pod {pod}, container {container}: "),
    };
    let description = shortened(&format!("{place}{}: {}", failure.state, failure.message), 4000);
    [("summary".to_owned(), summary), ("description".to_owned(), description)].into()
}

/// The same alert, over.
#[must_use]
pub fn resolved(alert: &Alert, now: Timestamp) -> Alert {
    Alert { status: AlertStatus::Resolved.into(), ends_at: Some(to_proto(now)), ..alert.clone() }
}

/// Which failure an alert told of; `None` where its labels are not ours.
#[must_use]
pub fn identity(alert: &Alert) -> Option<(String, String, Reason)> {
    let label = |name: &str| alert.labels.get(name).cloned();
    let code = label(LABEL_REASON)?;
    let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code)?;
    Some((label(LABEL_UID)?, label(LABEL_TEMPLATE)?, reason))
}
