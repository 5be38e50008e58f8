//! What asks a person, and what everybody is told of: approvals and their answers, and pause switches.

use std::time::Duration;

use chassis::bus::{Group, NewEvent};
use contracts::v1::{self, Action, Audience, OnTimeout};
use contracts::{LedgerFact, subjects, time};
use lastgood_core::incident::{APPROVAL, Command};
use testbed::wait;

use crate::process::{SOON, Stage};
use crate::world::{HOSTILE, opened, planned, subject};

impl Stage {
    /// An incident whose plan waits for a person.
    async fn asks(&self) {
        let request = v1::ApprovalRequested {
            within: Some(time::duration_to_proto(Duration::from_mins(10))),
            on_timeout: OnTimeout::Halt.into(),
            would_do: format!("roll back from web:2 to web:1\n{HOSTILE}"),
        };
        let plan = v1::Plan { not_after: Some(time::to_proto(jiff::Timestamp::MAX)), ..planned().plan.unwrap() };
        for command in [
            Command::Open(opened()),
            Command::IdentifyCurrent(v1::CurrentVersionIdentified::default()),
            Command::FindPrevious(v1::PreviousVersionFound::default()),
            Command::PlanToApprove(Box::new(plan), request),
        ] {
            self.execute(command).await;
        }
    }

    async fn turn(&self, subject: String, filter: String, fact: v1::PauseSwitched) {
        let bus = self.incidents.bus();
        let events = vec![NewEvent::ledger(bus.ids().event(), subject, &LedgerFact::from(fact))];
        bus.append(vec![Group { filter, expected: 0, events }]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_says_how_to_answer_it_and_its_page_goes_once_it_is_answered() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    stage.asks().await;
    let paged = || async { stage.pagerduty.pages().into_iter().next().ok_or_else(|| stage.pagerduty.render()) };
    let page = wait::until("the page", SOON, paged).await.unwrap();
    assert_eq!(page.dedup_key, format!("lastgood/{}/on_call/{APPROVAL}", subject().incident));
    assert!(page.summary().contains("Your approval is needed to roll back from web:2 to web:1"), "{}", page.summary());
    let details = &page.payload["custom_details"];
    assert_eq!(details["to_approve"], format!("lastgood approve {}", subject().incident));
    assert_eq!(details["to_decline"], format!("lastgood decline {}", subject().incident));
    assert!(page.links[0]["href"].as_str().unwrap().ends_with("/approval.md"));
    let shown = || async {
        let shown = stage.slack.render();
        if shown.contains("waits for a person's approval") { Ok(()) } else { Err(shown) }
    };
    wait::until("the thread", SOON, shown).await.unwrap();
    let told = stage.webhook.wait_for(|call| call.call.body["reason"] == APPROVAL, SOON).await.unwrap();
    assert!(told.call.body["answers"]["approve"].as_str().unwrap().starts_with("lastgood approve inc_"));
    assert!(stage.pagerduty.pages()[0].resolved_at.is_none(), "nobody has answered");
    let approve = v1::PersonActed { action: Action::Approve.into(), who: "ann".into(), ..v1::PersonActed::default() };
    stage.execute(Command::PersonAct(approve)).await;
    let gone = || async {
        let all = stage.pagerduty.pages();
        if all.iter().all(|page| page.resolved_at.is_some()) { Ok(()) } else { Err(stage.pagerduty.render()) }
    };
    wait::until("the page's end", SOON, gone).await.unwrap();
    let incident = stage.incidents.load(&subject(), None).await.unwrap().incident;
    assert!(incident.notice(Audience::OnCall, APPROVAL).unwrap().delivered);
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_that_a_switch_was_turned_and_nobody_is_paged() {
    let stage = Stage::set().await;
    let service = stage.service().await;
    let fact = |paused, namespace: &str| v1::PauseSwitched {
        paused,
        who: "ann".into(),
        reason: HOSTILE.into(),
        namespace: namespace.into(),
    };
    stage.turn(subjects::switch("eu", "pause_switched"), subjects::switch_filter("eu"), fact(true, "")).await;
    let (own, filter) =
        (subjects::namespace_switch("eu", "shop", "pause_switched"), subjects::namespace_switch_filter("eu", "shop"));
    stage.turn(own, filter, fact(false, "shop")).await;
    for (what, namespace) in
        [("ann paused all automatic rollbacks in cluster eu", ""), ("in namespace shop of cluster eu", "shop")]
    {
        let told = stage.slack.wait_for(|call| call.call.body["text"].as_str().is_some_and(|text| text.contains(what)), SOON);
        assert!(!told.await.unwrap().call.body.to_string().contains("<!channel>"));
        let is_it = |body: &serde_json::Value| body["fact"] == "pause_switched" && body["namespace"] == namespace;
        stage.webhook.wait_for(|call| is_it(&call.call.body), SOON).await.unwrap();
        let noted = || async {
            let changes = stage.pagerduty.changes();
            let noted = changes.iter().any(|change| change.payload["summary"].as_str().is_some_and(|text| text.contains(what)));
            if noted { Ok(()) } else { Err(stage.pagerduty.render()) }
        };
        wait::until("the change event", SOON, noted).await.unwrap();
    }
    assert!(stage.pagerduty.pages().is_empty());
    drop(service);
}
