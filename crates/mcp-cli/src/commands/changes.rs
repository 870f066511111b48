//! `changes`: tools whose definitions have changed, and approving them.

use mcp_api_types::{ApproveTool, ItemList, ToolChange};

use crate::{
    args::{ChangesCommand, GlobalArgs},
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    table::Table,
    text::{Span, Style},
};

/// Digits of a digest that are shown: enough to tell definitions of one tool apart.
const SHOWN_DIGITS: usize = 12;

pub(crate) async fn run(
    command: Option<ChangesCommand>,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    match command.unwrap_or(ChangesCommand::List { server: None, pending: false }) {
        ChangesCommand::List { server, pending } => {
            let answer = ask(server, pending, &client, output).await?;
            if global.json {
                output.json(&answer.text)?;
            } else if answer.body.items.is_empty() {
                output.note(&[Span::faint("no tool has changed")])?;
            } else {
                output.table(&table(&answer.body.items))?;
            }
        }
        ChangesCommand::Approve { server, tool, digest } => {
            let known = ask(Some(server.clone()), true, &client, output).await?.body.items;
            let Some(change) = known.into_iter().find(|change| change.tool == tool) else {
                let detail = format!("tool {tool:?} of {server} is not known to have changed");
                return Err(Error::Refused { status: 404, detail });
            };
            let now = change.current.digest;
            if digest.is_some_and(|digest| !now.starts_with(&digest)) {
                let detail = format!("tool {tool:?} of {server} is {now} by now");
                return Err(Error::Refused { status: 409, detail });
            }
            let request = ApproveTool { server, tool, digest: now };
            let approved = client.post(&["tool-changes", "approve"], &request);
            let answer: Answer<Option<ToolChange>> = output.wait("approving", approved).await?;
            if global.json {
                output.json(&answer.text)?;
            } else {
                let ApproveTool { server, tool, digest } = request;
                output.note(&[Span::faint(format!("approved {tool} of {server} as {digest}"))])?;
            }
        }
    }
    Ok(Exit::Ok)
}

async fn ask(
    server: Option<String>,
    pending: bool,
    client: &Client,
    output: &mut Output,
) -> Result<Answer<ItemList<ToolChange>>, Error> {
    let mut query: Vec<_> = server.into_iter().map(|server| ("server", server)).collect();
    query.extend(pending.then(|| ("pending", "true".to_owned())));
    output.wait("asking the gateway", client.get(&["tool-changes"], &query)).await
}

fn table(changes: &[ToolChange]) -> Table {
    let mut table = Table::new(["SERVER", "TOOL", "STATE", "CHANGED AT", "VERSIONS", "DIGEST"]);
    for change in changes {
        let (style, state) = match (change.withheld, change.pending) {
            (true, _) => (Style::Bad, "withheld"),
            (false, true) => (Style::Doubtful, "pending"),
            (false, false) => (Style::Good, "approved"),
        };
        table.row([
            Span::plain(&change.server),
            Span::new(Style::Strong, &change.tool),
            Span::new(style, state),
            Span::plain(&change.current.since),
            Span::plain((change.earlier.len() + 1).to_string()),
            Span::plain(change.current.digest.chars().take(SHOWN_DIGITS).collect::<String>()),
        ]);
    }
    table
}
