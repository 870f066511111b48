//! `mcp-gateway`: wiring, signals, exit code.

mod args;
mod connector;
mod demo;
mod demo_servers;
mod direct;
mod kept;
mod logging;
mod reload;
mod serve;
mod signals;
mod start;
mod stdio;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use mcp_cli::{Exit, Output, Setting};

use crate::args::{Cli, Top};

/// A call makes some hundred small allocations, many of them freed by another thread. This allocator gives out first
/// what was freed last and is still in the processor's cache (docs/benchmarks.md).
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::stdio(cli.global.color());
    logging::init(&cli.top);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&mut output, &format!("the runtime could not be started: {error}")),
    };
    let outcome = runtime.block_on(run(cli, &mut output));
    // What still runs is dropped before the process ends: a server that is being started is killed, not left
    // behind. A read of stdin cannot be interrupted, and does not hold up the end for long.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match outcome {
        Ok(exit) => exit,
        Err(Failed { exit, message }) => {
            complain(&mut output, &message);
            exit.into()
        }
    }
}

/// Why the process ends without having done its job.
struct Failed {
    exit: Exit,
    message: String,
}

impl Failed {
    fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// An error with what lies behind it.
    fn because(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self { exit, message: with_causes(error) }
    }
}

/// An error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn run(cli: Cli, output: &mut Output) -> Result<ExitCode, Failed> {
    match cli.top {
        Top::Serve(args) => serve::run(args).await,
        Top::Stdio(args) => stdio::run(args).await,
        Top::DemoServer(args) => demo::run(args).await,
        Top::Command(command) => {
            let setting =
                Setting { global: &cli.global, direct: &direct::InProcess, root: Cli::command(), output };
            Ok(mcp_cli::run(*command, setting).await.into())
        }
    }
}

fn complain(output: &mut Output, message: &str) -> ExitCode {
    // With stderr gone as well there is nobody left to tell.
    let _ = output.error(message);
    Exit::Failed.into()
}
