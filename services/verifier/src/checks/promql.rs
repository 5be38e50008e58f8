//! `promql: {query, max | min | equals}`: a value in Prometheus is within bounds.
//!
//! Guarantees: the result must be exactly one finite sample or scalar; an empty one, several, NaN, infinity, an error or no
//! answer are no data, which is never healthy. Names are put into the query as escaped PromQL strings; no label of an alert ever is. A query
//! is of bounded length, as it is written and as it is sent.
//! Must not: decide what a query means; a lookback that still covers the bad version makes it fail until it has passed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::v1::WorkloadRef;
use prometheus_http_query::response::Data;

use super::{Kind, Pace, Probe, Scene, Tools, Try};
use crate::fields::{Fields, Invalid};
use crate::sight::Target;
use crate::tally::Outcome;
use crate::text::excerpt;

/// Its registration. It is patient where its definition doesn't say: a rate over a minute remembers the bad version for a minute.
pub const KIND: Kind = Kind {
    key: "promql",
    pace: Pace { timeout: Duration::from_secs(5), retries: 24, interval: Duration::from_secs(5), passes: 3 },
    aimed: false,
    read,
};

/// What a query may have as it is written, in bytes: an annotation may be a quarter of a megabyte.
const WRITTEN: usize = 8 * 1024;
/// What it may have as it is sent, each placeholder replaced by a name, in bytes.
const SENT: usize = 32 * 1024;

#[derive(Debug)]
struct PromQl {
    query: Vec<Piece>,
    bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Namespace,
    Name,
    Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    min: Option<f64>,
    max: Option<f64>,
    equals: Option<f64>,
}

fn read(mut fields: Fields, _: Target) -> Result<Arc<dyn Probe>, Invalid> {
    let query = fields.text("query")?.ok_or_else(|| fields.invalid("query", "is missing"))?;
    let query = pieces(&query).map_err(|reason| fields.invalid("query", reason))?;
    let bounds = Bounds { min: fields.number("min")?, max: fields.number("max")?, equals: fields.number("equals")? };
    match bounds {
        Bounds { min: None, max: None, equals: None } => return Err(fields.invalid_self("needs `max`, `min` or `equals`")),
        Bounds { min, max, equals: Some(_) } if min.is_some() || max.is_some() => {
            return Err(fields.invalid("equals", "excludes `min` and `max`"));
        }
        Bounds { min: Some(min), max: Some(max), .. } if min > max => {
            return Err(fields.invalid("min", "is larger than `max`, which no value can satisfy"));
        }
        _ => {}
    }
    fields.finish()?;
    Ok(Arc::new(PromQl { query, bounds }))
}

