//! `servers`: the registry.

use mcp_api_types::{Mark, MarkServer, RegisterServer, Server, ServerList, Status};
use serde_json::{Map, Value};

use super::manage;
use crate::{
    args::{AddArgs, ForceArgs, GlobalArgs, MarkArgs, MarkAs, ServersCommand},
    arguments,
    client::{Answer, Client},
    direct::split_command,
    exit::{Error, Exit},
    output::Output,
    render::{millis, until, word},
    table::Table,
    text::{Line, Span, Style},
};

pub(crate) async fn run(
    command: Option<ServersCommand>,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    match command.unwrap_or(ServersCommand::List) {
        ServersCommand::List => {
            let answer = output.wait("asking the gateway", client.get(&["servers"], &[])).await?;
            show_all(&answer, global, output)?;
            Ok(Exit::Ok)
        }
        ServersCommand::Get { name } => {
            let answer = output.wait("asking the gateway", client.get(&["servers", &name], &[])).await?;
            show_one(&answer, global, output)?;
            Ok(Exit::Ok)
        }
        ServersCommand::Add(args) => {
            let request = registration("add", &args, global)?;
            let answer = output.wait("registering", client.post(&["servers"], &request)).await?;
            show_one(&answer, global, output)?;
            Ok(Exit::Ok)
        }
        ServersCommand::Update(args) => {
            let request = registration("update", &args, global)?;
            let answer = output.wait("replacing", client.put(&["servers", &args.name], &request)).await?;
            show_one(&answer, global, output)?;
            Ok(Exit::Ok)
        }
        ServersCommand::Remove { name } => {
            output.wait("removing", client.delete(&["servers", &name])).await?;
            if !global.json {
                output.note(&[Span::faint(format!("removed {name}"))])?;
            }
            Ok(Exit::Ok)
        }
        ServersCommand::Check { name, force } => {
            let healthy = |server: &Server| server.status == Status::Healthy;
            act(&client, name.as_deref(), "health-check", force, healthy, global, output).await
        }
        ServersCommand::Health { name } => {
            manage::health(name.as_deref(), &client, global, output).await?;
            Ok(Exit::Ok)
        }
        ServersCommand::Mark(MarkArgs { name, mark, reason }) => {
            let mark = match mark {
                MarkAs::Healthy => Mark::Healthy,
                MarkAs::Degraded => Mark::Degraded,
                MarkAs::Unavailable => Mark::Unavailable,
            };
            let (path, body) = (["servers", &name, "mark"], MarkServer { mark, reason });
            let answer = output.wait("marking", client.post(&path, &body)).await?;
            show_one(&answer, global, output)?;
            Ok(Exit::Ok)
        }
        ServersCommand::Capabilities { name } => {
            manage::capabilities(&name, &client, global, output).await?;
            Ok(Exit::Ok)
        }
        ServersCommand::Stats => {
            manage::stats(&client, global, output).await?;
            Ok(Exit::Ok)
        }
        ServersCommand::Initialize(ForceArgs { name, force }) => {
            act(&client, name.as_deref(), "initialize", force, |s| s.initialized, global, output).await
        }
        ServersCommand::Connect(ForceArgs { name, force }) => {
            act(&client, name.as_deref(), "connect", force, |s| s.initialized, global, output).await
        }
        ServersCommand::Disconnect { name } => {
            act(&client, Some(&name), "disconnect", false, |_| true, global, output).await
        }
        ServersCommand::Reconnect { name } => {
            act(&client, Some(&name), "reconnect", false, |s| s.initialized, global, output).await
        }
        ServersCommand::Refresh { name } => {
            let listed = |server: &Server| server.initialized && server.tools.is_some();
            act(&client, name.as_deref(), "refresh-tools", false, listed, global, output).await
        }
    }
}

/// Makes the gateway do `action` to one server or all, and fails unless each enabled one is `good` after it.
async fn act(
    client: &Client,
    name: Option<&str>,
    action: &str,
    force: bool,
    good: impl Fn(&Server) -> bool,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let query: Vec<_> = force.then(|| ("force", force.to_string())).into_iter().collect();
    let all_good = match name {
        Some(name) => {
            let path = ["servers", name, action];
            let work = client.act::<Server>(&path, &query);
            let answer = output.wait(&format!("{action} {name}"), work).await?;
            show_one(&answer, global, output)?;
            good(&answer.body)
        }
        None => {
            let path = ["servers", action];
            let work = client.act::<ServerList>(&path, &query);
            let answer = output.wait(&format!("{action} of all servers"), work).await?;
            show_all(&answer, global, output)?;
            answer.body.items.iter().filter(|server| server.enabled).all(good)
        }
    };
    Ok(if all_good { Exit::Ok } else { Exit::Failed })
}

