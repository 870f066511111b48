//! `cargo xtask sim`.

use crate::checkout::Checkout;
use crate::tool;

/// Cargo's arguments; what follows them goes to the simulators. They are built with a profile of their own.
pub(crate) const RUN: [&str; 9] =
    ["run", "--quiet", "--profile", "sim", "--package", "mcp-testkit", "--example", "sim", "--"];

/// Runs the simulators with `args`.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    tool::run(checkout.cargo(&RUN).args(args))
}
