//! `dead-letters list|show|replay` of `lastgood` and of `lastgood-orchestrator`: what no service could process, and a second chance for it.
//!
//! Guarantees: a replay wakes the consumer that gave the message up and adds nothing to the message's own stream; what a damaged message
//! holds reaches a terminal without its control characters. Must not: throw a letter away; the stream forgets the oldest by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chassis::bus::{Bus, DeadLetterEntry, ReadError, ReplayError, consumer_of};
use clap::{Subcommand, ValueEnum};
use contracts::v1::AlertNotification;
use contracts::{Fact, IncidentSubject, LedgerFact, OccurrenceFact};
use jiff::Timestamp;
use lastgood_core::text::{utc, visible, visible_json, when};
use prost::Message as _;
use serde_json::{Value, json};

/// Characters of a reason in the list.
const SHORT: usize = 120;
/// Bytes of a message that people are shown.
const BYTES: usize = 256;

/// What can be asked.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// All dead letters, oldest first.
    List {
        /// Only those that this consumer gave up.
        #[arg(long)]
        consumer: Option<String>,
    },
    /// One dead letter with all that it holds.
    Show {
        /// Its number in the list.
        sequence: u64,
    },
    /// Delivers messages again to the consumers that gave them up.
    Replay {
        /// The letter's number in the list.
        #[arg(required_unless_present = "all")]
        sequence: Option<u64>,
        /// All that were not replayed yet.
        #[arg(long, conflicts_with = "sequence")]
        all: bool,
        /// With `--all`: only those that this consumer gave up.
        #[arg(long, requires = "all")]
        consumer: Option<String>,
    },
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// The process's exit code: [`DONE`], [`FAILED`] or [`NO_SUCH_LETTER`].
    pub code: u8,
}

/// All is done.
pub const DONE: u8 = 0;
/// Something could not be done.
pub const FAILED: u8 = 1;
/// The letter that was named is not there (2 is a wrong command line).
pub const NO_SUCH_LETTER: u8 = 3;

/// A dead letter, and when it was last replayed.
#[derive(Debug, Clone)]
struct Letter {
    entry: DeadLetterEntry,
    replayed: Option<Timestamp>,
}

/// Does what is asked.
pub async fn run(bus: &Bus, command: &DeadLettersCommand, output: Output) -> Result<Answer, ReadError> {
    let letters = letters(bus).await?;
    match command {
        DeadLettersCommand::List { consumer } => {
            let wanted: Vec<_> = letters.into_iter().filter(|letter| is_of(letter, consumer.as_deref())).collect();
            Ok(Answer { text: list(&wanted, bus.clock().now(), output), code: DONE })
        }
        DeadLettersCommand::Show { sequence } => Ok(match letters.iter().find(|letter| letter.entry.sequence == *sequence) {
            Some(letter) => Answer { text: show(letter, bus.clock().now(), output), code: DONE },
            None => none(*sequence, output),
        }),
        DeadLettersCommand::Replay { sequence: Some(sequence), .. } => Ok(replay(bus, std::iter::once(*sequence), output).await),
        DeadLettersCommand::Replay { consumer, .. } => {
            let wanted = letters.iter().filter(|letter| letter.replayed.is_none() && is_of(letter, consumer.as_deref()));
            let sequences: Vec<_> = wanted.map(|letter| letter.entry.sequence).collect();
            Ok(replay(bus, sequences.into_iter(), output).await)
        }
    }
}

async fn letters(bus: &Bus) -> Result<Vec<Letter>, ReadError> {
    let (entries, replays): (_, BTreeMap<u64, Timestamp>) = futures::try_join!(bus.dead_letters(), bus.replays())?;
    Ok(entries.into_iter().map(|entry| Letter { replayed: replays.get(&entry.sequence).copied(), entry }).collect())
}

fn is_of(letter: &Letter, consumer: Option<&str>) -> bool {
    consumer.is_none_or(|consumer| consumer_of(&letter.entry.letter) == consumer)
}

