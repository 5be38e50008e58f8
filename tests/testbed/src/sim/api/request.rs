//! A request as the handlers see it, and what its path addresses. Pure.

use http::request::Parts;
use hyper::Method;

use crate::sim::error::ApiError;
use crate::sim::selector::Selection;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) accept: String,
    pub(super) content_type: String,
    pub(super) user_agent: String,
    parameters: Vec<(String, String)>,
}

/// What a path below `/api` or `/apis` addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) plural: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

impl Call {
    pub(super) fn read(parts: &Parts) -> Self {
        let header = |name: &str| {
            let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let query = parts.uri.query().unwrap_or_default();
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().trim_end_matches('/').to_owned(),
            accept: header("accept"),
            content_type: header("content-type").split(';').next().unwrap_or_default().trim().to_owned(),
            user_agent: header("user-agent"),
            parameters: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        }
    }

    /// A query parameter, or the empty text.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A query parameter that is true or false.
    pub(super) fn truth(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    /// Whether nothing is to be stored.
    pub(super) fn dry_run(&self) -> bool {
        self.parameter("dryRun") == "All"
    }

    /// What a list or a watch selects.
    pub(super) fn selection(&self) -> Result<Selection, ApiError> {
        Selection::parse(self.parameter("labelSelector"), self.parameter("fieldSelector"))
    }

    /// What the path addresses, if it is one of objects.
    pub(super) fn address(&self) -> Option<Address> {
        address(&self.path)
    }
}

fn address(path: &str) -> Option<Address> {
    let mut segments = path.trim_matches('/').split('/');
    let mut address = Address::default();
    match segments.next()? {
        "api" => {}
        "apis" => segments.next()?.clone_into(&mut address.group),
        _ => return None,
    }
    segments.next()?.clone_into(&mut address.version);
    let rest: Vec<&str> = segments.collect();
    let (namespace, rest) = match rest.as_slice() {
        // The namespace itself, or one of its own subresources.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest.as_slice()),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        other => ("", other),
    };
    namespace.clone_into(&mut address.namespace);
    (*rest.first()?).clone_into(&mut address.plural);
    if let Some(name) = rest.get(1) {
        (*name).clone_into(&mut address.name);
    }
    if let Some(subresource) = rest.get(2) {
        (*subresource).clone_into(&mut address.subresource);
    }
    (rest.len() <= 3).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_address_objects() {
        for (path, expected) in [
            ("/api/v1/pods", Some(["", "v1", "", "pods", "", ""])),
            ("/api/v1/namespaces/a", Some(["", "v1", "", "namespaces", "a", ""])),
            ("/api/v1/namespaces/a/pods/b/log", Some(["", "v1", "a", "pods", "b", "log"])),
            ("/apis/apps/v1/namespaces/a/deployments/b/scale", Some(["apps", "v1", "a", "deployments", "b", "scale"])),
            ("/api/v1/namespaces/a/finalize", Some(["", "v1", "", "namespaces", "a", "finalize"])),
            ("/apis/apps/v1", None),
            ("/version", None),
        ] {
            let expected = expected.map(|[group, version, namespace, plural, name, subresource]| Address {
                group: group.to_owned(),
                version: version.to_owned(),
                namespace: namespace.to_owned(),
                plural: plural.to_owned(),
                name: name.to_owned(),
                subresource: subresource.to_owned(),
            });
            assert_eq!(address(path), expected, "{path}");
        }
    }
}
