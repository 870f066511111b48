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

/// Whether the binary is newer than everything that Cargo says it was made from.
///
/// To ask Cargo itself would take half a second in every process of a test runner that has one for each test.
fn is_current(binary: &Path) -> bool {
    let Some(built) = changed(binary) else { return false };
    let Ok(rule) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = rule.split_once(": ") else { return false };
    let sources = sources.trim_end().replace("\\ ", "\0");
    let lock = root().join("Cargo.lock");
    let mut files = sources.split(' ').map(|file| PathBuf::from(file.replace('\0', " "))).chain([lock]);
    files.all(|file| changed(&file).is_some_and(|changed| changed <= built))
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
