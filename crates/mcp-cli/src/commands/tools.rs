//! `tools`: what the servers offer.

use mcp_api_types::ServerTools;
use serde::Deserialize;

use crate::{
    args::{GlobalArgs, ToolsArgs},
    client::Client,
    direct::Direct,
    exit::{Error, Exit},
    output::Output,
    table::Table,
    text::{Span, Style},
};

/// What the table shows of a tool.
#[derive(Deserialize)]
struct Tool {
    name: String,
    title: Option<String>,
    description: Option<String>,
}

pub(crate) async fn run(
    args: &ToolsArgs,
    global: &GlobalArgs,
    direct: &dyn Direct,
    output: &mut Output,
) -> Result<Exit, Error> {
    let what = "asking for tools";
    let (mut tools, mut text) = match args.direct.target()? {
        Some(target) => (output.wait(what, direct.tools(&target)).await?, None),
        None => {
            let client = Client::new(global)?;
            let answer = output.wait(what, client.get::<ServerTools>(&["server-tools"], &[])).await?;
            (answer.body, Some(answer.text))
        }
    };
    if !args.server.is_empty() {
        if let Some(unknown) = args.server.iter().find(|name| !tools.contains_key(*name)) {
            return Err(Error::Refused { status: 404, detail: format!("there is no server {unknown:?}") });
        }
        tools.retain(|name, _| args.server.contains(name));
        text = None;
    }
    if global.json {
        let text = match text {
            Some(text) => text,
            None => serde_json::to_string(&tools).map_err(|error| Error::Answer(error.to_string()))?,
        };
        output.json(&text)?;
    } else if tools.is_empty() {
        output.note(&[Span::faint("no servers are registered")])?;
    } else {
        output.table(&table(&tools))?;
    }
    Ok(Exit::Ok)
}

fn table(tools: &ServerTools) -> Table {
    let mut table = Table::new(["SERVER", "TOOL", "DESCRIPTION"]);
    for (server, tools) in tools {
        let server = Span::plain(server);
        match tools.as_deref() {
            None => table.row([server, Span::new(Style::Doubtful, "?"), Span::faint("tools not known yet")]),
            Some([]) => table.row([server, Span::faint("–"), Span::faint("no tools")]),
            Some(tools) => {
                for tool in tools {
                    match serde_json::from_str::<Tool>(tool.get()) {
                        Ok(tool) => {
                            let about = tool.description.or(tool.title).unwrap_or_default();
                            let first = about.trim().lines().next().unwrap_or_default();
                            table.row([
                                server.clone(),
                                Span::new(Style::Strong, tool.name),
                                Span::plain(first),
                            ]);
                        }
                        Err(_) => table.row([
                            server.clone(),
                            Span::new(Style::Bad, "?"),
                            Span::faint("a tool without a name"),
                        ]),
                    }
                }
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::text;

    #[test]
    fn the_table_shows_what_is_known() {
        let tools: ServerTools = serde_json::from_str(
            r#"{"a":[{"name":"add","description":"\n Adds two numbers.\nReally."},{"name":"sub","title":"Subtract"},{}],
                "b":[],"c":null}"#,
        )
        .unwrap();
        assert_eq!(
            text(&table(&tools).lines(Some(31))),
            "SERVER  TOOL  DESCRIPTION\n\
             a       add   Adds two numbers.\n\
             a       sub   Subtract\n\
             a       ?     a tool without a…\n\
             b       –     no tools\n\
             c       ?     tools not known …\n"
        );
    }
}
