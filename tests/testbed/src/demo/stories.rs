//! The four stories: what each is about, how its workload comes to be broken, and how it has to end.
//!
//! Guarantees: a story's alert comes from its users' requests, by Prometheus' rule and Alertmanager; nothing is posted by hand. Must
//! not: tell lastgood anything, but for the acknowledgement that a person gives.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contracts::v1::Outcome;
use contracts::{IncidentSubject, LedgerFact};
use jiff::Timestamp;

use super::follow::Follow;
use super::look::Tone;
use super::steps::short;
use super::users::Users;
use super::verdict::Expected;
use crate::app::{App, AppOptions, READY_BEFORE};
use crate::real_cluster::image;
use crate::world::SOAK;

/// For what takes a rollout.
const ROLLOUT: Duration = Duration::from_mins(2);
/// How long a person takes to be there.
const SOON: Duration = Duration::from_mins(1);
/// What a person takes from the page to the acknowledgement; less than lastgood waits for it.
const REACTION: Duration = Duration::from_secs(2);
/// The tag of every story's bad version: it passes its readiness probe, and answers each request with an error.
pub const BAD: &str = "v2-failing";

/// How version 1 fares before version 2 comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It runs and is seen fully available.
    Proved,
    /// It never becomes ready.
    NeverReady,
    /// It is seen fully available, and could not start again by the time it is needed.
    CannotReturn,
}

/// A story.
#[derive(Debug)]
pub struct Story {
    /// Its number.
    pub number: usize,
    /// Its title.
    pub title: &'static str,
    /// What it is about.
    pub intro: &'static str,
    /// The application's name.
    pub app: &'static str,
    /// Version 1.
    pub first: &'static str,
    /// What becomes of version 1.
    pub past: Past,
    /// Whether a person acknowledges the page.
    pub acknowledged: bool,
    /// How it has to end.
    pub expected: Expected,
}

/// All of them, in the order in which they are told.
pub const STORIES: [Story; 4] = [
    Story {
        number: 1,
        title: "a bad version, put right",
        intro: "Version 1 has proved itself. Version 2 passes its readiness probe and answers every request with an error. \
                lastgood has to put version 1 back, prove it, and wake nobody.",
        app: "checkout",
        first: "v1",
        past: Past::Proved,
        acknowledged: false,
        expected: Expected {
            outcome: Outcome::Completed,
            tag: "v1",
            pages: &[],
            changes: 1,
            title: "rolled back, verified and resolved",
            facts: &[
                "anomaly_detected",
                "current_version_identified",
                "previous_version_found",
                "rollback_planned",
                "rollback_started",
                "previous_version_deployed",
                "pods_ready",
                "traffic_shifted",
                "smoke_test_finished",
                "verification_passed",
                "mitigated",
                "notification_requested",
                "on_call_notified",
                "incident_closed",
            ],
        },
    },
    Story {
        number: 2,
        title: "nothing to go back to",
        intro: "The version before was never seen healthy, so going back to it would be a guess. lastgood has to halt, change \
                nothing, and page the on-call engineer, who acknowledges.",
        app: "basket",
        first: "v1-never-ready",
        past: Past::NeverReady,
        acknowledged: true,
        expected: Expected {
            outcome: Outcome::Halted,
            tag: BAD,
            pages: &[("on_call", "halted.previous_version_missing")],
            changes: 0,
            title: "a person is needed",
            facts: &[
                "anomaly_detected",
                "current_version_identified",
                "previous_version_missing",
                "rollback_halted",
                "notification_requested",
                "on_call_notified",
                "person_acted",
                "incident_closed",
            ],
        },
    },
    Story {
        number: 3,
        title: "the smoke tests fail",
        intro: "Version 1 comes back and its pods are ready, but it does not pass its smoke test. lastgood has to escalate to the \
                team lead as well as the on-call engineer, and to claim no success.",
        app: "search",
        first: "v1-unhealthy-smoke",
        past: Past::Proved,
        acknowledged: false,
        expected: Expected {
            outcome: Outcome::VerificationFailed,
            tag: "v1-unhealthy-smoke",
            pages: &[
                ("on_call", "verification_failed.smoke_tests_failed"),
                ("team_lead", "verification_failed.smoke_tests_failed"),
            ],
            changes: 0,
            title: "a person is needed",
            facts: &[
                "anomaly_detected",
                "previous_version_found",
                "rollback_planned",
                "rollback_started",
                "traffic_shifted",
                "smoke_test_finished",
                "verification_failed",
                "escalated",
                "incident_closed",
            ],
        },
    },
    Story {
        number: 4,
        title: "pods never get ready",
        intro: "Version 1 was healthy and cannot start any more: what it needs is gone. lastgood has to say that the rollback \
                failed, why, and which pods serve now. Nobody acknowledges the page, so it goes on to the team lead.",
        app: "payment",
        first: "v1",
        past: Past::CannotReturn,
        acknowledged: false,
        expected: Expected {
            outcome: Outcome::RollbackFailed,
            tag: "v1",
            pages: &[("on_call", "failed.pods_not_ready"), ("team_lead", "unacknowledged")],
            changes: 0,
            title: "a person is needed",
            facts: &[
                "anomaly_detected",
                "previous_version_found",
                "rollback_planned",
                "rollback_started",
                "previous_version_deployed",
                "rollback_failed",
                "on_call_notified",
                "escalated",
                "incident_closed",
            ],
        },
    },
];

