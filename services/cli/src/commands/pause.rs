//! `pause` and `resume`: the switches that stop all automatic action, in the cluster or in one namespace.
//!
//! Guarantees: it ends well only after the switch is stored; saying the same twice is "already so". Must not: touch incidents; each service
//! asks the switch before it acts.

use contracts::v1::PauseSwitched;
use orchestrator::ledger::{LedgerStore, Scope};
use serde_json::json;

use crate::context::{Context, said, who};
use crate::exit::{Answer, Failure};
use crate::look::Tone;
use crate::workload::namespace_name;

/// `pause`.
#[derive(Debug, Clone, clap::Args)]
pub struct PauseArgs {
    /// In this namespace alone.
    #[arg(long, short, value_name = "NAMESPACE", value_parser = namespace_name)]
    namespace: Option<String>,
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
    /// In this namespace alone; while the cluster is paused, nothing begins all the same.
    #[arg(long, short, value_name = "NAMESPACE", value_parser = namespace_name)]
    namespace: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who says so; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// Stops all automatic action.
pub async fn pause(context: &Context, args: &PauseArgs) -> Result<Answer, Failure> {
    let (who, reason) = (who(args.who.as_deref()), args.reason.clone());
    switch(context, PauseSwitched { paused: true, who, reason, namespace: args.namespace.clone().unwrap_or_default() }).await
}

/// Lets it go on.
pub async fn resume(context: &Context, args: &ResumeArgs) -> Result<Answer, Failure> {
    let (who, reason) = (who(args.who.as_deref()), args.reason.clone());
    switch(context, PauseSwitched { paused: false, who, reason, namespace: args.namespace.clone().unwrap_or_default() }).await
}

async fn switch(context: &Context, wanted: PauseSwitched) -> Result<Answer, Failure> {
    let cluster = &context.config.kubernetes.cluster;
    let whole = Scope::cluster(cluster);
    let scope = if wanted.namespace.is_empty() { whole.clone() } else { Scope::namespace(cluster, &wanted.namespace) };
    let store = LedgerStore::new(context.bus().await?);
    let changed = store.set_switch(&scope, &wanted).await?;
    let held = scope != whole && !wanted.paused && store.switch(&whole).await?.0.is_some_and(|whole| whole.paused);
    let (state, tone) = if wanted.paused { ("paused", Tone::Open) } else { ("active", Tone::Good) };
    let (is, already) = if changed { ("is now", "") } else { ("was", " already") };
    let held_line = if held { ", but the whole cluster is paused" } else { "" };
    let named = context.look.toned(Tone::Plain, &scope.to_string());
    let line = format!("{named} {is} {}{already}{held_line}", context.look.toned(tone, state));
    let json = json!({
        "cluster": cluster,
        "namespace": scope.namespace,
        "cluster_paused_too": held,
        "paused": wanted.paused,
        "changed": changed,
        "who": wanted.who,
        "reason": wanted.reason,
    });
    Ok(Answer::done(&[line], json))
}
