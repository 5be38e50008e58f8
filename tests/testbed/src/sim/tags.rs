//! What the names of images lead to: a registry's tags, which somebody can move, and digests, which nobody can.
//!
//! An image is known by its content's name, the tag that it was first pushed under; its digest is that name's hash.

use std::collections::HashMap;

use super::ident;

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    moved: HashMap<String, String>,
    /// What was pulled so far, by digest.
    contents: HashMap<String, String>,
}

impl Tags {
    /// Lets this name lead to what another name stands for.
    pub(crate) fn lead(&mut self, image: &str, to: &str) {
        self.moved.insert(image.to_owned(), to.to_owned());
    }

    /// The content that a name leads to; `None` for a digest that nobody has pushed.
    pub(crate) fn content(&mut self, image: &str) -> Option<String> {
        if let Some((_, digest)) = image.split_once('@') {
            return self.contents.get(digest).cloned();
        }
        let content = self.moved.get(image).cloned().unwrap_or_else(|| image.to_owned());
        self.contents.insert(digest(&content), content.clone());
        Some(content)
    }
}

/// The image's id as a runtime tells it: the repository that it was pulled from and the content's digest.
pub(crate) fn image_id(image: &str, content: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    format!("{repository}@{}", digest(content))
}

fn digest(content: &str) -> String {
    format!("sha256:{}", ident::sha256(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_ids_differ_by_content_and_keep_the_repository() {
        let one = image_id("docker.io/local/web:v1", "docker.io/local/web:v1");
        assert!(one.starts_with("docker.io/local/web@sha256:"), "{one}");
        assert_ne!(one, image_id("docker.io/local/web:v1", "docker.io/local/web:v2"));
        assert!(image_id("localhost:5000/web", "").starts_with("localhost:5000/web@"));
    }

    #[test]
    fn a_tag_can_be_moved_and_a_digest_can_not() {
        let mut tags = Tags::default();
        assert_eq!(tags.content("web:v1").as_deref(), Some("web:v1"));
        let by_digest = image_id("web:v1", "web:v1");
        tags.lead("web:v1", "web:v1-failing");
        assert_eq!(tags.content("web:v1").as_deref(), Some("web:v1-failing"));
        assert_eq!(tags.content(&by_digest).as_deref(), Some("web:v1"));
        assert_eq!(tags.content("web@sha256:0"), None);
    }
}
