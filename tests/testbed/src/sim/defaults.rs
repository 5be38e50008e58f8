//! The defaults that an API server fills in, so that what is stored looks as on a real cluster. Pure and idempotent.

use serde_json::{Value, json};

use super::json::Json as _;

/// Fills in the defaults of a built-in kind.
pub(crate) fn apply(kind_id: &str, object: &mut Value) {
    match kind_id {
        "deployments.apps" => deployment(object),
        "replicasets.apps" => {
            object.default("/spec/replicas", 1);
            pod_template(object);
        }
        "pods" => pod_spec(object, "/spec"),
        "services" => service(object),
        "namespaces" => object.default("/spec/finalizers", json!(["kubernetes"])),
        "secrets" => {
            object.default("/type", "Opaque");
            fold_string_data(object);
        }
        _ => {}
    }
}

fn deployment(object: &mut Value) {
    object.default("/spec/replicas", 1);
    object.default("/spec/revisionHistoryLimit", 10);
    object.default("/spec/progressDeadlineSeconds", 600);
    object.default("/spec/strategy/type", "RollingUpdate");
    if object.text("/spec/strategy/type") == "RollingUpdate" {
        object.default("/spec/strategy/rollingUpdate/maxSurge", "25%");
        object.default("/spec/strategy/rollingUpdate/maxUnavailable", "25%");
    }
    pod_template(object);
}

fn pod_template(object: &mut Value) {
    object.default("/spec/template/metadata/creationTimestamp", Value::Null);
    pod_spec(object, "/spec/template/spec");
}

fn pod_spec(object: &mut Value, path: &str) {
    if !object.at(path).is_object() {
        return;
    }
    object.default(&format!("{path}/restartPolicy"), "Always");
    object.default(&format!("{path}/dnsPolicy"), "ClusterFirst");
    object.default(&format!("{path}/schedulerName"), "default-scheduler");
    object.default(&format!("{path}/terminationGracePeriodSeconds"), 30);
    object.default(&format!("{path}/securityContext"), json!({}));
    // The old name is filled in beside the new one, in both directions.
    let account = object.text(&format!("{path}/serviceAccountName")).to_owned();
    let old = object.text(&format!("{path}/serviceAccount")).to_owned();
    if !account.is_empty() {
        object.put(&format!("{path}/serviceAccount"), account);
    } else if !old.is_empty() {
        object.put(&format!("{path}/serviceAccountName"), old);
    }
    for list in ["containers", "initContainers"] {
        for container in object.items_mut(&format!("{path}/{list}")) {
            self::container(container);
        }
    }
    for volume in object.items_mut(&format!("{path}/volumes")) {
        for source in ["configMap", "secret", "downwardAPI", "projected"] {
            if volume.at(&format!("/{source}")).is_object() {
                volume.default(&format!("/{source}/defaultMode"), 420);
            }
        }
    }
}

fn container(container: &mut Value) {
    let image = container.text("/image").to_owned();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let pull = if tag.ends_with(":latest") || !tag.contains(':') && !tag.contains('@') { "Always" } else { "IfNotPresent" };
    container.default("/imagePullPolicy", pull);
    container.default("/terminationMessagePath", "/dev/termination-log");
    container.default("/terminationMessagePolicy", "File");
    container.default("/resources", json!({}));
    for port in container.items_mut("/ports") {
        port.default("/protocol", "TCP");
    }
    for variable in container.items_mut("/env") {
        if !variable.at("/valueFrom/fieldRef").is_null() {
            variable.default("/valueFrom/fieldRef/apiVersion", "v1");
        }
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            self::probe(probe);
        }
    }
}

fn probe(probe: &mut Value) {
    probe.default("/timeoutSeconds", 1);
    probe.default("/periodSeconds", 10);
    probe.default("/successThreshold", 1);
    probe.default("/failureThreshold", 3);
    if probe.at("/httpGet").is_object() {
        probe.default("/httpGet/path", "/");
        probe.default("/httpGet/scheme", "HTTP");
    }
}

fn service(object: &mut Value) {
    object.default("/spec/type", "ClusterIP");
    object.default("/spec/sessionAffinity", "None");
    if object.text("/spec/type") != "ExternalName" {
        object.default("/spec/ipFamilies", json!(["IPv4"]));
        object.default("/spec/ipFamilyPolicy", "SingleStack");
        object.default("/spec/internalTrafficPolicy", "Cluster");
    }
    for port in object.items_mut("/spec/ports") {
        port.default("/protocol", "TCP");
        let number = port.at("/port").clone();
        port.default("/targetPort", number);
    }
}

fn fold_string_data(object: &mut Value) {
    let Some(Value::Object(plain)) = object.get("stringData").cloned() else {
        return;
    };
    for (key, value) in plain {
        let text = value.as_str().unwrap_or_default();
        let key = key.replace('~', "~0").replace('/', "~1");
        object.put(&format!("/data/{key}"), base64(text.as_bytes()));
    }
    object.cut("/stringData");
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_complete_and_idempotent() {
        let mut once = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "web", "image": "web:v1", "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": 80}}}]}}}});
        apply("deployments.apps", &mut once);
        assert_eq!(once.text("/spec/strategy/rollingUpdate/maxSurge"), "25%");
        assert_eq!(once.int("/spec/template/spec/containers/0/readinessProbe/periodSeconds"), 10);
        assert_eq!(once.text("/spec/template/spec/containers/0/imagePullPolicy"), "IfNotPresent");
        let mut twice = once.clone();
        apply("deployments.apps", &mut twice);
        assert_eq!(once, twice);
    }

    #[test]
    fn plain_secret_text_becomes_data() {
        for (plain, encoded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
