//! Which variables a server's process gets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use mcp_transport::StdioEndpoint;
use secrecy::ExposeSecret;

use crate::process::{INHERITED, same_variable};

/// Variables that make a loader, shell or interpreter run code the command line does not name.
///
/// Search paths for modules (`PYTHONPATH`, `NODE_PATH`, `CLASSPATH`, …) are not among them, although they
/// can be misused: servers need them to find their own parts, and existing configurations set them.
const INJECTION: &[&str] = &[
    // Dynamic loaders: LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH, DYLD_INSERT_LIBRARIES, …
    "LD_*",
    "DYLD_*",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    // Shells: files read at the start, functions and options taken from the environment.
    "BASH_ENV",
    "BASH_FUNC_*",
    "BASHOPTS",
    "ENV",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SHELLOPTS",
    "ZDOTDIR",
    // Interpreters and virtual machines: options and start files.
    "CORECLR_*",
    "COR_*",
    "DOTNET_STARTUP_HOOKS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "NODE_REPL_EXTERNAL_MODULE",
    "PERL5DB",
    "PERL5OPT",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONSTARTUP",
    "RUBYOPT",
];

/// Whether a server's `env` and `inherit_env` may not name a variable: it makes programs load foreign code
/// and is not among the allowed ones. Those are [`StdioEndpoint::allow_env`] and
/// [`StdioOptions::allow_env`](crate::StdioOptions::allow_env).
///
/// These are the settings of dynamic loaders (`LD_*`, `DYLD_*`), shells (`BASH_ENV`, `ENV`, …) and
/// interpreters (`NODE_OPTIONS`, `PYTHONSTARTUP`, `JAVA_TOOL_OPTIONS`, …). Module search paths such as
/// `PYTHONPATH` are not among them. Source: contract §7.8.
#[must_use]
pub fn is_refused(name: &str, allowed: &[String]) -> bool {
    listed(INJECTION, name) && !allowed.iter().any(|allowed| same_variable(allowed, name))
}

/// The whole environment of the server: allow-listed, then `inherit_env`, then `env`.
///
/// # Errors
/// A text that names the variable that cannot be set, and why.
pub(crate) fn environment(
    ours: impl IntoIterator<Item = (OsString, OsString)>,
    endpoint: &StdioEndpoint,
    allowed: &[String],
) -> Result<BTreeMap<OsString, OsString>, String> {
    for (setting, name) in endpoint
        .inherit_env
        .iter()
        .map(|name| ("inherit_env", name))
        .chain(endpoint.env.keys().map(|name| ("env", name)))
    {
        if name.is_empty() || name.contains(['=', '\0', '\n']) {
            return Err(format!("{setting} names {name:?}, which cannot be the name of a variable"));
        }
        if is_refused(name, allowed) && is_refused(name, &endpoint.allow_env) {
            return Err(format!(
                "{setting} names {name}, which makes programs load foreign code; remove it, or name it in \
                 allow_env as well"
            ));
        }
    }
    let mut variables = BTreeMap::new();
    for (name, value) in ours {
        let Some(text) = name.to_str() else { continue };
        let wanted =
            listed(INHERITED, text) || endpoint.inherit_env.iter().any(|wanted| same_variable(wanted, text));
        // Values that start so are shell functions in the eyes of old shells.
        if wanted && !value.as_encoded_bytes().starts_with(b"()") {
            variables.insert(name, value);
        }
    }
    for (name, value) in &endpoint.env {
        let value = value.expose_secret();
        if value.contains('\0') {
            return Err(format!("the value of {name} in env holds a NUL"));
        }
        variables.retain(|other, _| !other.to_str().is_some_and(|other| same_variable(other, name)));
        variables.insert(name.into(), value.into());
    }
    Ok(variables)
}

/// The value of a variable of that environment.
pub(crate) fn variable<'a>(variables: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a OsStr> {
    let found =
        variables.iter().find(|(other, _)| other.to_str().is_some_and(|other| same_variable(other, name)));
    found.map(|(_, value)| &**value)
}

fn listed(table: &[&str], name: &str) -> bool {
    table.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|found| same_variable(found, start)),
        None => same_variable(entry, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<(OsString, OsString)> {
        [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("XDG_CACHE_HOME", "/c"),
            ("HOME", "/h"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("GITHUB_TOKEN", "g"),
            ("LD_PRELOAD", "evil.so"),
            ("TERM", "() { :; }"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }

    #[test]
    fn j7_only_listed_inherited_and_added_variables_reach_the_server() {
        let mut endpoint = StdioEndpoint::new("x", [""; 0]);
        endpoint.inherit_env = vec!["GITHUB_TOKEN".into(), "NOT_SET".into()];
        endpoint.env.insert("HOME".into(), "/elsewhere".into());
        endpoint.env.insert("PYTHONPATH".into(), "lib".into());
        let variables = environment(ours(), &endpoint, &[]).unwrap();
        let found: Vec<_> =
            variables.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert_eq!(
            found,
            [
                ("GITHUB_TOKEN", "g"),
                ("HOME", "/elsewhere"),
                ("LC_ALL", "C"),
                ("PATH", "/bin"),
                ("PYTHONPATH", "lib"),
                ("XDG_CACHE_HOME", "/c"),
            ]
        );
    }

    #[test]
    fn j14_names_that_inject_code_are_refused_unless_allowed() {
        for name in
            ["LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "BASH_ENV", "ENV"]
        {
            let mut endpoint = StdioEndpoint::new("x", [""; 0]);
            endpoint.env.insert(name.into(), "x".into());
            let refused = environment(ours(), &endpoint, &[]).unwrap_err();
            assert!(refused.starts_with(&format!("env names {name}, ")), "{refused}");
            assert!(environment(ours(), &endpoint, &[name.to_owned()]).is_ok(), "{name}");
            endpoint.allow_env.push(name.into());
            assert!(environment(ours(), &endpoint, &[]).is_ok(), "{name}");

            let mut endpoint = StdioEndpoint::new("x", [""; 0]);
            endpoint.inherit_env.push(name.into());
            let refused = environment(ours(), &endpoint, &[]).unwrap_err();
            assert!(refused.starts_with(&format!("inherit_env names {name}, ")), "{refused}");
        }
        for name in ["LANG", "PYTHONPATH", "ENVIRONMENT", "GOLD_PRICE"] {
            assert!(!is_refused(name, &[]), "{name}");
        }
    }

    #[test]
    fn names_and_values_that_cannot_be_set_are_named() {
        for (name, value, expected) in [
            ("", "x", "env names \"\", which cannot be the name of a variable"),
            ("A=B", "x", "env names \"A=B\", which cannot be the name of a variable"),
            ("A", "x\0y", "the value of A in env holds a NUL"),
        ] {
            let mut endpoint = StdioEndpoint::new("x", [""; 0]);
            endpoint.env.insert(name.into(), value.into());
            assert_eq!(environment(ours(), &endpoint, &[]).unwrap_err(), expected);
        }
    }
}
