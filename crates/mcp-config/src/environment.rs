//! `${NAME}` and `${NAME:-default}` in the values of a file.
//!
//! Replaced once, on parsed string values; what a variable holds is not looked at again. `$${` stands for
//! a literal `${`, any other `$` for itself. As in a shell, the default also replaces an empty variable.

use crate::diagnostic::{Finding, position};
use crate::tree::{Node, Value};

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process. A variable that is not UTF-8 counts as missing.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How references are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Our own files: what looks like a reference and is none is an error.
    Own,
    /// Files of clients: what looks like a reference and is none stays as it is, and `${env:NAME}` is one.
    Client,
}

/// Most missing variables named in one error.
const MAX_NAMED: usize = 50;

/// Replaces the references in every string of the tree.
pub(crate) fn substitute(node: &mut Node, text: &str, dialect: Dialect, env: Env<'_>) -> Vec<Finding> {
    let mut pass = Pass { dialect, env, missing: Vec::new(), findings: Vec::new() };
    pass.node(node);
    let Pass { missing, mut findings, .. } = pass;
    if let Some(&(_, first)) = missing.first() {
        let named = |(name, at): &(String, usize)| format!("`{name}` (line {})", position(text, *at).line);
        let mut names: Vec<String> = missing.iter().take(MAX_NAMED).map(named).collect();
        if missing.len() > MAX_NAMED {
            names.push("and more".into());
        }
        let message = format!(
            "environment variables not set: {}; set them, or write ${{NAME:-default}}",
            names.join(", ")
        );
        findings.push(Finding::at(first, message));
    }
    findings
}

struct Pass<'a> {
    dialect: Dialect,
    env: Env<'a>,
    /// Each missing name once, with the value it first stands in.
    missing: Vec<(String, usize)>,
    findings: Vec<Finding>,
}

impl Pass<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => {
                if let Some(replaced) = self.text(text, node.at) {
                    *text = replaced;
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Table(entries) => entries.iter_mut().for_each(|entry| self.node(&mut entry.node)),
            _ => {}
        }
    }

    /// The text with its references replaced; `None` after a finding.
    fn text(&mut self, text: &str, at: usize) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, from) = rest.split_at(start);
            rest = &from[2..];
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                continue;
            }
            out.push_str(before);
            match rest.split_once('}').and_then(|(inside, after)| Some((self.reference(inside)?, after))) {
                Some((Reference { name, default }, after)) => {
                    rest = after;
                    match ((self.env)(name), default) {
                        (Some(value), default) if !value.is_empty() || default.is_none() => {
                            out.push_str(&value)
                        }
                        (_, Some(default)) => out.push_str(default),
                        (_, None) => self.miss(name, at),
                    }
                }
                None if self.dialect == Dialect::Client => out.push_str("${"),
                None => {
                    let message = "a `${` without a variable name and `}`; write `$${` for a literal `${`";
                    self.findings.push(Finding::at(at, message));
                    return None;
                }
            }
        }
        out.push_str(rest);
        Some(out)
    }

    fn reference<'t>(&self, inside: &'t str) -> Option<Reference<'t>> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let name = match self.dialect {
            Dialect::Own => name,
            Dialect::Client => name.strip_prefix("env:").unwrap_or(name),
        };
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        (starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            .then_some(Reference { name, default })
    }

    fn miss(&mut self, name: &str, at: usize) {
        // One more than is named tells that there are more.
        if self.missing.len() <= MAX_NAMED && !self.missing.iter().any(|(known, _)| known == name) {
            self.missing.push((name.to_owned(), at));
        }
    }
}

struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
}

/// Whether the text holds a reference that only the client it was written for can resolve, as
/// `${input:token}`.
pub(crate) fn has_client_reference(text: &str) -> bool {
    text.split("${").skip(1).filter_map(|from| from.split_once('}')).any(|(inside, _)| {
        inside.split_once(':').is_some_and(|(kind, rest)| {
            !rest.starts_with('-')
                && kind != "env"
                && !kind.is_empty()
                && kind.chars().all(|c| c.is_ascii_alphabetic())
        })
    })
}

/// Whether the text refers to a variable that holds a secret, judged by its name.
pub(crate) fn has_secret_reference(text: &str) -> bool {
    text.split("${").skip(1).filter_map(|from| from.split([':', '}']).next()).any(|name| {
        let name = name.to_ascii_uppercase();
        ["TOKEN", "KEY", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("value".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".into()),
            _ => None,
        }
    }

    fn replaced(text: &str, dialect: Dialect) -> Result<String, String> {
        let mut node = Node { at: 0, value: Value::Text(text.into()) };
        let findings = substitute(&mut node, text, dialect, &env);
        match node.value {
            Value::Text(text) if findings.is_empty() => Ok(text),
            _ => Err(findings.into_iter().map(|finding| finding.message).collect()),
        }
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expected) in [
            ("${A}", "value"),
            ("x${A}y${A}z", "xvalueyvaluez"),
            ("${A:-other}", "value"),
            ("${NONE:-other}", "other"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-other}", "other"),
            ("${NESTED}", "${A}"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $ $$", "$A $ $$"),
        ] {
            assert_eq!(replaced(text, Dialect::Own).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn missing_variables_are_named_together_and_once() {
        assert_eq!(
            replaced("${ONE} ${TWO} ${ONE} ${A}", Dialect::Own).unwrap_err(),
            "environment variables not set: `ONE` (line 1), `TWO` (line 1); set them, or write ${NAME:-default}"
        );
    }

    #[test]
    fn what_only_looks_like_a_reference_is_an_error_in_our_files_alone() {
        for text in ["${", "${}", "${A", "${1A}", "${A B}", "${input:x}", "${a%/}"] {
            let error = replaced(text, Dialect::Own).unwrap_err();
            assert_eq!(
                error, "a `${` without a variable name and `}`; write `$${` for a literal `${`",
                "{text}"
            );
            assert_eq!(replaced(text, Dialect::Client).as_deref(), Ok(text));
        }
        assert_eq!(replaced("${env:A}", Dialect::Client).as_deref(), Ok("value"));
    }

    #[test]
    fn references_of_clients_are_recognised() {
        for (text, expected) in [
            ("${input:token}", true),
            ("Bearer ${input:token}", true),
            ("${config:x.y}", true),
            ("${env:A}", false),
            ("${A:-b}", false),
            ("${A}", false),
            ("{input:x}", false),
        ] {
            assert_eq!(has_client_reference(text), expected, "{text}");
        }
    }
}
