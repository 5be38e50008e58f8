//! Alertmanager's webhook payload, version 4, into a notification.
//!
//! Guarantees: pure and total: any bytes give a notification or an error that names the field; fields that a newer Alertmanager adds are
//! passed over; nesting is bounded by `serde_json`'s own limit, so that no stack overflows. Must not: judge what an alert means.

use std::collections::BTreeMap;

use contracts::subjects::is_token;
use contracts::time::to_proto;
use contracts::v1::{Alert, AlertNotification, AlertStatus};
use jiff::Timestamp;
use serde::Deserialize;

use super::explain::explain;

/// The source's name, in subjects and facts.
pub const SOURCE: &str = "alertmanager";

/// What is wrong with a payload, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Malformed {
    /// E.g. `alerts[3].startsAt`; `body` when it isn't JSON at all.
    pub field: String,
    /// What is wrong there.
    pub reason: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Malformed {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>, remedy: &'static str) -> Self {
        Self { field: field.into(), reason: reason.into(), remedy }
    }
}

pub(super) const REMEDY_SHAPE: &str = "send what Alertmanager's webhook_config sends (payload version 4)";
const REMEDY_VERSION: &str = "only version 4 is known; use an Alertmanager that sends it (0.6 or newer), or a newer lastgood";
const REMEDY_TIME: &str = "send a time as RFC 3339 has it, e.g. 2026-11-21T10:00:00Z";
const REMEDY_STATUS: &str = "send `firing` or `resolved`";
const REMEDY_FINGERPRINT: &str =
    "send Alertmanager's own fingerprint: 1 to 128 letters, digits, `-` or `_` (Alertmanager 0.19 or newer)";

type Texts = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    version: String,
    group_key: Option<String>,
    truncated_alerts: Option<u64>,
    status: Option<String>,
    receiver: Option<String>,
    // Read for their form only: each alert carries what it shares.
    #[serde(rename = "groupLabels")]
    _group_labels: Option<Texts>,
    #[serde(rename = "commonLabels")]
    _common_labels: Option<Texts>,
    #[serde(rename = "commonAnnotations")]
    _common_annotations: Option<Texts>,
    #[serde(rename = "externalURL")]
    external_url: Option<String>,
    alerts: Vec<PayloadAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadAlert {
    status: String,
    labels: Texts,
    annotations: Option<Texts>,
    starts_at: String,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
    fingerprint: String,
}

/// Reads a payload.
pub fn parse(body: &[u8]) -> Result<AlertNotification, Malformed> {
    let payload: Payload = serde_json::from_slice(body).map_err(|error| explain(body, &error))?;
    if payload.version != "4" {
        return Err(Malformed::new("version", format!("`{}` is not a known version", short(&payload.version)), REMEDY_VERSION));
    }
    if let Some(status) = &payload.status {
        status_of(status).ok_or_else(|| bad_status("status", status))?;
    }
    let alerts = payload.alerts.into_iter().enumerate().map(|(at, alert)| read_alert(at, alert)).collect::<Result<_, _>>()?;
    Ok(AlertNotification {
        source: SOURCE.to_owned(),
        receiver: payload.receiver.unwrap_or_default(),
        group_key: payload.group_key.unwrap_or_default(),
        external_url: payload.external_url.unwrap_or_default(),
        truncated_alerts: payload.truncated_alerts.unwrap_or_default(),
        alerts,
        part: 1,
        parts: 1,
    })
}

fn read_alert(at: usize, alert: PayloadAlert) -> Result<Alert, Malformed> {
    let field = |name: &str| format!("alerts[{at}].{name}");
    let status = status_of(&alert.status).ok_or_else(|| bad_status(&field("status"), &alert.status))?;
    if !is_token(&alert.fingerprint) {
        let reason = format!("`{}` is not a fingerprint", short(&alert.fingerprint));
        return Err(Malformed::new(field("fingerprint"), reason, REMEDY_FINGERPRINT));
    }
    let starts_at = time(&field("startsAt"), &alert.starts_at)?
        .ok_or_else(|| Malformed::new(field("startsAt"), "the zero time says nothing of when it began", REMEDY_TIME))?;
    // Of a firing alert it is a guess of when it may be forgotten, or the zero time: nothing that happened.
    let ends_at = match (&alert.ends_at, status) {
        (Some(text), AlertStatus::Resolved) => time(&field("endsAt"), text)?,
        (Some(text), _) => time(&field("endsAt"), text)?.and(None),
        (None, _) => None,
    };
    if status == AlertStatus::Resolved && ends_at.is_none() {
        return Err(Malformed::new(field("endsAt"), "a resolved alert without its end", REMEDY_TIME));
    }
    Ok(Alert {
        fingerprint: alert.fingerprint,
        status: status.into(),
        starts_at: Some(to_proto(starts_at)),
        ends_at: ends_at.map(to_proto),
        labels: alert.labels,
        annotations: alert.annotations.unwrap_or_default(),
        generator_url: alert.generator_url.unwrap_or_default(),
    })
}

