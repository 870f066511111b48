//! A file that is replaced as a whole, within its bounds. More of it is in `state_file.rs`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;

use mcp_config::WholeFile;
use tempfile::TempDir;

#[test]
fn what_could_not_be_read_is_not_written() {
    let folder = TempDir::new().unwrap();
    let file = WholeFile::new(folder.path().join("file"));
    assert_eq!(file.read().unwrap(), None, "there is none yet");
    file.write(b"kept").unwrap();
    let error = file.write(&vec![0; WholeFile::MAX_BYTES + 1]).unwrap_err().to_string();
    assert_eq!(error, "it is larger than 64 MiB");
    assert_eq!(file.read().unwrap().as_deref(), Some(&b"kept"[..]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");

    let large = fs::File::options().write(true).open(file.path()).unwrap();
    large.set_len(WholeFile::MAX_BYTES as u64 + 1).unwrap();
    assert_eq!(file.read().unwrap_err().to_string(), error);
}
