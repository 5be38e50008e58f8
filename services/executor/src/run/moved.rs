//! Restored pods that run another image than the version did: a tag has moved since.
//!
//! Guarantees: it is looked for before anything is reported of a write, and told once; then the write is made again, with the images by
//! their digests; whatever ends it in between says what is left behind and who serves. Must not: take a pod's word where the ledger doesn't know what ran, or where no registry could be asked for it.

use chassis::bus::HandleError;
use contracts::v1::{ImageMoved, MovedImage};
use lastgood_core::image;
use lastgood_core::incident::Command;

use super::observe::{LAST_LOOK, Watching, scope, superfluous, versions};
use super::write::plan_of;
use super::{Case, Executor};
use crate::attempt::Live;
use crate::cluster::mirror::Mirror;
use crate::progress::serving;
use crate::view::{View, Which};

impl Executor {
    /// Whether what is watched has to be replaced: by what this view shows, or because another replica saw it first.
    pub(super) async fn moved(&self, case: &mut Case, view: &View, watching: &Watching) -> Result<bool, HandleError> {
        if case.incident.moved.is_none() {
            let images = moved_images(view, watching);
            let Some(live) = view.live.as_ref().filter(|_| !images.is_empty()) else { return Ok(false) };
            tracing::warn!(incident = %case.subject, ?images, "the restored pods run other images than the version did");
            metrics::counter!("lastgood_executor_images_moved_total").increment(1);
            let attempt = case.incident.attempt();
            let (template_hash, workload_revision) = (live.template_hash.clone(), revision(view, live));
            self.tell(case, Command::ReportImageMoved(ImageMoved { attempt, template_hash, workload_revision, images })).await?;
            if case.incident.moved.is_none() {
                // Told by another replica, or not possible any more.
                self.reload(case).await?;
            }
        }
        Ok(superfluous(case, watching))
    }
}

impl Executor {
    /// The pods that receive traffic now, for people; none where that can't be seen within a moment.
    pub(super) async fn serving_now(&self, case: &Case) -> Vec<String> {
        tokio::time::timeout(LAST_LOOK, self.see_who_serves(case)).await.ok().flatten().unwrap_or_default()
    }

    async fn see_who_serves(&self, case: &Case) -> Option<Vec<String>> {
        let live = self.read(case.kind, &case.subject).await.ok()??;
        let mut mirror = Mirror::start(&self.cluster, &scope(case.kind, &live, self.config.relist).ok()?).await.ok()?;
        loop {
            if let Some(objects) = mirror.objects() {
                let view = View::of(&objects, &versions(&case.incident, &Live::of(&live)));
                return Some(serving(&view, &plan_of(case).service_switches));
            }
            mirror.changed().await;
        }
    }
}

/// The number of the revision that this template has: a Deployment says it, of the others the ControllerRevisions do.
fn revision(view: &View, live: &Live) -> i64 {
    let own = view.carriers.iter().filter(|carrier| carrier.template_hash == live.template_hash);
    own.map(|carrier| carrier.number).max().unwrap_or_default().max(live.revision)
}

/// One line for each container, by the first pod that shows it.
fn moved_images(view: &View, watching: &Watching) -> Vec<MovedImage> {
    let recorded = watching.plan.to.as_ref().map(|to| to.images.as_slice()).unwrap_or_default();
    let restored = view.pods.iter().filter(|pod| pod.which == Which::Restored && pod.is_about());
    let mut images: Vec<MovedImage> = Vec::new();
    for one in restored.flat_map(|pod| image::moved(recorded, &pod.object)) {
        if !images.iter().any(|known| known.container == one.container) {
            images.push(one);
        }
    }
    images
}
