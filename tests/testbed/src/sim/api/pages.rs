//! Lists by pages: `limit` and `continue`.
//!
//! Guarantees: pages that are fetched one after the other hold every object that was there throughout, once; all say the version of the first,
//! so that a watch from there tells what changed meanwhile. Must not: keep anything between them. A real server shows each page as of that
//! version; here a later page shows its objects as they are.

use std::sync::Arc;

use serde_json::Value;

use crate::sim::error::ApiError;
use crate::sim::json::Json as _;

/// What an answer to a list holds.
pub(super) struct Page {
    /// The objects, by namespace and name.
    pub(super) objects: Vec<Arc<Value>>,
    /// The version that the whole list is as of.
    pub(super) version: u64,
    /// What is not in it.
    pub(super) rest: Option<Rest>,
}

/// What follows a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// What to ask for it with.
    pub(super) token: String,
    /// How many objects it is.
    pub(super) count: usize,
}

/// The page of these objects (by namespace and name) that a request asks for; without a limit it is all that follows.
pub(super) fn page(mut objects: Vec<Arc<Value>>, version: u64, limit: &str, token: &str) -> Result<Page, ApiError> {
    let limit: usize = match limit {
        "" => 0,
        text => text.parse().map_err(|_| ApiError::bad_request(format!("invalid limit {text:?}")))?,
    };
    let mut as_of = version;
    if !token.is_empty() {
        let after = read(token).ok_or_else(|| ApiError::bad_request("continue key is not valid".to_owned()))?;
        as_of = after.0;
        objects.retain(|object| place(object) > (after.1, after.2));
    }
    let count = if limit == 0 { 0 } else { objects.len().saturating_sub(limit) };
    objects.truncate(objects.len() - count);
    let rest = objects.last().filter(|_| count > 0).map(|last| {
        let (namespace, name) = place(last);
        Rest { token: format!("{as_of}~{namespace}~{name}"), count }
    });
    Ok(Page { objects, version: as_of, rest })
}

fn place(object: &Value) -> (&str, &str) {
    (object.text("/metadata/namespace"), object.text("/metadata/name"))
}

/// No name has a `~`.
fn read(token: &str) -> Option<(u64, &str, &str)> {
    let mut parts = token.splitn(3, '~');
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Arc<Value>> {
        let places = [("a", "x"), ("a", "y"), ("b", "a"), ("b", "z"), ("c", "x")];
        places.map(|(namespace, name)| Arc::new(json!({"metadata": {"namespace": namespace, "name": name}}))).to_vec()
    }

    #[test]
    fn pages_hold_everything_once_and_say_one_version() {
        let (mut token, mut seen, mut left) = (String::new(), Vec::new(), Vec::new());
        for version in [7, 8, 9] {
            let page = page(objects(), version, "2", &token).unwrap();
            assert_eq!(page.version, 7);
            seen.extend(page.objects);
            left.push(page.rest.as_ref().map(|rest| rest.count));
            token = page.rest.map(|rest| rest.token).unwrap_or_default();
        }
        assert_eq!((seen, left), (objects(), vec![Some(3), Some(1), None]));
    }

    #[test]
    fn without_a_limit_it_is_all_and_nonsense_is_refused() {
        let all = page(objects(), 7, "", "").unwrap();
        assert_eq!((all.objects.len(), all.rest), (5, None));
        assert_eq!(page(objects(), 7, "5", "").unwrap().rest, None);
        assert!(page(objects(), 7, "many", "").is_err() && page(objects(), 7, "1", "what").is_err());
    }
}
