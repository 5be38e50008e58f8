//! Going on with an incident while it is open: each fact is told as it is stored.
//!
//! Guarantees: it ends when the incident closes, or when its time is up, whatever NATS does; an outage is said once and waited out; no fact is
//! told twice or left out. Must not: keep anything on the server.

use std::time::Duration;

use chassis::bus::{Bus, ReadError, Subscription};
use contracts::Fact;
use futures::StreamExt as _;
use jiff::SignedDuration;
use lastgood_core::text::{length, visible_json};
use orchestrator::dead_letters::command::Output;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::dossier::Dossier;
use super::page;
use crate::context::Context;
use crate::exit::{Answer, DONE, FAILED, Failure};
use crate::look::Tone;

/// How often it is looked without a sign of anything new: a sign may be lost.
const LOOK: Duration = Duration::from_secs(2);
/// Late words (who was told) may follow a close at once.
const AFTER_CLOSE: Duration = Duration::from_millis(300);

/// An incident that is followed.
struct Follow<'a> {
    context: &'a Context,
    bus: &'a Bus,
    dossier: Dossier,
    /// A message for each new fact, while the subscription lasts.
    signs: Option<Box<dyn Subscription>>,
    /// The last sequence that was told.
    told: u64,
    away: bool,
}

/// Tells what there is, and what comes.
pub(super) async fn run(context: &Context, bus: &Bus, dossier: Dossier, within: Duration) -> Result<Answer, Failure> {
    let end = Instant::now() + within;
    let signs = bus.transport().subscribe(dossier.subject.filter()).await.ok();
    let mut follow = Follow { context, bus, dossier, signs, told: 0, away: false };
    if context.output == Output::Text {
        crate::print(&[page::head(&follow.dossier, context.now(), context.look), vec![String::new()]].concat().join("\n"))?;
    }
    loop {
        // The first time: what came between the reading and the subscription.
        let news = follow.look().await?;
        follow.tell()?;
        let closed = follow.is_closed();
        if (closed && news == 0) || Instant::now() >= end {
            return follow.finish(within);
        }
        let wait = if closed { AFTER_CLOSE } else { LOOK };
        follow.sign(end.min(Instant::now() + wait)).await;
    }
}

impl Follow<'_> {
    /// Reads what is new; how many facts that are.
    async fn look(&mut self) -> Result<usize, Failure> {
        match self.dossier.read_on(self.bus).await {
            Ok(news) => {
                self.away = false;
                Ok(news)
            }
            Err(Failure::Read(ReadError::Unavailable(_) | ReadError::Stale { .. })) => {
                if !self.away {
                    eprintln!("{}", self.context.look.toned(Tone::Open, "NATS is away; going on when it is back"));
                }
                self.away = true;
                // Not known to be none.
                Ok(1)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for a sign of something new, at most until then.
    async fn sign(&mut self, until: Instant) {
        let Some(signs) = &mut self.signs else { return tokio::time::sleep_until(until).await };
        if let Ok(None) = timeout_at(until, signs.next()).await {
            self.signs = None;
        }
    }

    fn tell(&mut self) -> Result<(), Failure> {
        let opened_at = page::opened_at(&self.dossier);
        for entry in self.dossier.entries.range(self.told + 1..).map(|(_, entry)| entry) {
            let text = match self.context.output {
                Output::Text => page::fact(entry, opened_at, self.context.look).join("\n"),
                Output::Json => visible_json(&json!({"fact": page::fact_json(entry)}).to_string()),
            };
            crate::print(&text)?;
        }
        self.told = self.dossier.last();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.dossier.entries.values().any(|entry| matches!(entry.fact, Ok(Fact::IncidentClosed(_))))
    }

    fn finish(&self, within: Duration) -> Result<Answer, Failure> {
        let closed = self.is_closed();
        let text = match self.context.output {
            Output::Json => visible_json(&json!({"incident": page::json(&self.dossier)}).to_string()),
            Output::Text => {
                let mut lines = vec![String::new()];
                lines.extend(page::foot(&self.dossier, self.context.now(), self.context.look));
                if !closed {
                    let within = length(SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX));
                    lines.push(self.context.look.toned(Tone::Bad, &format!("it is still open after {within} (--for)")));
                }
                lines.join("\n")
            }
        };
        crate::print(&text)?;
        Ok(Answer { text: String::new(), json: Value::Null, code: if closed { DONE } else { FAILED } })
    }
}
