//! `approve`, `decline` and `hold`: a person's word about what an incident plans.
//!
//! Guarantees: it ends well only after the word is on the log; of two people who say different things at the same moment one is told that the
//! other was first; a yes in a freeze window is refused, and it is said what goes in spite of it. Must not: act; the executor does, once the log says that it may.

use chassis::Incidents;
use contracts::IncidentId;
use contracts::v1::Action;
use lastgood_core::incident::Phase;
use orchestrator::person::{self, Done, PersonError, Word};
use serde_json::json;

use crate::context::{Context, said, who};
use crate::exit::{Answer, Failure};
use crate::governing::frozen;
use crate::look::Tone;
use crate::workload::pasteable;

/// Their arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which incident, `inc_…`.
    incident: IncidentId,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who says so; the login name if not given.
    #[arg(long, value_parser = said)]
    who: Option<String>,
}

/// Says it.
pub async fn run(context: &Context, args: &Args, action: Action) -> Result<Answer, Failure> {
    let incidents = Incidents::new(context.bus().await?);
    let word = Word { who: who(args.who.as_deref()), via: "command".to_owned(), note: args.reason.clone() };
    let now = context.now();
    if action == Action::Approve {
        refuse_in_freeze(context, &incidents, args.incident).await?;
    }
    let done = match action {
        Action::Approve => person::approve(&incidents, args.incident, &word, now).await?,
        Action::Decline => person::decline(&incidents, args.incident, &word, now).await?,
        _ => person::hold(&incidents, args.incident, &word, now).await?,
    };
    let (said, tone) = match action {
        Action::Approve => ("approved", Tone::Good),
        Action::Decline => ("declined", Tone::Bad),
        _ => ("on hold", Tone::Open),
    };
    let changed = matches!(done, Done::Stored(_));
    let (is, already) = if changed { ("is now", "") } else { ("was", " already") };
    let line = format!(
        "{} {is} {}{already}",
        context.look.toned(Tone::Plain, &args.incident.to_string()),
        context.look.toned(tone, said)
    );
    let json = json!({
        "incident": args.incident.to_string(),
        "said": said,
        "changed": changed,
        "who": word.who,
        "reason": word.note,
    });
    Ok(Answer::done(&[line], json))
}

/// The wait for an answer ends as a freeze window begins; this is for those that somebody declared since.
async fn refuse_in_freeze(context: &Context, incidents: &Incidents, incident: IncidentId) -> Result<(), Failure> {
    let Some((subject, loaded)) = incidents.find(incident).await.map_err(PersonError::from)? else { return Ok(()) };
    if loaded.incident.phase() != Phase::AwaitingApproval {
        return Ok(());
    }
    let Some(why) = frozen(context, &subject.workload).await else { return Ok(()) };
    let workload = pasteable(&subject.workload);
    Err(Failure::Impossible(format!(
        "nothing may be begun now: {why}; if it has to be done all the same, decline this and ask for it: lastgood rollback {workload} --reason WHY"
    )))
}
