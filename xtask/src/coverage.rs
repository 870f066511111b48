//! `cargo xtask coverage`.

use crate::checkout::Checkout;
use crate::tool;

/// Line coverage of the workspace's tests: a table on standard output, and `lcov.info` in the root.
pub(crate) fn run(checkout: &Checkout) -> Result<(), String> {
    if !tool::is_there(&mut checkout.cargo(&["llvm-cov", "--version"])) {
        return Err("cargo-llvm-cov is missing; install it with `cargo install cargo-llvm-cov` and \
                    `rustup component add llvm-tools`"
            .into());
    }
    tool::run(&mut checkout.cargo(&["llvm-cov", "--no-report", "--workspace"]))?;
    tool::run(&mut checkout.cargo(&["llvm-cov", "report", "--lcov", "--output-path", "lcov.info"]))?;
    tool::run(&mut checkout.cargo(&["llvm-cov", "report", "--summary-only"]))
}
