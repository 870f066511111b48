//! Where Cargo puts what it builds.

use std::path::PathBuf;

use crate::Failure;

/// The folder this benchmark's profile is built into, such as `target/release`.
pub(crate) fn profile_folder() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    // Cargo puts benchmarks into `deps` inside it.
    let folder = program.parent().and_then(|deps| deps.parent());
    Ok(folder.ok_or("this program is not where Cargo puts benchmarks")?.to_path_buf())
}

/// The target folder as a whole.
pub(crate) fn target_folder() -> Result<PathBuf, Failure> {
    let profile = profile_folder()?;
    Ok(profile.parent().ok_or("this program is not where Cargo puts benchmarks")?.to_path_buf())
}
