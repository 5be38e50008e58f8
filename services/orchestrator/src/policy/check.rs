//! `policy check FILE`: what is wrong with a file's policies, what they would govern, and what would be in force by them.
//!
//! Guarantees: the documents are read as the orchestrator reads them; against a cluster they are taken as if they had been applied, over the
//! policies of the same kind and name that are there. Must not: write.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use kube::Client;
use lastgood_core::policy::{Effective, Id, Limits, Mode, Origin, Policy, Says};
use serde::Serialize;

use super::ask::stored;
use super::file::documents;
use super::survey::{Listed, workloads};
use super::{Index, Unread};
use crate::config::Settings;

/// Workloads that are explained, for each document.
const EXPLAINED: usize = 5;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file's documents, in their order.
    pub documents: Vec<Document>,
    /// Whether the cluster was asked.
    pub live: bool,
}

/// One document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Which of the file's, from 1 on.
    pub number: usize,
    /// `RollbackPolicy shop/web`; `None` where it isn't even a policy with a name.
    pub policy: Option<String>,
    /// What is wrong with it: field, value, remedy.
    pub problems: Vec<String>,
    /// Which messages go to which receivers, and who is called after whom, where it says so.
    pub telling: Vec<String>,
    /// How many workloads of the cluster it would govern; `None` where the cluster was not asked.
    pub governs: Option<i64>,
    /// The first of them, explained.
    pub workloads: Vec<Explained>,
}

/// A workload, and what would be in force for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// `namespace/kind/name`.
    pub workload: String,
    /// Its mode now.
    pub mode_now: String,
    /// Its mode if the file was applied.
    pub mode: String,
    /// Why it would be that.
    pub because: String,
    /// Who would have a say, most specific first.
    pub sources: Vec<String>,
    /// The freeze window that would hold now.
    pub frozen: Option<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file isn't YAML.
    #[error("the file {0}")]
    NotYaml(String),
    /// The cluster can't be asked.
    #[error("the cluster can't be asked for its {what}")]
    Cluster {
        /// For what.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Report {
    /// Whether all of it is good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.documents.iter().all(|document| document.problems.is_empty())
    }
}

/// A file's policies, and the report on them without a cluster.
fn read(text: &str, limits: &Limits) -> Result<(Report, Vec<Option<Policy>>), CheckError> {
    let (mut report, mut policies, mut known) = (Report::default(), Vec::new(), BTreeMap::<Id, usize>::new());
    for read in documents(text, Origin::Cluster, limits).map_err(CheckError::NotYaml)? {
        let mut document = Document { number: read.number, ..Document::default() };
        match &read.policy {
            Err(problems) => document.problems.extend(problems.iter().map(ToString::to_string)),
            Ok(policy) => {
                document.policy = Some(policy.id.to_string());
                document.problems.extend(policy.says.as_ref().err().into_iter().flatten().map(ToString::to_string));
                document.telling = policy.says.as_ref().map(Says::telling).unwrap_or_default();
                if let Some(before) = known.insert(policy.id.clone(), read.number) {
                    document.problems.push(format!("metadata.name: is the name of document {before} already; give each its own"));
                }
            }
        }
        report.documents.push(document);
        policies.push(read.policy.ok());
    }
    Ok((report, policies))
}

/// What is wrong with a file's policies.
pub fn check(text: &str, settings: &Settings) -> Result<Report, CheckError> {
    Ok(read(text, &super::index::limits(settings))?.0)
}

/// The same, and what they would do in this cluster.
pub async fn check_against(client: &Client, text: &str, settings: &Settings, now: Timestamp) -> Result<Report, CheckError> {
    let (mut report, policies) = read(text, &super::index::limits(settings))?;
    report.live = true;
    let before = stored(client, settings).await?;
    let mut after = before.clone();
    policies.iter().flatten().cloned().for_each(|policy| after.put(policy));
    let mut found: Vec<Found> = policies.iter().map(|_| Found::default()).collect();
    let counted = workloads(client, None, |workload| {
        for (policy, found) in policies.iter().zip(&mut found) {
            if policy.as_ref().is_some_and(|policy| policy.governs(&workload.view())) {
                found.add(workload);
            }
        }
    });
    counted.await.map_err(|source| CheckError::Cluster { what: "workloads", source: Box::new(source) })?;
    for ((document, policy), found) in report.documents.iter_mut().zip(&policies).zip(&found) {
        document.governs = policy.as_ref().map(|_| found.count);
        document.workloads =
            found.first.iter().filter_map(|(name, workload)| explain(name, workload, &before, &after, now).ok()).collect();
    }
    Ok(report)
}

