//! `completions SHELL`: the script that completes the commands in a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Cli;
use crate::exit::Answer;

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Makes the script.
#[must_use]
pub fn run(args: &Args) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lastgood", &mut script);
    let script = String::from_utf8_lossy(&script).trim_end().to_owned();
    Answer { json: json!({"shell": args.shell.to_string(), "script": script}), text: script, code: crate::exit::DONE }
}
