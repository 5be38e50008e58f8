//! `incidents`: what is going on and what went on lately, as far as it is on the log; older ones are in the archive, where `show` finds them.
//!
//! Guarantees: open incidents come first; one whose log can't be read is listed all the same, and says so. Must not: change anything.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Incidents;
use chassis::bus::{Bus, Stored};
use clap::ValueEnum;
use contracts::codes::outcome_name;
use contracts::subjects::{cluster_facts_of_type, streams, workload_facts_of_type};
use contracts::v1::{IncidentClosed, Outcome, PauseSwitched, WorkloadRef};
use contracts::{Fact, IncidentId, IncidentSubject};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::text::{utc, when};
use lastgood_core::words::words;
use orchestrator::ledger::{LedgerStore, Scope};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{Answer, Failure};
use crate::look::{Cell, Look, Tone, cell};
use crate::workload::{self, Written, namespace_name};

use super::show::state::{State, tone_of};

/// Open incidents that are read at the same time.
const AT_ONCE: usize = 8;

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only those of this workload, [NAMESPACE/]KIND/NAME.
    #[arg(long, value_name = "WORKLOAD")]
    workload: Option<Written>,
    /// Only those of this namespace.
    #[arg(long, short, value_name = "NAMESPACE", value_parser = namespace_name)]
    namespace: Option<String>,
    /// Only open ones.
    #[arg(long, conflicts_with = "outcome")]
    open: bool,
    /// Only those that ended like this.
    #[arg(long, value_enum)]
    outcome: Option<Ended>,
    /// Only those that were opened within this time: 90m, 24h, 7d.
    #[arg(long, value_name = "LENGTH", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// How many closed ones at most, the newest; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ended {
    Completed,
    Halted,
    RollbackFailed,
    VerificationFailed,
    Unresolved,
    Superseded,
    Unknown,
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Completed => Self::Completed,
            Ended::Halted => Self::Halted,
            Ended::RollbackFailed => Self::RollbackFailed,
            Ended::VerificationFailed => Self::VerificationFailed,
            Ended::Unresolved => Self::Unresolved,
            Ended::Superseded => Self::Superseded,
            Ended::Unknown => Self::Unspecified,
        }
    }
}

/// One incident of the list.
#[derive(Debug, Clone)]
struct Row {
    subject: IncidentSubject,
    opened_at: Timestamp,
    alert: String,
    closed: Option<(Timestamp, IncidentClosed)>,
    /// Where an open one stands; or why that can't be told.
    state: Option<Result<State, String>>,
}

/// What is listed.
#[derive(Debug)]
struct List {
    rows: Vec<Row>,
    /// Closed ones beyond the limit.
    more: usize,
    /// The cluster's switch and those of namespaces, where they are on.
    paused: Vec<PauseSwitched>,
}

/// Reads and lists.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let kubernetes = &context.config.kubernetes;
    let workload = args.workload.as_ref().map(|written| written.resolve(args.namespace.as_deref(), kubernetes)).transpose()?;
    let bus = context.bus().await?;
    let filter = |event_type: &str| match &workload {
        Some(workload) => workload_facts_of_type(workload, event_type),
        None => cluster_facts_of_type(&kubernetes.cluster, event_type),
    };
    // In this order: what closes in between shows as closed.
    let openings = all(&bus, &filter("anomaly_detected")).await?;
    let closings = all(&bus, &filter("incident_closed")).await?;
    let now = context.now();
    let mut list = selected(rows(&openings, &closings), args, now);
    list.paused = paused(&LedgerStore::new(bus.clone()), &kubernetes.cluster).await?;
    look_into_open_ones(&bus, &mut list.rows).await;
    let json = json!({
        "cluster": kubernetes.cluster,
        "paused": list.paused.iter().find(|switch| switch.namespace.is_empty()).map(switch_json),
        "paused_namespaces": list.paused.iter().filter(|switch| !switch.namespace.is_empty()).map(switch_json).collect::<Vec<_>>(),
        "incidents": list.rows.iter().map(json_of).collect::<Vec<_>>(),
        "more": list.more,
    });
    Ok(Answer::done(&text(&list, workload.as_ref(), now, context.look), json))
}

