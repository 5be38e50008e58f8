//! What an alert's labels and annotations say about where it belongs.
//!
//! Guarantees: the order of the clues is the order of trust: explicit, workload labels, pod, service, container. Where kube-state-metrics
//! is scraped without `honor_labels`, the `exported_…` labels name the subject and the plain ones the scraper, so only the former count.
//! Must not: ask a cluster.

use std::collections::BTreeMap;

use contracts::DismissReason;

use super::Dismissal;
use crate::cluster::Kind;

/// The label or annotation that names the workload outright: `name`, `kind/name` or `namespace/kind/name`.
pub(super) const EXPLICIT: &str = "lastgood_workload";
/// The label or annotation that opts an alert out.
pub(super) const IGNORE: &str = "lastgood_ignore";

/// Characters of a value that a dismissal quotes.
const QUOTED: usize = 100;

/// One guess at where an alert belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clue {
    /// The alert says so outright; if it isn't there, nothing else is tried.
    Explicit(Kind, String, String),
    /// A label names the workload.
    Workload(Kind, String, String),
    /// A ReplicaSet's owner.
    ReplicaSet(String, String),
    /// A pod's owner's owner.
    Pod(String, String),
    /// The owner of the pods behind a Service.
    Service(String, String),
    /// The one workload of the namespace with such a container.
    Container(String, String),
}

/// What the configuration says about clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// This cluster's name.
    pub cluster: String,
    /// The label that names an alert's cluster, where one Alertmanager serves several.
    pub cluster_label: Option<String>,
}

type Map = BTreeMap<String, String>;

/// The clues of an alert, most trusted first, or why it is dismissed unseen. `source` is who told us; lastgood's own detector
/// ("rollout") watches this cluster, so its alerts need no cluster label.
pub fn clues(rules: &Rules, source: &str, labels: &Map, annotations: &Map) -> Result<Vec<Clue>, Dismissal> {
    let either = |key: &str| labels.get(key).or_else(|| annotations.get(key)).map(String::as_str).filter(|text| !text.is_empty());
    if either(IGNORE).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(Dismissal::new(DismissReason::Ignored, format!("it carries {IGNORE}: true")));
    }
    other_cluster(rules, source, labels)?;
    let subject = Subject::of(labels);
    if let Some(text) = either(EXPLICIT) {
        return explicit(text, subject.namespace).map(|clue| vec![clue]);
    }
    let Some(namespace) = subject.namespace else {
        let detail = format!("no label `namespace` that can be a Kubernetes name, and no `{EXPLICIT}`");
        return Err(Dismissal::new(DismissReason::NoWorkload, detail));
    };
    let found = subject.clues(namespace);
    if found.is_empty() {
        let detail =
            "no label can be the name of a workload (deployment, statefulset, daemonset, replicaset, pod, service, container)";
        return Err(Dismissal::new(DismissReason::NoWorkload, format!("{detail}, and no `{EXPLICIT}`")));
    }
    Ok(found)
}

fn other_cluster(rules: &Rules, source: &str, labels: &Map) -> Result<(), Dismissal> {
    let Some(label) = &rules.cluster_label else { return Ok(()) };
    match labels.get(label) {
        Some(cluster) if *cluster == rules.cluster => Ok(()),
        Some(cluster) => {
            Err(Dismissal::new(DismissReason::OtherCluster, format!("its label `{label}` says `{}`", quoted(cluster))))
        }
        None if source == "rollout" => Ok(()),
        None => Err(Dismissal::new(
            DismissReason::OtherCluster,
            format!("it has no label `{label}`, so it can't be told to be of `{}`", rules.cluster),
        )),
    }
}

