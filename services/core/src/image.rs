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

/// What the containers of these pods, which are all of one version, run: container and digest, where all pods say the same.
#[must_use]
pub fn ran<'a>(pods: impl IntoIterator<Item = &'a Value>) -> Vec<ContainerImage> {
    let mut seen: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (container, found) in pods.into_iter().flat_map(running) {
        let known = seen.entry(container).or_insert(Some(found));
        *known = known.filter(|known| *known == found);
    }
    let image = |(container, digest): (&str, Option<&str>)| {
        Some(ContainerImage { container: container.to_owned(), image: String::new(), digest: digest?.to_owned() })
    };
    seen.into_iter().filter_map(image).collect()
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

/// Takes what was seen to run into what a version's template names.
pub fn learn(images: &mut [ContainerImage], ran: &[ContainerImage]) {
    for image in images {
        if let Some(seen) = ran.iter().find(|seen| seen.container == image.container && !seen.digest.is_empty()) {
            image.digest.clone_from(&seen.digest);
        }
    }
}

/// Each container that has an image, with the digest.
fn running(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.into_iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    statuses.filter_map(|status| Some((status.get("name")?.as_str()?, digest(status.get("imageID")?.as_str()?)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn pod(digests: &[(&str, &str)]) -> Value {
        let status = |(name, digest): &(&str, &str)| json!({"name": name, "imageID": format!("docker.io/shop/web@{digest}")});
        json!({"metadata": {"name": "web-1"}, "status": {"containerStatuses": digests.iter().map(status).collect::<Vec<_>>()}})
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
        assert_eq!(ran(&pods), [image("log", "", A)]);
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
        let mut images = [image("web", "web:v1", ""), image("log", "log:v1", B)];
        learn(&mut images, &[image("web", "", A), image("other", "", A)]);
        assert_eq!(images, [image("web", "web:v1", A), image("log", "log:v1", B)]);
    }
}
