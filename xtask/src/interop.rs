//! `cargo xtask interop`: the tables of servers and of clients in `docs/interop.md`.

use std::path::Path;

use crate::checkout::Checkout;
use crate::{docs, peers, tool};

const DOC: &str = "docs/interop.md";

/// What marks the tables in the document, and names the folders of their rows.
const TABLES: [&str; 2] = ["servers", "clients"];

/// Runs the tests of the matrix, which write down what they find, and puts it into the document.
pub(crate) fn run(checkout: &Checkout) -> Result<(), String> {
    peers::install(checkout).map_err(|problem| problem.to_string())?;
    let folder = checkout.root().join("target/interop");
    let fail = |error| format!("cannot make a new {}: {error}", folder.display());
    // What an earlier run wrote may be of servers that are not in the matrix any more.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(fail)?;
    }
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let test = ["test", "--package", "mcp-tests", "--test", "it", "--", "interop::"];
    // What cannot be started here must not vanish from the table.
    tool::run(checkout.cargo(&test).env("MCP_INTEROP_RESULTS", &folder).env("CI", "true"))?;
    let file = checkout.root().join(DOC);
    let mut document =
        std::fs::read_to_string(&file).map_err(|error| format!("cannot read {DOC}: {error}"))?;
    for name in TABLES {
        let table = table(&results(&folder.join(name))?);
        println!("{table}");
        document = docs::replace(&document, name, &table)?;
    }
    std::fs::write(&file, document).map_err(|error| format!("cannot write {DOC}: {error}"))
}

/// What each test wrote, by server or client.
fn results(folder: &Path) -> Result<Vec<String>, String> {
    let fail = |error| format!("cannot read {}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    files.sort_by_key(|file| file.with_extension("").to_string_lossy().to_lowercase());
    files.iter().map(|file| std::fs::read_to_string(file).map_err(fail)).collect()
}

/// One table of them, under the heading of the first, and a list of what failed.
fn table(results: &[String]) -> String {
    let heading = results.first().into_iter().flat_map(|result| result.lines().take(2));
    let rows = results.iter().flat_map(|result| result.lines().skip(2).filter(|line| line.starts_with('|')));
    let failures = results.iter().flat_map(|result| result.lines().filter(|line| line.starts_with("- ")));
    let mut lines: Vec<_> = heading.chain(rows).collect();
    lines.push("");
    lines.extend(failures);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_joined_under_one_heading_and_failures_follow() {
        let result = |row: &str, rest: &str| format!("| a |\n| --- |\n| {row} |\n\n{rest}");
        let table = table(&[result("1", "- 1 fails\n"), result("2", "")]);
        assert_eq!(table, "| a |\n| --- |\n| 1 |\n| 2 |\n\n- 1 fails");
    }
}