/// The switches that are on, the cluster's first.
async fn paused(store: &LedgerStore, cluster: &str) -> Result<Vec<PauseSwitched>, Failure> {
    let whole = store.switch(&Scope::cluster(cluster)).await?.0.filter(|switch| switch.paused);
    Ok(whole.into_iter().chain(store.paused_namespaces(cluster).await?).collect())
}

fn switch_json(switch: &PauseSwitched) -> Value {
    let namespace = Some(&switch.namespace).filter(|namespace| !namespace.is_empty());
    json!({"namespace": namespace, "who": switch.who, "reason": switch.reason})
}

/// All messages on a filter; each page is a request with a deadline.
async fn all(bus: &Bus, filter: &str) -> Result<Vec<Stored>, Failure> {
    let (mut messages, mut from): (Vec<Stored>, u64) = (Vec::new(), 1);
    loop {
        let (page, more) = bus.page(streams::INCIDENTS, filter, from).await?;
        let last = page.last().map(|stored| stored.sequence);
        messages.extend(page);
        match last {
            Some(last) if more => from = last + 1,
            _ => return Ok(messages),
        }
    }
}

fn rows(openings: &[Stored], closings: &[Stored]) -> Vec<Row> {
    let mut closed: BTreeMap<IncidentId, (Timestamp, IncidentClosed)> = BTreeMap::new();
    for stored in closings {
        if let (Ok((subject, event_type)), data) = (IncidentSubject::parse(&stored.subject), &stored.data) {
            // One that can't be read is a close all the same.
            let fact = match Fact::decode(event_type, data) {
                Ok(Fact::IncidentClosed(fact)) => fact,
                _ => IncidentClosed::default(),
            };
            closed.entry(subject.incident).or_insert((stored.at, fact));
        }
    }
    let row = |stored: &Stored| {
        let (subject, event_type) = IncidentSubject::parse(&stored.subject).ok()?;
        let alert = match Fact::decode(event_type, &stored.data) {
            Ok(Fact::AnomalyDetected(fact)) => fact.trigger.map(|trigger| trigger.alert_name).unwrap_or_default(),
            _ => "(not readable)".to_owned(),
        };
        let closed = closed.get(&subject.incident).cloned();
        Some(Row { subject, opened_at: stored.at, alert, closed, state: None })
    };
    openings.iter().filter_map(row).collect()
}

/// Those that are asked for, open ones first, the newest first.
fn selected(mut rows: Vec<Row>, args: &Args, now: Timestamp) -> List {
    let since = args.since.and_then(|since| now.checked_sub(SignedDuration::try_from(since).ok()?).ok());
    rows.retain(|row| {
        let outcome = row.closed.as_ref().map(|(_, fact)| fact.outcome());
        since.is_none_or(|since| row.opened_at >= since)
            && args.namespace.as_ref().is_none_or(|namespace| *namespace == row.subject.workload.namespace)
            && !(args.open && outcome.is_some())
            && args.outcome.is_none_or(|wanted| outcome == Some(wanted.into()))
    });
    rows.sort_by_key(|row| (row.closed.is_some(), std::cmp::Reverse(row.opened_at)));
    let (open, limit) = (rows.iter().filter(|row| row.closed.is_none()).count(), args.limit);
    let kept = if limit == 0 { rows.len() } else { rows.len().min(open.saturating_add(limit)) };
    let more = rows.len() - kept;
    rows.truncate(kept);
    List { rows, more, paused: Vec::new() }
}

