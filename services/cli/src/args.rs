//! The tree of commands, as clap reads it.
//!
//! Guarantee: the program knows the name that it was called by, so that `kubectl lastgood --help` shows what can be typed. Must not: do
//! anything.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use orchestrator::dead_letters::command::Output;

use crate::commands::{answer, completions, dead_letters, diff, history, incidents, mark, pause, policy, rollback, show};
use crate::exit;

/// How kubectl finds the plugin: on the PATH, by this name.
const PLUGIN: &str = "kubectl-lastgood";

/// lastgood's command line.
#[derive(Debug, Parser)]
#[command(name = "lastgood", version, about = "Which versions of a workload are good, and what lastgood does about the bad ones")]
#[command(after_help = exit::HELP)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration file of the services, `.toml`, `.yaml` or `.yml`.
    #[arg(long, value_name = "FILE", env = "LASTGOOD_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// How to print: for people or for programs.
    #[arg(long, short, value_enum, global = true, default_value_t = Output::Text)]
    pub output: Output,
    /// When to colour; `auto` is on a terminal, unless `NO_COLOR` is set.
    #[arg(long, value_name = "WHEN", value_enum, global = true, default_value_t = Colour::Auto)]
    pub color: Colour,
    /// How long the whole command may take (`show --follow` has a limit of its own).
    #[arg(long, value_name = "LENGTH", value_parser = humantime::parse_duration, global = true, default_value = "30s")]
    pub timeout: Duration,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The versions of a workload, newest first: what is known of each, and whether it is good.
    History(history::Args),
    /// What differs between two versions of a workload.
    Diff(diff::Args),
    /// Say what a version is, whatever the evidence says: `good`, `bad`, or `clear` to take that back.
    Mark(mark::Args),
    /// Ask for a rollback: to a version of the ledger, or to the newest good one. Neither mode nor budgets hold it back; a pause does.
    Rollback(rollback::Args),
    /// Say yes to the rollback that an incident plans and waits with.
    Approve(answer::Args),
    /// Say no to it: nothing is rolled back.
    Decline(answer::Args),
    /// Take an incident over: nothing is rolled back, a person sees to it.
    Hold(answer::Args),
    /// Stop all automatic action, in the cluster or in one namespace.
    Pause(pause::PauseArgs),
    /// Let automatic action go on.
    Resume(pause::ResumeArgs),
    /// What is going on and what went on lately, open incidents first.
    Incidents(incidents::Args),
    /// Tell one incident, also an archived one: what happened, who was told, what is waited for.
    Show(show::Args),
    /// What no service could process: list it, look at it, deliver it again.
    DeadLetters(dead_letters::Args),
    /// What is wrong with a file of policies, and what it would govern.
    Policy(policy::Args),
    /// The script that completes this program's commands in a shell.
    Completions(completions::Args),
}

/// Reads the arguments, the program's name first.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = named(arguments.first().map(OsString::as_os_str));
    let mut matches = command.try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches)
}

/// The commands under the name that this program was called by.
#[must_use]
pub fn named(program: Option<&OsStr>) -> clap::Command {
    let called = program.and_then(|program| Path::new(program).file_stem()).unwrap_or_default();
    let name = if called == PLUGIN { "kubectl lastgood" } else { "lastgood" };
    Cli::command().bin_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<Cli, clap::Error> {
        parse(arguments.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in
            ["lastgood -o json history deploy/web", "lastgood history deploy/web -o json", "lastgood dead-letters list -o json"]
        {
            assert_eq!(read(line).unwrap().global.output, Output::Json, "{line}");
        }
        assert_eq!(read("lastgood incidents --timeout 2s").unwrap().global.timeout, Duration::from_secs(2));
    }

    #[test]
    fn it_goes_by_the_name_that_it_is_called() {
        for (program, usage) in [("/usr/bin/lastgood", "Usage: lastgood"), ("/opt/kubectl-lastgood", "Usage: kubectl lastgood")] {
            let help = read(&format!("{program} --help")).unwrap_err().to_string();
            assert!(help.contains(usage) && help.contains("Exit codes: 0 done"), "{help}");
            let help = read(&format!("{program} mark --help")).unwrap_err().to_string();
            assert!(help.contains(&format!("{usage} mark")), "{help}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "lastgood",
            "lastgood histroy deploy/web",
            "lastgood history",
            "lastgood history web",
            "lastgood history pod/web",
            "lastgood history deploy/web.*",
            "lastgood mark good deploy/web abcd1234",
            "lastgood mark splendid deploy/web abcd1234 --reason x",
            "lastgood pause",
            "lastgood pause -n Shop! --reason x",
            "lastgood rollback deploy/web",
            "lastgood approve inc_7",
            "lastgood policy check",
            "lastgood show inc_7",
            "lastgood show inc_0000000000000000000000000000002a --for 1h",
            "lastgood dead-letters replay",
            "lastgood incidents --since yesterday",
        ] {
            assert_eq!(read(line).map(drop).unwrap_err().exit_code(), i32::from(exit::WRONG_USE), "{line}");
        }
    }
}