fn pieces(query: &str) -> Result<Vec<Piece>, String> {
    if query.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if query.len() > WRITTEN {
        return Err(format!("has {} bytes; at most {WRITTEN} may be", query.len()));
    }
    let mut pieces = Vec::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { return Err("has a `{{` without `}}`".to_owned()) };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(match name.trim() {
            "namespace" => Piece::Namespace,
            "name" => Piece::Name,
            "kind" => Piece::Kind,
            other => {
                return Err(format!(
                    "has the unknown placeholder `{{{{{}}}}}`; known are {{{{namespace}}}}, {{{{name}}}} and {{{{kind}}}}",
                    excerpt(other, 40)
                ));
            }
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// A text as the inside of a PromQL string, whichever of `"` and `'` is around it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\x22"),
            '\'' => out.push_str("\\x27"),
            '`' => out.push_str("\\x60"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out
}

/// The query as it is sent, or why it is not.
fn compose(pieces: &[Piece], workload: &WorkloadRef) -> Result<String, String> {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Namespace => escaped(&workload.namespace),
        Piece::Name => escaped(&workload.name),
        Piece::Kind => escaped(&workload.kind),
    };
    let query: String = pieces.iter().map(text).collect();
    if query.len() > SENT {
        return Err(format!("the query has {} bytes with the names in it; at most {SENT} are asked", query.len()));
    }
    Ok(query)
}

impl Bounds {
    #[expect(clippy::float_cmp, reason = "`equals` means the very value that Prometheus gives, like 1 for `up`")]
    fn judge(self, value: f64) -> Try {
        if !value.is_finite() {
            return Try::new(Outcome::NoData, format!("the value is {value}"));
        }
        let fits = self.min.is_none_or(|min| value >= min)
            && self.max.is_none_or(|max| value <= max)
            && self.equals.is_none_or(|wanted| value == wanted);
        Try::new(if fits { Outcome::Pass } else { Outcome::Fail }, format!("the value is {value}, wanted {self}"))
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.equals, self.min, self.max) {
            (Some(equals), ..) => write!(f, "{equals}"),
            (None, Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (None, Some(min), None) => write!(f, "at least {min}"),
            (None, None, Some(max)) => write!(f, "at most {max}"),
            (None, None, None) => f.write_str("anything"),
        }
    }
}

/// The one value of a result, or why there is none.
fn value(data: &Data) -> Result<f64, String> {
    match data {
        Data::Scalar(sample) => Ok(sample.value()),
        Data::Vector(samples) => match samples.as_slice() {
            [] => Err("the query gives no data".to_owned()),
            [one] => Ok(one.sample().value()),
            several => Err(format!("the query gives {} samples and must give one", several.len())),
        },
        Data::Matrix(_) => Err("the query gives a range and must give one sample".to_owned()),
    }
}

#[async_trait]
impl Probe for PromQl {
    async fn try_once(&self, scene: &Scene<'_>) -> Try {
        let Some(prometheus) = &scene.tools.prometheus else { return Try::new(Outcome::NoData, UNCONFIGURED) };
        let query = match compose(&self.query, scene.workload) {
            Ok(query) => query,
            Err(why) => return Try::new(Outcome::NoData, why),
        };
        match tokio::time::timeout(scene.timeout, prometheus.query(&query)).await {
            Ok(Ok(data)) => value(&data).map_or_else(|why| Try::new(Outcome::NoData, why), |value| self.bounds.judge(value)),
            Ok(Err(error)) => Try::new(Outcome::NoData, format!("Prometheus: {error}")),
            Err(_) => Try::new(Outcome::NoData, format!("Prometheus did not answer within {:?}", scene.timeout)),
        }
    }

    fn impossible(&self, tools: &Tools) -> Option<&'static str> {
        tools.prometheus.is_none().then_some(UNCONFIGURED)
    }
}

const UNCONFIGURED: &str = "no Prometheus is configured (verifier.prometheus.url)";

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str) -> WorkloadRef {
        WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() }
    }

    #[test]
    fn names_are_put_in_as_escaped_strings() {
        let query = pieces(r#"up{namespace="{{namespace}}",d='{{ name }}',k="{{kind}}"}"#).unwrap();
        let composed = |name: &str| compose(&query, &workload(name)).unwrap();
        assert_eq!(composed("web"), r#"up{namespace="shop",d='web',k="Deployment"}"#);
        assert_eq!(composed("a\"'\\\n"), r#"up{namespace="shop",d='a\x22\x27\\\n',k="Deployment"}"#);
        assert!(pieces("up{{node}}").unwrap_err().contains("unknown placeholder `{{node}}`"));
        assert!(pieces("up{{name").is_err());
        assert!(pieces("  ").is_err());
    }

    #[test]
    fn a_query_is_bounded_as_it_is_written_and_as_it_is_sent() {
        let long = "x".repeat(WRITTEN + 1);
        assert_eq!(pieces(&long).unwrap_err(), "has 8193 bytes; at most 8192 may be");
        assert_eq!(compose(&pieces(&long[1..]).unwrap(), &workload("web")).unwrap().len(), WRITTEN);
        let once = pieces(r#"up{d="{{name}}"}"#).unwrap();
        let why = compose(&once, &workload(&"x".repeat(1 << 20))).unwrap_err();
        assert!(why.contains("1048584 bytes") && why.len() < 100, "{why}");
        let often = pieces(&"{{name}}".repeat(WRITTEN / 8)).unwrap();
        assert!(compose(&often, &workload("web")).is_ok());
        assert!(compose(&often, &workload(&"x".repeat(253))).is_err());
    }

    #[test]
    fn bounds_judge_finite_values_only() {
        let max = Bounds { min: None, max: Some(0.01), equals: None };
        let min = Bounds { min: Some(1.0), max: None, equals: None };
        let equals = Bounds { min: None, max: None, equals: Some(1.0) };
        let cases = [
            (max, 0.0, Outcome::Pass),
            (max, 0.01, Outcome::Pass),
            (max, 0.02, Outcome::Fail),
            (max, f64::NAN, Outcome::NoData),
            (max, f64::NEG_INFINITY, Outcome::NoData),
            (min, f64::INFINITY, Outcome::NoData),
            (min, 1.0, Outcome::Pass),
            (min, 0.5, Outcome::Fail),
            (equals, 1.0, Outcome::Pass),
            (equals, 1.5, Outcome::Fail),
        ];
        for (bounds, value, wanted) in cases {
            assert_eq!(bounds.judge(value).outcome, wanted, "{bounds} of {value}");
        }
    }

    #[test]
    fn exactly_one_sample_is_data() {
        let data = |json: serde_json::Value| serde_json::from_value::<Data>(json).unwrap();
        let sample = serde_json::json!({"metric": {}, "value": [1.0, "0.5"]});
        assert_eq!(value(&data(serde_json::json!({"resultType": "scalar", "result": [1.0, "3"]}))), Ok(3.0));
        assert_eq!(value(&data(serde_json::json!({"resultType": "vector", "result": [sample]}))), Ok(0.5));
        assert!(value(&data(serde_json::json!({"resultType": "vector", "result": []}))).is_err());
        assert!(value(&data(serde_json::json!({"resultType": "vector", "result": [sample, sample]}))).is_err());
    }
}