/// What `servers add` and `servers update` send.
fn registration(verb: &str, args: &AddArgs, global: &GlobalArgs) -> Result<RegisterServer, Error> {
    // `--url` is what many would write here for the server's own.
    let hint = if global.names_gateway() {
        format!("\n--url is the gateway's address; write: servers {verb} {} URL", args.name)
    } else {
        String::new()
    };
    let (url, settings) = match (&args.command, args.words.split_first()) {
        (Some(_), _) => (None, &args.words[..]),
        (None, Some((url, settings))) if url.contains("://") => (Some(url.clone()), settings),
        (None, Some((word, _))) => {
            return Err(Error::Usage(format!("{word:?} is no URL; a server needs one, or --command{hint}")));
        }
        (None, None) => return Err(Error::Usage(format!("a URL or --command is needed{hint}"))),
    };
    let settings = arguments::parse(settings).map_err(Error::Usage)?;
    let mut rest: Map<String, Value> =
        serde_json::from_str(settings.get()).map_err(|error| Error::Usage(error.to_string()))?;
    if let Some(key) = ["name", "url", "command", "args"].into_iter().find(|key| rest.contains_key(*key)) {
        return Err(Error::Usage(format!(
            "{key} is no setting here: a server is given as NAME URL, or as NAME with --command"
        )));
    }
    if let Some(command) = &args.command {
        let (program, words) = split_command(command)?;
        rest.insert("command".to_owned(), program.into());
        rest.insert("args".to_owned(), words.into());
    }
    Ok(RegisterServer { name: args.name.clone(), url, rest })
}

fn show_all(answer: &Answer<ServerList>, global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    if global.json {
        output.json(&answer.text)?;
    } else if answer.body.items.is_empty() {
        output.note(&[Span::faint("no servers are registered; see `mcp-gateway servers add --help`")])?;
    } else {
        output.table(&list(&answer.body.items))?;
    }
    Ok(())
}

fn show_one(answer: &Answer<Server>, global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    if global.json {
        output.json(&answer.text)?;
    } else {
        output.lines(&details(answer))?;
    }
    Ok(())
}

