//! What a run has come to, in a form that two runs can be compared by.
//!
//! Guarantees: what may differ after a crash and be right (another attempt's number, a chat that was slow to open, a message that came twice
//! because its sending could not be recorded) is left out or counted apart; nothing else is. Must not: judge; `promises` does.

use std::collections::BTreeMap;

use anyhow::Result;
use contracts::Fact;
use contracts::codes::outcome_name;
use contracts::v1::{Action, Outcome, Verdict};
use testbed::app::App;
use testbed::journal::Said;
use testbed::receivers::Received;
use testbed::receivers::slack::Message;
use testbed::sim::JournalEntry;
use testbed::small_world::SmallWorld;

use super::courses::Left;

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The facts, by their type and what distinguishes them, counted.
    pub said: BTreeMap<String, usize>,
    /// What reached people, counted.
    pub told: BTreeMap<String, usize>,
    /// Chat threads about the incident.
    pub threads: usize,
    /// The image that the Deployment names in the end, and its template as a whole.
    pub template: String,
    /// How often lastgood changed the template.
    pub writes: usize,
    /// What was given up.
    pub given_up: u64,
}

impl Ending {
    /// Of a world in which nothing is under way any more.
    pub async fn of(world: &SmallWorld, left: &Left) -> Result<Self> {
        let id = left.incident.as_ref().map(|incident| incident.incident.to_string());
        let deployment = serde_json::to_value(left.app.deployment().await?)?;
        Ok(Self {
            said: said(world),
            told: told(world, id.as_deref()),
            threads: world.slack.threads().iter().filter(|(message, _)| is_thread(message)).count(),
            template: deployment["spec"]["template"].to_string(),
            writes: template_writes(&world.cluster.journal(), &left.app).len(),
            given_up: world.given_up().await?,
        })
    }

    /// What is different from the undisturbed run's in a way that a crash of `killed` does not explain.
    #[must_use]
    pub fn differences(&self, undisturbed: &Self, killed: &str) -> Vec<String> {
        let mut found = compare("fact", &undisturbed.said, &self.said, 0);
        // Sent, and not known to be: the next start sends it again rather than not at all.
        let twice = usize::from(killed == "notifier");
        found.extend(compare("told", &undisturbed.told, &self.told, twice));
        let threads = undisturbed.threads..=undisturbed.threads + twice;
        if !threads.contains(&self.threads) {
            found.push(format!("{} chat threads, not {threads:?}", self.threads));
        }
        if self.template != undisturbed.template {
            found.push(format!("the template is {}, not {}", self.template, undisturbed.template));
        }
        if self.writes != undisturbed.writes {
            found.push(format!("the template was written {} times, not {}", self.writes, undisturbed.writes));
        }
        if self.given_up != 0 {
            found.push(format!("{} messages were given up", self.given_up));
        }
        found
    }
}

/// Differences of two counts, of which the second may be higher by `more` where the first has any.
fn compare(what: &str, wanted: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>, more: usize) -> Vec<String> {
    let names = wanted.keys().chain(found.keys().filter(|name| !wanted.contains_key(*name)));
    let count = |counts: &BTreeMap<String, usize>, name: &String| counts.get(name).copied().unwrap_or(0);
    let pairs = names.map(|name| (name, count(wanted, name), count(found, name)));
    let wrong = pairs.filter(|(_, wanted, found)| found < wanted || *found > wanted + if *wanted > 0 { more } else { 0 });
    wrong.map(|(name, wanted, found)| format!("{what} `{name}`: {found} times, not {wanted}")).collect()
}

fn said(world: &SmallWorld) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in world.journal.entries().iter() {
        let name = match &entry.said {
            Said::Incident(_, fact) => name(fact),
            Said::Occurrence(_, fact) => Some(fact.event_type().to_owned()),
            Said::Ledger(_, fact) => Some(fact.event_type().to_owned()),
            // A sender whose answer was lost sends again, and may be heard twice; that it changes nothing shows in the facts.
            Said::Alert(_) => None,
            Said::Unknown(subject) => Some(format!("unknown {subject}")),
        };
        if let Some(name) = name {
            *counts.entry(name).or_default() += 1;
        }
    }
    // A look at the cluster records what is there then: what came and went while nobody looked is nobody's to tell.
    for looked in ["version_observed", "version_available", "version_soaked"] {
        if let Some(looks) = counts.get_mut(looked) {
            *looks = 1;
        }
    }
    // What was seen of a write before its images turned out to be others is replaced with it, and seen again.
    if counts.contains_key("image_moved") {
        for seen in ["previous_version_deployed", "bad_pods_scaled_down"] {
            counts.insert(seen.to_owned(), 1);
        }
    }
    // A crash between intent and write, or an autoscaler, makes another attempt; the writes are counted in the cluster.
    if let Some(attempts) = counts.get_mut("rollback_started") {
        *attempts = 1;
    }
    counts
}

