//! Who is told over what, and when to try again: values in, values out.
//!
//! Guarantees: the routes are the same for the same configuration and request, so that two replicas and a redelivery agree. Must
//! not: send, or read a clock.

use std::time::Duration;

use contracts::v1::Audience;

use crate::channels::Channel;
use crate::story::Request;
use crate::templates::alarm::AUDIENCE;

/// The channels to try, in order; the second is the fallback. Empty: nothing is configured that could reach this audience.
#[must_use]
pub fn route<'a>(channels: &[&'a dyn Channel], fallback: Option<&str>, request: &Request) -> Vec<&'a dyn Channel> {
    let reaching: Vec<_> = channels.iter().copied().filter(|channel| channel.reaches(request.audience)).collect();
    let preferred = |channel: &&&dyn Channel| fallback == Some(channel.name());
    let first =
        reaching.iter().find(|channel| channel.suits(request)).or_else(|| reaching.iter().find(preferred)).or(reaching.first());
    let Some(first) = first else { return Vec::new() };
    let rest = || reaching.iter().filter(|channel| channel.name() != first.name());
    let second = rest().find(preferred).or_else(|| rest().next());
    std::iter::once(*first).chain(second.copied()).collect()
}

/// The channels to try for an alarm, in order: the usual ones first, or the fallback where the notifier itself is what failed.
#[must_use]
pub fn alarm_route<'a>(channels: &[&'a dyn Channel], fallback: Option<&str>, by_fallback: bool) -> Vec<&'a dyn Channel> {
    let mut route: Vec<_> = channels.iter().copied().filter(|channel| channel.reaches(AUDIENCE)).collect();
    if by_fallback && route.len() > 1 {
        // Without a configured one, any but the first: that is the one that pages usually go over.
        let first = route[0].name();
        route.sort_by_key(|channel| match fallback {
            Some(fallback) => channel.name() != fallback,
            None => channel.name() == first,
        });
    }
    route
}

/// How many copies a channel gets of a notification: none when it answers for it and its one receiver has it already.
#[must_use]
pub fn copies(channel: &dyn Channel, route: &[&dyn Channel], request: &Request) -> usize {
    let usual = request.receivers.is_empty() || request.audience_too;
    let answers = (usual && route.first().is_some_and(|first| first.name() == channel.name()))
        || request.receivers.iter().any(|name| name == channel.name());
    match channel.copies(request) {
        1 if answers => 0,
        copies => copies,
    }
}

/// The shortest wait before a second try.
const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after the `tries`-th failed try: exponential with jitter (`chance` within 0..1), or what the provider asked for
/// and a little jitter, so that not all come back at the same instant.
#[must_use]
pub fn backoff(tries: u32, asked: Option<Duration>, chance: f64) -> Duration {
    if let Some(asked) = asked {
        return asked + FIRST.mul_f64(chance);
    }
    let full = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST);
    full.mul_f64(0.5 + chance / 2.0)
}

/// The channel's part of a metric or log for this audience.
#[must_use]
pub const fn audience_label(audience: Audience) -> &'static str {
    lastgood_core::words::audience_code(audience)
}
