//! One incident as people and programs read it: what it is about, how it stands, and its facts in order.
//!
//! Guarantees: pure; every fact is there. Must not: know where it came from.

use contracts::codes::outcome_name;
use contracts::v1::{self, Audience, Outcome};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::Incident;
use lastgood_core::text::{length, utc, when};
use lastgood_core::words::{audience_code, images, words};
use serde_json::{Value, json};

use super::dossier::{Dossier, Entry};
use super::state::State;
use super::tell::tell;
use crate::look::{Look, Tone};
use crate::workload::{self, pasteable};

/// Blanks before a fact's details: under its headline.
const INDENT: usize = 21;

/// What stands above the facts.
#[must_use]
pub fn head(dossier: &Dossier, now: Timestamp, look: Look) -> Vec<String> {
    let (incident, workload) = (dossier.state(), &dossier.subject.workload);
    let from = if dossier.archived { ", from the archive" } else { "" };
    let heading = format!("{} of {} in cluster {}{from}", dossier.subject.incident, pasteable(workload), workload.cluster);
    let mut lines = vec![look.toned(Tone::Title, &heading)];
    let mut say = |name: &str, tone: Tone, text: &str| {
        if !text.is_empty() {
            lines.push(format!("  {} {}", look.toned(Tone::Quiet, &format!("{name:<8}")), look.toned(tone, text)));
        }
    };
    if let Some(opened) = &incident.opened {
        say("alert", Tone::Plain, &opened.trigger.alert_name);
        say("opened", Tone::Plain, &when(opened.at, now));
    }
    let (bad, good) = versions(&incident);
    say("bad", Tone::Plain, &images(bad));
    say("good", Tone::Plain, &images(good));
    lines
}

/// The version that ran badly, and the one to go back to.
fn versions(incident: &Incident) -> (Option<&v1::Version>, Option<&v1::Version>) {
    let plan = incident.plan.as_ref().map(|(_, plan)| plan);
    let current = incident.current.as_ref().and_then(|fact| fact.version.as_ref());
    let target = incident.target.as_ref().and_then(|fact| fact.version.as_ref());
    (plan.and_then(|plan| plan.from.as_ref()).or(current), plan.and_then(|plan| plan.to.as_ref()).or(target))
}

/// A fact: its time, how long after the opening, and what it says.
#[must_use]
pub fn fact(entry: &Entry, opened_at: Option<Timestamp>, look: Look) -> Vec<String> {
    let told = tell(entry);
    let since = opened_at.map_or_else(String::new, |opened| offset(entry.at.duration_since(opened)));
    let time = format!("{} {since:>9}  ", entry.at.strftime("%H:%M:%SZ"));
    let mut lines = vec![format!("{}{}", look.toned(Tone::Quiet, &time), look.toned(told.tone, &told.headline))];
    lines.extend(told.details.iter().flat_map(|detail| look.block(Tone::Plain, INDENT, detail)));
    lines
}

fn offset(since: SignedDuration) -> String {
    if since < SignedDuration::from_mins(1) {
        let tenths = since.as_millis().max(0) / 100;
        return format!("+{}.{}s", tenths / 10, tenths % 10);
    }
    format!("+{}", length(since))
}

/// What stands below the facts: how it stands, and what is waited for.
#[must_use]
pub fn foot(dossier: &Dossier, now: Timestamp, look: Look) -> Vec<String> {
    let incident = dossier.state();
    let state = State::of(&incident, dossier.unreadable() > 0);
    let ended = match (&incident.closed, &incident.opened) {
        (Some(closed), Some(opened)) => {
            format!(", closed at {} after {}", utc(closed.at), length(closed.at.duration_since(opened.at)))
        }
        (Some(closed), None) => format!(", closed at {}", utc(closed.at)),
        (None, _) => String::new(),
    };
    let mut lines = vec![format!("{}{ended}", look.toned(state.tone(), &state.words()))];
    lines.extend(state.waiting(now).iter().map(|line| look.toned(Tone::Open, line)));
    lines
}

/// The whole of it for people.
#[must_use]
pub fn text(dossier: &Dossier, now: Timestamp, look: Look) -> Vec<String> {
    let opened_at = opened_at(dossier);
    let mut lines = head(dossier, now, look);
    lines.push(String::new());
    lines.extend(dossier.entries.values().flat_map(|entry| fact(entry, opened_at, look)));
    lines.push(String::new());
    lines.extend(foot(dossier, now, look));
    lines
}

