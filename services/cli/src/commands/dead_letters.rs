//! `dead-letters list|show|replay`: what no service could process. The words are `orchestrator::dead_letters`', whose own program has the same
//! command.

use orchestrator::dead_letters::command::{self, DeadLettersCommand, Output};
use serde_json::Value;

use crate::context::Context;
use crate::exit::{Answer, Failure, NO_SUCH_THING};

/// Its arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

/// Does it.
pub async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let bus = context.bus().await?;
    let said = command::run(&bus, &args.command, context.output).await?;
    match args.command {
        DeadLettersCommand::Show { sequence } if said.code == NO_SUCH_THING => {
            Err(Failure::NoSuch(format!("there is no dead letter {sequence}")))
        }
        _ => {
            let json = if context.output == Output::Json {
                serde_json::from_str(&said.text).unwrap_or(Value::Null)
            } else {
                Value::Null
            };
            Ok(Answer { text: said.text, json, code: said.code })
        }
    }
}
