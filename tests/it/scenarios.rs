//! `docs/scenarios.md` names the tests of every scenario of the contract, and all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Sections of the contract's test matrix that are covered here, with the number of their rows:
/// §9.2–§9.9 and §9.11–§9.13.
const SECTIONS: [(char, usize); 11] = [
    ('A', 13),
    ('B', 17),
    ('C', 18),
    ('D', 4),
    ('E', 8),
    ('F', 14),
    ('G', 9),
    ('H', 12),
    ('J', 14),
    ('M', 7),
    ('N', 13),
];

/// Scenarios that are about HTTP bodies, or run with both methods (marked ‖): they need a test there, too.
const OVER_HTTP: [&str; 32] = [
    "B6", "B9", "B17", "C3", "C6", "C7", "C13", "C15", "D1", "D2", "D3", "D4", "E1", "E2", "E3", "E4", "E5",
    "E6", "E7", "E8", "F4", "F7", "F8", "F9", "F12", "F13", "G6", "G7", "H2", "H3", "H4", "H7",
];

/// Where the tests over HTTP are.
const HTTP_TESTS: &str = "crates/mcp-api/tests/";

/// Test functions by the file they are in, relative to the root.
type Tests = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_table_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = fs::read_to_string(root.join("docs/scenarios.md")).unwrap();
    let ids: BTreeSet<_> = SECTIONS
        .iter()
        .flat_map(|&(letter, rows)| (1..=rows).map(move |row| format!("{letter}{row}")))
        .collect();
    let problems = problems(&ids, &table, &tests_below(root));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What is wrong with the table, in its order.
fn problems(ids: &BTreeSet<String>, table: &str, tests: &Tests) -> Vec<String> {
    let mut problems = Vec::new();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, row) in rows(table) {
        if !ids.contains(id) {
            problems.push(format!("{id}: the contract has no such scenario"));
        }
        if row.is_empty() {
            problems.push(format!("{id}: no test is named"));
        }
        if OVER_HTTP.contains(&id) && !row.iter().any(|test| test.starts_with(HTTP_TESTS)) {
            problems.push(format!("{id}: no test over HTTP is named"));
        }
        for test in &row {
            let (path, name) = test.rsplit_once("::").unwrap_or((test, ""));
            if !tests.get(path).is_some_and(|tests| tests.contains(name)) {
                problems.push(format!("{id}: {path} has no test {name}"));
            }
            if !ids_of(ids, name).iter().any(|carried| carried == id) {
                problems.push(format!("{id}: the name {name} does not carry this id"));
            }
        }
        if named.insert(id.to_owned(), row.iter().map(ToString::to_string).collect()).is_some() {
            problems.push(format!("{id}: there are two rows"));
        }
    }
    for id in ids.iter().filter(|id| !named.contains_key(*id)) {
        problems.push(format!("{id}: there is no row"));
    }
    for (path, names) in tests {
        for name in names {
            let test = format!("{path}::{name}");
            for id in ids_of(ids, name) {
                if named.get(&id).is_some_and(|row| !row.contains(&test)) {
                    problems.push(format!("{id}: the test {test} is not named"));
                }
            }
        }
    }
    problems
}

/// Id and tests of each row of a table whose first cell looks like an id.
fn rows(table: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    table.lines().filter_map(|line| {
        let (id, rest) = line.strip_prefix('|')?.split_once('|')?;
        let id = id.trim();
        let digits = id.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
        let is_id = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| (id, rest.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect()))
    })
}

/// The ids a test's name begins with: `b12_b13_connect_probes_first` carries B12 and B13.
fn ids_of(ids: &BTreeSet<String>, name: &str) -> Vec<String> {
    name.split('_').map(str::to_ascii_uppercase).take_while(|word| ids.contains(word)).collect()
}

/// The test functions of all crates.
fn tests_below(root: &Path) -> Tests {
    let mut folders = vec![root.join("tests/it")];
    for member in fs::read_dir(root.join("crates")).unwrap() {
        let member = member.unwrap().path();
        folders.extend(["src", "tests"].map(|folder| member.join(folder)).into_iter().filter(|f| f.is_dir()));
    }
    let mut tests = Tests::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let names = tests_in(&fs::read_to_string(&path).unwrap());
                tests.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), names);
            }
        }
    }
    tests
}

/// The functions of a source file that are marked as tests. Ignored ones there are none: `cargo xtask tidy`
/// refuses them.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        if let Some(attribute) = line.strip_prefix("#[") {
            is_test |= attribute.starts_with("test]") || attribute.starts_with("tokio::test");
            continue;
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some((name, _)) = function.and_then(|rest| rest.split_once('('))
            && is_test
        {
            names.insert(name.to_owned());
        }
        is_test = false;
    }
    names
}

#[test]
fn each_fault_of_a_table_is_found() {
    let ids = BTreeSet::from(["A1", "A2", "B6"].map(str::to_owned));
    let source = [
        "#[test]",
        "fn a1_a2_good() {}",
        "#[tokio::test(start_paused = true)]",
        "// A comment changes nothing.",
        "async fn a2_other() {}",
        "fn a1_helper() {}",
        "#[test]",
        "fn a_word_is_no_id() {}",
    ];
    let over_http = "#[tokio::test]\nasync fn b6_over_http() {}";
    let tests = Tests::from([
        ("crates/x/src/lib.rs".into(), tests_in(&source.join("\n"))),
        ("crates/mcp-api/tests/it/x.rs".into(), tests_in(over_http)),
    ]);
    let row = |id: &str, tests: &[&str]| {
        let tests: Vec<_> = tests.iter().map(|name| format!("`crates/x/src/lib.rs::{name}`")).collect();
        format!("| {id} | what | {} | |\n", tests.join(" "))
    };
    let http = "| B6 | what | | `crates/mcp-api/tests/it/x.rs::b6_over_http` |\n".to_owned();
    let head = "| id | what | core | API |\n| --- | --- | --- | --- |\n".to_owned();
    let (a1, a2) = (row("A1", &["a1_a2_good"]), row("A2", &["a1_a2_good", "a2_other"]));
    for (table, expected) in [
        ([&head, &a1, &a2, &http], vec![]),
        ([&head, &a1, &a2, &head], vec!["B6: there is no row"]),
        (
            [&head, &a1, &a2, &row("B6", &[])],
            vec![
                "B6: no test is named",
                "B6: no test over HTTP is named",
                "B6: the test crates/mcp-api/tests/it/x.rs::b6_over_http is not named",
            ],
        ),
        ([&a1, &a1, &a2, &http], vec!["A1: there are two rows"]),
        (
            [&a1, &row("A2", &["a1_a2_good"]), &head, &http],
            vec!["A2: the test crates/x/src/lib.rs::a2_other is not named"],
        ),
        (
            [&a1, &a2, &row("A3", &["a1_a2_good"]), &http],
            vec!["A3: the contract has no such scenario", "A3: the name a1_a2_good does not carry this id"],
        ),
        (
            [&row("A1", &["a1_a2_good", "a1_helper"]), &a2, &head, &http],
            vec!["A1: crates/x/src/lib.rs has no test a1_helper"],
        ),
        (
            [&row("A1", &["a1_a2_good", "a2_other"]), &a2, &head, &http],
            vec!["A1: the name a2_other does not carry this id"],
        ),
    ] {
        assert_eq!(problems(&ids, &table.map(String::as_str).concat(), &tests), expected, "{table:?}");
    }
}
