//! `call`: one tool, through a gateway or without one.

use mcp_api_types::{InvocationFailure, InvocationResult, InvokeTool, ServerList};

use crate::{
    args::{CallArgs, GlobalArgs},
    arguments,
    client::Client,
    direct::{Direct, DirectError},
    exit::{Error, Exit},
    output::Output,
    render,
    text::{Span, Style},
};

/// What came back, and the JSON text of it.
type Outcome = Result<(InvocationResult, String), (InvocationFailure, String)>;

pub(crate) async fn run(
    args: &CallArgs,
    global: &GlobalArgs,
    direct: &dyn Direct,
    output: &mut Output,
) -> Result<Exit, Error> {
    let request = request(args)?;
    let what = format!("calling {}", args.tool);
    let (outcome, client) = match args.direct.target()? {
        Some(target) => {
            let done = output.wait(&what, direct.call(&target, request)).await;
            (from_direct(done)?, None)
        }
        None => {
            let client = Client::new(global)?;
            let outcome = match output.wait(&what, client.invoke(&request)).await? {
                Ok(answer) => Ok((answer.body, answer.text)),
                Err(answer) => Err((answer.body, answer.text)),
            };
            (outcome, Some(client))
        }
    };
    if let Some(client) = client
        && !args.server.is_empty()
        && outcome.as_ref().map_or(true, |(result, _)| !args.server.contains(&result.server))
    {
        warn_of_unknown(&args.server, &client, output).await?;
    }
    match outcome {
        Ok((result, json)) => served(&result, &json, global.json, output),
        Err((failure, json)) => failed(&failure, &json, global.json, output),
    }
}

/// Says which names the gateway does not know: it skips them in a ranking. Asked only when none of them served
/// the call; without an answer nothing is said, since the call itself is done.
async fn warn_of_unknown(names: &[String], client: &Client, output: &mut Output) -> Result<(), Error> {
    let known = output.wait("asking for servers", client.get::<ServerList>(&["servers"], &[])).await;
    let Ok(known) = known else { return Ok(()) };
    for name in names {
        if !known.body.items.iter().any(|server| server.name == *name) {
            output.note(&[
                Span::new(Style::Doubtful, "warning: "),
                Span::plain(format!("no server is named {name:?}")),
            ])?;
        }
    }
    Ok(())
}

fn request(args: &CallArgs) -> Result<InvokeTool, Error> {
    let mut request = InvokeTool::new(&args.tool);
    request.arguments = arguments::parse(&args.arguments).map_err(Error::Usage)?;
    request.preferred_servers = (!args.server.is_empty()).then(|| args.server.clone());
    request.preferred_only = args.only;
    request.group.clone_from(&args.group);
    request.idempotent = args.idempotent;
    request.timeout_ms = args.timeout;
    Ok(request)
}

fn from_direct(done: Result<InvocationResult, DirectError>) -> Result<Outcome, Error> {
    let text = |json: serde_json::Result<String>| json.map_err(|error| Error::Answer(error.to_string()));
    match done {
        Ok(result) => {
            let json = text(serde_json::to_string(&result))?;
            Ok(Ok((result, json)))
        }
        Err(DirectError::Call(failure)) => {
            let json = text(serde_json::to_string(&failure))?;
            Ok(Err((failure, json)))
        }
        Err(error) => Err(error.into()),
    }
}

fn served(result: &InvocationResult, json: &str, as_json: bool, output: &mut Output) -> Result<Exit, Error> {
    let tool = render::ToolResult::read(result.result.get());
    if as_json {
        output.json(json)?;
    } else {
        output.lines(&tool.lines())?;
        if result.attempts.iter().any(|attempt| !attempt.success) {
            output.note_table(&render::attempts(&result.attempts))?;
        }
        output
            .note(&[Span::faint(format!("answered by {}, request {}", result.server, result.request_id))])?;
        if tool.is_error {
            output.error("the tool reports an error")?;
        }
    }
    Ok(if tool.is_error { Exit::Failed } else { Exit::Ok })
}

fn failed(
    failure: &InvocationFailure,
    json: &str,
    as_json: bool,
    output: &mut Output,
) -> Result<Exit, Error> {
    if as_json {
        output.json(json)?;
    } else {
        output.error(&render::failure(&failure.detail))?;
        if !failure.detail.attempts.is_empty() {
            output.note_table(&render::attempts(&failure.detail.attempts))?;
        }
    }
    Ok(Exit::Failed)
}