fn status_of(text: &str) -> Option<AlertStatus> {
    match text {
        "firing" => Some(AlertStatus::Firing),
        "resolved" => Some(AlertStatus::Resolved),
        _ => None,
    }
}

fn bad_status(field: &str, status: &str) -> Malformed {
    Malformed::new(field, format!("`{}` is not a status", short(status)), REMEDY_STATUS)
}

/// `None` is Go's zero time.
fn time(field: &str, text: &str) -> Result<Option<Timestamp>, Malformed> {
    let wrong = |why: &str| Malformed::new(field, format!("`{}` is not a time: {why}", short(text)), REMEDY_TIME);
    let at: Timestamp = text.parse().map_err(|error: jiff::Error| wrong(&short(&error.to_string())))?;
    // Protobuf's timestamps, and RFC 3339, know the years 1 to 9999.
    match at.as_second().cmp(&ZERO_TIME) {
        std::cmp::Ordering::Less => Err(wrong("it is before the year 1")),
        std::cmp::Ordering::Equal => Ok(None),
        std::cmp::Ordering::Greater => Ok(Some(at)),
    }
}

/// 0001-01-01T00:00:00Z, in seconds of the epoch.
const ZERO_TIME: i64 = -62_135_596_800;

fn short(text: &str) -> String {
    crate::problem::shortened(text, 100)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    pub(in super::super) fn payload() -> Value {
        json!({
            "receiver": "lastgood", "status": "firing", "version": "4", "truncatedAlerts": 7,
            "groupKey": "{}:{alertname=\"HighErrorRate\"}", "externalURL": "http://am:9093",
            "groupLabels": {"alertname": "HighErrorRate"}, "commonLabels": {}, "commonAnnotations": {},
            "alerts": [
                {"status": "firing", "labels": {"alertname": "HighErrorRate", "namespace": "shop"}, "annotations": {},
                 "startsAt": "2026-11-21T10:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://p", "fingerprint": "c0ffee"},
                {"status": "resolved", "labels": {}, "annotations": {"summary": "s"},
                 "startsAt": "2026-11-21T10:00:00+02:00", "endsAt": "2026-11-21T10:05:00Z", "generatorURL": "", "fingerprint": "deaf"},
            ],
        })
    }

    fn parse_value(value: &Value) -> Result<AlertNotification, Malformed> {
        parse(&serde_json::to_vec(value).unwrap())
    }

    #[test]
    fn the_real_form_is_read() {
        let read = parse_value(&payload()).unwrap();
        assert_eq!((read.truncated_alerts, read.receiver.as_str(), read.alerts.len()), (7, "lastgood", 2));
        assert_eq!(read.alerts[0].ends_at, None);
        assert_eq!(read.alerts[0].status(), AlertStatus::Firing);
        assert_eq!(read.alerts[1].status(), AlertStatus::Resolved);
        assert!(read.alerts[1].ends_at.is_some());
    }

    #[test]
    fn the_end_that_a_firing_alert_expects_is_no_end() {
        let mut value = payload();
        value["alerts"][0]["endsAt"] = "2026-11-21T11:00:00Z".into();
        assert_eq!(parse_value(&value).unwrap().alerts[0].ends_at, None);
    }

    #[test]
    fn unknown_fields_and_nulls_are_passed_over() {
        let mut value = payload();
        value["notificationReason"] = json!({"new": [1, 2, {"deep": null}]});
        value["alerts"][0]["severity"] = json!(3);
        value["alerts"][0]["annotations"] = Value::Null;
        value["truncatedAlerts"] = Value::Null;
        assert!(parse_value(&value).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table: &[(&str, Value, &str)] = &[
            ("/version", json!("5"), "version"),
            ("/version", json!(4), "version"),
            ("/version", Value::Null, "version"),
            ("/status", json!("burning"), "status"),
            ("/truncatedAlerts", json!(-1), "truncatedAlerts"),
            ("/groupKey", json!(1), "groupKey"),
            ("/commonLabels", json!({"a": 1}), "commonLabels.a"),
            ("/alerts", json!({}), "alerts"),
            ("/alerts/1", json!("x"), "alerts[1]"),
            ("/alerts/1/status", json!("unknown"), "alerts[1].status"),
            ("/alerts/1/labels", Value::Null, "alerts[1].labels"),
            ("/alerts/1/labels", json!({"pod": ["a"]}), "alerts[1].labels.pod"),
            ("/alerts/0/annotations", json!([]), "alerts[0].annotations"),
            ("/alerts/0/startsAt", json!("yesterday"), "alerts[0].startsAt"),
            ("/alerts/0/startsAt", json!("0001-01-01T00:00:00Z"), "alerts[0].startsAt"),
            ("/alerts/0/startsAt", json!("-000044-03-15T00:00:00Z"), "alerts[0].startsAt"),
            ("/alerts/0/startsAt", json!(17), "alerts[0].startsAt"),
            ("/alerts/0/endsAt", json!("soon"), "alerts[0].endsAt"),
            ("/alerts/1/endsAt", json!("0001-01-01T00:00:00Z"), "alerts[1].endsAt"),
            ("/alerts/1/generatorURL", json!(1), "alerts[1].generatorURL"),
            ("/alerts/1/fingerprint", json!(""), "alerts[1].fingerprint"),
            ("/alerts/1/fingerprint", json!("a.b"), "alerts[1].fingerprint"),
        ];
        for (pointer, value, field) in table {
            let mut broken = payload();
            *broken.pointer_mut(pointer).unwrap() = value.clone();
            let error = parse_value(&broken).unwrap_err();
            assert_eq!(error.field, *field, "{pointer} = {value}: {error}");
        }
    }

    #[test]
    fn a_large_body_is_not_made_a_tree_to_find_what_is_wrong() {
        let many = |count: usize| format!("{{\"version\":\"4\",\"alerts\":[0{}]}}", ",0".repeat(count));
        assert_eq!(parse(many(10).as_bytes()).unwrap_err().field, "alerts[0]");
        let error = parse(many(1 << 20).as_bytes()).unwrap_err();
        assert_eq!(error.field, "body");
        assert!(error.reason.contains("line 1 column"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in ["version", "alerts"] {
            let mut broken = payload();
            broken.as_object_mut().unwrap().remove(name);
            assert_eq!(parse_value(&broken).unwrap_err().field, name);
        }
        for name in ["status", "labels", "startsAt", "fingerprint"] {
            let mut broken = payload();
            broken["alerts"][1].as_object_mut().unwrap().remove(name);
            assert_eq!(parse_value(&broken).unwrap_err().field, format!("alerts[1].{name}"));
        }
    }

    #[test]
    fn deep_nesting_overflows_nothing() {
        for open in ["[", "{\"a\":"] {
            let known = format!("{{\"version\":\"4\",\"alerts\":{}", open.repeat(1_000_000));
            let unknown = format!("{{\"version\":\"4\",\"alerts\":[],\"new\":{}", open.repeat(1_000_000));
            assert!(parse(open.repeat(1_000_000).as_bytes()).is_err());
            assert!(parse(known.as_bytes()).is_err());
            assert_eq!(parse(unknown.as_bytes()).unwrap_err().field, "body");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!("2026-11-21T10:00:00Z")),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let names =
                prop_oneof!["[a-z]{1,5}", Just("alerts".to_owned()), Just("labels".to_owned()), Just("version".to_owned())];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(names, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_or_refused(value in any_json()) {
            let _ = parse_value(&value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_field_may_be_anything(index in 0_usize..7, value in any_json()) {
            let name = ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"][index];
            let mut broken = payload();
            broken["alerts"][1][name] = value;
            if let Err(error) = parse_value(&broken) {
                prop_assert!(error.field.starts_with(&format!("alerts[1].{name}")), "{}", error);
            }
        }

        #[test]
        fn a_valid_payload_survives(
            labels in prop::collection::btree_map(".{0,20}", ".{0,40}", 0..6),
            annotations in prop::collection::btree_map(".{0,20}", ".{0,40}", 0..6),
            seconds in -62_000_000_000_i64..250_000_000_000, nanos in 0..1_000_000_000_i32,
            group_key in ".{0,40}", truncated: u64, resolved: bool, print in "[0-9a-f]{16}",
        ) {
            let at = Timestamp::new(seconds, nanos).unwrap();
            let value = json!({"version": "4", "groupKey": group_key, "truncatedAlerts": truncated, "alerts": [{
                "status": if resolved { "resolved" } else { "firing" }, "labels": labels, "annotations": annotations,
                "startsAt": at.to_string(), "endsAt": at.to_string(), "fingerprint": print,
            }]});
            let status = if resolved { AlertStatus::Resolved } else { AlertStatus::Firing };
            let alert = Alert {
                fingerprint: print, status: status.into(), starts_at: Some(to_proto(at)), ends_at: resolved.then(|| to_proto(at)),
                labels, annotations, generator_url: String::new(),
            };
            let expected = AlertNotification {
                source: SOURCE.into(), group_key, truncated_alerts: truncated, alerts: vec![alert], part: 1, parts: 1,
                ..AlertNotification::default()
            };
            prop_assert_eq!(parse_value(&value), Ok(expected));
        }
    }
}
