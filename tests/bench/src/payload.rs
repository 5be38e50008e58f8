//! Alertmanager's webhook payloads, version 4, as a real one sends them.
//!
//! Guarantee: a fingerprint is what tells one alert from another, so that no two payloads are taken for one by accident.

use serde_json::{Value, json};

/// One alert about a Deployment.
pub(crate) struct About<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) deployment: &'a str,
    /// `firing` or `resolved`.
    pub(crate) status: &'a str,
    /// When it began, RFC 3339.
    pub(crate) starts_at: String,
    /// 16 hexadecimal digits.
    pub(crate) fingerprint: String,
}

/// A notification of these alerts.
pub(crate) fn notification(group: &str, alerts: &[About<'_>]) -> Value {
    let status = if alerts.iter().any(|alert| alert.status == "firing") { "firing" } else { "resolved" };
    json!({
        "version": "4", "groupKey": format!("{{}}/{{severity=\"page\"}}:{{alertname=\"HighErrorRate\", group=\"{group}\"}}"),
        "truncatedAlerts": 0, "status": status, "receiver": "lastgood",
        "groupLabels": {"alertname": "HighErrorRate"},
        "commonLabels": {"alertname": "HighErrorRate", "severity": "page", "team": "shop", "prometheus": "monitoring/k8s"},
        "commonAnnotations": {"runbook_url": "https://runbooks.example/high-error-rate"},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": alerts.iter().map(alert).collect::<Vec<_>>(),
    })
}

fn alert(about: &About<'_>) -> Value {
    let About { namespace, deployment, status, starts_at, fingerprint } = about;
    let ends_at = if *status == "firing" { "0001-01-01T00:00:00Z" } else { starts_at.as_str() };
    json!({
        "status": status,
        "labels": {
            "alertname": "HighErrorRate", "severity": "page", "team": "shop", "prometheus": "monitoring/k8s",
            "namespace": namespace, "deployment": deployment, "service": deployment, "container": "web",
        },
        "annotations": {
            "summary": format!("{deployment} answers with errors"),
            "description": format!("12.3% of the requests to {namespace}/{deployment} have failed for 5 minutes; the limit is 5%."),
            "runbook_url": "https://runbooks.example/high-error-rate",
        },
        "startsAt": starts_at, "endsAt": ends_at,
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=sum%28rate%28http_requests_total%7Bcode%3D~%225..%22%7D%5B5m%5D%29%29&g0.tab=1",
        "fingerprint": fingerprint,
    })
}
