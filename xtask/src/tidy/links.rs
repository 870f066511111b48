//! Links of Markdown files to other places in the checkout lead somewhere.

use super::{Source, Violation};

/// Looks at every Markdown file; `exists` tells whether a path relative to the root is there.
pub(super) fn check(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.has_extension("md")) {
        for (number, line) in prose(source) {
            for target in targets(&line) {
                if let Some(what) = broken(source, &target, sources, &exists) {
                    violations.push(Violation::new(&source.path, number, what));
                }
            }
        }
    }
    violations
}

/// What is wrong with a link from `source`, if anything.
fn broken(
    source: &Source,
    target: &str,
    sources: &[Source],
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    // Other hosts are not asked, and `crate::Item` is a link rustdoc checks.
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") || target.contains("::") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { Some(source.path.clone()) } else { resolve(&source.path, path) };
    let Some(path) = path.filter(|path| exists(path)) else {
        return Some(format!("the link to {target} leads nowhere; correct or remove it"));
    };
    let page = sources.iter().find(|source| source.path == path && source.has_extension("md"))?;
    let found = anchor.is_empty() || anchors(page).any(|known| known == anchor);
    (!found).then(|| format!("{path} has no heading #{anchor}; correct the link"))
}

/// `path` as seen from the file `from`, relative to the root; `None` if it leaves the checkout.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { from.split('/').collect() };
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside of code blocks, with code spans blanked.
fn prose(source: &Source) -> impl Iterator<Item = (usize, String)> {
    let mut in_code = false;
    source.lines().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        // Of the parts between backticks every second one is code.
        let parts = line.split('`').enumerate();
        let text = parts.map(|(index, part)| if index % 2 == 0 { part } else { "code" }).collect();
        (!in_code).then_some((number, text))
    })
}

/// The targets of the links of one line, `[text](target "title")` and `[label]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definition = line.starts_with('[').then(|| line.split_once("]: ")).flatten().map(|(_, rest)| rest);
    let first_word =
        |text: &str| text.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']).to_owned();
    inline.chain(definition).map(first_word).collect()
}

/// The anchors of the headings of a page, made the way code hosts make them.
fn anchors(page: &Source) -> impl Iterator<Item = String> {
    let mut in_code = false;
    page.lines().filter_map(move |(_, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let heading = (!in_code && line.starts_with('#')).then(|| line.trim_start_matches('#').trim())?;
        let kept = heading.to_lowercase().replace(' ', "-");
        Some(kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    fn violations(text: &str) -> Vec<String> {
        let sources = [sample("docs/page.md", text), sample("README.md", "# The `main` job: it, works\n")];
        let exists = |path: &str| ["docs/page.md", "README.md", "docs/other.rs", "crates"].contains(&path);
        check(&sources, exists).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[a](../README.md), [b](other.rs \"title\") and [c](/crates)",
            "[a](../README.md#the-main-job-it-works)",
            "# Own heading\n[a](#own-heading)",
            "[label]: ./other.rs",
            "[spec](https://modelcontextprotocol.io) [mail](mailto:a@example.com) [item](crate::Item)",
            "`[a](nowhere.md)`\n```\n[a](nowhere.md)\n```",
        ] {
            assert_eq!(violations(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for (text, expected) in [
            ("line\n[a](nowhere.md)", "docs/page.md:2: the link to nowhere.md leads nowhere"),
            ("[a](../../README.md)", "docs/page.md:1: the link to ../../README.md leads nowhere"),
            ("[label]: gone.rs", "docs/page.md:1: the link to gone.rs leads nowhere"),
            ("[a](../README.md#other)", "docs/page.md:1: README.md has no heading #other"),
            ("```\n# Not a heading\n```\n[a](#not-a-heading)", "docs/page.md:4: docs/page.md has no heading"),
        ] {
            let found = violations(text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
        }
    }
}
