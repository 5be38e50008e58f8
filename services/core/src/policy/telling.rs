//! What a policy says of who is told, for people.
//!
//! Guarantees: a line for each route and one for the escalation, in their order. Must not: say whether the notifier knows a name; it does.

use std::time::Duration;

use jiff::SignedDuration;

use super::document::{AudienceWord, SeverityWord};
use super::effective::{Route, Step};
use super::says::Says;
use crate::text::length;

impl Says {
    /// Which messages go to which receivers, and who is called after whom; empty where it says nothing of it.
    #[must_use]
    pub fn telling(&self) -> Vec<String> {
        let routes = self.routes.iter().flatten().map(route);
        let escalation = self.escalation.as_deref().filter(|steps| !steps.is_empty()).map(escalation);
        routes.chain(escalation).collect()
    }
}

fn route(route: &Route) -> String {
    let about = match route.reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" about {}", reasons.join(", ")),
    };
    let what = match route.severities.as_slice() {
        [SeverityWord::Page] => "pages",
        [SeverityWord::Inform] => "news",
        _ => "messages",
    };
    format!("{what}{about} go to {}", route.receivers.join(", "))
}

fn escalation(steps: &[Step]) -> String {
    let calls: Vec<_> = steps.iter().map(step).collect();
    format!("pages call {}, until somebody acknowledges", calls.join(", "))
}

fn step(step: &Step) -> String {
    let audience = step.audience.map(|audience| match audience {
        AudienceWord::OnCall => "the on-call",
        AudienceWord::TeamLead => "the team lead",
    });
    let called: Vec<_> = audience.into_iter().chain(step.receivers.iter().map(String::as_str)).collect();
    let called = called.join(" and ");
    match step.after {
        Duration::ZERO => called,
        after => format!("after {} {called}", length(SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_and_the_escalation_have_their_line() {
        let route = |reasons: &[&str], severities: &[SeverityWord]| Route {
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
            severities: severities.to_vec(),
            receivers: vec!["shop".into(), "boss".into()],
        };
        let says = Says {
            routes: Some(vec![route(&["frozen", "paused"], &[SeverityWord::Page]), route(&[], &[])]),
            escalation: Some(vec![
                Step { after: Duration::ZERO, audience: Some(AudienceWord::OnCall), receivers: vec!["shop".into()] },
                Step { after: Duration::from_mins(15), audience: Some(AudienceWord::TeamLead), receivers: Vec::new() },
            ]),
            ..Says::default()
        };
        assert_eq!(
            says.telling(),
            [
                "pages about frozen, paused go to shop, boss",
                "messages go to shop, boss",
                "pages call the on-call and shop, after 15m 00s the team lead, until somebody acknowledges",
            ]
        );
        assert!(Says::default().telling().is_empty());
    }
}
