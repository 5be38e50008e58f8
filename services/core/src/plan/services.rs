//! Services that pin a version: which have to be switched, and through which selector.
//!
//! Guarantees: a Service is switched only when it selects the bad version's pods and would not select the restored ones.
//! Must not: know whose pods a shared selector would also catch; the caller says so.

use std::collections::BTreeMap;

use contracts::v1::ServiceSwitch;

/// A Service as far as its selector matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
}

/// Whether a selector selects pods with these labels; an empty one selects nothing.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The switch that this Service needs when pods with the labels `bad` are replaced by pods with the labels `restored`.
///
/// `selects_only_ours` says whether a selector catches no pod but this workload's. Where it doesn't hold for what both versions
/// share, `shared_selector` stays empty and the switch is direct.
#[must_use]
pub fn switch(
    service: &ServiceView,
    bad: &BTreeMap<String, String>,
    restored: &BTreeMap<String, String>,
    selects_only_ours: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Option<ServiceSwitch> {
    if !selects(&service.selector, bad) || selects(&service.selector, restored) {
        return None;
    }
    let kept = |(key, value): (&String, &String)| (restored.get(key) == Some(value)).then(|| (key.clone(), value.clone()));
    let shared: BTreeMap<_, _> = service.selector.iter().filter_map(kept).collect();
    // A pinned label that the restored version lacks can't be selected on: what both share is all there is.
    let to = service.selector.keys().filter_map(|key| restored.get(key).map(|value| (key.clone(), value.clone()))).collect();
    let usable = !shared.is_empty() && selects_only_ours(&shared);
    Some(ServiceSwitch {
        name: service.name.clone(),
        uid: service.uid.clone(),
        from_selector: service.selector.clone(),
        shared_selector: if usable { shared } else { BTreeMap::new() },
        to_selector: to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn service(selector: &[(&str, &str)]) -> ServiceView {
        ServiceView { name: "web".into(), uid: "u".into(), selector: labels(selector) }
    }

    #[test]
    fn a_service_that_selects_both_versions_is_left_alone() {
        let (bad, restored) = (labels(&[("app", "web"), ("v", "2")]), labels(&[("app", "web"), ("v", "1")]));
        assert_eq!(switch(&service(&[("app", "web")]), &bad, &restored, |_| true), None);
        assert_eq!(switch(&service(&[("app", "other")]), &bad, &restored, |_| true), None);
    }

    #[test]
    fn a_pinned_service_goes_through_what_both_share() {
        let (bad, restored) = (labels(&[("app", "web"), ("v", "2")]), labels(&[("app", "web"), ("v", "1")]));
        let switched = switch(&service(&[("app", "web"), ("v", "2")]), &bad, &restored, |_| true).expect("pinned");
        assert_eq!(switched.shared_selector, labels(&[("app", "web")]));
        assert_eq!(switched.to_selector, restored);
    }

    #[test]
    fn foreign_pods_make_the_switch_direct() {
        let (bad, restored) = (labels(&[("app", "web"), ("v", "2")]), labels(&[("app", "web"), ("v", "1")]));
        let switched = switch(&service(&[("app", "web"), ("v", "2")]), &bad, &restored, |_| false).expect("pinned");
        assert!(switched.shared_selector.is_empty());
    }
}
