//! `servers health`, `capabilities` and `stats`: what the gateway knows without asking a server.

use mcp_api_types::{CapabilitySnapshot, HealthView, ItemList, RegistryStats, ServerHealth};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::servers::lines_of;
use crate::{
    args::GlobalArgs,
    client::{Answer, Client},
    exit::Error,
    output::Output,
    render::{millis, word},
    table::Table,
    text::{Line, Span, Style},
};

pub(crate) async fn health(
    name: Option<&str>,
    client: &Client,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let what = "asking the gateway";
    let (servers, json) = match name {
        Some(name) => {
            let path = ["servers", name, "health"];
            let answer: Answer<ServerHealth> = output.wait(what, client.get(&path, &[])).await?;
            (vec![answer.body], answer.text)
        }
        None => {
            let answer: Answer<ItemList<ServerHealth>> =
                output.wait(what, client.get(&["health"], &[])).await?;
            (answer.body.items, answer.text)
        }
    };
    if global.json {
        output.json(&json)?;
    } else if servers.is_empty() {
        output.note(&[Span::faint("no servers are registered")])?;
    } else {
        output.table(&health_table(&servers))?;
    }
    Ok(())
}

fn health_table(servers: &[ServerHealth]) -> Table {
    let mut table = Table::new(["SERVER", "HEALTH", "CHECKED AT", "LATENCY", "FAILURES", "LAST ERROR"]);
    for server in servers {
        let style = match server.health_view {
            HealthView::Unknown => Style::Faint,
            HealthView::Healthy => Style::Good,
            HealthView::Unhealthy => Style::Bad,
        };
        table.row([
            Span::new(Style::Strong, &server.server),
            Span::new(style, word(&server.health_view)),
            Span::plain(server.last_checked_at.as_deref().unwrap_or("never")),
            Span::plain(server.response_time_ms.map(millis).unwrap_or_default()),
            Span::plain(server.consecutive_failures.to_string()),
            Span::plain(server.error_message.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

pub(crate) async fn capabilities(
    name: &str,
    client: &Client,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let path = ["servers", name, "capabilities"];
    let answer: Answer<Option<CapabilitySnapshot>> =
        output.wait("asking the gateway", client.get(&path, &[])).await?;
    match answer.body {
        _ if global.json => output.json(&answer.text)?,
        Some(snapshot) => output.lines(&snapshot_lines(&snapshot))?,
        None => output.note(&[Span::faint(format!(
            "{name} has said nothing of itself yet; see `mcp-gateway servers initialize --help`"
        ))])?,
    }
    Ok(())
}

fn snapshot_lines(snapshot: &CapabilitySnapshot) -> Vec<Line> {
    /// What nearly every server gives.
    #[derive(Deserialize)]
    struct Info {
        name: String,
        version: String,
    }
    let raw =
        |json: &Option<Box<RawValue>>| json.as_ref().map(|json| json.get().to_owned()).unwrap_or_default();
    let info = snapshot.server_info.as_ref().and_then(|info| serde_json::from_str::<Info>(info.get()).ok());
    lines_of([
        ("said at", Span::plain(&snapshot.captured_at)),
        ("protocol", Span::plain(snapshot.protocol_version.as_deref().unwrap_or_default())),
        (
            "server",
            Span::plain(match info {
                Some(Info { name, version }) => format!("{name} {version}"),
                None => raw(&snapshot.server_info),
            }),
        ),
        ("capabilities", Span::plain(raw(&snapshot.capabilities))),
    ])
}

pub(crate) async fn stats(client: &Client, global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    let answer: Answer<RegistryStats> =
        output.wait("asking the gateway", client.get(&["stats"], &[])).await?;
    if global.json {
        output.json(&answer.text)?;
    } else {
        output.lines(&stats_lines(&answer.body))?;
    }
    Ok(())
}

fn stats_lines(stats: &RegistryStats) -> Vec<Line> {
    let alarming = |count: u64| {
        let style = if count == 0 { Style::Plain } else { Style::Bad };
        Span::new(style, count.to_string())
    };
    lines_of([
        ("servers", Span::plain(stats.total_servers.to_string())),
        ("connected", Span::plain(stats.connected_servers.to_string())),
        ("disconnected", Span::plain(stats.disconnected_servers.to_string())),
        ("broken", alarming(stats.error_servers)),
        ("critical down", alarming(stats.critical_servers_down)),
        ("requests", Span::plain(format!("{} since the gateway started", stats.total_requests))),
        ("errors", Span::plain(stats.total_errors.to_string())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::text;

    #[test]
    fn health_is_a_table() {
        let health = |json: &str| serde_json::from_str::<ServerHealth>(json).unwrap();
        let servers = [
            health(
                r#"{"server":"a","health_view":"healthy","last_checked_at":"2026-01-01T00:00:00Z",
                    "response_time_ms":2.25,"error_message":null,"consecutive_failures":0}"#,
            ),
            health(
                r#"{"server":"b","health_view":"unknown","last_checked_at":null,
                    "response_time_ms":null,"error_message":null,"consecutive_failures":0}"#,
            ),
            health(
                r#"{"server":"c","health_view":"unhealthy","last_checked_at":"2026-01-01T00:00:00Z",
                    "response_time_ms":null,"error_message":"http 503","consecutive_failures":4}"#,
            ),
        ];
        assert_eq!(
            text(&health_table(&servers).lines(None)),
            "SERVER  HEALTH     CHECKED AT            LATENCY  FAILURES  LAST ERROR\n\
             a       healthy    2026-01-01T00:00:00Z  2.2 ms   0\n\
             b       unknown    never                          0\n\
             c       unhealthy  2026-01-01T00:00:00Z           4         http 503\n"
        );
    }

    #[test]
    fn capabilities_are_what_the_server_wrote() {
        for (info, shown) in
            [(r#"{"name":"a","version":"1.0","title":"A"}"#, "a 1.0"), (r#"{"name":"a"}"#, r#"{"name":"a"}"#)]
        {
            let json = format!(
                r#"{{"protocol_version":"2025-11-25","server_info":{info},
                     "capabilities":{{"tools":{{}}}},"captured_at":"2026-01-01T00:00:00Z"}}"#
            );
            let snapshot: CapabilitySnapshot = serde_json::from_str(&json).unwrap();
            assert_eq!(
                text(&snapshot_lines(&snapshot)),
                format!(
                    "said at         2026-01-01T00:00:00Z\n\
                     protocol        2025-11-25\n\
                     server          {shown}\n\
                     capabilities    {{\"tools\":{{}}}}\n"
                )
            );
        }
    }

    #[test]
    fn stats_are_facts() {
        let stats = RegistryStats {
            total_servers: 4,
            connected_servers: 2,
            disconnected_servers: 1,
            error_servers: 1,
            critical_servers_down: 0,
            total_requests: 17,
            total_errors: 3,
        };
        assert_eq!(
            text(&stats_lines(&stats)),
            "servers         4\n\
             connected       2\n\
             disconnected    1\n\
             broken          1\n\
             critical down   0\n\
             requests        17 since the gateway started\n\
             errors          3\n"
        );
    }
}
