//! Discovery: which groups, versions and resources there are. Pure.
//!
//! The `OpenAPI` documents say just enough for kubectl 1.27 and later to leave validation to the server, so that a plain
//! `kubectl apply` works; they describe no fields.

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
        ["openapi", "v3"] => schemas(kinds),
        ["openapi", "v3", "api", version] => schema("", version, kinds),
        ["openapi", "v3", "apis", group, version] => schema(group, version, kinds),
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

/// Group, version, and where they are found below the root.
fn places(kinds: &[Arc<Kind>]) -> Vec<(String, String, String)> {
    let place = |kind: &Arc<Kind>| {
        let path = if kind.group.is_empty() { "api" } else { "apis" };
        (kind.group.clone(), kind.version.clone(), format!("{path}/{}", kind.api_version()))
    };
    let mut places: Vec<_> = kinds.iter().map(place).collect();
    places.sort();
    places.dedup();
    places
}

fn schemas(kinds: &[Arc<Kind>]) -> Value {
    let mut paths = json!({});
    for (_, _, path) in places(kinds) {
        paths[&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
    }
    json!({"paths": paths})
}

fn schema(group: &str, version: &str, kinds: &[Arc<Kind>]) -> Value {
    let mut paths = json!({});
    for kind in kinds.iter().filter(|k| k.group == group && k.version == version) {
        let root = if group.is_empty() { "api" } else { "apis" };
        let path = format!("/{root}/{}/{}/{{name}}", kind.api_version(), kind.plural);
        paths[&path] = json!({"patch": {
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind.name},
        }});
    }
    json!({"openapi": "3.0.0", "info": {"title": "simulated Kubernetes", "version": VERSION}, "paths": paths})
}
