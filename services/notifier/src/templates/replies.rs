//! Replies in the incident's thread, one function for each important fact.
//!
//! Guarantees: pure; each answers only its own fact. Must not: announce what has not happened; the fact is in the log.

use contracts::Fact;
use contracts::v1::Verdict;
use lastgood_core::words::{audience_name, words};

use crate::story::Story;
use crate::templates::ChatMessage;
use crate::text::{cut_front, fenced, inline};

/// Characters of a fenced block within a section.
const BLOCK: usize = 2900;
/// Pods and checks shown with their details; the rest is counted.
const SHOWN: usize = 8;

/// The plan with its diff.
pub(super) fn planned(story: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::RollbackPlanned(fact) = fact else { return None };
    let plan = fact.plan.as_ref()?;
    let (from, to) = story.images();
    let what = if story.approval.is_some() { "Once it is approved, rolling back" } else { "Rolling back" };
    let text = format!("{what} from `{}` to `{}`", inline(&from, 600), inline(&to, 600));
    let diff = if plan.diff.is_empty() { String::new() } else { fenced(&plan.diff, BLOCK) };
    Some(ChatMessage::new(&text).section(&text).section(&diff))
}

/// The version came back with other images than it had, so it is put back by digest.
pub(super) fn moved(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::ImageMoved(fact) = fact else { return None };
    let text = "*Not the image that ran before*: a tag was moved since. Putting the version back once more, by digest.";
    let mut message = ChatMessage::new(text).section(text);
    for image in fact.images.iter().take(SHOWN) {
        let [name, was, is] = [&image.image, &image.recorded, &image.found].map(|part| inline(part, 600));
        message = message.section(&format!("`{name}` led to `{was}` while it proved itself, and leads to `{is}` now"));
    }
    Some(message)
}

/// Why nothing was done.
pub(super) fn halted(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::RollbackHalted(fact) = fact else { return None };
    let text = format!("*Halted: {}.* {}", inline(&words(&fact.reason), 100), inline(&fact.detail, 1500));
    let would = if fact.would_do.is_empty() {
        String::new()
    } else {
        format!("What would have been done:\n{}", fenced(&fact.would_do, 2800))
    };
    Some(ChatMessage::new(&text).section(&text).section(&would))
}

/// Which pods are not healthy and why, and which serve now.
pub(super) fn failed(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::RollbackFailed(fact) = fact else { return None };
    let text = format!("*Rollback failed: {}.* {}", inline(&words(&fact.reason), 100), inline(&fact.detail, 1500));
    let mut message = ChatMessage::new(&text).section(&text);
    for pod in fact.pods.iter().take(SHOWN) {
        message =
            message.section(&format!("`{}`: {} ({} restarts)", inline(&pod.name, 260), inline(&pod.reason, 800), pod.restarts));
        if !pod.last_log_lines.is_empty() {
            message = message.section(&fenced(&cut_front(&pod.last_log_lines.join("\n"), 2000), BLOCK));
        }
    }
    if fact.pods.len() > SHOWN {
        message = message.section(&format!("… and {} more pods", fact.pods.len() - SHOWN));
    }
    Some(message.section(&serving(&fact.serving)))
}

fn serving(pods: &[String]) -> String {
    if pods.is_empty() {
        return "*No pod serves traffic now.*".to_owned();
    }
    let names: Vec<String> = pods.iter().take(20).map(|pod| format!("`{}`", inline(pod, 260))).collect();
    let more = if pods.len() > names.len() { format!(" and {} more", pods.len() - names.len()) } else { String::new() };
    crate::text::cut(&format!("Serving now: {}{more}", names.join(", ")), BLOCK)
}

/// What the failed checks saw.
pub(super) fn verification_failed(story: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::VerificationFailed(fact) = fact else { return None };
    let text = format!("*Verification failed: {}*", inline(&words(&fact.reason), 200));
    let mut message = ChatMessage::new(&text).section(&text);
    for check in story.bad_checks().take(SHOWN) {
        let verdict = if check.verdict() == Verdict::NoData { "no data" } else { "failed" };
        let head =
            format!("`{}` ({}): {verdict} after {} tries", inline(&check.check, 200), inline(&check.kind, 40), check.tries);
        message = message.section(&head).section(&if check.evidence.is_empty() {
            String::new()
        } else {
            fenced(&check.evidence, BLOCK)
        });
    }
    if story.bad_checks().next().is_none() && !fact.failed_checks.is_empty() {
        message = message.section(&format!("Failed: {}", inline(&fact.failed_checks.join(", "), 2000)));
    }
    Some(message)
}

/// Who else changed the workload.
pub(super) fn superseded(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::Superseded(fact) = fact else { return None };
    let text = format!(
        "*Superseded:* somebody else changed the workload's {}; theirs wins and nothing more is touched. {}",
        inline(&fact.what, 60),
        inline(&fact.detail, 1500)
    );
    Some(ChatMessage::new(&text).section(&text))
}

/// The on-call engineer was paged. What went over the chat itself needs no second message.
pub(super) fn paged(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::OnCallNotified(fact) = fact else { return None };
    told("On-call paged", &fact.channel, &fact.reason)
}

/// The team lead was paged.
pub(super) fn escalated(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::Escalated(fact) = fact else { return None };
    told("Escalated to the team lead", &fact.channel, &fact.reason)
}

fn told(what: &str, channel: &str, reason: &str) -> Option<ChatMessage> {
    let text = format!("{what} over {} ({})", inline(channel, 70), inline(&words(reason), 200));
    (!matches!(channel, "slack" | "webhook")).then(|| ChatMessage::new(&text).section(&text))
}

/// Nobody could be told.
pub(super) fn undeliverable(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::NotificationFailed(fact) = fact else { return None };
    let who = audience_name(fact.audience());
    let text = format!("*{who} could not be told* ({}): {}", inline(&words(&fact.reason), 200), inline(&fact.error, 1500));
    Some(ChatMessage::new(&text).section(&text).broadcast())
}

/// A person did something.
pub(super) fn person(_: &Story, fact: &Fact) -> Option<ChatMessage> {
    let Fact::PersonActed(person) = fact else { return None };
    let (_, did) = lastgood_core::words::step(fact)?;
    let note = if person.note.is_empty() { String::new() } else { format!(": {}", inline(&person.note, 1500)) };
    let text = format!("{}{note}", inline(&did, 300));
    Some(ChatMessage::new(&text).section(&text))
}
