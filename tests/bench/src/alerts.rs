//! Alerts durably accepted a second: through alert-ingest, and the same bytes published plainly to JetStream by one client, in turns.
//!
//! Guarantees: the same payloads of ten alerts, the same number at a time, the same nats-server that flushes every write, and a stream with
//! the settings of lastgood's; nothing counts before it is acknowledged; every payload differs in its fingerprints, so that none is taken
//! for a repeat. Must not: run anything else meanwhile: no consumer reads the alerts here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use contracts::subjects::streams;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::payload::{self, About};
use crate::stage::Stage;
use crate::stats::median;
use crate::{Outcome, table};

/// Connections, and publishes awaited at the same time.
const AT_ONCE: u64 = 8;
/// Alerts in a payload.
const ALERTS: u64 = 10;
/// Turns of each side.
const ROUNDS: u32 = 5;
/// Where the plain publishes go.
const SUBJECT: &str = "bench.plain";
/// What stands for a fingerprint in the prepared payload; as long as one.
const PLACE: &str = "FINGERPRINT_____";

/// One side's turn: what was accepted within it.
struct Turn {
    payloads: u64,
    seconds: f64,
}

impl Turn {
    fn alerts_a_second(&self) -> f64 {
        count(self.payloads * ALERTS) / self.seconds
    }
}

/// Measures each side for this long.
pub(crate) async fn run(length: Duration) -> Result<Outcome> {
    let stage = Stage::start(&["alert-ingest"], &[("DETECTOR__ENABLED", "false")]).await?;
    let client = async_nats::connect(stage.nats.url()).await.context("connecting to nats-server")?;
    let context = jetstream::new(client);
    make_stream(&context).await?;
    let template = template();
    let serial = AtomicU64::new(1);
    let body = || fill(&template, serial.fetch_add(1, Ordering::Relaxed));
    let ours = async || turn(length / ROUNDS, async || stage.post_bytes(body()).await).await;
    let plain = async || turn(length / ROUNDS, async || publish(&context, body()).await).await;
    // Both sides connect and warm up.
    for _ in 0..20 {
        stage.post_bytes(body()).await?;
        publish(&context, body()).await?;
    }
    let (mut accepted, mut published) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            accepted.push(ours().await?);
            published.push(plain().await?);
        } else {
            published.push(plain().await?);
            accepted.push(ours().await?);
        }
    }
    stage.stop().await;
    Ok(Outcome { text: text(&accepted, &published), good: true })
}

/// A stream for the plain publishes with all the settings of the one that alert-ingest stores to.
async fn make_stream(context: &jetstream::Context) -> Result<()> {
    let stream = context.get_stream(streams::ALERTS).await.context("the stream of alerts")?;
    let like = stream.cached_info().config.clone();
    let plain = Config { name: "PLAIN".to_owned(), subjects: vec![SUBJECT.to_owned()], ..like };
    context.create_stream(plain).await.context("the stream of plain publishes")?;
    Ok(())
}

async fn publish(context: &jetstream::Context, body: Vec<u8>) -> Result<()> {
    context.publish(SUBJECT, body.into()).await.context("publishing")?.await.context("the acknowledgement")?;
    Ok(())
}

/// Sends from all hands until the time is over, and waits for what is under way.
async fn turn(length: Duration, send: impl AsyncFn() -> Result<()>) -> Result<Turn> {
    let began = Instant::now();
    let hands = (0..AT_ONCE).map(|_| async {
        let mut accepted = 0_u64;
        while began.elapsed() < length {
            send().await?;
            accepted += 1;
        }
        anyhow::Ok(accepted)
    });
    let payloads = try_join_all(hands).await?.into_iter().sum();
    Ok(Turn { payloads, seconds: began.elapsed().as_secs_f64() })
}

/// A payload with places for the fingerprints; filling them costs both sides the same and next to nothing.
fn template() -> Vec<String> {
    let alerts: Vec<_> = (0..ALERTS)
        .map(|number| About {
            namespace: "shop",
            deployment: ["cart", "checkout", "payment", "search", "web"][usize::try_from(number).unwrap_or_default() % 5],
            status: "firing",
            starts_at: "2026-11-21T10:00:00.123Z".to_owned(),
            fingerprint: PLACE.to_owned(),
        })
        .collect();
    payload::notification("bench", &alerts).to_string().split(PLACE).map(str::to_owned).collect()
}

fn fill(template: &[String], serial: u64) -> Vec<u8> {
    let mut body = String::with_capacity(8192);
    for (alert, piece) in template.iter().enumerate() {
        if alert > 0 {
            // Writing to a string can't fail.
            let _ = write!(body, "{serial:014x}{alert:02x}");
        }
        body.push_str(piece);
    }
    body.into_bytes()
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn text(accepted: &[Turn], published: &[Turn]) -> String {
    let rates = |turns: &[Turn]| turns.iter().map(Turn::alerts_a_second).collect::<Vec<_>>();
    let (ours, plain) = (rates(accepted), rates(published));
    let ratios: Vec<f64> = ours.iter().zip(&plain).map(|(our, plain)| our / plain).collect();
    let bytes = fill(&template(), 1).len();
    let row = |name: &str, samples: &[f64]| {
        let turns = samples.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
        [name.to_owned(), format!("{:.0}", median(samples)), turns]
    };
    let ratio = [
        "ratio, turn by turn".to_owned(),
        format!("{:.2}", median(&ratios)),
        ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(", "),
    ];
    let rows = [row("through alert-ingest, alerts/s", &ours), row("published plainly, alerts/s", &plain), ratio];
    format!(
        "## Alerts durably accepted a second\n\nPayloads of {ALERTS} alerts ({bytes} bytes), {AT_ONCE} at a time, in turns of {:.1} s; \
         every write is flushed before it is acknowledged.\n\n{}",
        accepted.first().map_or(0.0, |turn| turn.seconds),
        table::render(["", "median", "each turn"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_alert_of_every_payload_has_a_fingerprint_of_its_own() {
        let template = template();
        let mut fingerprints = BTreeSet::new();
        for serial in 1..=3 {
            let payload: Value = serde_json::from_slice(&fill(&template, serial)).unwrap();
            let alerts = payload["alerts"].as_array().unwrap().clone();
            fingerprints.extend(alerts.iter().map(|alert| alert["fingerprint"].as_str().unwrap().to_owned()));
        }
        assert_eq!(fingerprints.len(), 30);
        assert!(fingerprints.iter().all(|fingerprint| fingerprint.len() == PLACE.len()));
    }
}
