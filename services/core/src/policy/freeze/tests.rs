//! Freeze windows against a walk over every minute, and what is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn windows(text: Value) -> (Vec<Freeze>, Vec<String>) {
    let mut found = Vec::new();
    let document: Vec<document::Freeze> = serde_json::from_value(text).unwrap();
    let read = read(&document, At::new("spec.freeze", &mut found));
    (read, found.iter().map(ToString::to_string).collect())
}

fn good(text: Value) -> Vec<Freeze> {
    let (windows, found) = windows(text);
    assert!(found.is_empty(), "{found:?}");
    windows
}

fn until(windows: &[Freeze], now: &str) -> Option<String> {
    frozen(windows, now.parse().unwrap()).map(|frozen| frozen.until.to_string())
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let nights =
        good(json!([{"reason": "night", "days": ["Fri"], "start": "18:00", "end": "08:00", "timeZone": "Europe/Berlin"}]));
    // 2026-11-27 is a Friday; Berlin is one hour ahead of UTC then.
    assert_eq!(until(&nights, "2026-11-27T16:59:59Z"), None);
    assert_eq!(until(&nights, "2026-11-27T17:00:00Z").as_deref(), Some("2026-11-28T07:00:00Z"));
    assert_eq!(until(&nights, "2026-11-28T06:59:59Z").as_deref(), Some("2026-11-28T07:00:00Z"));
    assert_eq!(until(&nights, "2026-11-28T07:00:00Z"), None);
    assert_eq!(until(&nights, "2026-11-28T18:00:00Z"), None, "Saturday's night is another one");
}

#[test]
fn windows_that_follow_each_other_are_one_for_people() {
    let weekend = good(json!([
        {"reason": "weekend", "days": ["Sat", "Sun"], "start": "00:00", "end": "24:00", "timeZone": "UTC"},
        {"reason": "peak season", "from": "2026-11-30T00:00:00Z", "until": "2026-12-02T12:00:00+01:00"}]));
    assert_eq!(until(&weekend, "2026-11-28T10:00:00Z").as_deref(), Some("2026-12-02T11:00:00Z"));
    let said = frozen(&weekend, "2026-11-28T10:00:00Z".parse().unwrap()).unwrap().to_string();
    assert_eq!(said, "weekend, until 2026-12-02T11:00:00Z");
}

#[test]
fn the_next_window_is_known_beforehand() {
    let begins = |windows: &[Freeze], now: &str| next(windows, now.parse().unwrap()).map(|at| at.to_string());
    let both = good(json!([
        {"days": ["Fri"], "start": "18:00", "end": "08:00", "timeZone": "Europe/Berlin"},
        {"from": "2026-11-30T00:00:00Z", "until": "2026-12-02T12:00:00Z"}]));
    assert_eq!(begins(&both, "2026-11-25T12:00:00Z").as_deref(), Some("2026-11-27T17:00:00Z"));
    assert_eq!(begins(&both, "2026-11-27T16:59:59Z").as_deref(), Some("2026-11-27T17:00:00Z"));
    assert_eq!(begins(&both, "2026-11-27T17:00:00Z").as_deref(), Some("2026-11-30T00:00:00Z"), "that one has begun");
    assert_eq!(begins(&both, "2026-11-30T00:00:00Z").as_deref(), Some("2026-12-04T17:00:00Z"));
    let once = &both[1..];
    assert_eq!((begins(once, "2026-11-30T00:00:00Z"), begins(&[], "2026-11-30T00:00:00Z")), (None, None));
    let jumped = good(json!([{"days": ["Sun"], "start": "02:15", "end": "02:45", "timeZone": "Europe/Berlin"}]));
    assert_eq!(begins(&jumped, "2026-03-28T12:00:00Z").as_deref(), Some("2026-04-05T00:15:00Z"), "never shown on 2026-03-29");
}

#[test]
fn clocks_that_jump_are_followed() {
    let night = good(json!([{"start": "02:15", "end": "02:45", "timeZone": "Europe/Berlin"}]));
    // 2026-03-29, 02:00 is followed by 03:00: the window is never shown, and takes no time.
    assert_eq!(until(&night, "2026-03-29T00:59:59Z"), None);
    assert_eq!(until(&night, "2026-03-29T01:00:00Z"), None);
    // 2026-10-25, 03:00 is followed by 02:00: it is shown twice.
    assert_eq!(until(&night, "2026-10-25T00:14:59Z"), None);
    assert_eq!(until(&night, "2026-10-25T00:15:00Z").as_deref(), Some("2026-10-25T01:45:00Z"));
    assert_eq!(until(&night, "2026-10-25T01:44:59Z").as_deref(), Some("2026-10-25T01:45:00Z"));
    assert_eq!(until(&night, "2026-10-25T01:45:00Z"), None);
    let long = good(json!([{"start": "02:30", "end": "05:00", "timeZone": "Europe/Berlin"}]));
    assert_eq!(until(&long, "2026-03-29T01:00:00Z").as_deref(), Some("2026-03-29T03:00:00Z"), "from the jump on");
}

