//! The images that containers really ran: a tag is a name that somebody can let lead elsewhere, a digest is the image itself.
//!
//! Guarantees: a digest counts only where a registry can be asked for it (an image that was loaded into a node by hand has none); what pods
//! of one version don't agree on is not known. Must not: take a tag's word for an image.
//!
//! Digests and references: the OCI distribution specification, and `ContainerStatus.imageID` of the Kubernetes API.

use std::collections::BTreeMap;

use contracts::v1::{ContainerImage, MovedImage};
use serde_json::Value;

/// The digest in what a runtime calls a container's image (`status.containerStatuses[].imageID`), "sha256:…": behind the repository that it
/// can be pulled from. `None` where that is the node's own id for it, which no registry knows.
#[must_use]
pub fn digest(image_id: &str) -> Option<&str> {
    let (repository, digest) = image_id.rsplit_once('@')?;
    let (algorithm, hex) = digest.split_once(':')?;
    let is_hex = hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!repository.is_empty() && !algorithm.is_empty() && is_hex).then_some(digest)
}

/// The image of this name with this digest, without its tag: not every runtime takes both. `None` where it is named by a digest already.
#[must_use]
pub fn by_digest(image: &str, digest: &str) -> Option<String> {
    if image.contains('@') || image.is_empty() {
        return None;
    }
    // A registry's port has a path behind it.
    let repository = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(image, |(repository, _)| repository);
    Some(format!("{repository}@{digest}"))
}

/// The template with each image by the digest that was recorded of it; `None` where that changes nothing. All of them: of some it may not have
/// been seen yet that they had moved.
#[must_use]
pub fn by_digests(template: &Value, recorded: &[ContainerImage]) -> Option<Value> {
    let (mut named, mut any) = (template.clone(), false);
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in named.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let of = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
            let digest = digest_of(recorded, of("name"));
            if let Some(image) = digest.and_then(|digest| by_digest(of("image"), digest)) {
                container["image"] = image.into();
                any = true;
            }
        }
    }
    any.then_some(named)
}

/// The digest that was recorded of a container's image.
#[must_use]
pub fn digest_of<'a>(recorded: &'a [ContainerImage], container: &str) -> Option<&'a str> {
    let image = recorded.iter().find(|image| image.container == container)?;
    Some(image.digest.as_str()).filter(|digest| !digest.is_empty())
}

/// What the containers of these pods, which are all of one version, run: container and digest, which is empty where they don't all say the
/// same. A container of which nobody says anything is not among them.
#[must_use]
pub fn ran<'a>(pods: impl IntoIterator<Item = &'a Value>) -> Vec<ContainerImage> {
    let mut seen: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (container, found) in pods.into_iter().flat_map(running) {
        let known = seen.entry(container).or_insert(Some(found));
        *known = known.filter(|known| *known == found);
    }
    let image = |(container, digest): (&str, Option<&str>)| ContainerImage {
        container: container.to_owned(),
        image: String::new(),
        digest: digest.unwrap_or_default().to_owned(),
    };
    seen.into_iter().map(image).collect()
}

/// The images of this pod that are not those that the version ran, although it names them the same.
#[must_use]
pub fn moved(recorded: &[ContainerImage], pod: &Value) -> Vec<MovedImage> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let moved = |(container, found): (&str, &str)| {
        let was = recorded.iter().find(|image| image.container == container && !image.digest.is_empty())?;
        by_digest(&was.image, &was.digest).filter(|_| was.digest != found)?;
        Some(MovedImage {
            container: container.to_owned(),
            image: was.image.clone(),
            recorded: was.digest.clone(),
            found: found.to_owned(),
            pod: name.to_owned(),
        })
    };
    running(pod).filter_map(moved).collect()
}

/// Takes what was seen to run into what a version's template names; what pods were seen not to agree on is forgotten.
pub fn learn(images: &mut [ContainerImage], ran: &[ContainerImage]) {
    for image in images {
        if let Some(seen) = ran.iter().find(|seen| seen.container == image.container) {
            image.digest.clone_from(&seen.digest);
        }
    }
}

/// Each container that has an image, with the digest: where the node names it by the repository that the pod asked for. A node that has the same
/// image from elsewhere too may name it by that, and no registry has to have it under both with one digest.
fn running(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let both = [("/spec/initContainers", "/status/initContainerStatuses"), ("/spec/containers", "/status/containerStatuses")];
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    both.into_iter().flat_map(move |(specs, statuses)| {
        list(statuses).iter().filter_map(move |status| {
            let (name, id) = (status.get("name")?.as_str()?, status.get("imageID")?.as_str()?);
            let spec = list(specs).iter().find(|spec| spec.get("name").and_then(Value::as_str) == Some(name))?;
            let asked = repository(spec.get("image")?.as_str()?);
            Some((name, digest(id).filter(|_| repository(id) == asked)?))
        })
    })
}

