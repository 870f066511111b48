//! Says whether an installed folder is what its inputs ask for.

use std::io;
use std::path::{Path, PathBuf};

/// A file in the folder that holds the inputs the folder was made from. Written last, so a folder whose
/// installation was cut short has none.
#[derive(Debug)]
pub(super) struct Stamp {
    folder: PathBuf,
    inputs: String,
}

impl Stamp {
    pub(super) fn new(folder: &Path, inputs: &[&str]) -> Self {
        Self { folder: folder.to_path_buf(), inputs: inputs.join("\n") }
    }

    /// Whether the folder was made from exactly these inputs.
    pub(super) fn holds(&self) -> bool {
        std::fs::read_to_string(self.file()).is_ok_and(|inputs| inputs == self.inputs)
    }

    /// Leaves an empty folder without a stamp.
    pub(super) fn start_over(&self) -> Result<(), String> {
        let fail = |error: io::Error| format!("cannot make a new {}: {error}", self.folder.display());
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail(error)),
            _ => std::fs::create_dir_all(&self.folder).map_err(fail),
        }
    }

    /// Declares the folder complete.
    pub(super) fn set(&self) -> Result<(), String> {
        std::fs::write(self.file(), &self.inputs)
            .map_err(|error| format!("cannot write {}: {error}", self.file().display()))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("made-from")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_an_input_changes_or_the_folder_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("xtask-stamp-{}", std::process::id()));
        let stamp = Stamp::new(&folder, &["v20", "lock"]);
        stamp.start_over().unwrap();
        assert!(!stamp.holds(), "before anything was installed");
        stamp.set().unwrap();
        assert!(stamp.holds(), "after the installation");
        assert!(!Stamp::new(&folder, &["v22", "lock"]).holds(), "with another input");
        stamp.start_over().unwrap();
        assert!(!stamp.holds(), "after starting over");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
