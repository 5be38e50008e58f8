//! The incident's parent message: what is going on, the steps so far with their times since detection, and the outcome.
//!
//! Guarantees: the same story gives the same message, so an edit that changes nothing can be told; however many steps there are,
//! the last ones show. Must not: send.

use contracts::HaltReason;
use contracts::codes::outcome_name;
use contracts::v1::Outcome;
use lastgood_core::words::{Mark, words};

use crate::story::Story;
use crate::templates::{ChatMessage, Links};
use crate::text::{after, inline};

/// Characters of one step; 3000 fit a section.
const STEP: usize = 180;
/// Characters of all steps in one section, with room for what is added around them.
const STEPS: usize = 2900;

/// The parent message as it should stand now.
#[must_use]
pub fn parent(story: &Story, links: &Links) -> ChatMessage {
    let title = title(story);
    ChatMessage::new(&crate::text::escape(&title))
        .header(&title)
        .section(&what(story))
        .section(&steps(story))
        .context(&small_print(story, links))
}

fn title(story: &Story) -> String {
    let (mark, state) = state(story);
    format!("{mark} {}: {state}", crate::text::line(&story.workload(), 320))
}

/// The incident's state as a sign and a few words.
fn state(story: &Story) -> (char, String) {
    match story.outcome() {
        Some(Outcome::Completed) => return ('✅', "rolled back, verified and resolved".to_owned()),
        Some(Outcome::Superseded) => return ('↪', "superseded by somebody else's change".to_owned()),
        Some(Outcome::Halted) if resolved_before_action(story) => {
            return ('✅', "resolved by itself, nothing was changed".to_owned());
        }
        Some(outcome) => return ('🚨', format!("{}, a person is needed", outcome_name(outcome))),
        None => {}
    }
    match story.phase() {
        "detected" => ('🔎', "looking for the last good version".to_owned()),
        "awaiting_approval" => ('✋', "a rollback waits for a person's approval".to_owned()),
        "in_grace" => ('⏳', "a rollback waits: the alert may resolve by itself".to_owned()),
        "planned" => ('📋', "rollback planned".to_owned()),
        "rolling_back" => ('⏪', "rolling back".to_owned()),
        "verifying" => ('🧪', "rolled back, verifying".to_owned()),
        "mitigated" => ('🩹', "verified, waiting for the alert to resolve".to_owned()),
        other => ('🚨', words(other)),
    }
}

fn resolved_before_action(story: &Story) -> bool {
    story.halted.as_ref().is_some_and(|halted| halted.reason == HaltReason::ResolvedBeforeAction.code())
}

fn what(story: &Story) -> String {
    let mut lines = Vec::new();
    if let Some(trigger) = &story.trigger {
        let summary = ["summary", "description"].iter().find_map(|key| trigger.annotations.get(*key));
        let summary = summary.map_or_else(String::new, |text| format!(": {}", inline(text, 500)));
        lines.push(format!("*{}*{summary}", inline(&trigger.alert_name, 150)));
    }
    let (from, to) = story.images();
    match (from.is_empty(), to.is_empty()) {
        (false, false) => lines.push(format!("`{}` → `{}`", inline(&from, 600), inline(&to, 600))),
        (false, true) => lines.push(format!("Runs `{}`", inline(&from, 600))),
        _ => {}
    }
    if story.joined > 0 {
        lines.push(format!("{} more alert(s) of the same workload", story.joined));
    }
    lines.join("\n")
}

fn steps(story: &Story) -> String {
    let Some(opened_at) = story.opened_at else { return String::new() };
    let line = |step: &crate::story::Step| {
        let mark = match step.mark {
            Mark::Done => '✅',
            Mark::Failed => '❌',
            Mark::Note => '▫',
        };
        let since = step.at.as_millisecond() - opened_at.as_millisecond();
        format!("{mark} {}  _+{}_", inline(&step.text, STEP), after(since))
    };
    let mut kept = Vec::new();
    let mut room = STEPS;
    for step in story.steps.iter().rev() {
        let line = line(step);
        let length = line.chars().count() + 1;
        if length > room {
            kept.push(format!("… {} earlier steps", story.steps.len() - kept.len()));
            break;
        }
        room -= length;
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}

fn small_print(story: &Story, links: &Links) -> String {
    let workload = &story.subject.workload;
    let mut parts = vec![
        format!("{} · {} {}", story.subject.incident, inline(&workload.kind, 60), inline(&workload.name, 260)),
        format!("cluster {}", inline(&workload.cluster, 120)),
    ];
    let page = story.requests.last().and_then(|request| links.runbook(&request.runbook));
    if let Some(page) = page {
        parts.push(format!("<{}|runbook>", inline(&page, 500)));
    }
    parts.join(" · ")
}
