//! Tells one story: plays it, shows each fact as it is stored, shows what people got, and judges the end.
//!
//! Guarantees: every wait has a deadline; a story that goes wrong is a row with its difference, and the next one is still told. Must
//! not: touch an incident.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use contracts::{Fact, IncidentSubject};
use lastgood_core::incident::Recorded;

use super::look::Tone;
use super::stage::Stage;
use super::stories::{Broken, Story};
use super::users::{Users, before_after};
use super::verdict::{Row, Seen, Timing, differences};
use super::{steps, told};
use crate::app::{App, AppOptions};
use crate::process::lock;
use crate::wait;
use crate::world::World;

/// The longest an incident of the demo may stay open; its own deadlines are much shorter.
const INCIDENT: Duration = Duration::from_secs(150);
/// How long what people get may take after the close.
const DELIVERY: Duration = Duration::from_secs(15);

/// The demo at work.
pub struct Follow<'a> {
    /// The world.
    pub world: &'a World,
    /// The terminal.
    pub stage: Stage,
    apps: Mutex<Vec<App>>,
}

impl<'a> Follow<'a> {
    /// Nothing told yet.
    #[must_use]
    pub fn new(world: &'a World, stage: Stage) -> Self {
        Self { world, stage, apps: Mutex::default() }
    }

    /// The applications that were made.
    #[must_use]
    pub fn apps(&self) -> Vec<App> {
        lock(&self.apps).clone()
    }

    /// Waits until two seconds of the users' are counted.
    pub async fn two_seconds(&self, users: &Users) -> Result<()> {
        let counted = || async { (users.seconds().len() >= 2).then_some(()) };
        Ok(wait::until("users being counted", Duration::from_secs(30), counted).await?)
    }

    /// Makes an application.
    pub async fn app(&self, name: &str, options: AppOptions) -> Result<App> {
        let app = self.world.app(name, options).await?;
        lock(&self.apps).push(app.clone());
        Ok(app)
    }

    /// Waits until users were served for two seconds in a row.
    pub async fn quiet_second(&self, users: &Users) -> Result<()> {
        let quiet = || async {
            let seconds = users.seconds();
            let last = seconds.iter().rev().take(2).filter(|second| second.ok > 0 && second.failed == 0).count();
            if last == 2 { Ok(()) } else { Err(format!("{seconds:?}")) }
        };
        Ok(wait::until("users being served", Duration::from_secs(30), quiet).await?)
    }

    /// Tells a story, and gives its row of the table.
    pub async fn tell(&self, story: &Story) -> Row {
        self.stage.title(&format!("Story {}: {}", story.number, story.title));
        self.stage.say(Tone::Plain, story.intro);
        self.stage.gap();
        match self.told(story).await {
            Ok(row) => row,
            Err(error) => {
                let differences = vec![format!("{error:#}")];
                self.verdict(&differences);
                let told = "unknown".to_owned();
                Row { number: story.number, title: story.title, outcome: None, timing: Timing::default(), told, differences }
            }
        }
    }

    async fn told(&self, story: &Story) -> Result<Row> {
        let broken = story.play(self).await?;
        let person = async {
            story.person(self, &broken.incident).await?;
            anyhow::Ok(())
        };
        let (facts, ()) = tokio::try_join!(self.follow(&broken.incident), person)?;
        if facts
            .iter()
            .any(|recorded| matches!(recorded.fact, Fact::IncidentClosed(ref fact) if fact.outcome() == Outcome::Completed))
        {
            // What is said of the time after takes a second or two of it.
            self.quiet_second(&broken.users).await?;
        }
        let shifted = facts.iter().find(|recorded| matches!(recorded.fact, Fact::TrafficShifted(_))).map(|recorded| recorded.at);
        self.stage.note("what users saw", &before_after(&broken.users.seconds(), broken.rolled_out, shifted), Tone::Title);
        let (seen, differences) = self.judge(story, &broken).await?;
        self.people(&broken.incident);
        self.verdict(&differences);
        Ok(Row {
            number: story.number,
            title: story.title,
            outcome: seen.outcome,
            timing: Timing::of(&facts),
            told: reached(&seen, story.acknowledged),
            differences,
        })
    }

