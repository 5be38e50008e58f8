//! The configuration that comes back with a version, before anything is written.
//!
//! Guarantees: a rollback whose template would refer to a copy that is not there, or holds something else, is not begun. Must not: make a
//! copy of anything but what was recorded.

use chassis::bus::HandleError;
use lastgood_core::configuration::Kind as Held;

use super::write::plan_of;
use super::{Case, Executor};
use crate::cluster::ApiError;

impl Executor {
    /// What has to come back with the version and can't, for people.
    pub(super) async fn lacks_configuration(&self, case: &mut Case) -> Result<Option<String>, HandleError> {
        let mut lacks = Vec::new();
        for one in plan_of(case).configuration.iter().filter(|one| one.restored) {
            let Some(kind) = Held::parse(&one.kind) else {
                lacks.push(format!("`{}` is no kind of configuration", one.kind));
                continue;
            };
            match self.snapshots.keep(&case.subject.workload.namespace, kind, &one.name, &one.fingerprint).await {
                Ok(kept) => lacks.extend(kept.lack().map(str::to_owned)),
                Err(error @ ApiError::Refused { .. }) => lacks.push(format!("{kind} {}: {error}", one.name)),
                Err(error) => return Err(self.unreachable(case, error).await?),
            }
        }
        Ok((!lacks.is_empty()).then(|| lacks.join("; ")))
    }
}