fn explicit(text: &str, namespace: Option<&str>) -> Result<Clue, Dismissal> {
    let bad = |why: &str| Dismissal::new(DismissReason::NoWorkload, format!("`{EXPLICIT}: {}`: {why}", quoted(text)));
    let parts: Vec<&str> = text.split('/').map(str::trim).collect();
    let (namespace, kind, name) = match parts.as_slice() {
        [name] => (namespace, "deployment", *name),
        [kind, name] => (namespace, *kind, *name),
        [namespace, kind, name] => (Some(*namespace), *kind, *name),
        _ => return Err(bad("write `name`, `kind/name` or `namespace/kind/name`")),
    };
    let kind = Kind::parse_workload(kind).ok_or_else(|| bad("the kind is none of deployment, statefulset, daemonset"))?;
    let namespace = namespace.ok_or_else(|| bad("it names no namespace and neither does the alert"))?;
    if !is_name(name) || !is_name(namespace) {
        return Err(bad("that can't be a Kubernetes name"));
    }
    Ok(Clue::Explicit(kind, namespace.to_owned(), name.to_owned()))
}

/// As much of a value as is worth telling.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text.to_owned(),
    }
}

/// Whether the API server would take this as a name; also keeps labels from being put into paths that they don't belong in.
fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 253 && bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last())
}

/// The labels of the alert's subject, with the scraper's own set aside.
struct Subject<'a> {
    labels: &'a Map,
    namespace: Option<&'a str>,
    exported: bool,
}

impl<'a> Subject<'a> {
    fn of(labels: &'a Map) -> Self {
        let get = |key: &str| labels.get(key).map(String::as_str).filter(|text| is_name(text));
        let exported = ["exported_namespace", "exported_pod", "exported_container", "exported_service"]
            .iter()
            .any(|k| labels.contains_key(*k));
        Self { labels, namespace: get("exported_namespace").or_else(|| get("namespace")), exported }
    }

    /// A label that scrapers set on what they scrape: only its `exported_` form counts where there are any.
    fn contested(&self, key: &str) -> Option<String> {
        let exported = format!("exported_{key}");
        let key = if self.exported { exported.as_str() } else { key };
        self.labels.get(key).filter(|text| is_name(text)).cloned()
    }

    fn plain(&self, key: &str) -> Option<String> {
        let value = self.labels.get(&format!("exported_{key}")).or_else(|| self.labels.get(key));
        value.filter(|text| is_name(text)).cloned()
    }

