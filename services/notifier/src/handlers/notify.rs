//! `notification_requested`: tells the receivers that the policy names, or the audience over the channel that fits, else over the fallback, and
//! records which it was.
//!
//! Guarantees: what is answered in the log is not sent again; every request ends in `OnCallNotified`, `Escalated` or
//! `NotificationFailed`; giving up is never silent (error in the log, `lastgood_notifications_failed_total`). A page that no channel took is
//! recorded, so that nothing waits for it, and kept in hand: it is told when a channel answers again, within a day. Must not: page for news.

use std::time::Duration;

use chassis::bus::HandleError;
use contracts::v1::NotificationFailed;
use contracts::{FailureReason, IncidentSubject, v1::Urgency};
use jiff::SignedDuration;
use lastgood_core::incident::Command;

use super::{Desk, stopping};
use crate::channels::{Channel, Notice};
use crate::deliver::Undelivered;
use crate::rules::{audience_label, route};
use crate::story::{Answer, Request, Story};

/// The least time for tries, also of a request that is old already (the notifier was away).
const LEAST: Duration = Duration::from_mins(1);
/// How long a page that no channel took is tried on.
const OWED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How often the log is looked at for the thread that is being opened.
const LOOK: Duration = Duration::from_millis(50);

/// Where somebody was told.
pub(super) struct Told {
    /// The channel, or the named receiver.
    pub(super) over: String,
    /// The provider's key.
    pub(super) dedup_key: String,
}

/// Why nobody was told.
pub(super) struct Failure {
    pub(super) error: String,
    /// Whether a later try may succeed.
    pub(super) may_pass: bool,
}

impl Desk {
    /// Answers the request at this place in the stream.
    pub async fn notify(&self, subject: &IncidentSubject, sequence: u64) -> Result<(), HandleError> {
        let mut kept = None;
        loop {
            let story = self.story(subject, sequence).await?;
            // That its log can't be read is told also where the opening itself is what is damaged.
            let known = |request: &&Request| story.opened_at.is_some() || request.reason == FailureReason::DeadLetter.code();
            let Some(request) = story.request(sequence).filter(known) else {
                tracing::error!(incident = %subject, sequence, "a request of an incident that was never opened; left alone");
                metrics::counter!("lastgood_orphans_total", "service" => "notifier").increment(1);
                return Ok(());
            };
            if story.answer(request).is_some_and(|answer| answer != Answer::Owed || self.is_too_old(request)) {
                return Ok(());
            }
            let Err(failure) = self.answer(&story, request).await? else { return Ok(()) };
            if kept.is_none() && failure.may_pass && request.urgency == Urgency::Page && !self.is_too_old(request) {
                kept = self.owed.try_acquire().ok();
            }
            let (audience, reason, owed) = (request.audience.into(), request.reason.clone(), kept.is_some());
            let failed = NotificationFailed { audience, reason, error: failure.error, owed };
            self.log.record(subject, sequence, &Command::RecordUndelivered(failed)).await?;
            if !failure.may_pass || kept.is_none() {
                return Ok(());
            }
            tracing::error!(incident = %subject, reason = request.reason, "nobody could be told; the page is kept and tried again");
            if self.persistence.pause(self.give_up_after).await {
                return Err(stopping());
            }
        }
    }

    fn is_too_old(&self, request: &Request) -> bool {
        self.clock.now().duration_since(request.at) > OWED_FOR
    }

