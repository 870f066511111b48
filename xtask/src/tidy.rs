//! `cargo xtask tidy`: what the compiler does not check.
//!
//! Each check is a function from files to violations, so that its tests can hand it a sample that must
//! be found.

use std::fmt;

use crate::checkout::Checkout;
use crate::tool;

mod addresses;
mod edges;
mod leftovers;
mod links;
mod manifests;
mod messages;
mod packages;
mod sleeps;
mod sources;

use packages::Package;
use sources::Source;

/// One place that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Relative to the root, with forward slashes.
    path: String,
    /// Counted from one.
    line: usize,
    what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Runs every check over the checkout and prints what they find.
pub(crate) fn run(checkout: &Checkout) -> Result<(), String> {
    let sources = sources::read(checkout.root())?;
    let metadata = tool::read(&mut checkout.cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let packages = Package::parse_all(&metadata, checkout.root())?;

    let mut violations = edges::check(&packages, &sources);
    violations.extend(manifests::check(&packages, &sources));
    violations.extend(addresses::check(&sources, &checkout.root().to_string_lossy()));
    violations.extend(leftovers::check(&sources));
    violations.extend(sleeps::check(&sources));
    violations.extend(messages::check(&sources));
    violations.extend(links::check(&sources, |path| checkout.root().join(path).exists()));
    violations.sort();
    if violations.is_empty() {
        println!("tidy: {} files, {} packages, nothing to do", sources.len(), packages.len());
        return Ok(());
    }
    for violation in &violations {
        println!("{violation}");
    }
    Err(count(violations.len()))
}

fn count(violations: usize) -> String {
    format!("{violations} {}", if violations == 1 { "violation" } else { "violations" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_violation_is_not_plural() {
        assert_eq!([count(1), count(2)], ["1 violation", "2 violations"]);
    }
}