#[test]
fn a_time_without_an_offset_needs_a_zone() {
    let (_, found) = windows(json!([{"from": "2026-12-24T00:00", "until": "2026-12-27T00:00"}]));
    assert!(found[0].contains("spec.freeze[0].from: \"2026-12-24T00:00\" is no time; write one like"), "{found:?}");
    let local = good(json!([{"from": "2026-12-24T00:00", "until": "2026-12-27T00:00", "timeZone": "America/New_York"}]));
    assert_eq!(until(&local, "2026-12-24T05:00:00Z").as_deref(), Some("2026-12-27T05:00:00Z"));
    assert_eq!(until(&local, "2026-12-24T04:59:59Z"), None);
}

#[test]
fn what_is_no_window_is_refused_with_its_field() {
    let cases = [
        (
            json!({"start": "18:00", "end": "08:00", "timeZone": "Mars/Olympus"}),
            "spec.freeze[0].timeZone: \"Mars/Olympus\" is no time zone; use an IANA name like Europe/Berlin",
        ),
        (json!({"start": "18:00", "end": "08:00"}), "spec.freeze[0].timeZone: is missing"),
        (json!({"start": "6pm", "end": "08:00", "timeZone": "UTC"}), "spec.freeze[0].start: \"6pm\" is no time of day"),
        (json!({"start": "24:00", "end": "08:00", "timeZone": "UTC"}), "spec.freeze[0].start: \"24:00\" is no time of day"),
        (json!({"start": "08:00", "end": "25:00", "timeZone": "UTC"}), "spec.freeze[0].end: \"25:00\" is no time of day"),
        (json!({"days": ["Sat"], "timeZone": "UTC"}), "spec.freeze[0].start: is missing"),
        (json!({}), "spec.freeze[0]: says no time"),
        (json!({"start": "08:00", "from": "2026-01-01T00:00:00Z"}), "spec.freeze[0]: is both"),
        (json!({"from": "2026-01-01T00:00:00Z"}), "spec.freeze[0].until: is missing"),
        (json!({"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "spec.freeze[0].until: is not after from"),
    ];
    for (window, wanted) in cases {
        let (read, found) = windows(json!([window]));
        assert!(read.is_empty() && found.iter().any(|text| text.starts_with(wanted)), "{wanted}\n{found:?}");
    }
}

/// What the clock on the wall shows in each minute of some days.
fn walk(zone: &TimeZone, from: Timestamp, minutes: usize) -> Vec<(Timestamp, DateTime)> {
    let at = |minute: usize| from + SignedDuration::from_mins(i64::try_from(minute).unwrap());
    (0..minutes).map(at).map(|at| (at, at.to_zoned(zone.clone()).datetime())).collect()
}

/// Whether each minute lies between the first that shows the start and the last that shows a time before the end, of any of the dates.
fn by_walking(shown: &[(Timestamp, DateTime)], days: &[Day], start: (i8, i8), end: (i8, i8)) -> Vec<bool> {
    let mut frozen = vec![false; shown.len()];
    let mut date = shown[0].1.date().yesterday().unwrap();
    while date <= shown.last().unwrap().1.date() {
        if days.iter().any(|day| weekday(*day) == date.weekday()) {
            let begins = date.at(start.0, start.1, 0, 0);
            let last_day = if end <= start { date.tomorrow().unwrap() } else { date };
            let ends = last_day.at(end.0, end.1, 0, 0);
            let first = shown.iter().position(|(_, shows)| *shows >= begins).unwrap_or(shown.len());
            let behind = shown.iter().rposition(|(_, shows)| *shows < ends).map_or(0, |last| last + 1);
            (first..behind).for_each(|minute| frozen[minute] = true);
        }
        date = date.tomorrow().unwrap();
    }
    frozen
}

const ZONES: [&str; 7] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia", "UTC"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_weekly_window_is_what_a_walk_over_every_minute_finds(
        zone in prop::sample::select(ZONES.to_vec()),
        // Half of the walks cross a change of the clocks.
        anchor in prop_oneof![0_i64..20_000, prop::sample::select(vec![20_540_i64, 20_758, 20_550, 20_520, 20_730])],
        start in (0_i8..24, 0_i8..60), end in (0_i8..24, 0_i8..60),
        days in prop::collection::btree_set(prop::sample::select(Day::ALL.to_vec()), 1..=7),
    ) {
        // Midnight UTC, in the middle of what is walked; from 1971 on offsets are whole minutes but for Liberia's.
        let from = Timestamp::from_second((365 + anchor) * 86_400).unwrap();
        let days: Vec<Day> = days.into_iter().collect();
        let clock = |(hours, minutes): (i8, i8)| format!("{hours:02}:{minutes:02}");
        let window = good(json!([{"days": days, "start": clock(start), "end": clock(end), "timeZone": zone}]));
        let zone = super::zone(zone).unwrap();
        let (before, walked) = (3 * 1440, 3 * 1440);
        let shown = walk(&zone, from - SignedDuration::from_mins(before), usize::try_from(before + walked + before).unwrap());
        let wanted = by_walking(&shown, &days, start, end);
        for minute in usize::try_from(before).unwrap()..usize::try_from(before + walked).unwrap() {
            let (at, shows) = shown[minute];
            prop_assert_eq!(frozen(&window, at).is_some(), wanted[minute], "{} {}", at, shows);
        }
    }

    #[test]
    fn any_window_is_read_or_refused(start in "[0-9:]{0,6}", from in "[-0-9TZ:+]{0,26}", zone in "[A-Za-z/]{0,12}") {
        windows(json!([{"start": start, "end": start, "timeZone": zone}, {"from": from, "until": from}]));
    }
}
