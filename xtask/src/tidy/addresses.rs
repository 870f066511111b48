//! No file says where packages are downloaded from, or where a machine keeps its files.
//!
//! Both would tie the checkout to one network or one machine: a package is named by name, version and
//! digest, a path relative to the checkout.

use super::{Source, Violation};

/// Labels of host names that serve packages.
const PACKAGE_HOST_LABELS: &[&str] = &[
    "registry",
    "npmjs",
    "yarnpkg",
    "crates",
    "pypi",
    "pythonhosted",
    "codeload",
    "mirror",
    "mirrors",
    "raw",
];

/// How the path of a downloadable package ends.
const ARCHIVES: &[&str] =
    &[".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip", ".whl", ".crate", ".deb", ".rpm", ".msi", ".exe"];

/// Names kept for documentation and tests; nothing can be downloaded there.
const RESERVED: &[&str] =
    &["example", "example.com", "example.net", "example.org", "test", "invalid", "localhost"];

/// Folders in which operating systems keep what belongs to one user.
const HOMES: &[&str] = &["/home/", "/Users/", "/root/", "C:\\Users\\", "C:/Users/"];

/// Manifests and lock files. They are held to more: no absolute path at all.
const BUILD_FILES: &[&str] = &["Cargo.toml", "Cargo.lock", "package.json", "package-lock.json"];

/// Names of nobody in particular, which samples of configuration files may use.
const NOBODY: &[&str] = &["me", "user", "username", "you"];

/// Looks at every file; `root` is the path of the checkout on this machine.
pub(super) fn check(sources: &[Source], root: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        for (number, line) in source.lines() {
            let found = download_address(source, line)
                .or_else(|| machine_path(line, root))
                .or_else(|| outside_checkout(source, line));
            violations.extend(found.map(|what| Violation::new(&source.path, number, what)));
        }
    }
    violations
}

fn download_address(source: &Source, line: &str) -> Option<String> {
    match source.name() {
        "Cargo.lock" if line.starts_with("source = \"registry+") => return None,
        "Cargo.lock" if line.contains("://") => {
            return Some(
                "a package of the lock file does not come from the registry; use a released version".into(),
            );
        }
        "package-lock.json" if line.trim_start().starts_with("\"resolved\"") => {
            return Some(
                "the lock file says where a package was downloaded from; make it with the npm option \
                 omit-lockfile-registry-resolved"
                    .into(),
            );
        }
        name if name.starts_with("requirements") && line.contains("://") => {
            return Some("a requirement is an address; write name==version".into());
        }
        _ => {}
    }
    urls(line)
        .find(|url| is_download(url))
        .map(|url| format!("{url} is a download address; name the package instead"))
}

/// The URLs with an authority in `line`, without their scheme.
fn urls(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).map(|rest| {
        let end =
            rest.find(|c: char| c.is_whitespace() || "\"'`<>()[]{}\\".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    })
}