fn list(servers: &[Server]) -> Table {
    let mut table = Table::new(["NAME", "STATUS", "TRANSPORT", "GROUP", "PRIORITY", "URL", "LAST ERROR"]);
    for server in servers {
        table.row([
            Span::new(Style::Strong, &server.name),
            status(server),
            Span::plain(word(&server.transport)),
            Span::plain(server.group.as_deref().unwrap_or_default()),
            Span::plain(server.priority.map(|priority| priority.to_string()).unwrap_or_default()),
            Span::plain(server.url.as_deref().unwrap_or_default()),
            Span::plain(server.last_error.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

/// The status of a server, in its colour.
pub(crate) fn status(server: &Server) -> Span {
    if !server.enabled {
        return Span::faint("disabled");
    }
    let style = match server.status {
        Status::Healthy => Style::Good,
        Status::Degraded => Style::Doubtful,
        Status::Unreachable => Style::Bad,
    };
    Span::new(style, word(&server.status))
}

/// Everything known about one server, one fact a line.
fn details(answer: &Answer<Server>) -> Vec<Line> {
    let server = &answer.body;
    let text = |text: &Option<String>| Span::plain(text.as_deref().unwrap_or_default());
    let mut facts = vec![
        ("name", Span::new(Style::Strong, &server.name)),
        ("status", status(server)),
        ("connection", Span::plain(word(&server.connection_state))),
        ("transport", Span::plain(word(&server.transport))),
        ("url", text(&server.url)),
        ("group", text(&server.group)),
        ("priority", Span::plain(server.priority.map(|priority| priority.to_string()).unwrap_or_default())),
        ("era", Span::plain(word(&server.era))),
        ("protocol", text(&server.protocol_version)),
        ("initialized", Span::plain(if server.initialized { "yes" } else { "no" })),
        ("initialized at", text(&server.last_initialized_at)),
        ("expires at", text(&server.initialization_expires_at)),
        ("checked at", text(&server.last_checked_at)),
        ("latency", Span::plain(server.response_time_ms.map(millis).unwrap_or_default())),
        (
            "last error",
            match (&server.last_error, &server.last_error_category) {
                (Some(error), Some(category)) => Span::plain(format!("{error} ({})", word(category))),
                (error, _) => text(error),
            },
        ),
        ("delivery", Span::plain(server.last_error_delivery.as_ref().map(word).unwrap_or_default())),
        (
            "retry in",
            Span::plain(server.next_retry_at.as_ref().map(|at| until(at, answer.now)).unwrap_or_default()),
        ),
        (
            "restarts",
            Span::plain(
                Some(server.restarts)
                    .filter(|&count| count > 0)
                    .map(|count| count.to_string())
                    .unwrap_or_default(),
            ),
        ),
        (
            "reconnects in",
            Span::plain(
                server.next_reconnect_at.as_ref().map(|at| until(at, answer.now)).unwrap_or_default(),
            ),
        ),
        (
            "error rate",
            Span::plain(server.error_rate.map(|rate| format!("{:.0} %", rate * 100.0)).unwrap_or_default()),
        ),
        ("tools", Span::plain(server.tools.as_ref().map(|tools| tools.join(", ")).unwrap_or_default())),
    ];
    if let Some(stats) = &server.stats {
        let mut traffic = format!("{} requests, {} errors", stats.requests_sent, stats.errors_count);
        if let Some(latency) = stats.average_latency {
            traffic.push_str(&format!(", {} on average", millis(latency * 1000.0)));
        }
        facts.push(("traffic", Span::plain(traffic)));
    }
    for (key, fact) in &server.details {
        // Lines of stderr stay lines.
        for (index, line) in fact.lines().enumerate() {
            facts.push((if index == 0 { key } else { "" }, Span::plain(line)));
        }
    }
    lines_of(facts)
}

/// One fact a line; those that are empty are left out.
pub(crate) fn lines_of<'a>(facts: impl IntoIterator<Item = (&'a str, Span)>) -> Vec<Line> {
    let said = facts.into_iter().filter(|(_, fact)| !fact.text().is_empty());
    said.map(|(key, fact)| vec![Span::faint(format!("{key:<16}")), fact]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::DEFAULT_URL;
    use crate::table::text;

    fn add(command: Option<&str>, words: &[&str]) -> AddArgs {
        AddArgs {
            name: "a".into(),
            words: words.iter().map(|&word| word.into()).collect(),
            command: command.map(Into::into),
        }
    }

    fn global() -> GlobalArgs {
        GlobalArgs { url: DEFAULT_URL.to_owned(), api_key: None, json: false, no_color: true }
    }

    #[test]
    fn a_url_given_as_the_address_of_the_gateway_is_explained() {
        let global = GlobalArgs { url: "http://127.0.0.1:9/mcp".to_owned(), ..global() };
        for (args, told) in [
            (add(None, &[]), "a URL or --command is needed\n"),
            (add(None, &["group=g"]), "\"group=g\" is no URL; a server needs one, or --command\n"),
        ] {
            assert_eq!(
                registration("add", &args, &global).unwrap_err().to_string(),
                format!("{told}--url is the gateway's address; write: servers add a URL")
            );
        }
    }

    #[test]
    fn words_become_a_registration() {
        for (args, json) in [
            (add(None, &["http://h/mcp"]), r#"{"name":"a","url":"http://h/mcp"}"#),
            (
                add(None, &["http://h/mcp", "group=g", "priority=50"]),
                r#"{"name":"a","url":"http://h/mcp","group":"g","priority":50}"#,
            ),
            (
                add(Some("uvx mcp-server-time"), &["timeout_ms=5"]),
                r#"{"name":"a","args":["mcp-server-time"],"command":"uvx","timeout_ms":5}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&registration("add", &args, &global()).unwrap()).unwrap(), json);
        }
        for wrong in [
            add(None, &[]),
            add(None, &["http://h/mcp", "group"]),
            add(None, &["http://h/mcp", "name=b"]),
            add(None, &["group=g"]),
            add(None, &["http://h/mcp", "command=npx"]),
            add(Some("npx"), &["url=http://h/"]),
            add(Some("npx"), &["args=[]"]),
            add(Some("npx"), &["http://h/mcp"]),
        ] {
            assert!(matches!(registration("add", &wrong, &global()), Err(Error::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn servers_are_a_table_and_one_is_a_list_of_facts() {
        let mut server = crate::tests::server("search-a");
        server.group = Some("search".into());
        let mut down = crate::tests::server("time");
        down.status = Status::Unreachable;
        down.last_error = Some("connection refused\u{1b}[2J".into());
        assert_eq!(
            text(&list(&[server.clone(), down.clone()]).lines(None)),
            "NAME      STATUS       TRANSPORT  GROUP   URL               LAST ERROR\n\
             search-a  healthy      http       search  http://search-a/\n\
             time      unreachable  http               http://time/      connection refused\\u{1b}[2J\n"
        );
        down.next_retry_at = Some("2026-01-01T00:00:04Z".into());
        down.last_error_delivery = Some(mcp_api_types::Delivery::Unknown);
        (down.restarts, down.error_rate) = (3, Some(0.25));
        down.next_reconnect_at = Some("2026-01-01T00:00:08Z".into());
        down.details.insert("stderr".into(), "one\ntwo".into());
        let now = "2026-01-01T00:00:00Z".parse().ok();
        assert_eq!(
            text(&details(&Answer { body: down, text: String::new(), now, request_id: None })),
            "name            time\n\
             status          unreachable\n\
             connection      disconnected\n\
             transport       http\n\
             url             http://time/\n\
             era             unknown\n\
             initialized     no\n\
             last error      connection refused\\u{1b}[2J\n\
             delivery        unknown\n\
             retry in        4 s\n\
             restarts        3\n\
             reconnects in   8 s\n\
             error rate      25 %\n\
             stderr          one\n                \
             two\n"
        );
    }
}
