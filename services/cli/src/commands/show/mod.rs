//! `show`: one incident as a story, on the log or in the archive; with `--follow` live, until it closes.
//!
//! `dossier` reads all that there is of it, `state` says where it stands, `tell` what each fact says, `page` how that looks, `follow` goes on
//! while it is open. Must not: change anything.

pub mod dossier;
mod follow;
pub mod page;
pub mod state;
pub mod tell;

use std::time::Duration;

use contracts::IncidentId;
use serde_json::Value;

use crate::context::Context;
use crate::exit::{Answer, Failure};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which, `inc_…`.
    incident: IncidentId,
    /// Tell more as it happens, until the incident closes. With `-o json` each fact is a line of its own.
    #[arg(long, short)]
    follow: bool,
    /// With --follow: for how long at most; an incident that is still open then is exit code 1.
    #[arg(long = "for", value_name = "LENGTH", value_parser = humantime::parse_duration, default_value = "1h", requires = "follow")]
    within: Duration,
}

impl Args {
    /// How long the command may take: following has its own end, which is no failure of the command.
    #[must_use]
    pub fn limit(&self, usual: Duration) -> Duration {
        if self.follow { self.within.saturating_add(usual) } else { usual }
    }
}

/// Reads and tells.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bus = context.bus().await?;
    let dossier = dossier::read(&bus, args.incident).await?;
    let dossier = dossier.ok_or_else(|| {
        Failure::NoSuch(format!("there is no incident {}, neither on the log nor in the archive", args.incident))
    })?;
    if args.follow {
        return follow::run(context, &bus, dossier, args.within).await;
    }
    let mut json = page::json(&dossier);
    json["facts"] = dossier.entries.values().map(page::fact_json).collect::<Vec<Value>>().into();
    Ok(Answer::done(&page::text(&dossier, context.now(), context.look), json))
}