    fn clues(&self, namespace: &str) -> Vec<Clue> {
        let at = |name: String| (namespace.to_owned(), name);
        let workload = |kind, key| self.plain(key).map(at).map(|(ns, name)| Clue::Workload(kind, ns, name));
        let pair = |make: fn(String, String) -> Clue, name: Option<String>| name.map(at).map(|(ns, name)| make(ns, name));
        [
            workload(Kind::Deployment, "deployment"),
            workload(Kind::StatefulSet, "statefulset"),
            workload(Kind::DaemonSet, "daemonset"),
            pair(Clue::ReplicaSet, self.plain("replicaset")),
            pair(Clue::Pod, self.contested("pod").or_else(|| self.contested("pod_name"))),
            pair(Clue::Service, self.contested("service")),
            pair(Clue::Container, self.contested("container").or_else(|| self.contested("container_name"))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn read(labels: &str) -> Result<Vec<Clue>, DismissReason> {
        clues(&Rules::default(), "alertmanager", &map(labels), &Map::new()).map_err(|dismissal| dismissal.reason)
    }

    fn shop(name: &str) -> (String, String) {
        ("shop".into(), name.into())
    }

    #[test]
    fn clues_come_in_the_order_of_trust() {
        let (ns, web) = shop("web");
        let all = read("namespace=shop container=c service=s pod=web-abc-x1 deployment=web").unwrap();
        assert_eq!(all[0], Clue::Workload(Kind::Deployment, ns.clone(), web.clone()));
        assert_eq!(
            all[1..],
            [Clue::Pod(ns.clone(), "web-abc-x1".into()), Clue::Service(ns.clone(), "s".into()), Clue::Container(ns, "c".into())]
        );
    }

    #[test]
    fn the_scrapers_own_labels_do_not_count() {
        let found =
            read("namespace=monitoring pod=ksm-1 service=ksm container=ksm exported_namespace=shop deployment=web").unwrap();
        let (ns, web) = shop("web");
        assert_eq!(found, [Clue::Workload(Kind::Deployment, ns, web)]);
        let (ns, pod) = shop("web-abc-x1");
        let found = read("namespace=monitoring pod=ksm-1 exported_namespace=shop exported_pod=web-abc-x1").unwrap();
        assert_eq!(found, [Clue::Pod(ns, pod)]);
    }

    #[test]
    fn what_an_alert_says_outright_is_all_that_counts() {
        let (ns, web) = shop("web");
        for text in ["web", "deployment/web", "shop/Deployment/web", "deploy/web"] {
            let found = read(&format!("namespace=shop pod=other deployment=third lastgood_workload={text}")).unwrap();
            assert_eq!(found, [Clue::Explicit(Kind::Deployment, ns.clone(), web.clone())], "{text}");
        }
        let in_annotation = clues(&Rules::default(), "x", &Map::new(), &map("lastgood_workload=shop/sts/db")).unwrap();
        assert_eq!(in_annotation, [Clue::Explicit(Kind::StatefulSet, "shop".into(), "db".into())]);
    }

    #[test]
    fn a_bad_explicit_workload_is_dismissed_with_the_reason() {
        for (text, part) in [("job/web", "the kind"), ("a/b/c/d", "write"), ("We_b", "Kubernetes name"), ("../x", "the kind")] {
            let labels = map(&format!("namespace=shop deployment=web lastgood_workload={text}"));
            let dismissal = clues(&Rules::default(), "x", &labels, &Map::new()).unwrap_err();
            assert_eq!(dismissal.reason, DismissReason::NoWorkload);
            assert!(dismissal.detail.contains(part) && dismissal.detail.contains(text), "{}", dismissal.detail);
        }
        let nowhere = clues(&Rules::default(), "x", &map("lastgood_workload=web"), &Map::new()).unwrap_err();
        assert!(nowhere.detail.contains("no namespace"));
    }

    #[test]
    fn a_value_of_a_megabyte_is_no_name_and_is_not_quoted_in_full() {
        let huge = "x".repeat(1 << 20);
        for labels in ["namespace=HUGE deployment=web", "namespace=shop deployment=HUGE", "namespace=shop pod=HUGE service=HUGE"]
        {
            assert_eq!(read(&labels.replace("HUGE", &huge)), Err(DismissReason::NoWorkload), "{labels}");
        }
        let web = map("namespace=shop deployment=web");
        let explicit = [(EXPLICIT.to_owned(), huge.clone())].into();
        let dismissal = clues(&Rules::default(), "x", &web, &explicit).unwrap_err();
        assert!(dismissal.detail.ends_with("xx… (1048576 bytes)`: that can't be a Kubernetes name"), "{}", dismissal.detail);
        assert!(dismissal.detail.len() < 200);
        let rules = Rules { cluster: "eu".into(), cluster_label: Some("cluster".into()) };
        let dismissal = clues(&rules, "x", &[("cluster".to_owned(), huge)].into(), &Map::new()).unwrap_err();
        assert!(dismissal.reason == DismissReason::OtherCluster && dismissal.detail.len() < 200, "{}", dismissal.detail);
    }

    #[test]
    fn alerts_without_a_place_or_opted_out_are_dismissed() {
        for (labels, reason) in [
            ("", DismissReason::NoWorkload),
            ("deployment=web", DismissReason::NoWorkload),
            ("namespace=shop alertname=X", DismissReason::NoWorkload),
            ("namespace=shop deployment=../../secrets", DismissReason::NoWorkload),
            ("namespace=shop deployment=web lastgood_ignore=true", DismissReason::Ignored),
        ] {
            assert_eq!(read(labels), Err(reason), "{labels}");
        }
    }

    #[test]
    fn where_clusters_are_told_apart_only_ours_counts() {
        let rules = Rules { cluster: "eu".into(), cluster_label: Some("cluster".into()) };
        let read = |source: &str, labels: &str| clues(&rules, source, &map(labels), &Map::new()).map_err(|d| d.reason);
        assert!(read("alertmanager", "cluster=eu namespace=shop deployment=web").is_ok());
        assert_eq!(read("alertmanager", "cluster=us namespace=shop deployment=web"), Err(DismissReason::OtherCluster));
        assert_eq!(read("alertmanager", "namespace=shop deployment=web"), Err(DismissReason::OtherCluster));
        assert!(read("rollout", "namespace=shop deployment=web").is_ok());
    }
}