/// The workloads that a policy governs.
#[derive(Default)]
struct Found {
    count: i64,
    first: BTreeMap<String, Listed>,
}

impl Found {
    fn add(&mut self, workload: &Listed) {
        self.count += 1;
        let name = format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name);
        self.first.insert(name, workload.clone());
        if self.first.len() > EXPLAINED {
            self.first.pop_last();
        }
    }
}

fn explain(name: &str, workload: &Listed, before: &Index, after: &Index, now: Timestamp) -> Result<Explained, Unread> {
    let (is, would) = (before.effective_for(&workload.view(), now)?, after.effective_for(&workload.view(), now)?);
    Ok(Explained {
        workload: name.to_owned(),
        mode_now: mode(&is),
        mode: mode(&would),
        because: would.mode_because,
        sources: would.sources,
        frozen: would.frozen,
    })
}

fn mode(effective: &Effective) -> String {
    match effective.mode {
        Mode::Observe => "observe",
        Mode::Approve { .. } => "approve",
        Mode::Auto => "auto",
    }
    .to_owned()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.documents.is_empty() {
            writeln!(f, "the file holds no policy")?;
        }
        for document in &self.documents {
            let name = document.policy.as_deref().unwrap_or("no policy");
            let verdict = if document.problems.is_empty() { "good" } else { "invalid: what it is about would only be observed" };
            writeln!(f, "document {}: {name}: {verdict}", document.number)?;
            for problem in &document.problems {
                writeln!(f, "  {problem}")?;
            }
            for telling in &document.telling {
                writeln!(f, "  {telling}")?;
            }
            match document.governs {
                None => {}
                Some(0) => writeln!(f, "  would govern no workload of this cluster")?,
                Some(count) => writeln!(f, "  would govern {count} workloads, among them")?,
            }
            for workload in &document.workloads {
                let turns =
                    if workload.mode == workload.mode_now { String::new() } else { format!(" (now {})", workload.mode_now) };
                writeln!(f, "    {}: {}{turns}: {}", workload.workload, workload.mode, workload.because)?;
                if let Some(frozen) = &workload.frozen {
                    writeln!(f, "      frozen: {frozen}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: lastgood.dev/v1alpha1
kind: RollbackPolicy
metadata: {name: web, namespace: shop}
spec: {mode: auto, notify: {routes: [{reasons: [frozen], receivers: [shop]}], escalation: [{audience: onCall}, {after: 5m, audience: teamLead}]}}
---
apiVersion: lastgood.dev/v1alpha1
kind: RollbackPolicy
metadata: {name: web, namespace: shop}
spec: {mode: full, cooldown: 30d}
---
kind: Pod
";

    #[test]
    fn everything_that_is_wrong_is_reported_document_by_document() {
        let report = check(FILE, &Settings::default()).unwrap();
        assert!(!report.is_good() && !report.live);
        let told = report.to_string();
        for wanted in [
            "document 1: RollbackPolicy shop/web: good",
            "  messages about frozen go to shop",
            "  pages call the on-call, after 5m 00s the team lead, until somebody acknowledges",
            "document 2: RollbackPolicy shop/web: invalid",
            "  spec.cooldown: \"30d\" is longer than orchestrator.archive.after (168h)",
            "  spec.mode: \"full\" is none of observe, approve, auto",
            "  metadata.name: is the name of document 1 already",
            "document 3: no policy: invalid",
            "  kind: \"Pod\" is not known",
        ] {
            assert!(told.contains(wanted), "{wanted}\nis not in\n{told}");
        }
        assert!(check("- a: [", &Settings::default()).is_err());
        assert_eq!(check("", &Settings::default()).unwrap().to_string(), "the file holds no policy\n");
    }
}