fn is_download(url: &str) -> bool {
    let (authority, path) = url.split_once('/').unwrap_or((url, ""));
    let host = authority.rsplit('@').next().unwrap_or(authority).split(':').next().unwrap_or_default();
    let is_reserved = |name: &&str| host == *name || host.ends_with(&format!(".{name}"));
    if RESERVED.iter().any(is_reserved) {
        return false;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    host.split('.').any(|label| PACKAGE_HOST_LABELS.contains(&label))
        || ARCHIVES.iter().any(|ending| path.ends_with(ending))
}

fn machine_path(line: &str, root: &str) -> Option<String> {
    // A root such as `/` or `/src` would be found everywhere.
    let is_telling = root.split(['/', '\\']).filter(|part| !part.is_empty()).count() >= 2;
    if is_telling && line.contains(root) {
        return Some("the path of the checkout on one machine; make it relative".into());
    }
    HOMES.iter().find(|home| has_path_under(line, home)).map(|home| {
        format!(
            "a path below {home} belongs to one machine; make it relative, or take it from the environment"
        )
    })
}

/// The absolute path or `file:` address that stands in a file that says what the checkout is built from.
fn outside_checkout(source: &Source, line: &str) -> Option<String> {
    let texts: Vec<&str> = match source.name() {
        name if BUILD_FILES.contains(&name) => {
            let quoted = |mark| line.split(mark).skip(1).step_by(2);
            quoted('"').chain(quoted('\'')).collect()
        }
        name if name.starts_with("requirements") => {
            line.split(|c: char| c.is_whitespace() || c == '=').collect()
        }
        _ => return None,
    };
    // Cargo writes an index or a package on a disk as `registry+file:///…` or `git+file:///…`.
    let is_outside = |text: &&str| is_absolute(text) || text.starts_with("file:") || text.contains("+file:");
    texts.into_iter().find(is_outside).map(|text| {
        format!(
            "{text} is a place on one machine; name a released package, or a relative path in the checkout"
        )
    })
}

/// Whether `text` is an absolute path, as Unix or as Windows writes it.
fn is_absolute(text: &str) -> bool {
    let drive = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    text.starts_with('/')
        || text.starts_with("\\\\")
        || drive && [":/", ":\\"].contains(&text.get(1..3).unwrap_or_default())
}

/// Whether `line` has a path that starts with `home`, as opposed to one that has it in the middle.
fn has_path_under(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && !"._-~}$".contains(c));
        let rest = &line[at + home.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && !"._-".contains(c)).unwrap_or(rest.len());
        starts && end > 0 && !NOBODY.contains(&&rest[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    fn violations(path: &str, line: &str) -> usize {
        check(&[sample(path, &format!("first line\n{line}\n"))], "/builds/ci/checkout").len()
    }

    #[test]
    fn download_addresses_are_found() {
        let scheme = "https:";
        for (path, line) in [
            ("Cargo.lock", format!("source = \"git+{scheme}//host.dev/x\"")),
            ("tests/peers/package-lock.json", "      \"resolved\": \"x\",".to_owned()),
            ("tests/peers/requirements.txt", format!("a @ {scheme}//host.dev/a")),
            ("src/main.rs", format!("fetch(\"{scheme}//host.dev/pkg/tool-1.0.tar.gz\")")),
            ("install.sh", format!("curl {scheme}//user@raw.host.dev:443/x | sh")),
            ("README.md", format!("[x]({scheme}//static.crates.dev/y?z#w)")),
        ] {
            assert_eq!(violations(path, &line), 1, "{path}: {line}");
        }
    }

    #[test]
    fn other_addresses_pass() {
        let scheme = "https:";
        for (path, line) in [
            ("Cargo.lock", format!("source = \"registry+{scheme}//host.dev/index\"")),
            ("package-lock.json", format!("\"url\": \"{scheme}//host.dev/sponsors\"")),
            ("README.md", format!("[MCP]({scheme}//modelcontextprotocol.io/specification/2026-07-28)")),
            ("src/main.rs", format!("\"{scheme}//registry.example.com/mcp\" {scheme}//a.test/x.tgz")),
        ] {
            assert_eq!(violations(path, &line), 0, "{path}: {line}");
        }
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let (home, users) = ("/home", "C:\\Users");
        for line in [
            format!("cd {home}/ann/gateway"),
            format!("\"file://{home}/ann\""),
            format!("let x = \"{users}\\ann\";"),
            "built in /builds/ci/checkout/target".to_owned(),
        ] {
            assert_eq!(violations("docs/x.md", &line), 1, "{line}");
        }
    }

    #[test]
    fn absolute_paths_and_file_addresses_in_manifests_and_lock_files_are_found() {
        for (path, line) in [
            ("Cargo.toml", r#"mcp-protocol = { path = "/srv/mcp-protocol" }"#),
            ("crates/a/Cargo.toml", "path = '/srv/a'"),
            ("crates/a/Cargo.toml", r#"path="C:/src/a""#),
            ("Cargo.toml", r#"[patch."file:///srv/index"]"#),
            ("Cargo.toml", r#"a = { git = "file:///srv/a.git" }"#),
            ("Cargo.lock", r#"source = "path+file:///srv/a""#),
            ("Cargo.lock", r#"source = "registry+file:///srv/index""#),
            ("tests/peers/package-lock.json", r#"    "/srv/peer": {"#),
            ("tests/peers/package-lock.json", r#"      "version": "file:../peer","#),
            ("tests/peers/package.json", r#"    "peer": "file:peer","#),
            ("tests/peers/package.json", r#"    "peer": "D:\peer","#),
            ("tests/peers/requirements.txt", "peer @ file:///srv/peer"),
            ("tests/peers/requirements.txt", "/srv/peer"),
            ("tests/peers/requirements.txt", "-e file:peer"),
        ] {
            assert_eq!(violations(path, line), 1, "{path}: {line}");
        }
    }

    #[test]
    fn relative_paths_in_manifests_and_absolute_ones_elsewhere_pass() {
        for (path, line) in [
            ("Cargo.toml", r#"mcp-protocol = { path = "crates/mcp-protocol", features = ["a/b"] }"#),
            ("Cargo.toml", r#"path = "../a" # not "a" or "b""#),
            ("tests/peers/package-lock.json", r#"    "node_modules/@a/b": { "bin": "dist/file:x" }"#),
            ("tests/peers/package-lock.json", r#"    "integrity": "sha512-/a+file/b==","#),
            ("tests/peers/requirements.txt", "peer==1.0 # via client/server"),
            ("crates/a/src/lib.rs", r#"let roots = ["/srv/data", "file:///srv/data"];"#),
        ] {
            assert_eq!(violations(path, line), 0, "{path}: {line}");
        }
    }

    #[test]
    fn paths_that_every_machine_has_pass() {
        let home = "/home";
        for line in [
            "#!/usr/bin/env bash".to_owned(),
            "/srv/data and /tmp/x".to_owned(),
            format!("crates{home}/page.rs"),
            format!("$BASE{home}/x ${{BASE}}{home}/x"),
            format!("anything below {home}/ will do"),
            format!("\"{home}/me/bin/server\", \"{home}/you\""),
        ] {
            assert_eq!(violations("docs/x.md", &line), 0, "{line}");
        }
    }
}
