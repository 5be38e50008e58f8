//! `cargo demo`: watch a bad deployment being put right, on real parts and on this machine alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use testbed::demo::{DemoOptions, run};

/// Watch lastgood put the last good version back: four stories, each with a real alert from Prometheus and Alertmanager.
///
///   1  a version that serves errors is rolled back, proved, and closed: completed
///   2  the version before was never seen healthy: halt, and a page
///   3  the restored version fails its smoke tests: escalation to the team lead
///   4  the restored version never becomes ready: a failed rollback, and who serves now
///
/// Everything listens on loopback and ends with the demo. Tools that are missing (nats-server, Prometheus, Alertmanager) are
/// fetched into the target directory and nothing is installed system-wide. Exits 0 only if every story ended as it should.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", verbatim_doc_comment, after_help = ENVIRONMENT)]
struct Arguments {
    /// Tell only this story (1 to 4)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    story: Option<u8>,
    /// Leave everything running at the end, and print the addresses, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Run on the real cluster of this kubeconfig instead of the simulated one
    ///
    /// Its pods' and Services' addresses have to be reachable from here. `LASTGOOD_IMAGE_LOAD` is the command that gives the cluster
    /// an image; the path of a tarball is appended to it. The demo deletes the namespaces that it makes.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

const ENVIRONMENT: &str = "Environment:
  LASTGOOD_IMAGE_LOAD  the command that loads an image tarball into the real cluster
  LASTGOOD_BIN_DIR     take lastgood's services from here instead of building them
  NATS_SERVER          the nats-server to use
  NO_COLOR             no colours";

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { story, keep, kubeconfig } = Arguments::parse();
    match Box::pin(run(DemoOptions { story: story.map(usize::from), kubeconfig, keep })).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the demo could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
