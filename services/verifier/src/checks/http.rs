//! `http: {path, port, scheme, expect_status, expect_body, headers, method, insecure}`: the answer is as it should be.
//!
//! Guarantees: redirects are answers and not followed; at most 64 KiB of a body are read; certificates are checked unless the
//! definition says `insecure: true`. Must not: keep connections, which would hide that no new one is accepted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Kind, Pace, Probe, Scene, Tools, Try, at_all};
use crate::fields::{Fields, Invalid};
use crate::net::HttpProbe;
use crate::sight::{Place, Target};
use crate::tally::Outcome;
use crate::text::excerpt;

/// Its registration.
pub const KIND: Kind = Kind {
    key: "http",
    pace: Pace { timeout: Duration::from_secs(2), retries: 3, interval: Duration::from_secs(1), passes: 3 },
    aimed: true,
    read,
};

/// How much of it is evidence, characters.
const SHOWN: usize = 200;

#[derive(Debug)]
struct Http {
    method: Method,
    scheme: &'static str,
    path: String,
    port: u16,
    headers: HeaderMap,
    statuses: Vec<(u16, u16)>,
    body: Option<String>,
    insecure: bool,
    target: Target,
}

fn read(mut fields: Fields, target: Target) -> Result<Arc<dyn Probe>, Invalid> {
    let port = fields.port("port")?.ok_or_else(|| fields.invalid("port", "is missing"))?;
    let path = fields.text("path")?.unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || url::Url::parse(&format!("http://localhost{path}")).is_err() {
        return Err(fields.invalid("path", format!("must be a path that begins with `/`, not `{}`", excerpt(&path, 60))));
    }
    let schemes: &[(&str, &'static str)] = &[("http", "http"), ("https", "https")];
    let methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"].map(|method| (method, method));
    let method = fields.word("method", &methods)?.unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| fields.invalid("method", error.to_string()))?;
    let scheme = fields.word("scheme", schemes)?.unwrap_or("http");
    let statuses = statuses(&mut fields)?;
    let body = fields.text("expect_body")?;
    if body.is_some() && method == Method::HEAD {
        return Err(fields.invalid("expect_body", "an answer to HEAD has no body"));
    }
    let headers = headers(&mut fields)?;
    let insecure = fields.flag("insecure")?.unwrap_or(false);
    if insecure && scheme == "http" {
        return Err(fields.invalid("insecure", "is only for `scheme: https`"));
    }
    fields.finish()?;
    Ok(Arc::new(Http { method, scheme, path, port, headers, statuses, body, insecure, target }))
}

fn statuses(fields: &mut Fields) -> Result<Vec<(u16, u16)>, Invalid> {
    const KEY: &str = "expect_status";
    let text = match fields.raw(KEY) {
        None => "200-299".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text,
        Some(_) => return Err(fields.invalid(KEY, "must be like `200`, `200-299` or `200,204`")),
    };
    let one = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (100 <= low && low <= high && high <= 599).then_some((low, high))
    };
    text.split(',')
        .map(|part| one(part.trim()))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| fields.invalid(KEY, format!("must be like `200`, `200-299` or `200,204`, not `{}`", excerpt(&text, 60))))
}

fn headers(fields: &mut Fields) -> Result<HeaderMap, Invalid> {
    const KEY: &str = "headers";
    let mut headers = HeaderMap::new();
    let Some(value) = fields.raw(KEY) else { return Ok(headers) };
    let Value::Object(entries) = value else { return Err(fields.invalid(KEY, "must be a mapping of names to texts")) };
    for (name, value) in entries {
        let key = format!("{KEY}.{name}");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fields.invalid(&key, "is not a header's name"))?;
        let text = value.as_str().ok_or_else(|| fields.invalid(&key, "must be a text"))?;
        let value = HeaderValue::from_str(text).map_err(|_| fields.invalid(&key, "is not a header's value"))?;
        headers.append(header, value);
    }
    Ok(headers)
}

#[async_trait]
impl Probe for Http {
    async fn try_once(&self, scene: &Scene<'_>) -> Try {
        let (tools, timeout) = (scene.tools, scene.timeout);
        at_all(scene.sight, &self.target, self.port, |place| async move {
            match tokio::time::timeout(timeout, self.ask(tools, &place)).await {
                Ok(Ok(tried)) => tried,
                Ok(Err(why)) => Try::new(Outcome::Fail, why),
                Err(_) => Try::new(Outcome::Fail, format!("no answer within {timeout:?}")),
            }
        })
        .await
    }
}

impl Http {
    async fn ask(&self, tools: &Tools, place: &Place) -> Result<Try, String> {
        let answer = tools.network.http(HttpProbe {
            method: self.method.clone(),
            scheme: self.scheme,
            address: place.address,
            path: self.path.clone(),
            headers: self.headers.clone(),
            insecure: self.insecure,
        });
        let answer = answer.await?;
        Ok(self.judge(answer.status, &String::from_utf8_lossy(&answer.body)))
    }

    fn judge(&self, status: StatusCode, body: &str) -> Try {
        let code = status.as_u16();
        let shown = if body.is_empty() { String::new() } else { format!(" `{}`", excerpt(body, SHOWN)) };
        let line = format!("HTTP {}{shown}", status_line(status));
        if !self.statuses.iter().any(|(low, high)| (*low..=*high).contains(&code)) {
            return Try::new(Outcome::Fail, line);
        }
        match &self.body {
            Some(wanted) if !body.contains(wanted) => {
                Try::new(Outcome::Fail, format!("{line}, without `{}`", excerpt(wanted, 60)))
            }
            _ => Try::new(Outcome::Pass, line),
        }
    }
}

fn status_line(status: StatusCode) -> String {
    status.canonical_reason().map_or_else(|| status.as_u16().to_string(), |reason| format!("{} {reason}", status.as_u16()))
}
