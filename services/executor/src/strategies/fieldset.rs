//! Field sets: the `fieldsV1` trees of `metadata.managedFields` as plain sets of paths.
//!
//! Guarantees: `FieldSet::parse(set.to_value())` gives the set back; an unknown key is carried like any other, so that a newer
//! server's notation survives. Must not: know a schema, or which field means what; that is `ownership`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// One field's path, root first, in the notation of `fieldsV1` (`f:spec`, `k:{"name":"web"}`, …).
pub type Path = Vec<String>;

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeSet<Path>);

impl FieldSet {
    /// Reads a `fieldsV1` tree; anything that is not an object is an empty set.
    #[must_use]
    pub fn parse(tree: &Value) -> Self {
        let mut paths = BTreeSet::new();
        collect(tree, &mut Vec::new(), &mut paths);
        Self(paths)
    }

    /// The tree of it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut root = Map::new();
        for path in &self.0 {
            let mut node = &mut root;
            for (depth, key) in path.iter().enumerate() {
                let last = depth + 1 == path.len();
                let child = node.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(child) = child else { break };
                node = child;
                // The field itself is a member beside some of its children.
                if last && self.has_below(path) {
                    node.insert(".".to_owned(), Value::Object(Map::new()));
                }
            }
        }
        Value::Object(root)
    }

    /// Whether it holds a field within this one.
    #[must_use]
    pub fn has_below(&self, path: &Path) -> bool {
        let mut after = self.0.range::<Path, _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded));
        after.next().is_some_and(|next| next.starts_with(path))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this very field is in it.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// Adds a field.
    pub fn insert(&mut self, path: Path) {
        self.0.insert(path);
    }

    /// Its fields at or below `root`.
    pub fn below<'a>(&'a self, root: &'a [&'a str]) -> impl Iterator<Item = &'a Path> {
        self.0.iter().filter(move |path| path.len() >= root.len() && path.iter().zip(root).all(|(a, b)| a == b))
    }

    /// All of its fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter()
    }
}

impl FromIterator<Path> for FieldSet {
    fn from_iter<T: IntoIterator<Item = Path>>(paths: T) -> Self {
        Self(paths.into_iter().collect())
    }
}

fn collect(node: &Value, at: &mut Path, into: &mut BTreeSet<Path>) {
    let Value::Object(children) = node else { return };
    if (children.is_empty() || children.contains_key(".")) && !at.is_empty() {
        into.insert(at.clone());
    }
    for (key, child) in children.iter().filter(|(key, _)| key.as_str() != ".") {
        at.push(key.clone());
        collect(child, at, into);
        at.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_reads_back() {
        let tree = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:env": {".": {}, "k:{\"name\":\"X\"}": {".": {}, "f:value": {}}}}}}}}});
        assert_eq!(FieldSet::parse(&tree).to_value(), tree);
    }

    #[test]
    fn what_is_not_a_tree_is_empty() {
        assert!(FieldSet::parse(&json!(null)).is_empty());
        assert!(FieldSet::parse(&json!({})).is_empty());
    }

    proptest! {
        #[test]
        fn any_set_survives(paths in prop::collection::btree_set(prop::collection::vec("f:[a-c]|f:[a-c]-x", 1..4), 0..12)) {
            let set: FieldSet = paths.into_iter().collect();
            prop_assert_eq!(FieldSet::parse(&set.to_value()), set);
        }
    }
}
