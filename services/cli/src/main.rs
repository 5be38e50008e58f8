//! `lastgood`, and the same program as the kubectl plugin `kubectl-lastgood`.
//!
//! Must not: hold logic; the library does, so that tests call it.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::run(std::env::args_os().collect()).await
}