    /// Tells whoever the policy names, else the audience, and records where it got through.
    async fn answer(&self, story: &Story, request: &Request) -> Result<Result<(), Failure>, HandleError> {
        let told = if request.receivers.is_empty() {
            self.tell_the_usual_way(Notice::usual(story, request)).await?
        } else {
            self.tell_receivers(story, request).await?
        };
        match told {
            Ok(Told { over, dedup_key }) => self.delivered(&story.subject, request, over, dedup_key).await.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Tells the audience over one channel after the other.
    pub(super) async fn tell_the_usual_way(&self, notice: Notice<'_>) -> Result<Result<Told, Failure>, HandleError> {
        let channels = self.channels();
        let route = route(&channels, self.fallback, notice.request);
        let mut errors = Vec::new();
        let mut may_pass = false;
        for channel in &route {
            let fallen_back = route.first().map(|first| first.name()).filter(|first| *first != channel.name());
            let instead_of: Vec<_> = notice.instead_of.into_iter().chain(fallen_back).collect();
            let instead_of = instead_of.join(", ");
            let instead_of = Some(instead_of.as_str()).filter(|channels| !channels.is_empty());
            match self.send(*channel, Notice { instead_of, ..notice }).await? {
                Ok(told) => return Ok(Ok(told)),
                Err(failure) => {
                    may_pass |= failure.may_pass;
                    errors.push(failure.error);
                }
            }
        }
        if route.is_empty() {
            errors.push("no channel is configured for this audience".to_owned());
            failed("none", notice.request, "no channel is configured for this audience");
        }
        Ok(Err(Failure { error: errors.join("; "), may_pass }))
    }

    /// Where it went out; else why not.
    pub(super) async fn send(&self, channel: &dyn Channel, notice: Notice<'_>) -> Result<Result<Told, Failure>, HandleError> {
        let request = notice.request;
        let fresh = if channel.chat().is_some() { self.with_thread(notice.story).await? } else { None };
        let notice = Notice { story: fresh.as_ref().unwrap_or(notice.story), ..notice };
        let what = format!("{} over {}", request.reason, channel.name());
        // The fallback's time is its own: the first channel has used up the request's.
        let budget = if notice.instead_of.is_some() { self.give_up_after } else { self.budget(request.at, LEAST) };
        match self.persistence.persist(&what, budget, || channel.send(&notice)).await {
            Ok(receipt) => Ok(Ok(Told { over: channel.name().to_owned(), dedup_key: receipt.dedup_key })),
            Err(Undelivered::Stopping) => Err(stopping()),
            Err(error) => {
                failed(channel.name(), request, &error.to_string());
                let may_pass = matches!(error, Undelivered::GaveUp { .. });
                Ok(Err(Failure { error: format!("{}: {error}", channel.name()), may_pass }))
            }
        }
    }

    async fn delivered(
        &self,
        subject: &IncidentSubject,
        request: &Request,
        channel: String,
        dedup_key: String,
    ) -> Result<(), HandleError> {
        let urgency = if request.urgency == Urgency::Page { "page" } else { "inform" };
        let labels = [
            ("channel", channel.clone()),
            ("audience", audience_label(request.audience).to_owned()),
            ("urgency", urgency.to_owned()),
        ];
        metrics::counter!("lastgood_notifications_sent_total", &labels).increment(1);
        tracing::info!(incident = %subject, channel = channel.as_str(), reason = request.reason, "told");
        let reason = request.reason.clone();
        let command = Command::RecordDelivery { audience: request.audience, reason, channel, dedup_key };
        self.log.record(subject, request.sequence, &command).await
    }

    /// The story with its thread, when that is being opened right now: an incident can halt in the instant in which it opens.
    async fn with_thread(&self, story: &Story) -> Result<Option<Story>, HandleError> {
        if story.announced {
            return Ok(None);
        }
        let deadline = tokio::time::Instant::now() + story.announce_within;
        while tokio::time::Instant::now() < deadline {
            self.persistence.pause(LOOK).await;
            let fresh = self.story(&story.subject, story.last_sequence).await?;
            if fresh.announced {
                return Ok(Some(fresh));
            }
        }
        Ok(None)
    }
}

fn failed(channel: &str, request: &Request, error: &str) {
    tracing::error!(channel, reason = request.reason, error, "a notification could not be delivered over this channel");
    let labels = [("channel", channel.to_owned()), ("audience", audience_label(request.audience).to_owned())];
    metrics::counter!("lastgood_notifications_failed_total", &labels).increment(1);
}
