//! `config check`: what is wrong with a configuration file.

use std::{
    collections::BTreeSet,
    error::Error as _,
    path::{Path, PathBuf},
};

use mcp_config::{Config, ConfigError, Diagnostic, locate, process_env};
use serde::Serialize;

use crate::{
    args::GlobalArgs,
    exit::{Error, Exit},
    output::Output,
    table::Table,
    text::{Span, Style},
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    valid: bool,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    servers: Vec<Summary>,
    views: Vec<Part>,
}

/// A view, with the servers and groups it has.
#[derive(Debug, Serialize)]
struct Part {
    name: String,
    path: String,
    servers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

/// One server, without anything that may be a secret.
#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    enabled: bool,
    transport: String,
    url: Option<String>,
    group: Option<String>,
    priority: u8,
}

pub(crate) fn check(file: Option<&Path>, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    let path = find(file)?;
    match Config::load(&path, &process_env) {
        Ok(config) => {
            let (servers, views) = (summaries(&config), parts(&config));
            if global.json {
                report(&path, true, &[], &config.warnings, servers, views, output)?;
            } else {
                print(&config.warnings, Span::new(Style::Doubtful, "warning: "), output)?;
                output.table(&table(&servers))?;
                let mut counts = counted(servers.len(), "server");
                if !views.is_empty() {
                    output.table(&table_of_views(&views))?;
                    counts = format!("{counts}, {}", counted(views.len(), "view"));
                }
                let text =
                    format!("{} is valid: {counts}, listening on {}", path.display(), config.gateway.listen);
                output.note(&[Span::new(Style::Good, text)])?;
            }
            Ok(Exit::Ok)
        }
        Err(ConfigError::Invalid(errors)) => {
            if global.json {
                report(&path, false, &errors, &[], Vec::new(), Vec::new(), output)?;
            } else {
                print(&errors, Span::new(Style::Bad, "error: "), output)?;
            }
            Ok(Exit::InvalidConfig)
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Err(Error::Config(format!("{error}{cause}")))
        }
    }
}

fn find(file: Option<&Path>) -> Result<PathBuf, Error> {
    locate(file, Path::new("."), &process_env).ok_or_else(|| {
        Error::Usage(
            "there is no configuration file: name one, set MCP_GATEWAY_CONFIG, or create ./mcp-gateway.toml"
                .to_owned(),
        )
    })
}

fn print(diagnostics: &[Diagnostic], kind: Span, output: &mut Output) -> Result<(), Error> {
    for diagnostic in diagnostics {
        output.note(&[kind.clone(), Span::plain(diagnostic.to_string())])?;
    }
    Ok(())
}

fn report(
    path: &Path,
    valid: bool,
    errors: &[Diagnostic],
    warnings: &[Diagnostic],
    servers: Vec<Summary>,
    views: Vec<Part>,
    output: &mut Output,
) -> Result<(), Error> {
    let problems = |diagnostics: &[Diagnostic]| {
        let problem = |diagnostic: &Diagnostic| Problem {
            line: diagnostic.position.map(|position| position.line),
            column: diagnostic.position.map(|position| position.column),
            message: diagnostic.message.clone(),
        };
        diagnostics.iter().map(problem).collect()
    };
    let report = Report {
        file: path.display().to_string(),
        valid,
        errors: problems(errors),
        warnings: problems(warnings),
        servers,
        views,
    };
    let json = serde_json::to_string(&report).map_err(|error| Error::Config(error.to_string()))?;
    Ok(output.json(&json)?)
}

fn summaries(config: &Config) -> Vec<Summary> {
    let summary = config.servers.iter().map(|server| Summary {
        name: server.name.to_string(),
        enabled: server.enabled,
        transport: server.endpoint.kind().to_string(),
        url: server.endpoint.url().map(|url| {
            let mut url = url.clone();
            // A query may hold a key.
            url.set_query(None);
            url.to_string()
        }),
        group: server.group.as_ref().map(ToString::to_string),
        priority: server.priority,
    });
    summary.collect()
}

