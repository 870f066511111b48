#![doc = include_str!("../README.md")]
//!
//! # Exit codes
//!
//! 0 it worked · 1 the call failed or the gateway refused · 2 usage · 3 no gateway answers · 4 the configuration is
//! invalid ([`Exit`]).
//!
//! # What is printed where
//!
//! Results go to stdout: tables for people, with `--json` the bodies of the gateway. Which server answered, what was
//! tried, errors and progress go to stderr. Nothing a server wrote reaches a terminal before it has passed the one
//! filter in `text.rs`.

mod args;
mod arguments;
mod client;
mod commands;
mod direct;
mod exit;
mod output;
mod render;
mod table;
mod text;
mod user;

use std::fmt;

pub use args::{
    AddArgs, ApiKey, CallArgs, ChangesCommand, Command, ConfigCommand, DEFAULT_URL, DirectArgs, EventsArgs,
    FollowArgs, ForceArgs, GlobalArgs, InvocationsArgs, MarkArgs, MarkAs, PromptArgs, ReadArgs,
    ServersCommand, ShownArgs, StatusArgs, ToolsArgs, UserArgs,
};
pub use direct::{Direct, DirectError, DirectTarget};
pub use exit::Exit;
pub use output::{Look, Output};

/// What a command runs with, besides its own arguments.
pub struct Setting<'a> {
    /// The options every command takes.
    pub global: &'a GlobalArgs,
    /// How servers are reached without a gateway.
    pub direct: &'a dyn Direct,
    /// The whole command line of the binary, which completion scripts describe.
    pub root: clap::Command,
    /// Where it writes.
    pub output: &'a mut Output,
}

impl fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("global", self.global).finish_non_exhaustive()
    }
}

/// Runs one command to its end and says how it went. Errors are printed here.
///
/// Needs a tokio runtime with time, I/O and signals enabled.
pub async fn run(command: Command, setting: Setting<'_>) -> Exit {
    let Setting { global, direct, root, output } = setting;
    let done = match command {
        Command::Call(args) => commands::call::run(&args, global, direct, output).await,
        Command::Tools(args) => commands::tools::run(&args, global, direct, output).await,
        Command::Prompts(args) => commands::exposed::prompts(&args, global, output).await,
        Command::Resources(args) => commands::exposed::resources(&args, global, output).await,
        Command::Prompt(args) => commands::fetch::prompt(&args, global, output).await,
        Command::Read(args) => commands::fetch::read(&args, global, output).await,
        Command::Changes { command } => commands::changes::run(command, global, output).await,
        Command::Servers { command } => commands::servers::run(command, global, output).await,
        Command::Status(args) => commands::status::run(&args, global, output).await,
        Command::Events(args) => commands::events::run(&args, global, output).await,
        Command::Invocations(args) => commands::events::run_invocations(&args, global, output).await,
        Command::Why { request_id } => commands::why::run(&request_id, global, output).await,
        Command::Config(ConfigCommand::Check { file }) => {
            commands::config::check(file.as_deref(), global, output)
        }
        Command::Config(ConfigCommand::Preset { name }) => {
            commands::preset::run(name.as_deref(), global, output)
        }
        Command::Completions { shell } => commands::completions::run(shell, root, output),
    };
    done.unwrap_or_else(|error| {
        if !error.is_silent() {
            // With stderr gone as well there is nobody left to tell.
            let _ = output.error(&error.to_string());
        }
        error.exit()
    })
}

#[cfg(test)]
mod tests;
