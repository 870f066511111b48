//! The text files of the checkout.

use std::path::Path;

/// One text file.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the root, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// The lines, numbered from one.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The number of the first line that starts with `start`, or one.
    pub(super) fn line_starting(&self, start: &str) -> usize {
        self.lines().find(|(_, line)| line.starts_with(start)).map_or(1, |(number, _)| number)
    }

    /// File name without its folders.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    pub(super) fn has_extension(&self, extension: &str) -> bool {
        self.name().rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }
}

/// Folders that hold what was built, fetched or committed, not what was written.
const NOT_SOURCE: &[&str] = &["target", ".git", "node_modules", "__pycache__"];

/// Reads every file below `root` that is UTF-8, in the order of the paths.
pub(super) fn read(root: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    walk(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<(), String> {
    let fail = |error| format!("cannot read {}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_dir() && !NOT_SOURCE.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), sources)?;
        } else if kind.is_file() {
            let bytes =
                std::fs::read(entry.path()).map_err(|error| format!("cannot read {path}: {error}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                sources.push(Source { path, text });
            }
        }
    }
    Ok(())
}

/// A sample file for the tests of the checks.
#[cfg(test)]
pub(super) fn sample(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}
