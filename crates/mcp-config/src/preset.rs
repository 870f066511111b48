//! Bundled example configurations. Source: contract §8.7.

/// A configuration file to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// What it holds, for people.
    pub about: &'static str,
    /// The file, in TOML.
    pub text: &'static str,
}

/// All of them, by name.
pub const PRESETS: [Preset; 1] = [Preset {
    name: "restaurants",
    about: "two servers of a restaurant guide: search and reasoning",
    text: include_str!("../presets/restaurants.toml"),
}];

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Format};

    #[test]
    fn every_preset_is_valid_without_any_environment() {
        for known in &PRESETS {
            assert_eq!(preset(known.name), Some(known));
            let config = Config::parse(known.text, Format::Toml, known.name, &|_| None).unwrap();
            assert!(!config.servers.is_empty() && config.warnings.is_empty(), "{:?}", config.warnings);
        }
        assert_eq!(preset("none"), None);
    }

    #[test]
    fn urls_come_from_the_environment_first() {
        let env =
            |name: &str| (name == "RESTAURANT_SEARCH_URL").then(|| "https://search.example/x".to_owned());
        let config = Config::parse(PRESETS[0].text, Format::Toml, "preset", &env).unwrap();
        let urls: Vec<_> = config.servers.iter().map(|s| s.endpoint.url().unwrap().as_str()).collect();
        assert_eq!(urls, ["https://search.example/x", "http://restaurant-reasoning-mcp:8080/mcp"]);
    }
}
