//! Which workloads each policy governs, counted page by page.
//!
//! Guarantees: memory does not grow with the number of workloads; kinds that the API server doesn't have are none. Must not: decide.

use std::collections::BTreeMap;

use kube::api::{ApiResource, ListParams, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use lastgood_core::policy::{Id, Policy, Workload};

use crate::cluster::Kind;

/// Objects a page.
const PAGE: u32 = 500;
/// Workloads that are named.
const NAMED: usize = 5;

/// What a policy governs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Governed {
    /// How many workloads.
    pub count: i64,
    /// The first of them, `namespace/kind/name`.
    pub first: Vec<String>,
}

/// What of a workload decides who governs it, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl Listed {
    /// For the policies to look at.
    #[must_use]
    pub fn view(&self) -> Workload<'_> {
        Workload {
            namespace: &self.namespace,
            kind: self.kind,
            name: &self.name,
            labels: &self.labels,
            annotations: &self.annotations,
        }
    }
}

/// The kinds that a policy can govern.
pub const KINDS: [Kind; 3] = [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet];

/// The count so far.
#[derive(Debug, Default)]
pub struct Survey(BTreeMap<Id, Governed>);

impl Survey {
    /// With none of these counted yet.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Self {
        Self(policies.into_iter().map(|policy| (policy.id.clone(), Governed::default())).collect())
    }

    /// Counts one workload.
    pub fn count<'a>(&mut self, policies: impl IntoIterator<Item = &'a Policy>, workload: &Listed) {
        for policy in policies.into_iter().filter(|policy| policy.governs(&workload.view())) {
            let Some(governed) = self.0.get_mut(&policy.id) else { continue };
            governed.count += 1;
            // The first in the alphabet, so that every count names the same ones.
            let name = format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name);
            let at = governed.first.partition_point(|known| *known < name);
            if at < NAMED {
                governed.first.insert(at, name);
                governed.first.truncate(NAMED);
            }
        }
    }

    /// What came of it.
    #[must_use]
    pub fn end(self) -> BTreeMap<Id, Governed> {
        self.0
    }
}

/// Lists the workloads of the cluster, or of a namespace, and hands each over.
pub async fn workloads(client: &Client, namespace: Option<&str>, mut each: impl FnMut(&Listed)) -> Result<(), kube::Error> {
    for kind in KINDS {
        let (_, plural) = kind.resource();
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind.name()), plural);
        let api: Api<PartialObjectMeta<kube::api::DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = match api.list_metadata(&params).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 404 => break,
                Err(error) => return Err(error),
            };
            for object in page.items {
                let meta = object.metadata;
                each(&Listed {
                    kind: kind.name(),
                    namespace: meta.namespace.unwrap_or_default(),
                    name: meta.name.unwrap_or_default(),
                    labels: meta.labels.unwrap_or_default(),
                    annotations: meta.annotations.unwrap_or_default(),
                });
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lastgood_core::policy::{Limits, Origin, read};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_are_named_in_the_order_of_the_alphabet() {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": "all", "namespace": "shop"}, "spec": {}});
        let policy = read(&document, Origin::Cluster, &Limits::default()).unwrap();
        let mut survey = Survey::of([&policy]);
        for (namespace, index) in (0..9).rev().map(|index| ("shop", index)).chain([("other", 0)]) {
            let workload = Listed {
                kind: "Deployment",
                namespace: namespace.into(),
                name: format!("web-{index}"),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            };
            survey.count([&policy], &workload);
        }
        let governed = survey.end().remove(&policy.id).unwrap();
        assert_eq!((governed.count, governed.first.len()), (9, 5));
        assert_eq!(governed.first[0], "shop/deployment/web-0");
    }
}
