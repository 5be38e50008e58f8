//! PagerDuty's Events API v2 bodies: trigger, resolve, change event.
//!
//! Guarantees: within PagerDuty's limits (summary 1024 characters, dedup key 255, the body far below 512 KiB). Must not: hold a
//! routing key; the channel adds it.

use contracts::v1::Urgency;
use serde_json::{Value, json};

use crate::channels::Notice;
use crate::steps::audience_code;
use crate::story::Story;
use crate::templates::Links;
use crate::text::{cut, cut_front, lines, one_line};

/// The client that PagerDuty shows.
const CLIENT: &str = "lastgood";
/// The reason of the notification of a success.
pub(crate) const COMPLETED: &str = "completed";
const SUMMARY: usize = 1024;
/// Pods, checks and labels shown; the rest is counted.
const SHOWN: usize = 20;

/// `lastgood/<incident>/<audience>/<reason>`: the team lead's page is not the on-call's.
#[must_use]
pub fn dedup_key(notice: &Notice<'_>) -> String {
    let request = notice.request;
    let key = format!("lastgood/{}/{}/{}", notice.story.subject.incident, audience_code(request.audience), request.reason);
    cut(&key, 255)
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
            "component": one_line(&workload.name),
            "group": one_line(&workload.namespace),
            "class": one_line(&request.reason),
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
        format!("{} rolled back from {} to {}", one_line(&story.workload()), one_line(&from), one_line(&to))
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
    let mut text = format!("{}: {}", one_line(&notice.story.workload()), one_line(&notice.request.summary));
    if let Some(channel) = notice.instead_of {
        text = format!("{text} (sent here because {channel} could not be reached)");
    }
    cut(&text, SUMMARY)
}

fn source(story: &Story) -> String {
    let workload = &story.subject.workload;
    one_line(&format!("{}/{}/{}/{}", workload.cluster, workload.namespace, workload.kind, workload.name))
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
        "workload": format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
        "cluster": workload.cluster,
        "phase": story.phase(),
        "reason": notice.request.reason,
    });
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            details[key] = Value::String(value);
        }
    };
    add("from", cut(&one_line(&from), 1000));
    add("to", cut(&one_line(&to), 1000));
    add("runbook", links.runbook(&notice.request.runbook).unwrap_or_default());
    add("chat_thread", links.thread(story).unwrap_or_default());
    add("diff", story.plan.as_ref().map_or_else(String::new, |plan| cut(&lines(&plan.diff), 4000)));
    if let Some(trigger) = &story.trigger {
        add("alert", cut(&one_line(&trigger.alert_name), 300));
        add("alert_source", cut(&one_line(&trigger.generator_url), 1000));
    }
    if let Some(halted) = &story.halted {
        add("halted", cut(&lines(&format!("{}: {}", halted.reason, halted.detail)), 2000));
        add("would_do", cut(&lines(&halted.would_do), 2000));
    }
    if let Some(failed) = &story.failed {
        add("failed", cut(&lines(&format!("{}: {}", failed.reason, failed.detail)), 2000));
    }
    if let Some(failed) = &story.verification_failed {
        add("verification", cut(&one_line(&failed.reason), 500));
    }
    if let Some((_, superseded)) = &story.superseded {
        add("superseded", cut(&one_line(&format!("{}: {}", superseded.what, superseded.detail)), 1000));
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
        json!({"check": cut(&one_line(&check.check), 300), "verdict": verdict, "evidence": cut(&lines(&check.evidence), 1000)})
    });
    add("failed_checks", checks.collect(), story.bad_checks().count());
    if let Some(failed) = &story.failed {
        let pods = failed.pods.iter().take(SHOWN).map(|pod| {
            json!({
                "pod": cut(&one_line(&pod.name), 300),
                "reason": cut(&one_line(&pod.reason), 1000),
                "restarts": pod.restarts,
                "last_log_lines": cut_front(&lines(&pod.last_log_lines.join("\n")), 2000),
            })
        });
        add("pods", pods.collect(), failed.pods.len());
        let serving = failed.serving.iter().take(SHOWN).map(|pod| Value::String(cut(&one_line(pod), 300)));
        add("serving_pods", serving.collect(), failed.serving.len());
    }
}
