//! Whether there is a way back to a version, or another one in between is marked as one behind which nothing is restored.
//!
//! Guarantees: looks at everything that is known to be newer than the target, in the ledger and in the cluster. Must not: read anything.

use lastgood_core::configuration::id_of;
use lastgood_core::ledger::describe;
use lastgood_core::policy::{IRREVERSIBLE, held, mark, mark_of_template};
use lastgood_core::template;

use super::course::{Inputs, Target};
use crate::ledger::carriers::by_version;

/// What holds this version back: a mark on the version that runs, or on one between the two.
pub(super) fn no_way_back(inputs: &Inputs<'_>, target: &Target) -> Option<String> {
    let empty = serde_json::Value::Null;
    let running = inputs.workload.template().unwrap_or(&empty);
    let (wanted, current) = (target.version.template_hash.as_str(), template::hash(running));
    // The same template with another configuration is the marked version itself, and not behind it.
    let marked_template = || if current == wanted { None } else { mark_of_template(running) };
    let marked = mark(inputs.workload.annotation(IRREVERSIBLE)).or_else(marked_template);
    let runs = (format!("the version that runs ({})", current.chars().take(10).collect::<String>()), marked);
    let since = inputs.ledger.known(id_of(&target.version)).map(|known| known.last_current);
    let recorded = inputs
        .ledger
        .ledger
        .newest_first()
        .into_iter()
        .filter(|known| known.version.template_hash != wanted && since.is_none_or(|since| known.last_current > since));
    let recorded = recorded.filter_map(|known| {
        let template = serde_json::from_slice(&known.template_json).ok()?;
        Some((describe(&known.version), mark_of_template(&template)))
    });
    // What the ledger does not know, the cluster may still have.
    let sets = by_version(inputs.workload, inputs.sets);
    let revision = sets.get(wanted).map_or(target.version.revision, |set| set.revision);
    let carried = sets.iter().filter(|(hash, set)| hash.as_str() != wanted && set.revision > revision);
    let carried = carried.map(|(_, set)| (set.name.clone(), mark_of_template(&set.template)));
    held(std::iter::once(runs).chain(recorded).chain(carried))
}
