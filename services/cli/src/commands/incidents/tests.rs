//! What is listed, and how.

use contracts::v1;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn opening(number: u8, namespace: &str, alert: &str) -> Stored {
    let trigger = v1::Occurrence { alert_name: alert.into(), ..v1::Occurrence::default() };
    let fact: Fact = v1::AnomalyDetected { trigger: Some(trigger), ..v1::AnomalyDetected::default() }.into();
    stored(number, namespace, &fact)
}

fn closing(number: u8, outcome: Outcome) -> Stored {
    let fact: Fact = IncidentClosed { outcome: outcome.into(), reason: "paused".into() }.into();
    Stored { at: at(1_000 + i64::from(number)), ..stored(number, "shop", &fact) }
}

fn stored(number: u8, namespace: &str, fact: &Fact) -> Stored {
    Stored {
        subject: format!("lastgood.incident.eu.{namespace}.deployment.web.inc_{number:032x}.{}", fact.event_type()),
        sequence: u64::from(number),
        at: at(i64::from(number)),
        headers: async_nats::HeaderMap::new(),
        data: fact.encode().into(),
    }
}

fn args(words: &str) -> Args {
    use clap::Parser as _;
    let line = format!("lastgood incidents {words}");
    match crate::args::Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        crate::args::Command::Incidents(args) => args,
        other => panic!("{other:?}"),
    }
}

fn listed(words: &str) -> (Vec<u64>, usize) {
    let openings = [opening(1, "shop", "A"), opening(2, "shop", "B"), opening(3, "test", "C"), opening(4, "shop", "D")];
    let closings = [closing(1, Outcome::Completed), closing(4, Outcome::Halted)];
    let list = selected(rows(&openings, &closings), &args(words), at(10));
    let number = |row: &Row| u64::try_from(row.subject.incident.uuid().as_u128()).unwrap();
    (list.rows.iter().map(number).collect(), list.more)
}

#[test]
fn open_ones_come_first_and_the_filters_filter() {
    for (words, numbers, more) in [
        ("", &[3, 2, 4, 1][..], 0),
        ("--open", &[3, 2], 0),
        ("-n test", &[3], 0),
        ("--outcome halted", &[4], 0),
        ("--outcome rollback-failed", &[], 0),
        ("--since 7s", &[3, 4], 0),
        ("--limit 1", &[3, 2, 4], 1),
        ("--limit 0", &[3, 2, 4, 1], 0),
    ] {
        assert_eq!(listed(words), (numbers.to_vec(), more), "{words}");
    }
}

#[test]
fn a_list_reads_in_columns_and_harms_no_terminal() {
    let mut damaged = opening(2, "shop", "x");
    damaged.data = b"\xff\xff".to_vec().into();
    let openings = [opening(1, "shop", "Errors\u{1b}[2J"), damaged];
    let mut list = selected(rows(&openings, &[closing(1, Outcome::Halted)]), &args(""), at(100));
    let switch = |namespace: &str| PauseSwitched {
        paused: true,
        who: "ann".into(),
        reason: "a drill".into(),
        namespace: namespace.into(),
    };
    list.paused = vec![switch(""), switch("bank")];
    list.rows[0].state = Some(Err("a newer binary's fact".into()));
    list.more = 7;
    assert_eq!(
        text(&list, None, at(100), Look::new(false)),
        [
            "all automatic action is paused by ann: a drill",
            "all automatic action in namespace bank is paused by ann: a drill",
            "STATE                                 WORKLOAD             ALERT            OPENED                             INCIDENT",
            "can't be read: a newer binary's fact  shop/deployment/web  (not readable)   1970-01-01 00:00:02Z (1m 38s ago)  inc_00000000000000000000000000000002",
            "halted: paused                        shop/deployment/web  Errors\\u{1b}[2J  1970-01-01 00:00:01Z               inc_00000000000000000000000000000001",
            "… and 7 more closed ones (--limit 0 shows all)",
        ]
        .map(str::to_owned)
    );
    assert_eq!(json_of(&list.rows[0])["unreadable"], "a newer binary's fact");
    assert_eq!(json_of(&list.rows[1])["outcome"], "halted");
}
