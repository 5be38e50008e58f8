//! `pause` and `resume`: the switch that stops all automatic action.
//!
//! Guarantees: it ends well only after the switch is stored; saying the same twice is "already so". Must not: touch incidents; each service
//! asks the switch before it acts.

use contracts::v1::PauseSwitched;
use orchestrator::ledger::LedgerStore;
use serde_json::json;

use crate::context::{Context, said, who};
use crate::exit::{Answer, Failure};
use crate::look::Tone;

/// `pause`.
#[derive(Debug, Clone, clap::Args)]
pub struct PauseArgs {
    /// Why, for the people who will wonder.
    #[arg(long, value_parser = said)]
    reason: String,
    /// Who says so; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// `resume`.
#[derive(Debug, Clone, clap::Args)]
pub struct ResumeArgs {
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who says so; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// Stops all automatic action.
pub async fn pause(context: &Context, args: &PauseArgs) -> Result<Answer, Failure> {
    let wanted = PauseSwitched { paused: true, who: who(args.who.as_deref()), reason: args.reason.clone() };
    switch(context, wanted).await
}

/// Lets it go on.
pub async fn resume(context: &Context, args: &ResumeArgs) -> Result<Answer, Failure> {
    let wanted = PauseSwitched { paused: false, who: who(args.who.as_deref()), reason: args.reason.clone() };
    switch(context, wanted).await
}

async fn switch(context: &Context, wanted: PauseSwitched) -> Result<Answer, Failure> {
    let cluster = &context.config.kubernetes.cluster;
    let changed = LedgerStore::new(context.bus().await?).set_switch(cluster, &wanted).await?;
    let (state, tone) = if wanted.paused { ("paused", Tone::Open) } else { ("active", Tone::Good) };
    let (is, already) = if changed { ("is now", "") } else { ("was", " already") };
    let line = format!("cluster {} {is} {}{already}", context.look.toned(Tone::Plain, cluster), context.look.toned(tone, state));
    let json = json!({
        "cluster": cluster,
        "paused": wanted.paused,
        "changed": changed,
        "who": wanted.who,
        "reason": wanted.reason,
    });
    Ok(Answer::done(&[line], json))
}
