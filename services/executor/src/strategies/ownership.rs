//! Who owns which field after we wrote: keeps the owner's way forward open.
//!
//! Every write of ours moves the fields it changed to a `managedFields` entry of our own. Left like that, the owner's next
//! server-side apply would conflict with us, and would leave behind what only the restored version had. So a second write, which
//! changes nothing but `metadata.managedFields`, gives each of those fields to its rightful owner and drops our entry.
//!
//! Guarantees: after `release` no entry of ours is left; every field of ours under the given root has an owner again if anybody
//! owned anything there; no other entry loses a field that it had before us. Must not: touch entries of subresources, or invent a manager that was never
//! seen on the object.

use serde_json::{Value, json};

use super::fieldset::{FieldSet, Path};

/// The name under which lastgood writes.
pub const MANAGER: &str = "lastgood";
/// The annotation that client-side apply keeps.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What our annotations' fields begin with.
const OUR_ANNOTATIONS: &str = "f:lastgood.dev/";
/// The part of a workload that a rollback changes.
pub const TEMPLATE: &[&str] = &["f:spec", "f:template"];
/// The part of a Service that a rollback changes.
pub const SELECTOR: &[&str] = &["f:spec", "f:selector"];

/// One entry of `managedFields`, its fields as a set.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    raw: Value,
    fields: FieldSet,
}

/// What tells one manager's entry from another's.
type Id = (String, String, String);

impl Entry {
    fn parse(raw: &Value) -> Self {
        Self { raw: raw.clone(), fields: FieldSet::parse(&raw["fieldsV1"]) }
    }

    fn text(&self, key: &str) -> &str {
        self.raw[key].as_str().unwrap_or_default()
    }

    fn id(&self) -> Id {
        (self.text("manager").to_owned(), self.text("operation").to_owned(), self.text("subresource").to_owned())
    }

    fn is_ours(&self) -> bool {
        self.text("manager") == MANAGER && self.text("subresource").is_empty()
    }

    fn owns_below(&self, root: &[&str]) -> usize {
        self.fields.below(root).count()
    }

    fn to_value(&self) -> Value {
        let mut raw = self.raw.clone();
        raw["fieldsV1"] = self.fields.to_value();
        raw["fieldsType"] = json!("FieldsV1");
        raw
    }
}

/// What is known of an object's owners at three times; each is `metadata.managedFields`.
#[derive(Debug, Clone, Copy)]
pub struct Owners<'a> {
    /// As they are now, after our write.
    pub now: &'a Value,
    /// As they were just before our write; `None` after a crash between the two writes.
    pub before: Option<&'a Value>,
    /// As they were while the restored version ran; `None` when that was not recorded.
    pub recorded: Option<&'a Value>,
}

/// Whether an entry of ours is on the object.
#[must_use]
pub fn is_ours_present(managed_fields: &Value) -> bool {
    entries(managed_fields).iter().any(Entry::is_ours)
}

/// The `managedFields` to write so that our entry is gone; `None` when there is none of ours.
#[must_use]
pub fn release(owners: Owners<'_>, root: &[&str]) -> Option<Value> {
    let (ours, mut kept): (Vec<Entry>, Vec<Entry>) = entries(owners.now).into_iter().partition(Entry::is_ours);
    if ours.is_empty() {
        return None;
    }
    let before = others(owners.before);
    let recorded = others(owners.recorded);
    let principal = principal(&[&before, &kept, &recorded], root);
    unstretch(&mut kept, &before, principal.as_ref(), root);
    for path in homeless(&ours, &kept, &recorded, root).iter() {
        for id in rightful(path, &before, &recorded, &kept, principal.as_ref()) {
            give(&mut kept, &id, path.clone(), &[&before, &recorded]);
        }
    }
    drop_bare(&mut kept, &[&before, &recorded]);
    Some(kept.iter().map(Entry::to_value).collect())
}

/// Takes back what the server itself handed out between our two writes: an entry that our write left with a bare map or list
/// (`f:annotations`, `f:env`) is stretched over everything in it by whoever writes next (tried on 1.20: the controller).
fn unstretch(kept: &mut [Entry], before: &[Entry], principal: Option<&Id>, root: &[&str]) {
    for entry in kept.iter_mut().filter(|entry| entry.text("subresource").is_empty()) {
        let id = entry.id();
        let had = before.iter().find(|known| known.id() == id && principal != Some(&id));
        let below: FieldSet = entry.fields.below(root).cloned().collect();
        entry.fields = entry
            .fields
            .iter()
            .filter(|path| !path.last().is_some_and(|last| last.starts_with(OUR_ANNOTATIONS)))
            .filter(|path| had.is_none_or(|had| had.fields.contains(path) || !below.contains(path)))
            .cloned()
            .collect();
    }
}

