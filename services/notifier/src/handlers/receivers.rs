//! Whom the policy names for a message: each receiver is told, side by side.
//!
//! Guarantees: a name that nobody knows, or a receiver that can't be reached, loses no message: it goes the usual way as well, and says why it
//! comes there (but where the audience is told at the same time anyway). Must not: record anything; whoever asked does.

use std::collections::BTreeSet;

use chassis::bus::HandleError;
use futures::future::{join, join_all};

use super::Desk;
use super::notify::{Failure, Told};
use crate::channels::{Channel, Notice};
use crate::story::{Request, Story};

impl Desk {
    /// Tells each receiver that the request names, and the audience the usual way where it asks for that or some are not reached.
    pub(super) async fn tell_receivers(&self, story: &Story, request: &Request) -> Result<Result<Told, Failure>, HandleError> {
        let names: BTreeSet<&str> = request.receivers.iter().map(String::as_str).collect();
        let unknown: Vec<String> =
            names.iter().filter(|name| self.receiver(name).is_none()).map(|name| (*name).to_owned()).collect();
        for name in &unknown {
            tracing::error!(receiver = name, reason = request.reason, "the policy names a receiver that is not configured");
            metrics::counter!("lastgood_unknown_receivers_total").increment(1);
        }
        let usual = Notice::usual(story, request);
        let known = names.iter().filter_map(|name| self.receiver(name));
        let sent = known.map(|(receiver, channel)| async move {
            let result = self.send(channel, Notice { receiver, ..usual }).await?;
            Ok::<_, HandleError>((channel.name(), result))
        });
        // Nobody waits for a receiver that is slow to fail.
        let is_usual = request.audience_too || !unknown.is_empty();
        let usually =
            async { if is_usual { Some(self.tell_the_usual_way(Notice { unknown: &unknown, ..usual }).await) } else { None } };
        let (mut told, mut unreached, mut errors, mut may_pass) = (None, Vec::new(), Vec::new(), false);
        let (sent, usually) = join(join_all(sent), usually).await;
        for sent in sent {
            let (name, result) = sent?;
            match result {
                Ok(there) => told = told.or(Some(there)),
                Err(failure) => {
                    unreached.push(name);
                    errors.push(failure.error);
                    may_pass |= failure.may_pass;
                }
            }
        }
        if !is_usual && unreached.is_empty() {
            let nobody = Failure { error: "no receiver is named".to_owned(), may_pass: false };
            return Ok(told.ok_or(nobody));
        }
        let unreached = unreached.join(", ");
        let instead_of = Some(unreached.as_str()).filter(|names| !names.is_empty());
        let usually = match usually {
            Some(usually) => usually,
            None => self.tell_the_usual_way(Notice { instead_of, ..usual }).await,
        };
        match usually? {
            Ok(there) => Ok(Ok(there)),
            Err(failure) => Ok(told.ok_or_else(|| {
                errors.push(failure.error);
                Failure { error: errors.join("; "), may_pass: may_pass || failure.may_pass }
            })),
        }
    }

    /// What a name stands for: a channel, or a receiver that goes by it in messages and keys.
    fn receiver(&self, name: &str) -> Option<(Option<&str>, &dyn Channel)> {
        let channel = self.channels.iter().map(AsRef::as_ref).find(|channel| channel.name() == name);
        let named = || self.named.iter().map(AsRef::as_ref).find(|receiver| receiver.name() == name);
        channel.map(|channel| (None, channel)).or_else(|| named().map(|receiver| (Some(receiver.name()), receiver)))
    }
}
