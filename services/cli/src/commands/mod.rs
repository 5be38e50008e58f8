//! The commands, one a file (or folder): each reads, and says what it found in words and in JSON.
//!
//! Must not: share anything but what `context`, `record`, `version` and `look` give them.

pub mod answer;
pub mod completions;
pub mod dead_letters;
pub mod diff;
pub mod history;
pub mod incidents;
pub mod mark;
pub mod pause;
pub mod policy;
pub mod rollback;
pub mod show;

use contracts::v1::Action;
use lastgood_core::text::length;

use crate::args::Command;
use crate::context::Context;
use crate::exit::{Answer, Failure};

/// Does what a command asks, within the time that it may take.
pub async fn run(context: &Context, command: &Command) -> Result<Answer, Failure> {
    let limit = match command {
        Command::Show(args) => args.limit(context.timeout),
        _ => context.timeout,
    };
    let shown = || length(limit.try_into().unwrap_or(jiff::SignedDuration::MAX));
    tokio::time::timeout(limit, Box::pin(dispatch(context, command))).await.map_err(|_| Failure::TimedOut(shown()))?
}

async fn dispatch(context: &Context, command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::History(args) => history::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Mark(args) => mark::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Approve(args) => answer::run(context, args, Action::Approve).await,
        Command::Decline(args) => answer::run(context, args, Action::Decline).await,
        Command::Hold(args) => answer::run(context, args, Action::Hold).await,
        Command::Policy(args) => policy::run(context, args).await,
        Command::Pause(args) => pause::pause(context, args).await,
        Command::Resume(args) => pause::resume(context, args).await,
        Command::Incidents(args) => incidents::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::DeadLetters(args) => dead_letters::run(context, args).await,
        Command::Completions(args) => Ok(completions::run(args)),
    }
}
