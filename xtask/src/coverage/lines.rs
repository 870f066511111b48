//! Line coverage by crate.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Lines that can be run, and those of them that were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lines {
    count: u64,
    covered: u64,
}

impl Lines {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.covered += other.covered;
    }

    fn percent(self) -> String {
        if self.count == 0 {
            return "-".to_owned();
        }
        // In tenths, rounded down: 100 % is said only of full coverage.
        let tenths = u128::from(self.covered) * 1000 / u128::from(self.count);
        format!("{}.{} %", tenths / 10, tenths % 10)
    }
}

/// A table of what `cargo llvm-cov report --json --summary-only` says of the files in `crates/NAME`;
/// `root` is the path of the checkout.
pub(super) fn table(report: &str, root: &str) -> Result<String, String> {
    let crates = sum(report, root)?;
    let mut total = Lines::default();
    crates.values().for_each(|lines| total.add(*lines));
    let mut table = format!("\n{:<22}{:>8}{:>10}{:>10}\n", "crate", "lines", "covered", "");
    for (name, lines) in crates.iter().map(|(name, lines)| (name.as_str(), *lines)).chain([("total", total)])
    {
        let _ = writeln!(table, "{name:<22}{:>8}{:>10}{:>10}", lines.count, lines.covered, lines.percent());
    }
    Ok(table)
}

fn sum(report: &str, root: &str) -> Result<BTreeMap<String, Lines>, String> {
    let report: Value = serde_json::from_str(report)
        .map_err(|error| format!("`cargo llvm-cov` did not print JSON: {error}"))?;
    let files = report["data"][0]["files"].as_array().ok_or("`cargo llvm-cov`: a report without files")?;
    let mut crates: BTreeMap<String, Lines> = BTreeMap::new();
    for file in files {
        let path = file["filename"].as_str().ok_or("`cargo llvm-cov`: a file has no name")?;
        let Some(name) = crate_of(path, root) else { continue };
        let lines = &file["summary"]["lines"];
        let (Some(count), Some(covered)) = (lines["count"].as_u64(), lines["covered"].as_u64()) else {
            return Err(format!("`cargo llvm-cov`: no lines are counted of {path}"));
        };
        crates.entry(name).or_default().add(Lines { count, covered });
    }
    if crates.is_empty() {
        return Err("`cargo llvm-cov` reports no file of any crate".into());
    }
    Ok(crates)
}

fn crate_of(path: &str, root: &str) -> Option<String> {
    let path = path.strip_prefix(root)?.replace('\\', "/");
    let (name, _) = path.strip_prefix("/crates/")?.split_once('/')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"data": [{"files": [
        {"filename": "/w/crates/b/src/lib.rs", "summary": {"lines": {"count": 3, "covered": 2, "percent": 66.7}}},
        {"filename": "/w/crates/a/src/lib.rs", "summary": {"lines": {"count": 100, "covered": 90}}},
        {"filename": "/w/crates/a/src/x/y.rs", "summary": {"lines": {"count": 900, "covered": 809}}},
        {"filename": "/w/crates/c/src/lib.rs", "summary": {"lines": {"count": 0, "covered": 0}}},
        {"filename": "/w/benches/src/lib.rs", "summary": {"lines": {"count": 50, "covered": 0}}},
        {"filename": "/deps/crates/a/lib.rs", "summary": {"lines": {"count": 50, "covered": 0}}}
    ]}], "type": "llvm.coverage.json.export"}"#;

    #[test]
    fn files_are_summed_by_crate_and_files_elsewhere_left_out() {
        let expected = "\n\
            crate                    lines   covered          \n\
            a                         1000       899    89.9 %\n\
            b                            3         2    66.6 %\n\
            c                            0         0         -\n\
            total                     1003       901    89.8 %\n";
        assert_eq!(table(SAMPLE, "/w").unwrap(), expected);
    }

    #[test]
    fn paths_of_windows_are_understood() {
        assert_eq!(crate_of("C:\\w\\crates\\a\\src\\lib.rs", "C:\\w").as_deref(), Some("a"));
    }

    #[test]
    fn a_report_that_says_nothing_is_an_error() {
        for report in [
            "error: no",
            r#"{"data": []}"#,
            r#"{"data": [{"files": []}]}"#,
            r#"{"data": [{"files": [{"filename": "/w/crates/a/lib.rs", "summary": {}}]}]}"#,
        ] {
            assert!(table(report, "/w").is_err(), "{report}");
        }
    }
}