/// When it was opened; the time of its first fact where that can't be told.
#[must_use]
pub fn opened_at(dossier: &Dossier) -> Option<Timestamp> {
    dossier.state().opened.map(|opened| opened.at).or_else(|| dossier.entries.values().next().map(|entry| entry.at))
}

/// A fact for programs.
#[must_use]
pub fn fact_json(entry: &Entry) -> Value {
    let told = tell(entry);
    json!({
        "sequence": entry.sequence,
        "at": entry.at.to_string(),
        "type": entry.event_type,
        "readable": entry.fact.is_ok(),
        "headline": told.headline,
        "details": told.details,
    })
}

/// The incident for programs, without its facts.
#[must_use]
pub fn json(dossier: &Dossier) -> Value {
    let incident = dossier.state();
    let state = State::of(&incident, dossier.unreadable() > 0);
    let (bad, good) = versions(&incident);
    let outcome = |outcome: Outcome| outcome_name(outcome).replace(' ', "_");
    json!({
        "incident": dossier.subject.incident.to_string(),
        "workload": workload::json(&dossier.subject.workload),
        "archived": dossier.archived,
        "open": incident.is_open(),
        "phase": state.code(),
        "outcome": incident.closed.as_ref().map(|closed| outcome(closed.outcome)),
        "reason": incident.closed.as_ref().map(|closed| &closed.reason),
        "opened_at": incident.opened.as_ref().map(|opened| opened.at.to_string()),
        "closed_at": incident.closed.as_ref().map(|closed| closed.at.to_string()),
        "alert": incident.opened.as_ref().map(|opened| alert(&opened.trigger)),
        "joined": incident.joined.values().map(alert).collect::<Vec<_>>(),
        "bad": bad.map(version),
        "good": good.map(version),
        "diff": incident.plan.as_ref().map(|(_, plan)| plan.diff.lines().collect::<Vec<_>>()),
        "halted": incident.halted.as_ref().map(|fact| json!({"reason": fact.reason, "detail": fact.detail, "would_do": fact.would_do})),
        "failed": incident.failed.as_ref().map(|fact| json!({
            "reason": fact.reason,
            "detail": fact.detail,
            "pods": fact.pods.iter().map(|pod| json!({"name": pod.name, "reason": pod.reason, "restarts": pod.restarts})).collect::<Vec<_>>(),
            "serving": fact.serving,
        })),
        "checks": incident.checks.values().map(check).collect::<Vec<_>>(),
        "notices": incident.notices.values().map(notice).collect::<Vec<_>>(),
        "waiting_for": state.waiting_json(),
        "unreadable_facts": dossier.unreadable(),
    })
}

fn alert(occurrence: &v1::Occurrence) -> Value {
    json!({
        "name": occurrence.alert_name,
        "fingerprint": occurrence.fingerprint,
        "source": occurrence.source,
        "labels": occurrence.labels,
    })
}

fn version(version: &v1::Version) -> Value {
    let images = version.images.iter().map(crate::record::image);
    json!({"hash": version.template_hash, "images": images.collect::<Vec<_>>()})
}

fn check(fact: &v1::SmokeTestFinished) -> Value {
    let verdict = fact.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase();
    json!({"check": fact.check, "kind": fact.kind, "verdict": verdict, "evidence": fact.evidence, "tries": fact.tries})
}

fn notice(notice: &lastgood_core::incident::Notice) -> Value {
    let audience = Audience::try_from(notice.request.audience).unwrap_or_default();
    json!({
        "audience": audience_code(audience),
        "urgency": if notice.urgency == v1::Urgency::Page { "page" } else { "inform" },
        "reason": notice.request.reason,
        "reason_words": words(&notice.request.reason),
        "summary": notice.request.summary,
        "runbook": notice.request.runbook,
        "receivers": notice.request.receivers,
        "requested_at": notice.requested_at.to_string(),
        "settled_at": notice.settled_at.map(|at| at.to_string()),
        "delivered": notice.delivered,
    })
}

#[cfg(test)]
mod tests;
