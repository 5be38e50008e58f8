//! `mark good|bad|clear`: a person says what a version is.
//!
//! Guarantees: it is a fact of the workload's ledger, appended only onto what was read; saying the same again is "already so". Must not: mark
//! what the ledger does not hold.

use std::time::Duration;

use chassis::bus::AppendError;
use clap::ValueEnum;
use contracts::LedgerFact;
use contracts::v1::{Standing, VersionMarked, WorkloadRef};
use orchestrator::ledger::{LedgerStore, StoreError};
use serde_json::json;

use crate::context::{Context, said, who};
use crate::exit::{Answer, Failure};
use crate::look::Tone;
use crate::record::{self, Version};
use crate::version::resolve;
use crate::workload::{self, Target, pasteable};

/// Before trying again after somebody else wrote first.
const PAUSE: Duration = Duration::from_millis(20);

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Word {
    /// It may be gone back to.
    Good,
    /// It must not be gone back to.
    Bad,
    /// Nothing: the evidence counts again.
    Clear,
}

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What it is.
    #[arg(value_enum)]
    word: Word,
    #[command(flatten)]
    target: Target,
    /// Which version: the beginning of its hash, an image or tag, `current` or `previous`.
    version: String,
    /// Why, for the people who will wonder.
    #[arg(long, value_parser = said)]
    reason: String,
    /// Who says so; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// Records it.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let workload = args.target.resolve(&context.config.kubernetes)?;
    let store = LedgerStore::new(context.bus().await?);
    let who = who(args.who.as_deref());
    let mut hash = None;
    // The command's time limit ends this.
    loop {
        let view = context.ledger(&store, &workload).await?;
        let versions = record::versions(&view, context.configured_soak());
        // Once it is known which is meant, somebody else's rollout does not make `current` another one.
        let version = resolve(&versions, hash.as_deref().unwrap_or(&args.version))?;
        if is_so(version, args) {
            return Ok(answer(context, &workload, version, args, (&who, false)));
        }
        let fact = VersionMarked {
            template_hash: version.hash.clone(),
            standing: standing(args.word).into(),
            who: who.clone(),
            reason: args.reason.clone(),
        };
        match store.append(&workload, &view, &[LedgerFact::from(fact)]).await {
            Ok(()) => return Ok(answer(context, &workload, version, args, (&who, true))),
            Err(StoreError::Append(AppendError::Lost)) => hash = Some(version.hash.clone()),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

const fn standing(word: Word) -> Standing {
    match word {
        Word::Good => Standing::Good,
        Word::Bad => Standing::Bad,
        Word::Clear => Standing::ByEvidence,
    }
}

/// Whether the ledger says the same, for the same reason.
fn is_so(version: &Version, args: &Args) -> bool {
    match (&version.known.marked, args.word) {
        (None, word) => word == Word::Clear,
        (Some(_), Word::Clear) => false,
        (Some(marked), word) => marked.good == (word == Word::Good) && marked.reason == args.reason,
    }
}

fn answer(context: &Context, workload: &WorkloadRef, version: &Version, args: &Args, (who, changed): (&str, bool)) -> Answer {
    let what = format!("{} ({}) of {}", version.short(), version.image_names(), pasteable(workload));
    let (tone, mark) = match args.word {
        Word::Good => (Tone::Good, "marked good"),
        Word::Bad => (Tone::Bad, "marked bad"),
        Word::Clear => (Tone::Open, "marked by nobody"),
    };
    let (is, already) = if changed { ("is now", "") } else { ("was", " already") };
    let line = format!("{} {is} {}{already}", context.look.toned(Tone::Plain, &what), context.look.toned(tone, mark));
    let json = json!({
        "workload": workload::json(workload),
        "version": record::brief(version),
        "marked": match args.word { Word::Good => Some("good"), Word::Bad => Some("bad"), Word::Clear => None },
        "changed": changed,
        "who": who,
        "reason": args.reason,
    });
    Answer::done(&[line], json)
}