fn parts(config: &Config) -> Vec<Part> {
    let owners: BTreeSet<&str> = config.servers.iter().map(|server| server.owner().as_str()).collect();
    let part = config.views.iter().map(|view| Part {
        name: view.name.to_string(),
        path: format!("/mcp/views/{}", view.name),
        servers: owners.iter().filter(|owner| view.servers.admits(owner)).map(ToString::to_string).collect(),
    });
    part.collect()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn table_of_views(views: &[Part]) -> Table {
    let mut table = Table::new(["VIEW", "PATH", "SERVERS"]);
    for view in views {
        table.row([
            Span::new(Style::Strong, &view.name),
            Span::plain(&view.path),
            Span::plain(view.servers.join(", ")),
        ]);
    }
    table
}

fn table(servers: &[Summary]) -> Table {
    let mut table = Table::new(["NAME", "ENABLED", "TRANSPORT", "GROUP", "PRIORITY", "URL"]);
    for server in servers {
        table.row([
            Span::new(Style::Strong, &server.name),
            Span::plain(if server.enabled { "yes" } else { "no" }),
            Span::plain(&server.transport),
            Span::plain(server.group.as_deref().unwrap_or_default()),
            Span::plain(server.priority.to_string()),
            Span::plain(server.url.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::output::{Look, tests::kept};

    /// Checks a file of this text and gives exit code, stdout and stderr, with `FILE` for its path.
    fn checked(text: &str, json: bool) -> (u8, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp-gateway.toml");
        fs::write(&path, text).unwrap();
        let global = GlobalArgs { url: String::new(), api_key: None, json, no_color: true };
        let (mut output, out, err) = kept(Look::default());
        let exit = check(Some(&path), &global, &mut output).unwrap();
        let clean = |text: String| text.replace(&path.display().to_string(), "FILE");
        (exit.code(), clean(out.text()), clean(err.text()))
    }

    const GOOD: &str = r#"
[servers.files]
command = "npx"
args = ["-y", "canary"]

[servers.search-a]
url = "https://search-a.example.com/mcp?key=canary"
group = "search"
priority = 80
"#;

    #[test]
    fn a_valid_file_is_summed_up() {
        let (code, out, err) = checked(GOOD, false);
        assert_eq!(code, 0, "{err}");
        assert_eq!(
            out,
            "NAME      ENABLED  TRANSPORT  GROUP   PRIORITY  URL\n\
             files     yes      stdio              50\n\
             search-a  yes      http       search  80        https://search-a.example.com/mcp\n"
        );
        assert_eq!(err, "FILE is valid: 2 servers, listening on 127.0.0.1:8300\n");

        let (code, out, _) = checked(GOOD, true);
        assert_eq!(code, 0);
        assert_eq!(
            out,
            concat!(
                r#"{"file":"FILE","valid":true,"errors":[],"warnings":[],"servers":["#,
                r#"{"name":"files","enabled":true,"transport":"stdio","url":null,"group":null,"priority":50},"#,
                r#"{"name":"search-a","enabled":true,"transport":"http","#,
                r#""url":"https://search-a.example.com/mcp","group":"search","priority":80}],"views":[]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn views_are_listed_with_what_they_have() {
        let text = format!("{GOOD}\n[views.all]\n[views.web]\nservers = [\"sea*\", \"nobody\"]\n");
        let (code, out, err) = checked(&text, false);
        assert_eq!(code, 0, "{err}");
        let (_, views) = out.split_once("VIEW").unwrap();
        assert_eq!(
            views,
            "  PATH            SERVERS\n\
             all   /mcp/views/all  files, search\n\
             web   /mcp/views/web  search\n"
        );
        assert_eq!(
            err,
            "warning: FILE:13:20: `views.web.servers.1`: fits no server or group of this file\n\
             FILE is valid: 2 servers, 2 views, listening on 127.0.0.1:8300\n"
        );

        let (_, out, _) = checked(&text, true);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let web = serde_json::json!({"name": "web", "path": "/mcp/views/web", "servers": ["search"]});
        assert_eq!(report["views"][1], web);
    }

    #[test]
    fn every_error_is_shown_with_its_place() {
        let text =
            "[servers.a]\nurl = \"https://a.example.com\"\npriority = 500\n\n[servers.b]\ncomand = \"npx\"\n";
        let (code, out, err) = checked(text, false);
        assert_eq!((code, out.as_str()), (4, ""));
        let lines: Vec<_> = err.lines().collect();
        assert!(lines.len() >= 2 && lines.iter().all(|line| line.starts_with("error: FILE:")), "{err}");
        assert!(err.contains("FILE:3:") && err.contains("FILE:6:") && err.contains("comand"), "{err}");

        let (code, out, _) = checked(text, true);
        assert_eq!(code, 4);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["valid"], false);
        assert_eq!(report["errors"][0]["line"], 3);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_configuration_error() {
        let global = GlobalArgs { url: String::new(), api_key: None, json: false, no_color: true };
        let (mut output, _, _) = kept(Look::default());
        let error = check(Some(Path::new("/nonexistent/gateway.toml")), &global, &mut output).unwrap_err();
        assert_eq!(error.exit(), Exit::InvalidConfig);
        assert!(error.to_string().contains("/nonexistent/gateway.toml: "), "{error}");
    }
}
