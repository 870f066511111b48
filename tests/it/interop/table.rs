//! The tables of `docs/interop.md`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::features::{COLUMNS, Cell};

/// The folder for the rows, set by `cargo xtask interop`. Without it they are compared with the document.
const RESULTS: &str = "MCP_INTEROP_RESULTS";

/// A table of the document.
#[derive(Debug)]
pub(super) struct Table {
    /// What marks it in the document, and names the folder of its rows.
    name: &'static str,
    /// The columns that name a row.
    first: [&'static str; 3],
}

/// Our client against servers of others.
pub(super) const SERVERS: Table = Table { name: "servers", first: ["server", "transport", "revision"] };
/// Clients of others through the gateway.
pub(super) const CLIENTS: Table = Table { name: "clients", first: ["client", "path", "revision"] };

/// What was found out by one test: the rows of one server, or of one client.
#[derive(Debug)]
pub(super) struct Found {
    table: &'static Table,
    pub(super) subject: &'static str,
    lines: String,
    failures: String,
}

impl Found {
    pub(super) fn by(table: &'static Table, subject: &'static str) -> Self {
        Self { table, subject, lines: String::new(), failures: String::new() }
    }

    pub(super) fn line(&mut self, way: &str, revision: &str, cells: &[Cell; COLUMNS.len()]) {
        let Self { subject, lines, failures, .. } = self;
        let _ = write!(lines, "| {subject} | {way} | {revision} |");
        for (column, cell) in COLUMNS.iter().zip(cells) {
            let _ = write!(lines, " {cell} |");
            if let Cell::Failed(why) = cell {
                let why = why.replace('\n', " ");
                let _ = writeln!(failures, "- {subject}, {way}, {revision}, {column}: {why}");
            }
        }
        lines.push('\n');
    }

    /// Compares the rows with those of the document, or writes them where they are asked for.
    #[track_caller]
    pub(super) fn done(self) {
        println!("{}{}", self.lines, self.failures);
        let Self { table, subject, lines, failures } = self;
        if let Some(folder) = std::env::var_os(RESULTS) {
            let folder = PathBuf::from(folder).join(table.name);
            std::fs::create_dir_all(&folder).unwrap();
            let heading = format!("| {} | {} |", table.first.join(" | "), COLUMNS.join(" | "));
            let rule = format!("|{}", " --- |".repeat(table.first.len() + COLUMNS.len()));
            let text = format!("{heading}\n{rule}\n{lines}\n{failures}");
            std::fs::write(folder.join(format!("{subject}.md")), text).unwrap();
            return;
        }
        assert!(failures.is_empty(), "{failures}");
        assert_eq!(
            lines,
            documented(table, subject),
            "docs/interop.md has other rows; run `cargo xtask interop` if these are right"
        );
    }
}

/// The rows of the document.
fn documented(table: &Table, subject: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/interop.md");
    let document = std::fs::read_to_string(document).unwrap();
    let part = document.split(&format!("<!-- {} -->", table.name)).nth(1).unwrap();
    let part = part.split(&format!("<!-- /{} -->", table.name)).next().unwrap();
    let start = format!("| {subject} |");
    part.lines().filter(|line| line.starts_with(&start)).flat_map(|line| [line, "\n"]).collect()
}
