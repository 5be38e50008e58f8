//! What of a version's configuration comes back: reads what each object is now and whether its copy is there.
//!
//! Guarantees: a rollback without configuration that has to come back is not planned, but held, with the name of what is missing. Must not:
//! decide what has to come back; core does, by the policy.

use contracts::{HaltReason, v1};
use futures::future::try_join_all;
use lastgood_core::configuration::restore::{Now, Rules, planned};
use lastgood_core::configuration::{Kind as Held, Place};

use super::Engine;
use crate::cluster::{LookupError, Object};
use crate::configuration::{Restored, Seen, restore};
use crate::plan::{Step, Target};

impl Engine {
    /// What the workload's template refers to, as it is now.
    pub(super) async fn running(&self, workload: &Object, rules: Rules) -> Result<Vec<Seen>, LookupError> {
        match workload.template() {
            Some(template) => self.reader().running(workload.namespace(), template, rules).await,
            None => Ok(Vec::new()),
        }
    }

    /// The step with its target pointed to the copies of what comes back.
    pub(super) async fn with_configuration(
        &self,
        step: Step,
        namespace: &str,
        running: &[Seen],
        rules: Rules,
    ) -> Result<Step, LookupError> {
        Ok(match step {
            Step::Roll(mut target) => {
                let missing = self.restored(&mut target, namespace, running, rules).await?;
                match missing.as_slice() {
                    [] => Step::Roll(target),
                    missing => Step::Hold(target, HaltReason::ConfigurationMissing, missing.join("; ")),
                }
            }
            // Nobody will do it, and there are many to say it for.
            Step::Hold(target, HaltReason::MassFailure, detail) => Step::Hold(target, HaltReason::MassFailure, detail),
            Step::Hold(mut target, reason, detail) => {
                let missing = self.restored(&mut target, namespace, running, rules).await?;
                target.lines.extend(missing);
                Step::Hold(target, reason, detail)
            }
            other => other,
        })
    }

    async fn restored(
        &self,
        target: &mut Target,
        namespace: &str,
        running: &[Seen],
        rules: Rules,
    ) -> Result<Vec<String>, LookupError> {
        let recorded = target.version.configuration.clone();
        let live = try_join_all(recorded.iter().filter_map(place).map(|place| self.live(namespace, place, running))).await?;
        let mut read = Restored { live: live.into_iter().collect(), ..Restored::default() };
        let now = |place: &Place| read.live.get(place).map_or(Now::Unread, |(now, _)| now.clone());
        read.planned = planned(&recorded, rules, now);
        let restored = read.planned.iter().filter(|one| one.restored && !one.copy.is_empty());
        let copies = try_join_all(restored.map(|one| self.copy(namespace, one))).await?;
        read.copies = copies.into_iter().flatten().collect();
        Ok(restore(target, running, read))
    }

    async fn live(&self, namespace: &str, place: Place, running: &[Seen]) -> Result<(Place, (Now, Option<Object>)), LookupError> {
        let same = |seen: &&Seen| seen.reference.kind == place.0 && seen.reference.name == place.1;
        let seen = running.iter().find(same).and_then(|seen| Some((seen.now()?, seen.object.clone())));
        let read = match seen {
            Some(seen) => seen,
            None => self.reader().named(namespace, place.0, &place.1).await?,
        };
        Ok((place, read))
    }

    /// The copy, if it is there and holds what it should.
    async fn copy(
        &self,
        namespace: &str,
        planned: &v1::PlannedConfiguration,
    ) -> Result<Option<(Place, Option<Object>)>, LookupError> {
        let Some(kind) = Held::parse(&planned.kind) else { return Ok(None) };
        let (now, object) = self.reader().named(namespace, kind, &planned.copy).await?;
        Ok((now == Now::Has(planned.fingerprint.clone())).then(|| ((kind, planned.name.clone()), object)))
    }
}

fn place(recorded: &v1::Configuration) -> Option<Place> {
    Some((Held::parse(&recorded.kind)?, recorded.name.clone()))
}
