//! `cargo xtask COMMAND`: the checks and chores of this workspace, in Rust, so that they need nothing
//! that a machine with Rust alone does not have.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what these commands print is their result")]

mod bench;
mod checkout;
mod conformance;
mod coverage;
mod docs;
mod faults;
mod interop;
mod peers;
mod sim;
mod skipped;
mod steps;
mod test;
mod tidy;
mod tool;

use std::process::ExitCode;

use checkout::Checkout;
use test::Mode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

commands:
  tidy       check what the compiler does not: crate layers, manifests, links, leftovers
  peers      install the independent MCP servers and clients of the interop tests into target/peers
  test       everything that must pass; says at the end what was skipped and what to install
  ci         the same, and a missing tool is a failure
  conformance
             run the official suite against our client, against the gateway as one, and against a server behind
             the gateway, and write the result into docs/conformance.md; or one of them: `conformance client` or
             `conformance gateway-client`, and after it one scenario; `conformance gateway`, and after it a path
             and a scenario
  faults     write the table of faults into docs/faults.md; `faults --check` says whether it is current
  interop    run our client against servers of others, and clients of others through the gateway, and write the
             result into docs/interop.md
  sim        run the simulators: --seeds N (default 1000), --seed S to replay one, --jobs J, --only NAME
  bench      run the benchmarks, or one: `bench parse`, `bench gateway` (further arguments go to it)
  coverage   line coverage of each crate by the tests";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match run(&command, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<(), String> {
    if !["bench", "conformance", "faults", "sim"].contains(&command) && !rest.is_empty() {
        return Err(format!("takes no arguments, got {rest:?}\n\n{USAGE}"));
    }
    let checkout = Checkout::find()?;
    match command {
        "tidy" => tidy::run(&checkout),
        "peers" => peers::install(&checkout).map_err(|problem| problem.to_string()),
        "test" => test::run(&checkout, Mode::from_environment()),
        "ci" => test::run(&checkout, Mode::Strict),
        "sim" => sim::run(&checkout, rest),
        "bench" => bench::run(&checkout, rest),
        "conformance" => conformance::run(&checkout, rest),
        "faults" => faults::run(&checkout, rest),
        "interop" => interop::run(&checkout),
        "coverage" => coverage::run(&checkout),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        unknown => Err(format!("no such command: {unknown}\n\n{USAGE}")),
    }
}