/// A fact's name with what distinguishes it from others of its type; `None` for what a crash may add.
#[must_use]
pub fn name(fact: &Fact) -> Option<String> {
    let detail = match fact {
        Fact::DeadlinePassed(fact) if fact.deadline == "announce" => return None,
        Fact::Announced(fact) if fact.thread.is_empty() => return None,
        Fact::DeadlinePassed(fact) => fact.deadline.clone(),
        Fact::RollbackHalted(fact) => fact.reason.clone(),
        Fact::RollbackFailed(fact) => fact.reason.clone(),
        Fact::VerificationFailed(fact) => fact.reason.clone(),
        Fact::Superseded(fact) => fact.what.clone(),
        Fact::SmokeTestFinished(fact) => {
            format!("{} {}", fact.check, Verdict::try_from(fact.verdict).unwrap_or_default().as_str_name())
        }
        Fact::NotificationRequested(fact) => format!("{} {}", fact.audience().as_str_name(), fact.reason),
        Fact::NotificationFailed(fact) => format!("{} {}", fact.audience().as_str_name(), fact.reason),
        Fact::OnCallNotified(fact) => format!("{} over {}", fact.reason, fact.channel),
        Fact::Escalated(fact) => format!("{} over {}", fact.reason, fact.channel),
        Fact::PersonActed(fact) => Action::try_from(fact.action).unwrap_or_default().as_str_name().to_owned(),
        Fact::IncidentClosed(fact) => {
            format!("{} {}", outcome_name(Outcome::try_from(fact.outcome).unwrap_or_default()), fact.reason)
        }
        _ => return Some(fact.event_type().to_owned()),
    };
    Some(format!("{} {detail}", fact.event_type()))
}

fn told(world: &SmallWorld, incident: Option<&str>) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let nameless = |text: &str| incident.map_or_else(|| text.to_owned(), |id| text.replace(id, "…"));
    for page in world.pagerduty.pages() {
        let end = if page.resolved_at.is_some() { ", resolved" } else { "" };
        *counts.entry(format!("page {}{end}", nameless(&page.dedup_key))).or_default() += page.triggers;
    }
    for change in world.pagerduty.changes() {
        *counts.entry(format!("change {}", digitless(&nameless(&change.payload["summary"].to_string())))).or_default() += 1;
    }
    for Received { call, .. } in world.webhook.received().iter().filter(|received| received.took_effect()) {
        *counts.entry(format!("webhook {} {}", call.body["audience"], call.body["reason"])).or_default() += 1;
    }
    // Where the thread opens late, a notification may stand beside it: people have read it all the same.
    for message in world.slack.messages().iter().filter(|message| !is_thread(message)) {
        *counts.entry(format!("chat {}", digitless(&nameless(message.text())))).or_default() += 1;
    }
    counts
}

/// Whether a message is an incident's first, which has a header; notifications and replies have none.
fn is_thread(message: &Message) -> bool {
    let first = message.versions.first().map(|(_, _, blocks)| blocks);
    let blocks = first.and_then(serde_json::Value::as_array).into_iter().flatten();
    message.thread_ts.is_none() && blocks.into_iter().any(|block| block["type"] == "header")
}

/// The beginning of a text without its numbers, which differ from run to run.
fn digitless(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
}

/// The accepted writes by which lastgood changed the application's template, with the image that each replaced.
#[must_use]
pub fn template_writes(journal: &[JournalEntry], app: &App) -> Vec<(JournalEntry, String)> {
    let collection = format!("/apis/apps/v1/namespaces/{}/deployments", app.namespace);
    let path = format!("{collection}/{}", app.name);
    let mut image = String::new();
    let mut writes = Vec::new();
    for entry in journal.iter().filter(|entry| !entry.dry_run && (200..300).contains(&entry.status)) {
        let written = entry.body.pointer("/spec/template/spec/containers/0/image").and_then(serde_json::Value::as_str);
        let Some(written) = written.filter(|_| entry.path == path || entry.path == collection) else { continue };
        if written != image && entry.field_manager == "lastgood" {
            writes.push((entry.clone(), image.clone()));
        }
        written.clone_into(&mut image);
    }
    writes
}