async fn replay(bus: &Bus, sequences: impl Iterator<Item = u64>, output: Output) -> Answer {
    let (mut replayed, mut failed, mut code) = (Vec::new(), Vec::new(), DONE);
    for sequence in sequences {
        match bus.replay(sequence).await {
            Ok(()) => replayed.push(sequence),
            Err(error) => {
                code = if matches!(error, ReplayError::NoSuchLetter { .. }) { NO_SUCH_LETTER } else { FAILED };
                let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                failed.push((sequence, format!("{error}{source}")));
            }
        }
    }
    let text = match output {
        Output::Json => {
            let failed: Vec<_> = failed.iter().map(|(sequence, error)| json!({"sequence": sequence, "error": error})).collect();
            json!({"replayed": replayed, "failed": failed}).to_string()
        }
        Output::Text => {
            let done = replayed.iter().map(|sequence| format!("dead letter {sequence} is delivered again\n"));
            let not = failed.iter().map(|(sequence, error)| format!("dead letter {sequence} was not replayed: {error}\n"));
            let lines: String = done.chain(not).collect();
            if lines.is_empty() { "there is nothing to replay".to_owned() } else { lines.trim_end().to_owned() }
        }
    };
    Answer { text, code }
}

fn none(sequence: u64, output: Output) -> Answer {
    let text = match output {
        Output::Json => json!({"error": "no_such_letter", "sequence": sequence}).to_string(),
        Output::Text => format!("there is no dead letter {sequence}"),
    };
    Answer { text, code: NO_SUCH_LETTER }
}

fn list(letters: &[Letter], now: Timestamp, output: Output) -> String {
    if output == Output::Json {
        return visible_json(&Value::from(letters.iter().map(summary).collect::<Vec<_>>()).to_string());
    }
    if letters.is_empty() {
        return "there are no dead letters".to_owned();
    }
    let mut text = String::new();
    for letter in letters {
        let (entry, replayed) =
            (&letter.entry, letter.replayed.map(|at| format!("  (replayed {})", utc(at))).unwrap_or_default());
        let (consumer, reason) = (visible(consumer_of(&entry.letter)), visible(&entry.letter.reason));
        let reason: String = reason.chars().take(SHORT).collect();
        // Writing to a String can't fail.
        let _ =
            writeln!(text, "{}  {}  {consumer}  {}{replayed}\n    {reason}", entry.sequence, when(entry.at, now), about(entry));
    }
    text.trim_end().to_owned()
}

fn show(letter: &Letter, now: Timestamp, output: Output) -> String {
    let inner = &letter.entry.letter;
    if output == Output::Json {
        let mut value = summary(letter);
        value["headers"] = json!(inner.headers);
        value["data_hex"] = json!(hex::encode(&inner.data));
        value["decoded"] = json!(decoded(letter));
        return visible_json(&value.to_string());
    }
    let replayed = letter.replayed.map_or_else(|| "never".to_owned(), |at| when(at, now));
    let mut text = format!(
        "dead letter  {}\ngiven up     {} by {} ({})\nreplayed     {replayed}\nmessage      {} of {}\nsubject      {}\nreason       {}\n",
        letter.entry.sequence,
        when(letter.entry.at, now),
        visible(consumer_of(inner)),
        visible(&inner.service),
        inner.sequence,
        visible(&inner.stream),
        visible(&inner.subject),
        visible(&inner.reason),
    );
    for (name, value) in &inner.headers {
        let _ = writeln!(text, "header       {}: {}", visible(name), visible(value));
    }
    let bytes = &inner.data[..inner.data.len().min(BYTES)];
    let cut = if bytes.len() < inner.data.len() { "… (all of them with --output json)" } else { "" };
    let _ =
        write!(text, "data         {} bytes: {}{cut}\ndecoded      {}", inner.data.len(), hex::encode(bytes), decoded(letter));
    text
}

fn summary(letter: &Letter) -> Value {
    let (entry, inner) = (&letter.entry, &letter.entry.letter);
    let incident = IncidentSubject::parse(&inner.subject).ok().map(|(subject, _)| subject.incident.to_string());
    json!({
        "sequence": entry.sequence,
        "at": entry.at.to_string(),
        "service": inner.service,
        "consumer": consumer_of(inner),
        "stream": inner.stream,
        "original_sequence": inner.sequence,
        "subject": inner.subject,
        "incident": incident,
        "reason": inner.reason,
        "replayed": letter.replayed.map(|at| at.to_string()),
    })
}

/// What the message is about, in one line.
fn about(entry: &DeadLetterEntry) -> String {
    match IncidentSubject::parse(&entry.letter.subject) {
        Ok((subject, event_type)) => format!("{event_type} of {subject}"),
        Err(_) => visible(&entry.letter.subject),
    }
}

