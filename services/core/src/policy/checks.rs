//! Smoke tests of a policy: whether the verifier will read them.
//!
//! Guarantees: what is accepted here the verifier accepts (a test of the verifier says so). Must not: run anything.

use std::collections::BTreeSet;
use std::time::Duration;

use super::document::{Check, Http, Length, PromQl, StatusCodes};
use super::problem::{At, quoted};
use super::says::some_length;

/// The verifier's longest pause or try.
const LONGEST: Duration = Duration::from_hours(1);
/// The check that always runs.
const PODS: &str = "pods";

/// The list as the verifier reads it; JSON, which is YAML. Nothing where there is none.
pub(super) fn read(list: &[Check], mut at: At<'_>) -> Option<String> {
    let mut names = BTreeSet::new();
    for (index, check) in list.iter().enumerate() {
        let mut at = at.index(index);
        let name = check.name.clone().unwrap_or_default();
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
            at.field("name").refuse(format!("{} is no name; write 1 to 63 letters, digits, -, _ and .", quoted(&name)));
        } else if name == PODS {
            at.field("name").refuse("\"pods\" is the check that always runs; take another name");
        } else if !names.insert(name.clone()) {
            at.field("name").refuse(format!("{} is there twice; take another name", quoted(&name)));
        }
        one(check, &mut at);
    }
    if list.is_empty() { None } else { serde_json::to_string(list).ok() }
}

fn one(check: &Check, at: &mut At<'_>) {
    let kinds = usize::from(check.http.is_some()) + usize::from(check.tcp.is_some()) + usize::from(check.promql.is_some());
    if kinds != 1 {
        at.refuse(format!("is of {kinds} kinds; write one of http, tcp and promql"));
    }
    if check.promql.is_some() && (check.target.is_some() || check.service.is_some()) {
        at.field("target").refuse("is not for promql; remove it");
    } else if check.service.is_some() && check.target != Some(super::document::TargetWord::Service) {
        at.field("service").refuse("is only for target: service; write that, or remove it");
    }
    for (field, given) in [("timeout", &check.timeout), ("interval", &check.interval)] {
        pause(at, field, given.as_ref());
    }
    if let Some(http) = &check.http {
        self::http(http, &mut at.field("http"));
    }
    if check.tcp.as_ref().is_some_and(|tcp| tcp.port.is_none()) {
        at.field("tcp").field("port").refuse("is missing; write the port");
    }
    if let Some(promql) = &check.promql {
        self::promql(promql, &mut at.field("promql"));
    }
}

fn pause(at: &mut At<'_>, field: &str, given: Option<&Length>) {
    if some_length(at, field, given).is_some_and(|length| length > LONGEST) {
        at.field(field).refuse("is longer than 1h; shorten it");
    }
}

fn http(http: &Http, at: &mut At<'_>) {
    if http.port.is_none() {
        at.field("port").refuse("is missing; write the port");
    }
    let path = http.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') || path.contains(|c: char| c.is_control()) {
        at.field("path").refuse(format!("{} is no path; write one that begins with /", quoted(path)));
    }
    let mut word = |field: &str, given: Option<&String>, words: &[&str]| {
        if let Some(given) = given.filter(|given| !words.contains(&given.as_str())) {
            at.field(field).refuse(format!("{} is none of {}", quoted(given), words.join(", ")));
        }
    };
    word("scheme", http.scheme.as_ref(), &["http", "https"]);
    word("method", http.method.as_ref(), &["GET", "HEAD", "POST", "PUT", "OPTIONS"]);
    if http.expect_body.is_some() && http.method.as_deref() == Some("HEAD") {
        at.field("expect_body").refuse("is not for HEAD, whose answer has no body; remove it, or take GET");
    }
    if http.insecure == Some(true) && http.scheme.as_deref() != Some("https") {
        at.field("insecure").refuse("is only for scheme: https; write that, or remove it");
    }
    if http.expect_status.as_ref().is_some_and(|given| !are_statuses(given)) {
        at.field("expect_status").refuse("is no status; write one like 200, \"200-299\" or \"200,204\"");
    }
    for (name, value) in http.headers.iter().flatten() {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.contains(|c: char| c.is_control() || !c.is_ascii()) {
            at.field("headers")
                .field(name)
                .refuse("is no header; write a name of letters, digits and -, and a value of plain text");
        }
    }
}

fn are_statuses(given: &StatusCodes) -> bool {
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((status(low), status(high)), (Some(low), Some(high)) if low <= high)
    };
    match given {
        StatusCodes::Number(number) => range(&number.to_string()),
        StatusCodes::Text(text) => text.split(',').all(range),
    }
}

fn promql(promql: &PromQl, at: &mut At<'_>) {
    let query = promql.query.as_deref().unwrap_or_default();
    if query.trim().is_empty() {
        at.field("query").refuse("is missing; write a query");
    }
    let mut rest = query;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            at.field("query").refuse("has a {{ without }}; close it");
            break;
        };
        if !["namespace", "name", "kind"].contains(&name.trim()) {
            at.field("query").refuse(format!("has the unknown placeholder {}; known are namespace, name and kind", quoted(name)));
        }
        rest = after;
    }
    match (promql.min, promql.max, promql.equals) {
        (None, None, None) => at.refuse("needs max, min or equals"),
        (min, max, Some(_)) if min.is_some() || max.is_some() => at.field("equals").refuse("excludes min and max; remove either"),
        (Some(min), Some(max), _) if min > max => at.field("min").refuse("is larger than max; exchange them"),
        _ => {}
    }
}
