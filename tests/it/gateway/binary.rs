//! Where the binary is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The binary, built with the profile of the tests and into their target folder.
///
/// Cargo builds the binaries of a package for the tests of that package alone, so a run of these tests by
/// themselves may have to see to it.
pub(crate) fn path() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(2).expect("TARGET/PROFILE/deps/it-0123456789abcdef");
        let binary = folder.join(format!("mcp-gateway{}", std::env::consts::EXE_SUFFIX));
        if !is_current(&binary) {
            build(folder);
        }
        assert!(binary.exists(), "cargo did not build {}", binary.display());
        binary
    })
}

/// Whether the binary is newer than the sources of all crates and the lock file.
///
/// To ask Cargo itself would take half a second in every process of a test runner that has one for each
/// test, and `cargo test` writes no list of what it made the binary from.
fn is_current(binary: &Path) -> bool {
    let Some(built) = changed(binary) else { return false };
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let mut pending: Vec<PathBuf> = crates
        .flat_map(|entry| {
            let folder = entry.unwrap().path();
            [folder.join("src"), folder.join("Cargo.toml")]
        })
        .chain([root().join("Cargo.lock")])
        .collect();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if changed(&path).is_none_or(|changed| changed > built) {
            return false;
        }
    }
    true
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => panic!("{} names no profile", folder.display()),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "mcp-gateway", "--profile", profile, "--target-dir"]);
    cargo.arg(folder.parent().unwrap()).current_dir(root()).stdin(Stdio::null());
    // They describe the tests' package. Build scripts that watch them would rebuild because of that.
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if ours.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().unwrap_or_else(|error| panic!("cannot start {cargo:?}: {error}"));
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
