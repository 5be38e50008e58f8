//! The command line: what lastgood knows of a workload's versions and incidents, and what a person tells it.
//!
//! A command is one file in `commands/`, one variant in [`args::Command`] and one line in `commands::run`. Guarantees: what is said comes from
//! the bus's streams, as new as their leader has it, and is judged by the policies of the cluster, or it is said that they are not known; every wait has a deadline; nothing that comes from outside reaches a terminal with its
//! control characters; without colour there is not one escape sequence; the exit codes are [`exit`]'s. Must not: make or change a stream, write
//! to a cluster, or decide what happens to a workload.

pub mod args;
pub mod commands;
pub mod context;
pub mod exit;
pub mod governing;
pub mod look;
pub mod record;
pub mod version;
pub mod workload;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use lastgood_core::text::{causes, visible, visible_json};
use orchestrator::dead_letters::command::Output;
use serde_json::{Value, json};

use args::{Cli, Colour};
use context::Context;
use exit::{Answer, Failure};
use look::{Look, Tone};

/// Does what these arguments (the program's name first) ask, and prints what came of it.
pub async fn run(arguments: Vec<OsString>) -> ExitCode {
    let cli = match args::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output; a closed one is nothing to complain of.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::WRONG_USE));
        }
    };
    let output = cli.global.output;
    let (printed, code) = match asked(cli).await {
        Ok(answer) => (print(&answer.shown(output)), answer.code),
        Err(Failure::Output(gone)) => (Err(gone), exit::DONE),
        Err(failure) => {
            complain(&failure, output);
            (Ok(()), failure.code())
        }
    };
    ExitCode::from(match printed {
        // Whoever reads has closed the pipe: `lastgood history … | head`.
        Err(gone) if gone.kind() != io::ErrorKind::BrokenPipe => {
            let failure = Failure::Output(gone);
            complain(&failure, output);
            failure.code()
        }
        _ => code,
    })
}

async fn asked(cli: Cli) -> Result<Answer, Failure> {
    let look = Look::new(colour(cli.global.color, io::stdout().is_terminal()));
    let context = Context::new(&cli.global, look)?;
    commands::run(&context, &cli.command).await
}

/// Whether to colour: as asked, else on a terminal that takes it, unless `NO_COLOR` is set (no-color.org).
fn colour(asked: Colour, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match asked {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// Writes to standard output; nothing where there is nothing to say.
pub(crate) fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Says what is wrong, on standard error.
fn complain(failure: &Failure, output: Output) {
    let text = match output {
        Output::Json => visible_json(&json!({"error": causes(failure), "exit_code": failure.code()}).to_string()),
        Output::Text => {
            let look = Look::new(colour(Colour::Auto, io::stderr().is_terminal()));
            format!("{} {}", look.toned(Tone::Bad, "error:"), visible(&causes(failure)))
        }
    };
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Answer {
    /// As it is printed.
    #[must_use]
    pub fn shown(&self, output: Output) -> String {
        match (output, &self.json) {
            (Output::Text, _) => self.text.clone(),
            (Output::Json, Value::Null) => String::new(),
            (Output::Json, json) => visible_json(&format!("{json:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_goes_before_the_terminal() {
        assert!(colour(Colour::Always, false));
        assert!(!colour(Colour::Never, true));
        assert!(!colour(Colour::Auto, false));
    }
}
