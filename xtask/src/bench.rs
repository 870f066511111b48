//! `cargo xtask bench`.

use crate::checkout::Checkout;
use crate::tool;

/// The benchmarks, in the order they are run.
const BENCHES: [&str; 2] = ["parse", "gateway"];

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
    if name == "gateway" {
        // What is measured is the program users run, which no benchmark can depend on.
        tool::run(&mut checkout.cargo(&["build", "--release", "--package", "mcp-gateway"]))?;
    }
    tool::run(checkout.cargo(&["bench", "--package", "mcp-benches", "--bench", name, "--"]).args(args))
}
