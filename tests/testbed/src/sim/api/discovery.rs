//! Discovery: which groups, versions and resources there are. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::sim::VERSION;
use crate::sim::kinds::Kind;

const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];

/// Answers a discovery path, if it is one.
pub(super) fn answer(path: &str, kinds: &[Arc<Kind>]) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match segments.as_slice() {
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups(kinds).iter().map(|name| group(name, kinds)).collect::<Vec<_>>(),
        }),
        ["apis", name] if groups(kinds).iter().any(|group| group == name) => {
            let mut group = group(name, kinds);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["api", "v1"] => resources("", "v1", kinds),
        ["apis", group, version] if kinds.iter().any(|k| k.group == *group && k.version == *version) => {
            resources(group, version, kinds)
        }
        _ => return None,
    })
}

fn version() -> Value {
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    json!({
        "major": "1",
        "minor": minor,
        "gitVersion": VERSION,
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-04-23T00:00:00Z",
        "goVersion": "simulated",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

fn groups(kinds: &[Arc<Kind>]) -> Vec<String> {
    let mut names: Vec<_> = kinds.iter().map(|k| k.group.clone()).filter(|g| !g.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

fn group(name: &str, kinds: &[Arc<Kind>]) -> Value {
    let mut versions: Vec<_> = kinds.iter().filter(|k| k.group == name).map(|k| k.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<_> =
        versions.into_iter().map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version})).collect();
    json!({"name": name, "preferredVersion": versions.last(), "versions": versions})
}

fn resources(group: &str, version: &str, kinds: &[Arc<Kind>]) -> Value {
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|k| k.group == group && k.version == version) {
        let mut resource = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": VERBS,
            "shortNames": kind.short,
        });
        if ["pods", "deployments", "replicasets", "services"].contains(&kind.plural.as_str()) {
            resource["categories"] = json!(["all"]);
        }
        list.push(resource);
        let mut subresource = |name: &str, of: &str, verbs: Value| {
            list.push(json!({
                "name": format!("{}/{name}", kind.plural),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": of,
                "verbs": verbs,
            }));
        };
        if kind.status {
            subresource("status", &kind.name, json!(["get", "patch", "update"]));
        }
        if kind.scale {
            subresource("scale", "Scale", json!(["get", "patch", "update"]));
        }
        if kind.id == "pods" {
            subresource("log", "Pod", json!(["get"]));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}
