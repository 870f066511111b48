//! A file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A file that only its owner may read, and that is replaced as a whole: whoever reads it sees the old or the new one,
/// also after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeFile(PathBuf);

impl WholeFile {
    /// Largest file that is read or written: 64 MiB.
    pub const MAX_BYTES: usize = 64 << 20;

    /// The file at this path, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it; `None` if it does not exist.
    ///
    /// # Errors
    /// It cannot be read, or is larger than [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(Self::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        fits(&bytes)?;
        Ok(Some(bytes))
    }

    /// Puts these bytes in the place of what is in it. Only one call at a time: two would write into one another.
    ///
    /// # Errors
    /// It cannot be written, or would be larger than [`MAX_BYTES`](Self::MAX_BYTES). It is as before then.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        fits(bytes)?;
        let name = self.0.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = self.0.with_file_name(temporary);
        // Left by a process with our id that was killed half-way.
        let _ = fs::remove_file(&temporary);
        let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, &self.0));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        // So that the new name survives a crash of the machine, where directories can be synchronised.
        let directory = self.0.parent().filter(|parent| !parent.as_os_str().is_empty());
        let _ = File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

fn fits(bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > WholeFile::MAX_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(())
}

/// Writes a file that does not exist yet, for its owner only.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
