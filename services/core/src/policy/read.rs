//! From a document to a policy that was checked.
//!
//! Guarantees: all that is wrong is told at once, each with its field, what it says and the remedy; a policy that is wrong still says which
//! workloads it meant, all that it could mean if that can't be told. Must not: know where the document comes from.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::document::{CLUSTER_KIND, GROUP, KIND, Spec, VERSION, schema};
use super::problem::{At, Problem, shown};
use super::says::Says;
use super::select::{self, Selection, Workload};
use super::shape;

/// Where a document was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A custom resource.
    Cluster,
    /// `orchestrator.policies_file`.
    File,
}

/// Which policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Its namespace; `None` for one of the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it was found.
    pub origin: Origin,
}

impl Id {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        if self.namespace.is_some() { KIND } else { CLUSTER_KIND }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)?;
        if self.origin == Origin::File { f.write_str(" (file)") } else { Ok(()) }
    }
}

/// What a document can't know of the orchestrator that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far back closed incidents can be looked at (`orchestrator.archive.after`).
    pub looks_back: Duration,
    /// How long a verification may take where no policy says so (`orchestrator.deadlines.verify`).
    pub verify: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { looks_back: Duration::from_hours(24 * 7), verify: Duration::from_mins(10) }
    }
}

/// A policy as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Which.
    pub id: Id,
    /// The higher is heard first.
    pub priority: i32,
    /// Which workloads it is for, within its namespace.
    pub selection: Selection,
    /// What it says, or what is wrong with it.
    pub says: Result<Says, Vec<Problem>>,
}

impl Policy {
    /// Whether it has a say about this workload.
    #[must_use]
    pub fn governs(&self, workload: &Workload<'_>) -> bool {
        let at_home = self.id.namespace.as_ref().is_none_or(|namespace| namespace == workload.namespace);
        at_home && self.selection.selects(workload)
    }

    /// What it is sorted by: who comes first is heard first.
    pub(super) fn order(&self) -> impl Ord + '_ {
        let cluster_wide = self.id.namespace.is_none();
        (cluster_wide, Reverse(self.priority), Reverse(self.selection.specificity()), &self.id.name, self.id.origin)
    }
}

/// Reads a document. What isn't even a policy that has a name is refused as a whole.
pub fn read(document: &Value, origin: Origin, limits: &Limits) -> Result<Policy, Vec<Problem>> {
    let id = identify(document, origin)?;
    let mut found = Vec::new();
    let mut given = document.get("spec").cloned().unwrap_or(Value::Null);
    if given.is_null() {
        At::new("spec", &mut found).refuse("is missing; write what the policy says, or delete it");
        given = Value::Object(serde_json::Map::new());
    }
    found.extend(shape::prune(&mut given, schema(), "spec"));
    let misshapen: Vec<String> = found.iter().map(|problem| problem.field.clone()).collect();
    let mut meant = Vec::new();
    let spec = match serde_json::from_value::<Spec>(given) {
        Ok(spec) => spec,
        // The shape was checked; whatever is left is told all the same.
        Err(error) => {
            At::new("spec", &mut meant).refuse(error.to_string());
            Spec::default()
        }
    };
    let selection = select::read(&spec.workloads.clone().unwrap_or_default(), At::new("spec.workloads", &mut meant));
    let says = Says::read(&spec, &id, limits, &mut meant);
    // Where the shape is wrong already, what was put in its place is nobody's fault.
    meant.retain(|problem| !misshapen.iter().any(|field| problem.field.starts_with(field.as_str())));
    found.extend(meant);
    found.sort();
    found.dedup();
    let whom_is_unclear = found.iter().any(|problem| problem.field == "spec" || problem.field.starts_with("spec.workloads"));
    Ok(Policy {
        id,
        priority: spec.priority.unwrap_or_default(),
        selection: if whom_is_unclear { Selection::default() } else { selection },
        says: if found.is_empty() { Ok(says) } else { Err(found) },
    })
}

fn identify(document: &Value, origin: Origin) -> Result<Id, Vec<Problem>> {
    let mut found = Vec::new();
    let mut at = |field: &str, text: String| At::new(field, &mut found).refuse(text);
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = format!("{GROUP}/{VERSION}");
    if text("/apiVersion") != wanted {
        at("apiVersion", format!("{} is not known; write {wanted}", shown(&document["apiVersion"])));
    }
    let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
    match (kind.as_str(), namespace.is_empty()) {
        (KIND, true) => at("metadata.namespace", format!("is missing; name one, or write kind: {CLUSTER_KIND} for all")),
        (CLUSTER_KIND, false) => at("metadata.namespace", format!("does not belong to a {CLUSTER_KIND}; remove it")),
        (KIND, false) | (CLUSTER_KIND, true) => {}
        _ => at("kind", format!("{} is not known; write {KIND} or {CLUSTER_KIND}", shown(&document["kind"]))),
    }
    if name.is_empty() {
        at("metadata.name", "is missing; give it a name".to_owned());
    }
    if let (Origin::File, Some(map)) = (origin, document.as_object()) {
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            at(key, "is no field here; what the policy says belongs under spec".to_owned());
        }
    }
    let id = Id { namespace: Some(namespace).filter(|namespace| !namespace.is_empty()), name, origin };
    if found.is_empty() { Ok(id) } else { Err(found) }
}

#[cfg(test)]
mod tests;
