//! A tag that leads elsewhere than it did: the plan goes on with the images named by their digests.
//!
//! Guarantees: pure; nothing but the names of those images changes, so the owner's next apply finds what it would find without it. Must not:
//! name an image by a digest that the version was not seen to run.

use contracts::v1::{ImageMoved, Plan};

use super::state::Incident;
use crate::configuration::version_id;
use crate::{image, template};

/// The plan with its images named by what they led to while the version proved itself; `None` where it has no such image, or none of those that
/// moved.
#[must_use]
pub fn by_digest(plan: &Plan, moved: &ImageMoved) -> Option<Plan> {
    let recorded = plan.to.as_ref().map(|to| to.images.as_slice()).unwrap_or_default();
    moved.images.iter().find(|one| image::digest_of(recorded, &one.container).is_some())?;
    let restored = image::by_digests(&serde_json::from_slice(&plan.template_json).ok()?, recorded)?;
    let mut plan = plan.clone();
    plan.template_json = restored.to_string().into_bytes();
    if let Some(to) = &mut plan.to {
        to.template_hash = template::hash(&restored);
        to.id = version_id(&restored, &to.configuration);
        to.replica_set.clear();
        for one in &mut to.images {
            if let Some(named) = image::by_digest(&one.image, &one.digest).filter(|_| !one.digest.is_empty()) {
                one.image = named;
            }
        }
    }
    Some(plan)
}

impl Incident {
    /// The attempt after which the restored images turned out to be others; 0 where none did. Its write is what the next one replaces.
    #[must_use]
    pub fn moved_after(&self) -> u32 {
        self.moved.as_ref().map_or(0, |moved| moved.attempt)
    }

    /// The hash of the template that an attempt replaces now.
    #[must_use]
    pub fn replaces(&self) -> Option<&str> {
        let (_, plan) = self.plan.as_ref()?;
        let from = plan.from.as_ref()?;
        Some(self.moved.as_ref().map_or(&from.template_hash, |moved| &moved.template_hash))
    }
}

#[cfg(test)]
mod tests {
    use contracts::v1::{ContainerImage, MovedImage, Version};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_plan_goes_on_by_digest() {
        let restored =
            json!({"spec": {"containers": [{"name": "web", "image": "shop/web:v1"}, {"name": "log", "image": "log:v1"}]}});
        let image = |container: &str, image: &str, digest: &str| ContainerImage {
            container: container.into(),
            image: image.into(),
            digest: digest.into(),
        };
        let images = vec![image("web", "shop/web:v1", "sha256:a"), image("log", "log:v1", "")];
        let to = Version { template_hash: template::hash(&restored), images, replica_set: "web-1".into(), ..Version::default() };
        let plan = Plan { template_json: restored.to_string().into_bytes(), to: Some(to), ..Plan::default() };
        let moved = |container: &str| {
            let one = MovedImage { container: container.into(), ..MovedImage::default() };
            ImageMoved { images: vec![one], ..ImageMoved::default() }
        };
        let named = by_digest(&plan, &moved("web")).unwrap();
        let template: Value = serde_json::from_slice(&named.template_json).unwrap();
        assert_eq!(template["spec"]["containers"][0]["image"], "shop/web@sha256:a");
        let to = named.to.clone().unwrap();
        assert_eq!((to.template_hash.as_str(), to.replica_set.as_str()), (template::hash(&template).as_str(), ""));
        assert_eq!(to.images.iter().map(|image| image.image.as_str()).collect::<Vec<_>>(), ["shop/web@sha256:a", "log:v1"]);
        assert_eq!(by_digest(&named, &moved("web")), None, "a second time changes nothing");
        assert_eq!(by_digest(&plan, &moved("log")), None, "nobody knows what it ran");
    }
}
