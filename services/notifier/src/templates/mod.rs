//! What messages say: pure functions from an incident's story to text, Slack blocks or JSON.
//!
//! A new reply in the thread is one function and one line in `REPLIES`.
//! Guarantees: every value is escaped and cut to the provider's limits, whatever labels and log lines hold. Must not: send, or read
//! a clock.

pub mod alarm;
pub mod blocks;
pub mod bulletin;
pub mod event;
pub mod notice;
pub mod page;
pub mod replies;
pub mod thread;

use contracts::Fact;
use lastgood_core::incident::APPROVAL;

use crate::channels::Notice;
use crate::story::Story;
pub use blocks::ChatMessage;

/// A reply in the incident's thread for one kind of fact.
type Reply = fn(&Story, &Fact) -> Option<ChatMessage>;

/// Which facts are replied to, and how.
const REPLIES: &[Reply] = &[
    replies::planned,
    replies::moved,
    replies::halted,
    replies::failed,
    replies::verification_failed,
    replies::superseded,
    replies::paged,
    replies::escalated,
    replies::undeliverable,
    replies::person,
];

/// The reply that this fact deserves, if any.
#[must_use]
pub fn reply(story: &Story, fact: &Fact) -> Option<ChatMessage> {
    REPLIES.iter().find_map(|reply| reply(story, fact))
}

/// The commands that answer a request, as they are typed; none where it asks for no answer.
#[must_use]
pub fn answers(notice: &Notice<'_>) -> Option<[String; 2]> {
    let incident = notice.story.subject.incident;
    (notice.request.reason == APPROVAL).then(|| ["approve", "decline"].map(|answer| format!("lastgood {answer} {incident}")))
}

/// Why a message comes this way and not the one that it was meant to take, unescaped; none where it takes that one.
#[must_use]
pub fn detour(notice: &Notice<'_>) -> Option<String> {
    let unreached = notice.instead_of.map(|channels| format!("sent here because {channels} could not be reached"));
    let names = notice.unknown.join(", ");
    let unknown =
        (!names.is_empty()).then(|| format!("sent here because the policy names whom the notifier does not know: {names}"));
    let why: Vec<_> = unreached.into_iter().chain(unknown).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

/// Where messages link to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The folder of the runbook pages.
    pub runbooks: String,
    /// The chat's address for people, where one is known.
    pub chat: Option<ChatLink>,
}

/// How a link to a chat thread is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatLink {
    /// The workspace's own address, `https://acme.slack.com`.
    Workspace(String),
    /// The provider's address, which finds the workspace by the channel.
    Provider(String),
}

impl Links {
    /// The runbook page of this name; none where the name can be no page's, whatever a log says.
    #[must_use]
    pub fn runbook(&self, page: &str) -> Option<String> {
        let is_page = !page.is_empty() && page.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        is_page.then(|| format!("{}/{page}.md", self.runbooks.trim_end_matches('/')))
    }

    /// The incident's chat thread.
    #[must_use]
    pub fn thread(&self, story: &Story) -> Option<String> {
        let thread = story.thread.as_ref()?;
        let (channel, ts) = (&thread.channel, &thread.thread);
        Some(match self.chat.as_ref()? {
            ChatLink::Workspace(url) => format!("{}/archives/{channel}/p{}", url.trim_end_matches('/'), ts.replace('.', "")),
            ChatLink::Provider(url) => {
                format!("{}/app_redirect?channel={channel}&message_ts={ts}", url.trim_end_matches('/'))
            }
        })
    }
}
