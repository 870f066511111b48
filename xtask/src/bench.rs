//! `cargo xtask bench`.

use std::process::Command;

use crate::checkout::Checkout;
use crate::{docs, tool};

/// The benchmarks, in the order they are run.
const BENCHES: [&str; 2] = ["parse", "gateway"];
const DOC: &str = "docs/benchmarks.md";

/// Runs both benchmarks, or the one that is named first in `args`; the rest goes to it.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    let Some((name, rest)) = args.split_first() else {
        return BENCHES.iter().try_for_each(|name| bench(checkout, name, &[]));
    };
    if !BENCHES.contains(&name.as_str()) {
        return Err(format!("no such benchmark: {name}; there are {}", BENCHES.join(" and ")));
    }
    bench(checkout, name, rest)
}

fn bench(checkout: &Checkout, name: &str, args: &[String]) -> Result<(), String> {
    let mut command = checkout.cargo(&["bench", "--package", "mcp-benches", "--bench", name, "--"]);
    command.args(args);
    if name == "gateway" {
        // What is measured is the program users run, which no benchmark can depend on.
        tool::run(&mut checkout.cargo(&["build", "--release", "--package", "mcp-gateway"]))?;
        // A run of another shape is for whoever asked for it.
        if args.is_empty() {
            return publish(checkout, name, &mut command);
        }
    }
    tool::run(&mut command)
}

/// Runs a benchmark, and writes what it prints into the document.
fn publish(checkout: &Checkout, name: &str, command: &mut Command) -> Result<(), String> {
    let tables = tool::read(command)?;
    println!("{tables}");
    let path = checkout.root().join(DOC);
    let failed = |error| format!("{DOC}: {error}");
    let document = std::fs::read_to_string(&path).map_err(failed)?;
    std::fs::write(&path, docs::replace(&document, name, &tables)?).map_err(failed)
}
