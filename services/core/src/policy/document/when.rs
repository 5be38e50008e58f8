//! When nothing may be rolled back, as people write it: `spec.freeze`.
//!
//! Guarantees: a window is either weekly or once, and the schema's rules say so. Must not: know the time; `policy::freeze` is asked with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `spec.freeze[]`: every week from `start` to `end` on `days`, or once from `from` until `until`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.start) && has(self.end) && has(self.timeZone) && !has(self.from) && !has(self.until)) || (has(self.from) && has(self.until) && !has(self.start) && !has(self.end) && !has(self.days))",
     "message": "a window is weekly (start, end, timeZone, and days) or once (from, until)"},
]))]
pub struct Freeze {
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
    /// The days on which a weekly window begins; every day where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 7))]
    pub days: Option<Vec<Day>>,
    /// When a weekly window begins, by the clock on the wall: `18:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub start: Option<String>,
    /// When it ends: up to `24:00`. An end that is not after `start` is on the next day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
    pub end: Option<String>,
    /// Whose clock: an IANA time zone like `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// When a window begins that is only once: `2026-12-24T00:00:00+01:00`, or without an offset if there is a `timeZone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub from: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub until: Option<String>,
}

/// `spec.freeze[].days[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}
