//! Policies from a file (`orchestrator.policies_file`), for clusters without the custom resources: YAML, any number of documents.
//!
//! Guarantees: a file that can't be read, or with anything wrong in it, is refused as a whole, with the document, the field and the
//! remedy. Must not: be read again while running; a restart does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lastgood_core::policy::{Limits, Origin, Policy, Problem, read};
use serde_json::Value;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("configuration key `orchestrator.policies_file`: {path} can't be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else than policies.
    #[error("configuration key `orchestrator.policies_file`: {path}: {reason}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong, a line each.
        reason: String,
    },
}

/// One document of a text: what it says it is, and what was made of it.
#[derive(Debug)]
pub struct Read {
    /// Which of the text's documents, from 1 on.
    pub number: usize,
    /// What was made of it; what isn't even a policy with a name has only problems.
    pub policy: Result<Policy, Vec<Problem>>,
}

/// Reads a text's documents; the reason where it isn't YAML.
pub fn documents(text: &str, origin: Origin, limits: &Limits) -> Result<Vec<Read>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| format!("is not YAML: {error}"))?;
    let each = documents.iter().enumerate();
    Ok(each.map(|(index, document)| Read { number: index + 1, policy: read(document, origin, limits) }).collect())
}

/// The policies of a file.
pub fn load(path: &Path, limits: &Limits) -> Result<Vec<Policy>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, limits).map_err(|reason| FileError::Invalid { path: path.to_owned(), reason })
}

fn parse(text: &str, limits: &Limits) -> Result<Vec<Policy>, String> {
    let (mut policies, mut wrong, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for read in documents(text, Origin::File, limits)? {
        let mut tell = |name: String, problems: &[Problem]| {
            wrong.extend(problems.iter().map(|problem| format!("document {}{name}: {problem}", read.number)));
        };
        match &read.policy {
            Err(problems) => tell(String::new(), problems),
            Ok(policy) => {
                if let Err(problems) = &policy.says {
                    tell(format!(" ({})", policy.id), problems);
                }
                if !ids.insert(policy.id.clone()) {
                    let text = "is there twice; give each its own name".to_owned();
                    tell(format!(" ({})", policy.id), &[Problem { field: "metadata.name".to_owned(), text }]);
                }
            }
        }
        policies.extend(read.policy);
    }
    if wrong.is_empty() { Ok(policies) } else { Err(wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: lastgood.dev/v1alpha1
kind: ClusterRollbackPolicy
metadata: {name: default}
spec: {mode: observe}
---
apiVersion: lastgood.dev/v1alpha1
kind: RollbackPolicy
metadata: {name: web, namespace: shop}
spec: {mode: auto, workloads: {names: [web]}}
";

    #[test]
    fn a_file_may_hold_many() {
        let policies = parse(GOOD, &Limits::default()).unwrap();
        let ids: Vec<_> = policies.iter().map(|policy| policy.id.to_string()).collect();
        assert_eq!(ids, ["ClusterRollbackPolicy default (file)", "RollbackPolicy shop/web (file)"]);
        assert!(parse("# nothing yet", &Limits::default()).unwrap().is_empty());
    }

    #[test]
    fn the_documented_example_is_good() {
        let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
        let (_, section) = readme.split_once("## The policy").unwrap();
        let (_, rest) = section.split_once("```yaml").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let policies = parse(example, &Limits::default()).unwrap();
        assert_eq!(policies[0].id.to_string(), "RollbackPolicy shop/web (file)");
        let spec = &serde_saphyr::from_str::<Value>(example).unwrap()["spec"];
        let known = lastgood_core::policy::document::schema()["properties"].as_object().unwrap();
        let missing: Vec<_> = known.keys().filter(|field| spec.get(field).is_none()).collect();
        assert!(missing.is_empty(), "the example is complete but for {missing:?}");
    }

    #[test]
    fn a_bad_file_is_refused_with_document_field_and_remedy() {
        let refused = |text: &str| parse(text, &Limits::default()).unwrap_err();
        let typo = refused(&GOOD.replace("mode: auto", "mode: full"));
        assert_eq!(typo, "document 2 (RollbackPolicy shop/web (file)): spec.mode: \"full\" is none of observe, approve, auto");
        assert!(
            refused(&[GOOD, "---", GOOD].concat())
                .contains("document 3 (ClusterRollbackPolicy default (file)): metadata.name: is there twice")
        );
        assert!(refused("a: [").contains("is not YAML"));
        assert!(refused("[1]").contains("document 1: apiVersion"));
        let gone = load(Path::new("/nowhere/policies.yaml"), &Limits::default()).unwrap_err();
        assert!(gone.to_string().contains("`orchestrator.policies_file`: /nowhere/policies.yaml can't be read"));
    }
}
