//! Where this checkout is, and commands that run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root folder of the workspace.
#[derive(Debug)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout this program was started from by `cargo xtask`.
    pub(crate) fn find() -> Result<Self, String> {
        let manifest_dir =
            std::env::var_os("CARGO_MANIFEST_DIR").ok_or("start it with cargo, as `cargo xtask`")?;
        let root = Path::new(&manifest_dir).parent().ok_or("the xtask package has no parent folder")?;
        Ok(Self { root: root.to_path_buf() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `target/peers`: a fixed place rather than Cargo's target folder, because a coverage build has
    /// another target folder but tests against the same peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.root.join("target").join("peers")
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(args).current_dir(&self.root);
        // `cargo run` describes the xtask package to us in these. Build scripts that watch them would
        // otherwise rebuild each time a build is started from here rather than from a shell.
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        for (name, _) in std::env::vars_os() {
            if ours.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }
}
