//! `rollback`: a person asks for a rollback, which then goes its usual way, with a chat thread, a dry run, readiness and smoke tests.
//!
//! Guarantees: asked for twice, it is one incident; a version that is named is one that the ledger holds and that does not run. Must not: write
//! to a cluster; the executor does.

use chassis::Incidents;
use orchestrator::ledger::LedgerStore;
use orchestrator::person::{Done, Request, request_rollback};
use serde_json::json;

use crate::context::{Context, said, who};
use crate::exit::{Answer, Failure};
use crate::look::Tone;
use crate::record;
use crate::version::resolve;
use crate::workload::{self, Target, pasteable};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Which version to go back to: the beginning of its hash, an image or tag, or `previous`; the newest good one if not given.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Why, for the people who will wonder.
    #[arg(long, value_parser = said)]
    reason: String,
    /// Who asks; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// Opens its incident.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let workload = args.target.resolve(&context.config.kubernetes)?;
    let bus = context.bus().await?;
    let view = context.ledger(&LedgerStore::new(bus.clone()), &workload).await?;
    let versions = record::versions(&view, context.configured_soak());
    let to = args.to.as_deref().map(|text| resolve(&versions, text)).transpose()?;
    if let Some(current) = to.filter(|version| version.current) {
        return Err(Failure::Impossible(format!("{} ({}) is what runs now", current.short(), current.image_names())));
    }
    let request = Request {
        incident: bus.ids().incident(),
        workload: workload.clone(),
        workload_uid: String::new(),
        to: to.map(|version| version.hash.clone()),
        who: who(args.who.as_deref()),
        reason: args.reason.clone(),
    };
    let deadlines = context.config.orchestrator.deadlines.recorded();
    let done = request_rollback(&Incidents::new(bus), deadlines, &request, context.now()).await?;
    let incident = done.subject().incident.to_string();
    let what = to.map_or_else(
        || "the newest good version".to_owned(),
        |version| format!("{} ({})", version.short(), version.image_names()),
    );
    let changed = matches!(done, Done::Stored(_));
    let asked = if changed { "is asked for" } else { "was asked for already" };
    let lines = [
        context.look.toned(Tone::Plain, &format!("a rollback of {} to {what} {asked}: {incident}", pasteable(&workload))),
        context.look.toned(Tone::Quiet, &format!("lastgood show {incident} --follow tells how it goes")),
    ];
    let json = json!({
        "workload": workload::json(&workload),
        "incident": incident,
        "to": to.map(record::brief),
        "changed": changed,
        "who": request.who,
        "reason": request.reason,
    });
    Ok(Answer::done(&lines, json))
}
