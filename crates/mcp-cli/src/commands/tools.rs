//! `tools`: what the servers offer.

use std::collections::HashMap;

use mcp_api_types::{ExposedKind, ExposedList, ServerTools};
use serde::Deserialize;

use crate::{
    args::{GlobalArgs, ShownArgs, ToolsArgs},
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
    if args.exposed || args.view.is_some() {
        let args = ShownArgs { server: args.server.clone(), view: args.view.clone() };
        return super::exposed::show("TOOL", &[ExposedKind::Tool], &args, global, output).await;
    }
    let what = "asking for tools";
    let mut names = Names::default();
    let (mut tools, mut text) = match args.direct.target()? {
        Some(target) => (output.wait(what, direct.tools(&target)).await?, None),
        None => {
            let client = Client::new(global)?;
            let answer = output.wait(what, client.get::<ServerTools>(&["server-tools"], &[])).await?;
            if !global.json {
                names = exposed_names(&client, output).await;
            }
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
        output.table(&table(&tools, &names))?;
    }
    Ok(Exit::Ok)
}

/// By server and tool, the name clients of the gateway use.
type Names = HashMap<(String, String), String>;

/// Without an answer the table just has fewer columns: an older gateway knows nothing of it.
async fn exposed_names(client: &Client, output: &mut Output) -> Names {
    let query = [("kind", ExposedKind::Tool.as_str().to_owned())];
    let asked = client.get::<ExposedList>(&["exposed"], &query);
    let Ok(answer) = output.wait("asking for names", asked).await else { return Names::default() };
    let shown = answer.body.items.into_iter().filter(|entry| entry.hidden.is_none());
    let names = shown.flat_map(|entry| {
        let (name, exposed) = (entry.name, entry.exposed);
        entry.servers.into_iter().map(move |server| ((server, name.clone()), exposed.clone()))
    });
    names.collect()
}

fn table(tools: &ServerTools, names: &Names) -> Table {
    let mut table = Table::new(["SERVER", "TOOL", "CLIENTS SEE", "DESCRIPTION"]);
    for (name, tools) in tools {
        let server = Span::plain(name);
        match tools.as_deref() {
            None => table.row([
                server,
                Span::new(Style::Doubtful, "?"),
                Span::plain(""),
                Span::faint("tools not known yet"),
            ]),
            Some([]) => table.row([server, Span::faint("–"), Span::plain(""), Span::faint("no tools")]),
            Some(tools) => {
                for tool in tools {
                    match serde_json::from_str::<Tool>(tool.get()) {
                        Ok(tool) => {
                            let about = tool.description.or(tool.title).unwrap_or_default();
                            let first = about.trim().lines().next().unwrap_or_default();
                            let exposed = names.get(&(name.clone(), tool.name.clone()));
                            table.row([
                                server.clone(),
                                Span::new(Style::Strong, tool.name),
                                Span::plain(exposed.map(String::as_str).unwrap_or_default()),
                                Span::plain(first),
                            ]);
                        }
                        Err(_) => table.row([
                            server.clone(),
                            Span::new(Style::Bad, "?"),
                            Span::plain(""),
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
            text(&table(&tools, &Names::new()).lines(Some(31))),
            "SERVER  TOOL  DESCRIPTION\n\
             a       add   Adds two numbers.\n\
             a       sub   Subtract\n\
             a       ?     a tool without a…\n\
             b       –     no tools\n\
             c       ?     tools not known …\n"
        );
    }
}
