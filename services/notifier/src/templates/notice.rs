//! A notification as a chat message: what is asked of whom, and where the runbook is.
//!
//! Guarantees: names the reason, the workload and the page; one that comes instead of a page says so. Must not: send.

use contracts::v1::{Audience, Urgency};
use lastgood_core::words::{audience_name, words};

use crate::channels::Notice;
use crate::templates::{ChatMessage, Links, answers, detour};
use crate::text::{fenced, inline};

/// Characters of a fenced block within a section.
const BLOCK: usize = 2800;

/// The chat message of a notification.
#[must_use]
pub fn chat(notice: &Notice<'_>, links: &Links) -> ChatMessage {
    let request = notice.request;
    let page = request.urgency == Urgency::Page;
    let (sign, to) =
        if page { ("🚨", format!("{} is needed. ", audience_name(request.audience))) } else { ("ℹ️", String::new()) };
    let workload = inline(&notice.story.workload(), 320);
    let text = format!("{sign} {to}*{workload}*: {}", inline(&request.summary, 2000));
    let mut message = ChatMessage::new(&text).section(&text);
    if let Some([approve, decline]) = answers(notice) {
        let would_do = notice.story.approval.as_ref().map_or("", |approval| approval.would_do.as_str());
        message = message.section(&fenced(would_do, BLOCK)).section(&format!("Answer with `{approve}` or `{decline}`."));
    }
    let mut small = vec![inline(&words(&request.reason), 200)];
    if let Some(link) = links.runbook(&request.runbook) {
        small.push(format!("<{}|runbook>", inline(&link, 500)));
    }
    small.push(notice.story.subject.incident.to_string());
    if let Some(thread) = notice.receiver.and_then(|_| links.thread(notice.story)) {
        small.push(format!("<{}|chat thread>", inline(&thread, 500)));
    }
    small.extend(detour(notice).map(|why| inline(&why, 400)));
    let message = message.context(&small.join(" · "));
    // Good news stays in the thread, where nobody has to look; what needs a person shows in the channel.
    if page || request.audience == Audience::TeamLead { message.broadcast() } else { message }
}