/// What the message says, where it can be read.
fn decoded(letter: &Letter) -> String {
    let (subject, data) = (&letter.entry.letter.subject, &letter.entry.letter.data);
    let event_type = subject.rsplit('.').next().unwrap_or_default();
    let read = match subject.split('.').nth(1) {
        Some("incident") => Fact::decode(event_type, data).map(|fact| format!("{fact:?}")),
        Some("occurrence") => OccurrenceFact::decode(event_type, data).map(|fact| format!("{fact:?}")),
        Some("ledger" | "switch") => LedgerFact::decode(event_type, data).map(|fact| format!("{fact:?}")),
        Some("alert") => return alert(data),
        _ => return "(not a fact)".to_owned(),
    };
    read.unwrap_or_else(|error| format!("({})", visible(&error.to_string())))
}

/// What a notification says, as people write labels: it is what an alert is known by.
fn alert(data: &[u8]) -> String {
    let notification = match AlertNotification::decode(data) {
        Ok(notification) => notification,
        Err(error) => return format!("({})", visible(&error.to_string())),
    };
    let mut text = format!("{} alerts of {}, group {:?}", notification.alerts.len(), notification.source, notification.group_key);
    for alert in &notification.alerts {
        // Quoted as Rust quotes it, control characters are written out.
        let _ = write!(text, "\n  {} {} {:?}", alert.status().as_str_name(), visible(&alert.fingerprint), alert.labels);
    }
    text
}

#[cfg(test)]
mod tests {
    use contracts::v1;

    use super::*;

    fn letter(data: &[u8]) -> Letter {
        let id = "inc_0000000000000000000000000000002a";
        let letter = v1::DeadLetter {
            service: "executor".into(),
            stream: "LASTGOOD_INCIDENTS".into(),
            sequence: 41,
            subject: format!("lastgood.incident.eu.shop.deployment.web.{id}.pods_ready"),
            reason: "damaged\u{1b}[2J\nreally".into(),
            headers: BTreeMap::from([("Lastgood-Consumer".to_owned(), "executor".to_owned())]),
            data: data.to_vec(),
        };
        Letter { entry: DeadLetterEntry { sequence: 7, at: Timestamp::UNIX_EPOCH, letter }, replayed: None }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(60).unwrap()
    }

    #[test]
    fn the_list_names_what_it_is_about_and_harms_no_terminal() {
        let text = list(&[letter(b"\xff")], now(), Output::Text);
        assert!(text.starts_with("7  1970-01-01 00:00:00Z (1m 00s ago)  executor  pods_ready of inc_"), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text}");
        assert_eq!(list(&[], now(), Output::Text), "there are no dead letters");
        let json: Value = serde_json::from_str(&list(&[letter(b"")], now(), Output::Json)).unwrap();
        assert_eq!((&json[0]["sequence"], &json[0]["original_sequence"]), (&json!(7), &json!(41)));
        assert_eq!(json[0]["incident"], "inc_0000000000000000000000000000002a");
    }

    #[test]
    fn one_is_shown_with_its_bytes_and_what_they_say() {
        let damaged = show(&letter(b"\xff\xff"), now(), Output::Text);
        assert!(damaged.contains("data         2 bytes: ffff") && damaged.contains("do not decode"), "{damaged}");
        let good = letter(&Fact::from(v1::PodsReady { attempt: 1, ready: 2, desired: 3 }).encode());
        let json: Value = serde_json::from_str(&show(&good, now(), Output::Json)).unwrap();
        assert!(json["decoded"].as_str().unwrap().contains("ready: 2"), "{json}");
        assert_eq!(none(9, Output::Text).code, NO_SUCH_LETTER);
        let long = show(&letter(&vec![0xff; 100_000]), now(), Output::Text);
        assert!(long.contains("100000 bytes") && long.len() < 2000, "{long}");
    }

    #[test]
    fn an_alert_is_shown_by_its_labels() {
        let labels = [("deployment".to_owned(), "shop\u{1b}[2J".to_owned())].into();
        let alert = v1::Alert { fingerprint: "f00".into(), labels, ..v1::Alert::default() };
        let notification =
            AlertNotification { source: "alertmanager".into(), alerts: vec![alert], ..AlertNotification::default() };
        let mut letter = letter(&notification.encode_to_vec());
        letter.entry.letter.subject = "lastgood.alert.alertmanager".into();
        let shown = show(&letter, now(), Output::Text);
        assert!(shown.contains("1 alerts of alertmanager") && shown.contains(r#"{"deployment": "shop\u{1b}[2J"}"#), "{shown}");
    }
}
