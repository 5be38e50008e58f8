//! The generic webhook's JSON.
//!
//! Guarantees: fields are only ever added; values are whole where people may parse them and cut where they are prose. Must not: sign;
//! the channel does.

use contracts::codes::outcome_name;
use contracts::v1::{Outcome, Urgency};
use lastgood_core::words::audience_code;
use serde_json::{Value, json};

use crate::channels::Notice;
use crate::templates::{Links, answers};
use crate::text::paragraph;

/// The notification as a JSON object.
#[must_use]
pub fn notification(notice: &Notice<'_>, links: &Links) -> Value {
    let (story, request) = (notice.story, notice.request);
    let workload = &story.subject.workload;
    let (from, to) = story.images();
    let outcome = story.outcome().filter(|outcome| *outcome != Outcome::Unspecified);
    json!({
        "id": notice.delivery_id(),
        "incident": story.subject.incident.to_string(),
        "workload": {
            "cluster": workload.cluster,
            "namespace": workload.namespace,
            "kind": workload.kind,
            "name": workload.name,
        },
        "fact": "notification_requested",
        "at": request.at.to_string(),
        "opened_at": story.opened_at.map(|at| at.to_string()),
        "phase": story.phase(),
        "outcome": outcome.map(|outcome| outcome_name(outcome).replace(' ', "_")),
        "audience": audience_code(request.audience),
        "urgency": if request.urgency == Urgency::Page { "page" } else { "inform" },
        "reason": request.reason,
        "summary": paragraph(&request.summary, 4000),
        "alert": story.trigger.as_ref().map(|trigger| json!({
            "name": trigger.alert_name,
            "fingerprint": trigger.fingerprint,
            "labels": trigger.labels,
        })),
        "from": from,
        "to": to,
        "diff": story.plan.as_ref().map(|plan| paragraph(&plan.diff, 8000)),
        "serving": story.failed.as_ref().map(|failed| failed.serving.iter().take(100).collect::<Vec<_>>()),
        "answers": answers(notice).map(|[approve, decline]| json!({"approve": approve, "decline": decline})),
        "runbook": links.runbook(&request.runbook),
        "chat_thread": links.thread(story),
        "instead_of": notice.instead_of,
        "receivers": request.receivers,
        "unknown_receivers": notice.unknown,
    })
}
