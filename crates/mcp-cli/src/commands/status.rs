//! `status`: every server on one screen.

use std::time::Duration;

use jiff::Timestamp;
use mcp_api_types::{ConnectionState, Era, Ready, Server, ServerList, Status};

use super::servers::status;
use crate::{
    args::{GlobalArgs, StatusArgs},
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    render::{millis, seconds, until, word},
    table::Table,
    text::{Line, Span, Style},
};

/// The servers, and what the gateway says about itself.
type Seen = (Answer<ServerList>, Option<Ready>);

const REFRESH: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: &StatusArgs, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    let first = output.wait("asking the gateway", look(&client)).await?;
    if !args.watch {
        if global.json {
            output.json(&first.0.text)?;
        } else {
            output.lines(&screen(&first, client.url(), output.width()))?;
        }
        return Ok(Exit::Ok);
    }
    tokio::select! {
        watched = watch(first, &client, global, output) => watched,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

/// A gateway that went away may come back, so only the first look fails the command.
async fn watch(
    first: Seen,
    client: &Client,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let mut tick = tokio::time::interval(REFRESH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let mut seen: Result<Seen, Error> = Ok(first);
    if !global.json {
        output.clear()?;
    }
    loop {
        match (&seen, global.json) {
            (Ok((servers, _)), true) => output.json(&servers.text)?,
            (Ok(seen), false) => output.screen(&screen(seen, client.url(), output.width()))?,
            (Err(error), true) => output.error(&error.to_string())?,
            (Err(error), false) => output
                .screen(&[vec![Span::new(Style::Bad, "trying again: "), Span::plain(error.to_string())]])?,
        }
        tick.tick().await;
        seen = look(client).await;
    }
}

async fn look(client: &Client) -> Result<Seen, Error> {
    let (servers, ready) = futures::join!(client.get(&["servers"], &[]), client.ready());
    Ok((servers?, ready))
}

fn screen((answer, ready): &Seen, url: &str, width: Option<usize>) -> Vec<Line> {
    let servers = &answer.body.items;
    let mut lines = vec![headline(servers, ready.as_ref(), url)];
    if !servers.is_empty() {
        lines.push(Line::new());
        lines.extend(table(servers, answer.now).lines(width));
    }
    for server in servers.iter().filter(|server| is_down(server)) {
        lines.extend(last_words(server));
    }
    lines
}

/// Lines of stderr shown of a server that is down; `servers get` has more of them.
const LAST_WORDS: usize = 3;

/// What a server that is down printed last.
fn last_words(server: &Server) -> Vec<Line> {
    let stderr: Vec<_> = server.details.get("stderr").into_iter().flat_map(|text| text.lines()).collect();
    let last = &stderr[stderr.len().saturating_sub(LAST_WORDS)..];
    let shown = last.iter().map(|line| vec![Span::faint("  "), Span::plain(line)]);
    let head =
        (!last.is_empty()).then(|| [Line::new(), vec![Span::faint(format!("{} said last:", server.name))]]);
    head.into_iter().flatten().chain(shown).collect()
}

/// Whether the connection of a server broke, and is not back.
fn is_down(server: &Server) -> bool {
    server.enabled
        && matches!(server.connection_state, ConnectionState::Error | ConnectionState::Reconnecting)
}

/// The latest failure, or why the connection is gone if nobody has used it since.
fn last_error(server: &Server) -> &str {
    let ended = || server.details.get("ended").filter(|_| is_down(server));
    server.last_error.as_ref().or_else(ended).map_or("", String::as_str)
}

fn headline(servers: &[Server], ready: Option<&Ready>, url: &str) -> Line {
    let mut line = vec![Span::new(Style::Strong, "mcp-gateway")];
    let mut say = |text: String| line.push(Span::plain(text));
    if let Some(ready) = ready {
        if let Some(version) = &ready.version {
            say(format!(" {version}"));
        }
        say(format!(" at {url} · {}", word(&ready.status)));
        if let Some(uptime) = ready.uptime_ms {
            say(format!(" · up {}", seconds(uptime / 1000)));
        }
    } else {
        say(format!(" at {url}"));
    }
    say(format!(" · {} server{}", servers.len(), if servers.len() == 1 { "" } else { "s" }));
    let enabled = servers.iter().filter(|server| server.enabled);
    for (status, style) in [
        (Status::Healthy, Style::Good),
        (Status::Degraded, Style::Doubtful),
        (Status::Unreachable, Style::Bad),
    ] {
        let count = enabled.clone().filter(|server| server.status == status).count();
        if count > 0 {
            line.push(Span::plain(", "));
            line.push(Span::new(style, format!("{count} {}", word(&status))));
        }
    }
    line
}

fn table(servers: &[Server], now: Option<Timestamp>) -> Table {
    let mut table = Table::new([
        "SERVER",
        "STATUS",
        "CONNECTION",
        "PROTOCOL",
        "TOOLS",
        "LATENCY",
        "RETRY IN",
        "GROUP",
        "PID",
        "RESTARTS",
        "LAST ERROR",
    ]);
    for server in servers {
        table.row([
            Span::new(Style::Strong, &server.name),
            status(server),
            Span::plain(word(&server.connection_state)),
            protocol(server),
            match &server.tools {
                Some(tools) => Span::plain(tools.len().to_string()),
                None => Span::faint("?"),
            },
            Span::plain(server.response_time_ms.map(millis).unwrap_or_default()),
            Span::plain(next_try(server).map(|at| until(at, now)).unwrap_or_default()),
            Span::plain(server.group.as_deref().unwrap_or_default()),
            Span::plain(server.details.get("pid").map(String::as_str).unwrap_or_default()),
            match server.restarts {
                0 => Span::plain(""),
                restarts => Span::new(Style::Doubtful, restarts.to_string()),
            },
            Span::plain(last_error(server)),
        ]);
    }
    table
}

/// When a server that is not well is tried again.
fn next_try(server: &Server) -> Option<&String> {
    server.next_retry_at.as_ref().or(server.next_reconnect_at.as_ref())
}

fn protocol(server: &Server) -> Span {
    match (&server.era, &server.protocol_version) {
        (Era::Unknown, None) => Span::faint("?"),
        (Era::Unknown, Some(version)) => Span::plain(version),
        (era, Some(version)) => Span::plain(format!("{} {version}", word(era))),
        (era, None) => Span::plain(word(era)),
    }
}

#[cfg(test)]
mod tests {
    use mcp_api_types::ReadyState;

    use super::*;
    use crate::table::text;

    #[test]
    fn the_screen_tells_the_state_of_every_server() {
        let mut up = crate::tests::server("files");
        up.connection_state = ConnectionState::Connected;
        up.era = Era::Modern;
        up.protocol_version = Some("2026-07-28".into());
        up.tools = Some(vec!["read".into(), "write".into()]);
        up.response_time_ms = Some(1.25);
        up.details.insert("pid".into(), "4711".into());
        let mut down = crate::tests::server("search-a");
        down.status = Status::Degraded;
        down.connection_state = ConnectionState::Error;
        down.next_retry_at = Some("2026-01-01T00:00:02Z".into());
        down.last_error = Some("primary timed out".into());
        let mut off = crate::tests::server("unused");
        off.enabled = false;

        let list = ServerList { items: vec![up, down, off], adapter_controls_available: false };
        let now = "2026-01-01T00:00:00Z".parse().ok();
        let ready =
            Ready { status: ReadyState::Ready, version: Some("0.1.0".into()), uptime_ms: Some(200_000) };
        let seen = (Answer { body: list, text: String::new(), now, request_id: None }, Some(ready));
        assert_eq!(
            text(&screen(&seen, "http://h:1", None)),
            "mcp-gateway 0.1.0 at http://h:1 · ready · up 3 min 20 s · 3 servers, 1 healthy, 1 degraded\n\
             \n\
             SERVER    STATUS    CONNECTION    PROTOCOL           TOOLS  LATENCY  RETRY IN  PID   LAST ERROR\n\
             files     healthy   connected     modern 2026-07-28  2      1.2 ms             4711\n\
             search-a  degraded  error         ?                  ?               2 s             primary timed out\n\
             unused    disabled  disconnected  ?                  ?\n"
        );
    }

    #[test]
    fn a_program_that_keeps_ending_shows_why_and_when_it_is_started_again() {
        let mut down = crate::tests::server("files");
        down.connection_state = ConnectionState::Error;
        down.restarts = 4;
        down.next_reconnect_at = Some("2026-01-01T00:00:04Z".into());
        for (key, fact) in [
            ("ended", "the server process ended: exit status 1; stderr: KeyError: 'TOKEN'"),
            ("last_pid", "4711"),
            ("stderr", "starting\nTraceback:\n  main.py line 3\nKeyError: 'TOKEN'\u{1b}[2J"),
        ] {
            down.details.insert(key.into(), fact.into());
        }
        // One that is back is a matter of the past.
        let mut up = crate::tests::server("time");
        (up.connection_state, up.restarts) = (ConnectionState::Connected, 1);
        up.details.insert("stderr".into(), "ready".into());
        let list = ServerList { items: vec![down, up], adapter_controls_available: false };
        let now = "2026-01-01T00:00:00Z".parse().ok();
        let seen = (Answer { body: list, text: String::new(), now, request_id: None }, None);
        assert_eq!(
            text(&screen(&seen, "http://h:1", None)),
            "mcp-gateway at http://h:1 · 2 servers, 2 healthy\n\
             \n\
             SERVER  STATUS   CONNECTION  PROTOCOL  TOOLS  RETRY IN  RESTARTS  LAST ERROR\n\
             files   healthy  error       ?         ?      4 s       4         the server process ended: exit status 1; stderr: KeyError: 'TOKEN'\n\
             time    healthy  connected   ?         ?                1\n\
             \n\
             files said last:\n  \
             Traceback:\n    \
             main.py line 3\n  \
             KeyError: 'TOKEN'\\u{1b}[2J\n"
        );
    }

    #[test]
    fn an_empty_gateway_is_one_line() {
        let list = ServerList { items: Vec::new(), adapter_controls_available: false };
        let seen = (Answer { body: list, text: String::new(), now: None, request_id: None }, None);
        assert_eq!(text(&screen(&seen, "http://h:1", None)), "mcp-gateway at http://h:1 · 0 servers\n");
    }
}
