//! `cargo xtask faults`.

use crate::checkout::Checkout;
use crate::tool;

/// Where the table is.
const DOCUMENT: &str = "docs/faults.md";

/// Runs the tests of the table, all in one process: most of their time they wait.
pub(crate) const TEST: [&str; 5] = ["test", "--package", "mcp-tests", "--test", "faults"];

/// Writes the table of faults, as its tests print it; with `--check` says whether that has been done.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(format!("takes --check or nothing, got {args:?}")),
    };
    let document = tool::read(checkout.cargo(&TEST).args(["--quiet", "--", "--document"]))?;
    let path = checkout.root().join(DOCUMENT);
    if check {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let stale = || format!("{DOCUMENT} is out of date; run `cargo xtask faults`");
        return if found == document { Ok(()) } else { Err(stale()) };
    }
    std::fs::write(&path, document).map_err(|error| format!("cannot write {DOCUMENT}: {error}"))
}
