//! M7: `docs/conformance.md` says which scenarios of the specification's suite pass. `cargo xtask test` runs the
//! suite and fails when the page differs; this fails when the page has a hole.

use std::fs;
use std::path::Path;

/// Revisions whose scenarios the client has to pass: two with a handshake, one without.
const REVISIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

#[test]
fn m7_the_client_passes_all_that_is_required_and_needs_no_login_in_both_eras() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let (_, client) = page.split_once("<!-- client -->").unwrap();
    let (client, _) = client.split_once("<!-- /client -->").unwrap();
    let passed = scenarios(client, "Of those that need no login, these pass: ");
    for revision in REVISIONS {
        let of_it = |scenario: &&str| scenario.split_once(' ').unwrap().0 == revision;
        assert!(passed.iter().any(of_it), "{revision}: {passed:?}");
    }
    // Extensions are optional.
    let mut failed = scenarios(client, "These fail: ");
    failed.retain(|scenario| !scenario.starts_with("extensions "));
    assert_eq!(failed, [""; 0]);
}

/// The scenarios of a list, as `REVISION NAME`.
fn scenarios<'a>(section: &'a str, start: &str) -> Vec<&'a str> {
    let list = section.lines().find_map(|line| line.strip_prefix(start));
    list.unwrap_or_default().split('`').skip(1).step_by(2).collect()
}
