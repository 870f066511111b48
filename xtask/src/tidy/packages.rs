//! The packages of the workspace, as `cargo metadata` describes them.

use std::path::Path;

use serde_json::Value;

/// One package of the workspace.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Folder of its manifest, relative to the root, with forward slashes.
    pub(super) folder: String,
    pub(super) description: Option<String>,
    /// Dependencies on other packages of the workspace.
    pub(super) internal: Vec<Dependency>,
}

/// A dependency on another package of the workspace.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Whether only tests, examples and benches use it.
    pub(super) dev: bool,
}

impl Package {
    /// Reads the output of `cargo metadata --no-deps`.
    pub(super) fn parse_all(metadata: &str, root: &Path) -> Result<Vec<Self>, String> {
        let metadata: Value = serde_json::from_str(metadata)
            .map_err(|error| format!("`cargo metadata` did not print JSON: {error}"))?;
        let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        packages.iter().map(|package| Self::parse(package, &names, root)).collect()
    }

    /// Whether it is one of the layers, which live in `crates/`.
    pub(super) fn is_layer(&self) -> bool {
        self.folder.starts_with("crates/")
    }

    /// Path of its manifest, relative to the root.
    pub(super) fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    fn parse(package: &Value, names: &[&str], root: &Path) -> Result<Self, String> {
        let name = package["name"].as_str().ok_or("`cargo metadata`: a package has no name")?;
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest
            .parent()
            .and_then(|folder| folder.strip_prefix(root).ok())
            .ok_or_else(|| format!("`cargo metadata`: {name} is not inside the checkout"))?;
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let internal = dependencies
            .iter()
            .filter_map(|dependency| {
                let name = dependency["name"].as_str()?;
                let dev = dependency["kind"].as_str() == Some("dev");
                names.contains(&name).then(|| Dependency { name: name.to_owned(), dev })
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_string_lossy().replace('\\', "/"),
            description: package["description"].as_str().map(str::to_owned),
            internal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_dependencies_are_told_from_others_and_dev_from_normal() {
        let metadata = r#"{"packages": [
            {"name": "low", "manifest_path": "/w/crates/low/Cargo.toml", "dependencies": [], "description": null},
            {"name": "high", "manifest_path": "/w/crates/high/Cargo.toml", "description": "High", "dependencies": [
                {"name": "low", "kind": null}, {"name": "serde", "kind": null}, {"name": "low", "kind": "dev"}]}
        ]}"#;
        let packages = Package::parse_all(metadata, Path::new("/w")).unwrap();
        assert_eq!((packages[0].folder.as_str(), packages[0].description.as_deref()), ("crates/low", None));
        let internal: Vec<_> = packages[1].internal.iter().map(|dep| (dep.name.as_str(), dep.dev)).collect();
        assert_eq!(internal, [("low", false), ("low", true)]);
    }
}
