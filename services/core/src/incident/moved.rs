//! A tag that leads elsewhere than it did: the plan goes on with the images named by their digests.
//!
//! Guarantees: pure; nothing but the names of those images changes, so the owner's next apply finds what it would find without it. Must not:
//! name an image by a digest that the version was not seen to run.

use contracts::v1::{ImageMoved, Plan};
use serde_json::Value;

use super::state::Incident;
use crate::configuration::version_id;
use crate::{image, template};

/// The plan with these images named by what they led to while the version proved itself; `None` where its template has none of them.
#[must_use]
pub(super) fn by_digest(plan: &Plan, moved: &ImageMoved) -> Option<Plan> {
    let mut restored: Value = serde_json::from_slice(&plan.template_json).ok()?;
    let mut any = false;
    let named = |container: &str, name: &str| {
        let one = moved.images.iter().find(|one| one.container == container)?;
        image::by_digest(name, &one.recorded)
    };
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in restored.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let of = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
            if let Some(name) = named(of("name"), of("image")) {
                container["image"] = name.into();
                any = true;
            }
        }
    }
    let mut plan = any.then(|| plan.clone())?;
    plan.template_json = restored.to_string().into_bytes();
    if let Some(to) = &mut plan.to {
        to.template_hash = template::hash(&restored);
        to.id = version_id(&restored, &to.configuration);
        to.replica_set.clear();
        for one in &mut to.images {
            one.image = named(&one.container, &one.image).unwrap_or_else(|| std::mem::take(&mut one.image));
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
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_images_that_moved_are_named_by_digest() {
        let restored = json!({"spec": {"containers": [{"name": "web", "image": "shop/web:v1"}, {"name": "log", "image": "log:v1"}],
            "initContainers": [{"name": "init", "image": "init:v1"}]}});
        let image = |container: &str, image: &str| ContainerImage {
            container: container.into(),
            image: image.into(),
            digest: "sha256:a".into(),
        };
        let images = vec![image("init", "init:v1"), image("web", "shop/web:v1"), image("log", "log:v1")];
        let to = Version { template_hash: template::hash(&restored), images, replica_set: "web-1".into(), ..Version::default() };
        let plan = Plan { template_json: restored.to_string().into_bytes(), to: Some(to), ..Plan::default() };
        let one =
            |container: &str| MovedImage { container: container.into(), recorded: "sha256:a".into(), ..MovedImage::default() };
        let moved = ImageMoved { images: vec![one("web"), one("init")], ..ImageMoved::default() };
        let named = by_digest(&plan, &moved).unwrap();
        let template: Value = serde_json::from_slice(&named.template_json).unwrap();
        assert_eq!(
            template["spec"]["containers"],
            json!([{"name": "web", "image": "shop/web@sha256:a"}, {"name": "log", "image": "log:v1"}])
        );
        assert_eq!(template["spec"]["initContainers"], json!([{"name": "init", "image": "init@sha256:a"}]));
        let to = named.to.clone().unwrap();
        assert_eq!((to.template_hash.as_str(), to.replica_set.as_str()), (template::hash(&template).as_str(), ""));
        assert_eq!(
            to.images.iter().map(|image| image.image.as_str()).collect::<Vec<_>>(),
            ["init@sha256:a", "shop/web@sha256:a", "log:v1"]
        );
        assert_eq!(by_digest(&named, &moved), None, "a second time changes nothing");
    }
}
