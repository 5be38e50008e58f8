//! `policy check FILE`: what is wrong with a file's policies, and what they would govern in the cluster.
//!
//! Guarantees: the file is read as the orchestrator reads it; all that is wrong is told at once. Must not: write to a cluster.

use std::path::PathBuf;

use clap::Subcommand;
use orchestrator::policy::check::{Document, Report, check, check_against};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Answer, DONE, FAILED, Failure};
use crate::look::{Look, Tone};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: PolicyCommand,
}

/// What can be asked about policies.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Check a file of policies (YAML, any number of documents). Exits with 1 where anything is wrong with it.
    Check {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// Do not ask the cluster what the policies would govern.
        #[arg(long)]
        offline: bool,
    },
}

/// Checks.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let PolicyCommand::Check { file, offline } = &args.command;
    let unreadable = |error| Failure::File(file.display().to_string(), error);
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(unreadable)?
    } else {
        std::fs::read_to_string(file).map_err(unreadable)?
    };
    let settings = &context.config.orchestrator;
    let report = if *offline {
        check(&text, settings)?
    } else {
        chassis::cluster::install_crypto();
        let connecting = chassis::cluster::connect(&context.config.kubernetes).await;
        let client = connecting.map_err(|error| Failure::Cluster(error.into()))?;
        check_against(&client, &text, settings, context.now()).await?
    };
    let code = if report.is_good() { DONE } else { FAILED };
    Ok(Answer { text: lines(&report, context.look).join("\n"), json: json!(report), code })
}

fn lines(report: &Report, look: Look) -> Vec<String> {
    if report.documents.is_empty() {
        return vec![look.toned(Tone::Open, "there is no policy in this file")];
    }
    report.documents.iter().flat_map(|document| one(document, look)).collect()
}

fn one(document: &Document, look: Look) -> Vec<String> {
    let named = document.policy.clone().unwrap_or_else(|| format!("document {}", document.number));
    let good = document.problems.is_empty();
    let (tone, word) = if good { (Tone::Good, "good") } else { (Tone::Bad, "not good; what it selects would only be observed") };
    let governs = document.governs.map(|count| format!("; governs {count} workloads")).unwrap_or_default();
    let mut lines = vec![format!("{}: {}{governs}", look.toned(Tone::Title, &named), look.toned(tone, word))];
    lines.extend(document.problems.iter().map(|problem| format!("  {}", look.toned(Tone::Bad, problem))));
    lines.extend(document.telling.iter().map(|telling| format!("  {}", look.toned(Tone::Plain, telling))));
    for workload in &document.workloads {
        let changes = if workload.mode_now == workload.mode {
            workload.mode.clone()
        } else {
            format!("{} (now {})", workload.mode, workload.mode_now)
        };
        let frozen = workload.frozen.as_ref().map(|why| format!("; frozen now: {why}")).unwrap_or_default();
        lines.push(format!(
            "  {}: {}",
            look.toned(Tone::Plain, &workload.workload),
            look.toned(Tone::Plain, &format!("{changes}{frozen}"))
        ));
        lines.push(format!(
            "    {}",
            look.toned(Tone::Quiet, &format!("{}; by {}", workload.because, workload.sources.join(", ")))
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_what_would_change_is_told() {
        let text = "apiVersion: lastgood.dev/v1alpha1\nkind: RollbackPolicy\nmetadata: {name: web, namespace: shop}\nspec: {mode: splendid}\n";
        let report = check(text, &orchestrator::config::Settings::default()).unwrap();
        let told = lines(&report, Look::new(false)).join("\n");
        assert!(!report.is_good() && told.contains("splendid") && told.contains("mode"), "{told}");
        let good = check(&text.replace("splendid", "auto"), &orchestrator::config::Settings::default()).unwrap();
        let told = lines(&good, Look::new(false)).join("\n");
        assert!(good.is_good() && told.starts_with("RollbackPolicy shop/web: good"), "{told}");
    }
}
