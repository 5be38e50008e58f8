//! PagerDuty's Events API v2 bodies: trigger, resolve, change event.
//!
//! Guarantees: within PagerDuty's limits (summary 1024 characters, dedup key 255, the body far below 512 KiB). Must not: hold a
//! routing key; the channel adds it.

use contracts::v1::Urgency;
use lastgood_core::words::audience_code;
use serde_json::{Value, json};

use crate::channels::Notice;
use crate::story::Story;
use crate::templates::{Links, answers, detour};
use crate::text::{cut, cut_front, line, lines, paragraph};

/// The client that PagerDuty shows.
const CLIENT: &str = "lastgood";
/// The reason of the notification of a success.
pub(crate) const COMPLETED: &str = "completed";
const SUMMARY: usize = 1024;
/// Pods and checks shown; the rest is counted.
const SHOWN: usize = 10;
/// Characters of a name; Kubernetes' have 253 at most.
const NAME: usize = 260;

/// `lastgood/<incident>/<audience or named receiver>/<reason>`: the team lead's page is not the on-call's, and a receiver that stands for both
/// gets one.
#[must_use]
pub fn dedup_key(notice: &Notice<'_>) -> String {
    let who = notice.receiver.unwrap_or_else(|| audience_code(notice.request.audience));
    cut(&format!("lastgood/{}/{who}/{}", notice.story.subject.incident, notice.request.reason), 255)
}

/// Opens an alert; without its routing key.
#[must_use]
pub fn trigger(notice: &Notice<'_>, links: &Links) -> Value {
    let (story, request) = (notice.story, notice.request);
    let workload = &story.subject.workload;
    let severity = if request.urgency == Urgency::Page { "critical" } else { "info" };
    json!({
        "event_action": "trigger",
        "dedup_key": dedup_key(notice),
        "client": CLIENT,
        "payload": {
            "summary": summary(notice),
            "source": source(story),
            "severity": severity,
            "timestamp": request.at.to_string(),
            "component": name(&workload.name),
            "group": name(&workload.namespace),
            "class": name(&request.reason),
            "custom_details": details(notice, links),
        },
        "links": links_of(notice, links),
    })
}

/// Closes the alert of this key; without its routing key.
#[must_use]
pub fn resolve(dedup_key: &str) -> Value {
    json!({"event_action": "resolve", "dedup_key": dedup_key})
}

/// Says what changed, without alerting anybody; without its routing key.
#[must_use]
pub fn change(notice: &Notice<'_>, links: &Links) -> Value {
    let story = notice.story;
    let (from, to) = story.images();
    // The incident closes only after this was delivered, so the outcome isn't in the log yet.
    let summary = if notice.request.reason == COMPLETED && !to.is_empty() {
        format!("{} rolled back from {} to {}", name(&story.workload()), line(&from, 400), line(&to, 400))
    } else {
        summary(notice)
    };
    json!({
        "payload": {
            "summary": cut(&summary, SUMMARY),
            "source": source(story),
            "timestamp": notice.request.at.to_string(),
            "custom_details": details(notice, links),
        },
        "links": links_of(notice, links),
    })
}

fn summary(notice: &Notice<'_>) -> String {
    let mut text = format!("{}: {}", name(&notice.story.workload()), line(&notice.request.summary, 700));
    if let Some(why) = detour(notice) {
        text = format!("{text} ({})", line(&why, 250));
    }
    cut(&text, SUMMARY)
}

fn source(story: &Story) -> String {
    let workload = &story.subject.workload;
    format!("{}/{}/{}/{}", name(&workload.cluster), name(&workload.namespace), name(&workload.kind), name(&workload.name))
}

fn name(text: &str) -> String {
    line(text, NAME)
}

fn links_of(notice: &Notice<'_>, links: &Links) -> Vec<Value> {
    let runbook = links.runbook(&notice.request.runbook).map(|href| json!({"href": href, "text": "Runbook"}));
    let thread = links.thread(notice.story).map(|href| json!({"href": href, "text": "Chat thread"}));
    runbook.into_iter().chain(thread).collect()
}

fn details(notice: &Notice<'_>, links: &Links) -> Value {
    let story = notice.story;
    let workload = &story.subject.workload;
    let (from, to) = story.images();
    let mut details = json!({
        "incident": story.subject.incident.to_string(),
        "workload": format!("{} {}/{}", name(&workload.kind), name(&workload.namespace), name(&workload.name)),
        "cluster": name(&workload.cluster),
        "phase": story.phase(),
        "reason": name(&notice.request.reason),
    });
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            details[key] = Value::String(value);
        }
    };
    add("from", line(&from, 1000));
    add("to", line(&to, 1000));
    add("runbook", links.runbook(&notice.request.runbook).unwrap_or_default());
    add("chat_thread", links.thread(story).unwrap_or_default());
    add("diff", story.plan.as_ref().map_or_else(String::new, |plan| paragraph(&plan.diff, 4000)));
    if let Some([approve, decline]) = answers(notice) {
        let would_do = story.approval.as_ref().map_or("", |approval| approval.would_do.as_str());
        add("would_do", paragraph(would_do, 2000));
        add("to_approve", approve);
        add("to_decline", decline);
    }
    if let Some(trigger) = &story.trigger {
        add("alert", line(&trigger.alert_name, 300));
        add("alert_source", line(&trigger.generator_url, 1000));
    }
    if let Some(halted) = &story.halted {
        add("halted", paragraph(&format!("{}: {}", halted.reason, halted.detail), 2000));
        add("would_do", paragraph(&halted.would_do, 2000));
    }
    if let Some(failed) = &story.failed {
        add("failed", paragraph(&format!("{}: {}", failed.reason, failed.detail), 2000));
    }
    if let Some(failed) = &story.verification_failed {
        add("verification", line(&failed.reason, 500));
    }
    if let Some((_, superseded)) = &story.superseded {
        add("superseded", line(&format!("{}: {}", superseded.what, superseded.detail), 1000));
    }
    add_lists(&mut details, story);
    details
}

fn add_lists(details: &mut Value, story: &Story) {
    let mut add = |key: &str, items: Vec<Value>, total: usize| {
        if total > 0 {
            let more = total.saturating_sub(items.len());
            let note = (more > 0).then(|| Value::String(format!("… and {more} more")));
            details[key] = items.into_iter().chain(note).collect();
        }
    };
    let checks = story.bad_checks().take(SHOWN).map(|check| {
        let verdict = check.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase();
        json!({"check": line(&check.check, 300), "verdict": verdict, "evidence": paragraph(&check.evidence, 500)})
    });
    add("failed_checks", checks.collect(), story.bad_checks().count());
    if let Some(failed) = &story.failed {
        let pods = failed.pods.iter().take(SHOWN).map(|pod| {
            json!({
                "pod": line(&pod.name, 300),
                "reason": line(&pod.reason, 500),
                "restarts": pod.restarts,
                "last_log_lines": lines(&cut_front(&pod.last_log_lines.join("\n"), 1000)),
            })
        });
        add("pods", pods.collect(), failed.pods.len());
        let serving = failed.serving.iter().take(SHOWN).map(|pod| Value::String(line(pod, 300)));
        add("serving_pods", serving.collect(), failed.serving.len());
    }
}