/// Drops maps and lists of which an entry has nothing left, so that they are not stretched later.
fn drop_bare(kept: &mut Vec<Entry>, sources: &[&[Entry]]) {
    let is_container = |path: &Path| sources.iter().flat_map(|entries| entries.iter()).any(|entry| entry.fields.has_below(path));
    for entry in kept.iter_mut().filter(|entry| entry.text("subresource").is_empty()) {
        let bare = |path: &&Path| !entry.fields.has_below(path) && is_container(path);
        entry.fields = entry.fields.iter().filter(|path| !bare(path)).cloned().collect();
    }
    kept.retain(|entry| !entry.fields.is_empty());
}

fn entries(managed_fields: &Value) -> Vec<Entry> {
    managed_fields.as_array().into_iter().flatten().map(Entry::parse).collect()
}

fn others(managed_fields: Option<&Value>) -> Vec<Entry> {
    managed_fields
        .map(entries)
        .unwrap_or_default()
        .into_iter()
        .filter(|e| !e.is_ours() && e.text("subresource").is_empty())
        .collect()
}

fn last_applied_path() -> Path {
    vec!["f:metadata".into(), "f:annotations".into(), format!("f:{LAST_APPLIED}")]
}

/// The fields that need an owner: ours, and those that had one while the restored version ran and have none now.
fn homeless(ours: &[Entry], kept: &[Entry], recorded: &[Entry], root: &[&str]) -> FieldSet {
    let annotation = last_applied_path();
    let mut fields: FieldSet = ours
        .iter()
        .flat_map(|entry| entry.fields.below(root).chain(entry.fields.iter().filter(|path| **path == annotation)))
        .cloned()
        .collect();
    // Only where a template came back: what was recorded of a Service says nothing about its present selector.
    if ours.iter().any(|entry| entry.owns_below(root) > 0) {
        for path in recorded.iter().flat_map(|entry| entry.fields.below(root)) {
            if !kept.iter().any(|entry| entry.fields.contains(path)) {
                fields.insert(path.clone());
            }
        }
    }
    fields
}

/// Who gets a field: the principal owner where it had it before our write or while the version ran (so that its next apply has
/// nobody to conflict with); else who had it before our write; else who had it then and is still about; else the principal owner.
fn rightful(path: &Path, before: &[Entry], recorded: &[Entry], kept: &[Entry], principal: Option<&Id>) -> Vec<Id> {
    let holders = |entries: &[Entry]| -> Vec<Id> { entries.iter().filter(|e| e.fields.contains(path)).map(Entry::id).collect() };
    let present = |id: &Id| before.iter().chain(kept).any(|e| e.id() == *id);
    let had = holders(before);
    let then: Vec<Id> = holders(recorded).into_iter().filter(present).collect();
    if let Some(principal) = principal.filter(|id| had.contains(id) || then.contains(id)) {
        let mut owners: Vec<Id> = had.into_iter().filter(|id| id != principal && then.contains(id)).collect();
        owners.push(principal.clone());
        return owners;
    }
    if !had.is_empty() {
        return had;
    }
    if !then.is_empty() {
        return then;
    }
    principal.cloned().into_iter().collect()
}

/// The manager that applies this object: the latest Apply manager that owns something under the root; else the one that keeps the
/// last-applied annotation; else the Update manager that owns most there. The first of the sources that knows one decides.
fn principal(sources: &[&[Entry]], root: &[&str]) -> Option<Id> {
    let annotation = last_applied_path();
    let owning = |entries: &[Entry], wanted: &dyn Fn(&Entry) -> bool| -> Option<Id> {
        let mut fitting: Vec<&Entry> = entries
            .iter()
            .filter(|e| e.text("subresource").is_empty() && e.text("manager") != "kube-controller-manager" && wanted(e))
            .collect();
        fitting.sort_by_key(|e| (e.text("operation") == "Apply", e.text("time").to_owned()));
        fitting.last().map(|e| e.id())
    };
    let about = |id: &Id| sources.iter().take(2).any(|entries| entries.iter().any(|e| e.id() == *id));
    let applies = |e: &Entry| e.text("operation") == "Apply" && e.owns_below(root) > 0;
    let annotates = |e: &Entry| e.fields.contains(&annotation);
    let by_rule =
        |wanted: &dyn Fn(&Entry) -> bool| sources.iter().find_map(|entries| owning(entries, wanted).filter(|id| about(id)));
    by_rule(&applies).or_else(|| by_rule(&annotates)).or_else(|| {
        sources.iter().find_map(|entries| {
            let fitting = entries.iter().filter(|e| e.owns_below(root) > 0 && e.text("subresource").is_empty());
            fitting.max_by_key(|e| (e.owns_below(root), e.text("time").to_owned())).map(Entry::id).filter(|id| about(id))
        })
    })
}

fn give(kept: &mut Vec<Entry>, id: &Id, path: Path, sources: &[&[Entry]]) {
    if let Some(entry) = kept.iter_mut().find(|e| e.id() == *id) {
        entry.fields.insert(path);
        return;
    }
    // Our write took the last field that this manager had: its entry comes back with this one.
    if let Some(known) = sources.iter().flat_map(|entries| entries.iter()).find(|e| e.id() == *id) {
        kept.push(Entry { raw: known.raw.clone(), fields: FieldSet::from_iter([path]) });
    }
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