/// The repository of a reference or of an image's id, as whoever pulls it understands it.
fn repository(reference: &str) -> &str {
    let name = reference.split_once("://").map_or(reference, |(_, name)| name);
    let name = name.split('@').next().unwrap_or(name);
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    let name = ["index.docker.io/", "docker.io/"].iter().find_map(|hub| name.strip_prefix(hub)).unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn pod(digests: &[(&str, &str)]) -> Value {
        let spec = |(name, _): &(&str, &str)| json!({"name": name, "image": format!("{name}:v1")});
        let status =
            |(name, digest): &(&str, &str)| json!({"name": name, "imageID": format!("docker.io/library/{name}@{digest}")});
        json!({"metadata": {"name": "web-1"}, "spec": {"containers": digests.iter().map(spec).collect::<Vec<_>>()},
            "status": {"containerStatuses": digests.iter().map(status).collect::<Vec<_>>()}})
    }

    fn image(container: &str, image: &str, digest: &str) -> ContainerImage {
        ContainerImage { container: container.into(), image: image.into(), digest: digest.into() }
    }

    #[test]
    fn only_what_a_registry_knows_is_a_digest() {
        assert_eq!(digest(&format!("docker.io/shop/web@{A}")), Some(A));
        assert_eq!(digest(&format!("docker-pullable://shop/web@{A}")), Some(A));
        for own in [A, "docker://sha256:aaaa", "", "web@", "web@sha256:", "web@sha256:short", "@sha256:aaaa"] {
            assert_eq!(digest(own), None, "{own}");
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_a_tag() {
        assert_eq!(by_digest("web:v1", A), Some(format!("web@{A}")));
        assert_eq!(by_digest("registry:5000/shop/web", A), Some(format!("registry:5000/shop/web@{A}")));
        assert_eq!(by_digest("registry:5000/shop/web:v1", A), Some(format!("registry:5000/shop/web@{A}")));
        assert_eq!(by_digest(&format!("web:v1@{B}"), A), None, "its owner has named it by digest");
        assert_eq!(by_digest("", A), None);
    }

    #[test]
    fn what_pods_do_not_agree_on_is_not_known() {
        let pods = [pod(&[("web", A), ("log", A)]), pod(&[("web", B), ("log", A)]), json!({})];
        assert_eq!(ran(&pods), [image("log", "", A), image("web", "", "")]);
    }

    #[test]
    fn an_image_that_the_node_names_by_another_repository_says_nothing() {
        let mut pod = pod(&[("web", A)]);
        for (asked, id, known) in [
            ("web:v1", "docker.io/library/web", true),
            ("prod/web:v1", "docker-pullable://prod/web", true),
            ("localhost:5000/web", "localhost:5000/web", true),
            ("prod/web:v1", "ci/web", false),
            ("web:v1", "ghcr.io/library/web", false),
        ] {
            pod["spec"]["containers"][0]["image"] = json!(asked);
            pod["status"]["containerStatuses"][0]["imageID"] = json!(format!("{id}@{A}"));
            assert_eq!(ran([&pod]).len(), usize::from(known), "{asked} as {id}");
        }
    }

    #[test]
    fn all_recorded_images_are_named_by_digest() {
        let template = json!({"spec": {"containers": [{"name": "web", "image": "shop/web:v1"}, {"name": "log", "image": "log:v1"}],
            "initContainers": [{"name": "init", "image": "init:v1"}]}});
        let recorded = [image("init", "init:v1", A), image("web", "shop/web:v1", B), image("log", "log:v1", "")];
        let named = by_digests(&template, &recorded).unwrap();
        let web = json!([{"name": "web", "image": format!("shop/web@{B}")}, {"name": "log", "image": "log:v1"}]);
        assert_eq!(named["spec"]["containers"], web);
        assert_eq!(named["spec"]["initContainers"], json!([{"name": "init", "image": format!("init@{A}")}]));
        assert_eq!(by_digests(&named, &recorded), None, "a second time changes nothing");
        assert_eq!(by_digests(&json!({}), &recorded), None);
    }

    #[test]
    fn a_tag_that_leads_elsewhere_has_moved() {
        let recorded = [image("web", "web:v1", A), image("log", "log:v1", A), image("new", "new:v1", "")];
        let moved = moved(&recorded, &pod(&[("web", B), ("log", A), ("new", B), ("injected", B)]));
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!((moved[0].container.as_str(), moved[0].found.as_str(), moved[0].pod.as_str()), ("web", B, "web-1"));
        let by_owner = [image("web", &format!("web@{A}"), A)];
        assert!(super::moved(&by_owner, &pod(&[("web", B)])).is_empty());
    }

    #[test]
    fn what_ran_is_learnt_by_container() {
        let mut images = [image("web", "web:v1", ""), image("log", "log:v1", B), image("both", "both:v1", B)];
        learn(&mut images, &[image("web", "", A), image("other", "", A), image("both", "", "")]);
        assert_eq!(images, [image("web", "web:v1", A), image("log", "log:v1", B), image("both", "both:v1", "")]);
    }
}
