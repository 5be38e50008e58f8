//! What a policy says of who is told, as the incident's log keeps it.
//!
//! Guarantees: a policy that says nothing of it adds nothing to the log. Must not: look a receiver's name up; the notifier does.

use contracts::time::duration_to_proto;
use contracts::v1::{Audience, EscalationStep, NotificationRoute, NotificationsRouted, Urgency};
use lastgood_core::incident::Command;
use lastgood_core::policy::document::{AudienceWord, SeverityWord};
use lastgood_core::policy::{Effective, Route, Step};

/// The command that puts it on the log; none where there is nothing to put.
#[must_use]
pub fn routed(policy: &Effective) -> Option<Command> {
    let says_something = !policy.routes.is_empty() || !policy.escalation.is_empty();
    says_something.then(|| {
        let routes = policy.routes.iter().map(route).collect();
        Command::Route(NotificationsRouted { routes, escalation: policy.escalation.iter().map(step).collect() })
    })
}

fn route(route: &Route) -> NotificationRoute {
    let urgency = |severity: &SeverityWord| match severity {
        SeverityWord::Inform => Urgency::Inform.into(),
        SeverityWord::Page => Urgency::Page.into(),
    };
    let urgencies = route.severities.iter().map(urgency).collect();
    NotificationRoute { reasons: route.reasons.clone(), urgencies, receivers: route.receivers.clone() }
}

fn step(step: &Step) -> EscalationStep {
    let audience = match step.audience {
        Some(AudienceWord::OnCall) => Audience::OnCall,
        Some(AudienceWord::TeamLead) => Audience::TeamLead,
        None => Audience::Unspecified,
    };
    EscalationStep { after: Some(duration_to_proto(step.after)), audience: audience.into(), receivers: step.receivers.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_policy_that_says_nothing_of_it_adds_nothing() {
        assert_eq!(routed(&Effective::default()), None);
    }

    #[test]
    fn routes_and_escalation_are_kept_as_they_are_said() {
        let receivers = vec!["shop".to_owned()];
        let policy = Effective {
            routes: vec![Route { reasons: vec!["frozen".into()], severities: vec![SeverityWord::Page], receivers }],
            escalation: vec![Step { after: Duration::from_mins(5), audience: None, receivers: vec!["boss".into()] }],
            ..Effective::default()
        };
        let Some(Command::Route(said)) = routed(&policy) else { panic!("nothing is said") };
        assert_eq!((said.routes[0].urgencies.as_slice(), said.routes[0].receivers[0].as_str()), (&[2][..], "shop"));
        let step = &said.escalation[0];
        assert_eq!(
            (step.after.map(|after| after.seconds), step.audience(), step.receivers[0].as_str()),
            (Some(300), Audience::Unspecified, "boss")
        );
    }
}