async fn look_into_open_ones(bus: &Bus, rows: &mut [Row]) {
    let incidents = &Incidents::new(bus.clone());
    let looking = rows.iter_mut().filter(|row| row.closed.is_none()).map(|row| async move {
        row.state = Some(match incidents.salvage(&row.subject, None).await {
            Ok(salvaged) => Ok(State::of(&salvaged.loaded.incident, !salvaged.damage.is_empty())),
            Err(error) => Err(lastgood_core::text::causes(&error)),
        });
    });
    stream::iter(looking).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

fn text(list: &List, workload: Option<&WorkloadRef>, now: Timestamp, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for switch in &list.paused {
        let place = if switch.namespace.is_empty() { String::new() } else { format!(" in namespace {}", switch.namespace) };
        lines
            .push(look.toned(Tone::Open, &format!("all automatic action{place} is paused by {}: {}", switch.who, switch.reason)));
    }
    if list.rows.is_empty() {
        let of = workload.map_or_else(String::new, |workload| format!(" of {}", workload::pasteable(workload)));
        lines.push(look.toned(Tone::Plain, &format!("there are no such incidents{of} on the log")));
        return lines;
    }
    let titles = ["STATE", "WORKLOAD", "ALERT", "OPENED", "INCIDENT"];
    let mut rows = vec![titles.map(|title| cell(Tone::Quiet, title)).to_vec()];
    rows.extend(list.rows.iter().map(|row| fields(row, now)));
    let mut table = look.table(&rows).into_iter();
    lines.extend(table.next());
    for (row, line) in list.rows.iter().zip(table) {
        lines.push(line);
        if let Some(Ok(state)) = &row.state {
            lines.extend(state.waiting(now).iter().map(|waiting| format!("  {}", look.toned(Tone::Quiet, waiting))));
        }
    }
    if list.more > 0 {
        lines.push(look.toned(Tone::Quiet, &format!("… and {} more closed ones (--limit 0 shows all)", list.more)));
    }
    lines
}

fn fields(row: &Row, now: Timestamp) -> Vec<Cell> {
    let workload = &row.subject.workload;
    let (tone, state, opened) = match (&row.closed, &row.state) {
        (Some((_, fact)), _) => {
            let (outcome, reason) = (outcome_name(fact.outcome()), words(&fact.reason));
            let because = if reason.is_empty() || reason == outcome { String::new() } else { format!(": {reason}") };
            (tone_of(fact.outcome()), format!("{outcome}{because}"), utc(row.opened_at))
        }
        (None, Some(Ok(state))) => (Tone::Open, state.words(), when(row.opened_at, now)),
        (None, Some(Err(reason))) => (Tone::Bad, format!("can't be read: {reason}"), when(row.opened_at, now)),
        (None, None) => (Tone::Open, "open".to_owned(), when(row.opened_at, now)),
    };
    vec![
        cell(tone, &state),
        cell(Tone::Plain, &format!("{}/{}/{}", workload.namespace, workload.kind.to_ascii_lowercase(), workload.name)),
        cell(Tone::Plain, &row.alert),
        cell(Tone::Plain, &opened),
        cell(Tone::Plain, &row.subject.incident.to_string()),
    ]
}

fn json_of(row: &Row) -> Value {
    let outcome = row.closed.as_ref().map(|(_, fact)| outcome_name(fact.outcome()).replace(' ', "_"));
    let state = row.state.as_ref().and_then(|state| state.as_ref().ok());
    json!({
        "incident": row.subject.incident.to_string(),
        "workload": workload::json(&row.subject.workload),
        "alert": row.alert,
        "opened_at": row.opened_at.to_string(),
        "open": row.closed.is_none(),
        "phase": if row.closed.is_some() { Some("closed") } else { state.map(State::code) },
        "closed_at": row.closed.as_ref().map(|(at, _)| at.to_string()),
        "outcome": outcome,
        "reason": row.closed.as_ref().map(|(_, fact)| &fact.reason),
        "waiting_for": state.map(State::waiting_json),
        "unreadable": row.state.as_ref().and_then(|state| state.as_ref().err()),
    })
}

#[cfg(test)]
mod tests;
