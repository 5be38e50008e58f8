//! What a container gets of ConfigMaps and Secrets: variables as it starts, mounted files as they are at any moment. Pure but for the
//! lookups that it is given.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::sim::json::Json as _;

/// Reads one object by the kind's id and its name.
pub(super) type Look<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<Value>>;

/// A key of an object that is mounted as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) key: String,
}

const CONFIG_MAPS: &str = "configmaps";
const SECRETS: &str = "secrets";

/// The container with its variables as plain values; else what it waits for, as the kubelet words it.
pub(super) fn resolved(pod: &Value, container: &Value, look: Look<'_>) -> Result<Value, String> {
    let mut variables = Vec::new();
    let needed = |kind: &str, reference: &Value, key: &str| {
        let name = reference.text(key);
        match look(kind, name) {
            Some(object) => Ok(Some(object)),
            None if reference.flag("/optional") => Ok(None),
            None => Err(format!("{} {name:?} not found", kind.trim_end_matches('s'))),
        }
    };
    for source in container.items("/envFrom") {
        for (kind, holder) in [(CONFIG_MAPS, "/configMapRef"), (SECRETS, "/secretRef")] {
            let reference = source.at(holder);
            if reference.is_null() {
                continue;
            }
            for key in needed(kind, reference, "/name")?.iter().flat_map(|object| keys(object)) {
                let object = look(kind, reference.text("/name"));
                let value = object.and_then(|object| value(kind, &object, &key)).unwrap_or_default();
                variables.push(json!({"name": format!("{}{key}", source.text("/prefix")), "value": value}));
            }
        }
    }
    for variable in container.items("/env") {
        let references = [(CONFIG_MAPS, "/valueFrom/configMapKeyRef"), (SECRETS, "/valueFrom/secretKeyRef")];
        match references.iter().find(|(_, at)| !variable.at(at).is_null()) {
            None => variables.push(variable.clone()),
            Some((kind, at)) => {
                let object = needed(kind, variable.at(at), "/name")?;
                let found = object.and_then(|object| value(kind, &object, variable.at(at).text("/key")));
                variables.extend(found.map(|value| json!({"name": variable.text("/name"), "value": value})));
            }
        }
    }
    for mount in container.items("/volumeMounts") {
        for (kind, at, key) in volume_sources(pod, mount.text("/name")) {
            needed(kind, at, key)?;
        }
    }
    let mut container = container.clone();
    container.put("/env", variables);
    Ok(container)
}

/// Which key of which object stands at a path in the container.
pub(super) fn mounted(pod: &Value, container: &Value, path: &str) -> Option<Mounted> {
    container.items("/volumeMounts").iter().find_map(|mount| {
        let key = path.strip_prefix(mount.text("/mountPath"))?.strip_prefix('/')?;
        let (kind, source, name) = volume_sources(pod, mount.text("/name")).into_iter().next()?;
        Some(Mounted { kind, name: source.text(name).to_owned(), key: key.to_owned() })
    })
}

/// A key's value as text.
pub(super) fn value(kind: &str, object: &Value, key: &str) -> Option<String> {
    let text = object.get("data")?.get(key)?.as_str()?;
    if kind == SECRETS { String::from_utf8(STANDARD.decode(text).ok()?).ok() } else { Some(text.to_owned()) }
}

fn keys(object: &Value) -> Vec<String> {
    object.get("data").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// What a volume is made of: kind, reference, and where the name stands in it.
fn volume_sources<'v>(pod: &'v Value, name: &str) -> Vec<(&'static str, &'v Value, &'static str)> {
    let Some(volume) = pod.items("/spec/volumes").iter().find(|volume| volume.text("/name") == name) else { return Vec::new() };
    let direct = [(CONFIG_MAPS, volume.at("/configMap"), "/name"), (SECRETS, volume.at("/secret"), "/secretName")];
    let projected = volume
        .items("/projected/sources")
        .iter()
        .flat_map(|source| [(CONFIG_MAPS, source.at("/configMap"), "/name"), (SECRETS, source.at("/secret"), "/name")]);
    direct.into_iter().chain(projected).filter(|(_, reference, _)| !reference.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kind: &str, name: &str) -> Option<Arc<Value>> {
        let object = match (kind, name) {
            ("configmaps", "web") => json!({"data": {"BEHAVIOUR": "slow", "behaviour": "failing"}}),
            ("secrets", "db") => json!({"data": {"PASSWORD": "aHVudGVyMg=="}}),
            _ => return None,
        };
        Some(Arc::new(object))
    }

    #[test]
    fn variables_come_from_config_maps_and_secrets() {
        let container = json!({"name": "web", "envFrom": [{"configMapRef": {"name": "web"}, "prefix": "P_"},
                {"secretRef": {"name": "none", "optional": true}}],
            "env": [{"name": "A", "value": "a"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "PASSWORD"}}}]});
        let resolved = resolved(&json!({}), &container, &look).unwrap();
        let value = |name: &str| resolved.items("/env").iter().find(|v| v.text("/name") == name).map(|v| v.text("/value"));
        assert_eq!((value("P_BEHAVIOUR"), value("A"), value("B")), (Some("slow"), Some("a"), Some("hunter2")));
    }

    #[test]
    fn what_is_missing_is_waited_for() {
        let container = json!({"name": "web", "envFrom": [{"configMapRef": {"name": "none"}}]});
        assert_eq!(resolved(&json!({}), &container, &look).unwrap_err(), "configmap \"none\" not found");
        let pod = json!({"spec": {"volumes": [{"name": "v", "secret": {"secretName": "none"}}]}});
        let mounts = json!({"name": "web", "volumeMounts": [{"name": "v", "mountPath": "/etc/web"}]});
        assert!(resolved(&pod, &mounts, &look).is_err());
    }

    #[test]
    fn a_mounted_file_is_a_key() {
        let pod = json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "web"}}]}});
        let container = json!({"name": "web", "volumeMounts": [{"name": "v", "mountPath": "/etc/web"}]});
        let file = mounted(&pod, &container, "/etc/web/behaviour").unwrap();
        assert_eq!((file.kind, file.name.as_str(), file.key.as_str()), ("configmaps", "web", "behaviour"));
        assert_eq!(value(file.kind, &look(file.kind, &file.name).unwrap(), &file.key).as_deref(), Some("failing"));
        assert_eq!(mounted(&pod, &container, "/etc/other"), None);
    }
}
