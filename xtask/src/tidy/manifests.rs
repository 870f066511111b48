//! What every package of the workspace has to say about itself.

use super::{Package, Source, Violation};

/// Every package: a description and the lints of the workspace. Every crate: a README.
pub(super) fn check(packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let manifest = package.manifest();
        let mut found = |what: &str| violations.push(Violation::new(&manifest, 1, what));
        if package.description.as_deref().is_none_or(|text| text.trim().is_empty()) {
            found("the package has no description; say in one line what it is for");
        }
        let source = sources.iter().find(|source| source.path == manifest);
        if source.is_some_and(|source| !takes_workspace_lints(&source.text)) {
            found(
                "the package does not take the lints of the workspace; add `[lints]` with `workspace = true`",
            );
        }
        let readme = format!("{}/README.md", package.folder);
        if package.is_layer() && !sources.iter().any(|source| source.path == readme) {
            found("the crate has no README.md; say what it is, with one example, and what it is not");
        }
    }
    violations
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty()) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    fn package(folder: &str, description: Option<&str>) -> Package {
        Package {
            name: "sample".into(),
            folder: folder.into(),
            description: description.map(Into::into),
            internal: Vec::new(),
        }
    }

    #[test]
    fn a_complete_crate_passes() {
        let sources = [
            sample("crates/sample/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"),
            sample("crates/sample/README.md", "# sample\n"),
        ];
        assert_eq!(check(&[package("crates/sample", Some("A sample"))], &sources), []);
    }

    #[test]
    fn each_missing_part_is_found() {
        let sources = [sample("crates/sample/Cargo.toml", "[package]\n\n[lints.rust]\nworkspace = true\n")];
        let found = check(&[package("crates/sample", Some(" "))], &sources);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        for (found, part) in found.iter().zip(["no description", "lints of the workspace", "no README.md"]) {
            assert!(
                found.starts_with("crates/sample/Cargo.toml:1: ") && found.contains(part),
                "{part}: {found}"
            );
        }
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_package_that_is_no_layer_needs_no_readme() {
        let sources = [sample("xtask/Cargo.toml", "[lints]\nworkspace = true\n")];
        assert_eq!(check(&[package("xtask", Some("Chores"))], &sources), []);
    }
}
