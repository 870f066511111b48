//! `call`: one tool, through a gateway or without one.

use mcp_api_types::{CallOnServer, InvocationFailure, InvocationResult, InvokeTool, ServerList};
use mcp_config::process_env;

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
    let what = format!("calling {}", args.tool);
    if let Some(target) = args.direct.target()? {
        let done = output.wait(&what, direct.call(&target, request(args)?)).await;
        return match from_direct(done)? {
            Ok((result, json)) => served(&result, &json, global.json, output),
            Err((failure, json)) => failed(&failure, false, &json, global.json, output),
        };
    }
    let client = Client::new(global)?;
    let outcome = match &args.on {
        Some(server) => {
            let path = ["servers", server, "tools", &args.tool, "call"];
            output.wait(&what, client.call(&path, &directed(args)?, args.timeout)).await?
        }
        None => {
            let call = request(args)?;
            output.wait(&what, client.call(&["invoke", "tool"], &call, args.timeout)).await?
        }
    };
    if !args.server.is_empty()
        && outcome.as_ref().map_or(true, |answer| !args.server.contains(&answer.body.server))
    {
        warn_of_unknown(&args.server, &client, output).await?;
    }
    match outcome {
        Ok(answer) => served(&answer.body, &answer.text, global.json, output),
        Err(answer) => {
            let exit = failed(&answer.body, args.on.is_some(), &answer.text, global.json, output)?;
            if let Some(id) = answer.request_id {
                let gateway =
                    if global.names_gateway() { format!(" --url {}", client.url()) } else { String::new() };
                output.note(&[Span::faint(format!("to see why: mcp-gateway why {id}{gateway}"))])?;
            }
            Ok(exit)
        }
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
    request.user_context = args.user.context(&process_env)?;
    request.preferred_servers = (!args.server.is_empty()).then(|| args.server.clone());
    request.preferred_only = args.only;
    request.group.clone_from(&args.group);
    request.idempotent = args.idempotent;
    request.timeout_ms = args.timeout;
    Ok(request)
}

/// The same for the one server of `--on`.
fn directed(args: &CallArgs) -> Result<CallOnServer, Error> {
    Ok(CallOnServer {
        parameters: arguments::parse(&args.arguments).map_err(Error::Usage)?,
        user_context: args.user.context(&process_env)?,
        idempotent: args.idempotent,
        timeout_ms: args.timeout,
    })
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
    directed: bool,
    json: &str,
    as_json: bool,
    output: &mut Output,
) -> Result<Exit, Error> {
    if as_json {
        output.json(json)?;
    } else {
        output.error(&render::failure(&failure.detail, directed))?;
        if !failure.detail.attempts.is_empty() {
            output.note_table(&render::attempts(&failure.detail.attempts))?;
        }
    }
    Ok(Exit::Failed)
}
