//! `cargo xtask bench`.

use crate::checkout::Checkout;
use crate::tool;

/// Runs the benchmarks of the workspace; `args` go to the benchmark programs.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    tool::run(checkout.cargo(&["bench", "--package", "mcp-benches", "--"]).args(args))
}