    /// Shows each fact as it comes, until the incident is closed.
    async fn follow(&self, incident: &IncidentSubject) -> Result<Vec<Recorded>> {
        let journal = &self.world.journal;
        let mut news = journal.watch();
        let end = tokio::time::Instant::now() + INCIDENT;
        let mut shown = 0;
        loop {
            news.mark_unchanged();
            let facts = journal.facts(incident.incident);
            let raised = steps::raised(facts.first().context("an incident without facts")?);
            for recorded in &facts[shown..] {
                self.stage.facts(&steps::lines(recorded, raised));
            }
            shown = facts.len();
            if facts.iter().any(|recorded| matches!(recorded.fact, Fact::IncidentClosed(_))) {
                return Ok(facts);
            }
            let changed = tokio::time::timeout_at(end, news.changed()).await;
            ensure!(matches!(changed, Ok(Ok(()))), "the incident was not closed within {INCIDENT:?}");
        }
    }

    /// What the end is like; deliveries may come a moment after the close.
    async fn judge(&self, story: &Story, broken: &Broken) -> Result<(Seen, Vec<String>)> {
        let end = tokio::time::Instant::now() + DELIVERY;
        loop {
            let seen = self.seen(broken).await?;
            let found = differences(&story.expected, &seen);
            if found.is_empty() || tokio::time::Instant::now() >= end {
                return Ok((seen, found));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn seen(&self, broken: &Broken) -> Result<Seen> {
        let (world, app, id) = (self.world, &broken.app, broken.incident.incident);
        let mut pages: Vec<_> = world.pages(&id.to_string()).iter().map(told::addressed).collect();
        pages.sort();
        let title = world.thread(&id.to_string()).map(|(parent, _)| parent.text().to_owned());
        Ok(Seen {
            outcome: world.journal.state(id).closed.map(|closed| closed.outcome),
            image: app.image().await?,
            pages,
            changes: world.changes(&id.to_string()),
            title: title.map_err(|error| error.to_string()),
            facts: world.journal.event_types(id),
            incidents: world.journal.incidents(&app.namespace, &app.name).len(),
        })
    }

    /// Shows what the pager and the chat got.
    fn people(&self, incident: &IncidentSubject) {
        let (world, look, id) = (self.world, self.stage.look, incident.incident.to_string());
        let pages = world.pages(&id);
        self.stage.gap();
        if pages.is_empty() {
            self.stage.say(Tone::Good, "The pager stayed silent: no page to anybody.");
            self.stage.gap();
        }
        for page in &pages {
            self.stage.lines(told::page(page, look));
            self.stage.gap();
        }
        let changes = world.pagerduty.changes();
        for change in changes.iter().filter(|change| change.payload.to_string().contains(&id)) {
            self.stage.lines(told::change(change, look));
            self.stage.gap();
        }
        if let Ok((parent, replies)) = world.thread(&id) {
            self.stage.lines(told::thread(&parent, &replies, look));
            self.stage.gap();
        }
    }

    fn verdict(&self, differences: &[String]) {
        if differences.is_empty() {
            self.stage.say(Tone::Good, "✓ It ended as it should.");
        }
        for difference in differences {
            self.stage.say(Tone::Bad, &format!("✗ {difference}"));
        }
    }
}

/// Who was told, in a few words.
fn reached(seen: &Seen, acknowledged: bool) -> String {
    let name = |audience: &str| if audience == "team_lead" { "team lead" } else { "on-call" };
    let mut paged: Vec<_> = seen.pages.iter().map(|(audience, _)| name(audience)).collect();
    paged.dedup();
    let paged = if paged.is_empty() { "nobody paged".to_owned() } else { format!("{} paged", paged.join(" + ")) };
    let by = if acknowledged { ", acknowledged" } else { "" };
    let change = if seen.changes > 0 { ", change event" } else { "" };
    let chat = if seen.title.is_ok() { ", chat" } else { "" };
    format!("{paged}{by}{change}{chat}")
}
