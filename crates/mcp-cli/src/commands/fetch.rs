//! `prompt` and `read`: one prompt or resource, as clients of the gateway get it.

use mcp_api_types::{Fetched, GetPrompt, ReadResource};
use serde::Serialize;

use crate::{
    args::{GlobalArgs, PromptArgs, ReadArgs},
    arguments,
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    render::fetched,
    text::{Line, Span},
};

pub(crate) async fn prompt(
    args: &PromptArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let PromptArgs { name, arguments, view } = args;
    let arguments = arguments::texts(arguments).map_err(Error::Usage)?;
    let request = GetPrompt { name: name.clone(), arguments, view: view.clone() };
    fetch(&["prompts", "get"], &request, &format!("getting {name}"), fetched::messages, global, output).await
}

pub(crate) async fn read(args: &ReadArgs, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    let ReadArgs { uri, view } = args;
    let request = ReadResource { uri: uri.clone(), view: view.clone() };
    fetch(&["resources", "read"], &request, &format!("reading {uri}"), fetched::contents, global, output)
        .await
}

async fn fetch(
    path: &[&str],
    request: &impl Serialize,
    what: &str,
    lines: impl FnOnce(&str) -> Vec<Line>,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    let answer: Answer<Fetched> = output.wait(what, client.post(path, request)).await?;
    if global.json {
        output.json(&answer.text)?;
    } else {
        output.lines(&lines(answer.body.result.get()))?;
        if let Some(id) = answer.body.request_id {
            output.note(&[Span::faint(format!("request {id}"))])?;
        }
    }
    Ok(Exit::Ok)
}