/// A story whose version 2 has been rolled out and whose alert has opened an incident.
pub struct Broken {
    /// Its application.
    pub app: App,
    /// Its users.
    pub users: Users,
    /// When version 2 was rolled out.
    pub rolled_out: Timestamp,
    /// The incident.
    pub incident: IncidentSubject,
}

impl Story {
    /// Deploys version 1, lets users come, rolls version 2 out and waits until the alert has opened an incident.
    pub async fn play(&self, follow: &Follow<'_>) -> Result<Broken> {
        let (world, stage) = (follow.world, follow.stage);
        let until = super::now().as_second() + if world.options.kubeconfig.is_some() { 40 } else { 10 };
        let env = match self.past {
            Past::CannotReturn => BTreeMap::from([(READY_BEFORE.to_owned(), until.to_string())]),
            Past::Proved | Past::NeverReady => BTreeMap::new(),
        };
        let app = follow.app(self.app, AppOptions { env, ..AppOptions::default() }).await?;
        app.deploy(self.first).await?;
        self.first_version(follow, &app).await?;
        let users = Users::of(world.load(&app).await?);
        if self.past == Past::CannotReturn {
            world.wait_until(until + 1).await;
            stage.note("", "version 1 keeps serving, and a new pod of it would not become ready any more", Tone::Quiet);
        }
        if self.past == Past::NeverReady {
            follow.two_seconds(&users).await?;
        } else {
            follow.quiet_second(&users).await?;
        }
        let rolled_out = super::now();
        self.second_version(&app).await?;
        stage.note(
            "version 2 rolled out",
            &format!("{}, while users send 20 requests a second", short(&image(BAD))),
            Tone::Plain,
        );
        let opens = world.journal.wait_incident(&app.namespace, &app.name, 0, SOON);
        let ready = async {
            // The alert may be faster than the rollout; then there is nothing to say.
            if app.available(ROLLOUT).await.is_ok() {
                stage.note("", "all its pods pass their readiness probe; now for Prometheus and Alertmanager …", Tone::Quiet);
            }
            std::future::pending::<()>().await;
        };
        let incident = tokio::select! { incident = opens => incident?, () = ready => unreachable!("it is pending") };
        Ok(Broken { app, users, rolled_out, incident })
    }

    async fn first_version(&self, follow: &Follow<'_>, app: &App) -> Result<()> {
        let journal = &follow.world.journal;
        let wait = |what: &'static str, wanted: fn(&LedgerFact) -> bool| {
            journal.wait_ledger_count(&app.namespace, &app.name, what, ROLLOUT, 1, wanted)
        };
        let of = format!("{} in namespace {}", short(&image(self.first)), app.namespace);
        if self.past == Past::NeverReady {
            wait("version_observed", |fact| matches!(fact, LedgerFact::VersionObserved(_))).await?;
            follow.stage.note("version 1 deployed", &format!("{of}; no pod of it becomes ready"), Tone::Bad);
        } else {
            app.available(ROLLOUT).await.context("version 1")?;
            wait("version_soaked", |fact| matches!(fact, LedgerFact::VersionSoaked(_))).await?;
            let stood = format!("{of}; lastgood has seen it stand for {SOAK}");
            follow.stage.note("version 1 deployed", &stood, Tone::Good);
        }
        Ok(())
    }

    async fn second_version(&self, app: &App) -> Result<()> {
        match self.past {
            Past::CannotReturn => app.roll_out_lasting(BAD).await,
            Past::Proved | Past::NeverReady => app.roll_out(BAD).await,
        }
    }

    /// What a person does while the incident is open: nothing, or to acknowledge the page.
    pub async fn person(&self, follow: &Follow<'_>, incident: &IncidentSubject) -> Result<()> {
        if self.acknowledged {
            follow.world.page(&incident.incident.to_string(), "on_call", SOON).await?;
            tokio::time::sleep(REACTION).await;
            follow.world.acknowledge(incident).await?;
        }
        Ok(())
    }
}
