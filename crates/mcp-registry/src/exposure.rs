//! What of a server clients get to see.

use std::fmt;
use std::str::FromStr;

/// A pattern of names: `*` stands for any characters or none, `?` for one, everything else for itself. Upper and lower
/// case differ. Source: product §4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has 1 to {} bytes, this one has {len}", Glob::MAX_LEN)]
pub struct InvalidGlob {
    len: usize,
}

impl Glob {
    /// Longest pattern in bytes.
    pub const MAX_LEN: usize = 1024;

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of `text` fits. Takes at most as many steps as the product of both lengths.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.as_str(), text);
        // Behind the latest `*`, and what it has not swallowed yet.
        let mut star = None;
        loop {
            let mut after = pattern.chars();
            let mut left = rest.chars();
            match (after.next(), left.next()) {
                (Some('*'), _) => {
                    pattern = after.as_str();
                    star = Some((pattern, rest));
                }
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    (pattern, rest) = (after.as_str(), left.as_str());
                }
                (None, None) => return true,
                _ => {
                    let Some((behind, unswallowed)) = star else { return false };
                    let mut longer = unswallowed.chars();
                    if longer.next().is_none() {
                        return false;
                    }
                    (pattern, rest) = (behind, longer.as_str());
                    star = Some((behind, rest));
                }
            }
        }
    }
}

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(InvalidGlob { len: text.len() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which names of one kind are let through. By default all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameFilter {
    /// The only ones; `None`: all, empty: none.
    pub allow: Option<Vec<Glob>>,
    /// Those that are not, even if `allow` has them.
    pub deny: Vec<Glob>,
}

impl NameFilter {
    /// Whether a name is let through.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        self.allow.as_deref().is_none_or(any) && !any(&self.deny)
    }
}

/// What clients of the MCP endpoint get to see. By default everything. Source: product §4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposure {
    /// By tool name.
    pub tools: NameFilter,
    /// By prompt name.
    pub prompts: NameFilter,
    /// By URI; of templates by the template as written.
    pub resources: NameFilter,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Vec<Glob> {
        patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
    }

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, fitting, others) in [
            ("read", &["read"][..], &["", "rea", "reads", "Read"][..]),
            ("*", &["", "a", "äö"], &[]),
            ("read_*", &["read_", "read_file"], &["read", "xread_"]),
            ("*_file", &["_file", "read_file", "a_file_file"], &["file", "read_files"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"], &["ab", "acb", "abcd"]),
            ("**a**", &["a", "xax"], &["", "x"]),
            ("?", &["a", "ä", "?"], &["", "ab"]),
            ("a?c*", &["abc", "aäcd"], &["ac", "abd"]),
            ("*?", &["a", "ab"], &[""]),
            ("file:///a?b=*", &["file:///a?b=", "file:///a/b=c/d"], &["file:///ab=c"]),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            for name in fitting {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn patterns_that_look_expensive_are_not() {
        let glob: Glob = "*a".repeat(512).parse().unwrap();
        assert!(!glob.matches(&format!("{}b", "a".repeat(4096))));
        assert!(glob.matches(&"a".repeat(4096)));
    }

    #[test]
    fn patterns_are_bounded() {
        assert_eq!("".parse::<Glob>(), Err(InvalidGlob { len: 0 }));
        assert_eq!("x".repeat(1024).parse::<Glob>().unwrap().to_string().len(), 1024);
        let error = "x".repeat(1025).parse::<Glob>().unwrap_err();
        assert_eq!(error.to_string(), "a pattern has 1 to 1024 bytes, this one has 1025");
    }

    #[test]
    fn deny_wins() {
        let open = NameFilter::default();
        assert!(open.admits("anything") && open.admits(""));
        let shut = NameFilter { allow: Some(Vec::new()), ..NameFilter::default() };
        assert!(!shut.admits("anything") && !shut.admits(""));
        let all_but = NameFilter { deny: globs(&["delete_*", "drop"]), ..NameFilter::default() };
        assert!(all_but.admits("read") && !all_but.admits("delete_all") && !all_but.admits("drop"));
        let few = NameFilter { allow: Some(globs(&["read_*", "list"])), deny: globs(&["*_secret"]) };
        assert!(few.admits("read_file") && few.admits("list"));
        assert!(!few.admits("read_secret") && !few.admits("write"));
    }
}
