//! `tools/call`

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{ErrorCode, Method, Notification, RawJson, Request, RpcError};
use serde::Deserialize;
use serde_json::{Number, Value, json};
use tokio::time::timeout;

use crate::answer::{Answer, Outcome, invalid_params, raw};
use crate::ask::Question;
use crate::caller::Caller;
use crate::demo::{Demo, Step, Turn};
use crate::params::required_params;
use crate::resources::COUNTER;
use crate::slow::Slow;
use crate::tools::Tool;

/// How long a client may think about a request of ours.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most tools that may be added.
const MOST_ADDED: usize = 32;
/// The answer's place in `inputRequests` and `inputResponses`.
const INPUT: &str = "input";

/// The params of `tools/call`; what a revision does not have is ignored there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallParams {
    name: String,
    #[serde(default)]
    arguments: Option<RawJson>,
    #[serde(default)]
    input_responses: Option<BTreeMap<String, RawJson>>,
    #[serde(default)]
    request_state: Option<String>,
}

#[derive(Deserialize)]
struct Echo {
    message: String,
}

#[derive(Deserialize)]
struct Addends {
    a: Number,
    b: Number,
}

#[derive(Deserialize)]
struct Fault {
    code: Option<i64>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Region {
    region: String,
}

#[derive(Deserialize)]
struct Ask {
    question: Option<String>,
}

#[derive(Deserialize)]
struct Log {
    level: Option<LogLevel>,
    message: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Exit {
    status: Option<u8>,
}

impl Demo {
    pub(crate) fn call_tool(self: &Arc<Self>, turn: Turn, request: &Request) -> Step {
        let params: CallParams = match required_params(request) {
            Ok(params) => params,
            Err(error) => return Step::Done(Err(error)),
        };
        if !self.lock().tools.iter().any(|tool| tool.name == params.name) {
            return Step::Done(Err(invalid_params(&format!("unknown tool {:?}", params.name))));
        }
        let arguments = params.arguments.clone().unwrap_or_else(RawJson::empty_object);
        if arguments.members().is_err() {
            return Step::Done(Err(invalid_params("arguments must be an object")));
        }
        match self.run(turn, &params, &arguments) {
            Ok(step) => step,
            // Since 2025-11-25 a model gets to see what was wrong with its arguments.
            Err(BadArguments(text)) => Step::Done(Ok(Answer::tool_error(text))),
        }
    }

    fn run(
        self: &Arc<Self>,
        turn: Turn,
        params: &CallParams,
        arguments: &RawJson,
    ) -> Result<Step, BadArguments> {
        if let Some(question) = Question::of_tool(&params.name) {
            let ask: Ask = read(arguments)?;
            let text = ask.question.unwrap_or_else(|| "What is your answer?".to_owned());
            return Ok(if turn.caller.is_stateless() {
                Step::Done(self.ask_by_result(&turn.caller, question, &text, params, arguments))
            } else {
                ask_by_request(&turn, question, &text)
            });
        }
        let answer = match params.name.as_str() {
            "echo" => Answer::text(read::<Echo>(arguments)?.message),
            "add" => {
                let Addends { a, b } = read(arguments)?;
                let sum = add(&a, &b).ok_or_else(|| BadArguments("the sum is too large".into()))?;
                Answer::structured(json!({ "sum": sum }), &turn.caller)
            }
            "whoami" => Answer::structured(self.describe_self(&turn.caller), &turn.caller),
            "fail" => {
                let message = read::<Fault>(arguments)?.message;
                Answer::tool_error(message.unwrap_or_else(|| "failed as asked".to_owned()))
            }
            "rpc_error" => {
                let Fault { code, message } = read(arguments)?;
                let code = code.map_or(ErrorCode::INTERNAL_ERROR, ErrorCode);
                let message = message.unwrap_or_else(|| "an error as asked".to_owned());
                return Ok(Step::Done(Err(RpcError::new(code, &message))));
            }
            "slow" => {
                let slow = Slow::of(&read(arguments)?).map_err(BadArguments)?;
                return Ok(Step::Waits(slow.run(turn).boxed()));
            }
            "route" => Answer::text(format!("routed to {}", read::<Region>(arguments)?.region)),
            "log" => log(&turn, &read(arguments)?),
            "increment" => {
                let counter = self.increment();
                self.resource_updated(COUNTER);
                Answer::text(counter.to_string())
            }
            "add_tool" => self.add_tool(read(arguments)?)?,
            "remove_tool" => self.remove_tool(&read(arguments)?)?,
            "crash" => {
                let status = read::<Exit>(arguments)?.status.unwrap_or(1);
                self.crash(status);
                return Ok(Step::Waits(pending().boxed()));
            }
            added => Answer::text(format!("this is {added}")),
        };
        Ok(Step::Done(Ok(answer)))
    }

    fn describe_self(&self, caller: &Caller) -> Value {
        json!({
            "server": self.identity.name,
            "pid": std::process::id(),
            "era": caller.era().to_string(),
            "revision": caller.version,
        })
    }

    fn increment(&self) -> u64 {
        let mut state = self.lock();
        state.counter = state.counter.wrapping_add(1);
        state.counter
    }

    fn add_tool(&self, Name { name }: Name) -> Result<Answer, BadArguments> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
            return Err(BadArguments("a tool name has 1 to 64 characters of [A-Za-z0-9_-]".into()));
        }
        let mut state = self.lock();
        if state.tools.iter().any(|tool| tool.name == name) {
            return Err(BadArguments(format!("there is a tool {name:?} already")));
        }
        if added_from(&state.tools) + MOST_ADDED <= state.tools.len() {
            return Err(BadArguments(format!("at most {MOST_ADDED} tools can be added")));
        }
        state.tools.push(Tool::added(&name));
        drop(state);
        self.tools_changed();
        Ok(Answer::text(format!("added {name}")))
    }

    fn remove_tool(&self, Name { name }: &Name) -> Result<Answer, BadArguments> {
        let mut state = self.lock();
        let added = added_from(&state.tools);
        let at = state.tools[added..].iter().position(|tool| tool.name == *name);
        let at = at.ok_or_else(|| BadArguments(format!("no tool {name:?} was added")))?;
        state.tools.remove(added + at);
        drop(state);
        self.tools_changed();
        Ok(Answer::text(format!("removed {name}")))
    }

    /// Stateless era: the result says what is needed, the client comes back with it (§3.5).
    fn ask_by_result(
        &self,
        caller: &Caller,
        question: Question,
        text: &str,
        params: &CallParams,
        arguments: &RawJson,
    ) -> Outcome {
        if !question.is_offered_by(caller) {
            let data = raw(&json!({ "requiredCapabilities": question.capabilities() }));
            let text = format!("this tool needs a client that offers {}", question.method());
            return Err(RpcError::with_data(ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY, &text, &data));
        }
        let call = arguments.as_str();
        if let Some(state) = &params.request_state {
            if !self.seal.accepts(self.now(), &params.name, call, state) {
                return Err(invalid_params("requestState is expired or not of this call"));
            }
            let answer = params.input_responses.as_ref().and_then(|answers| answers.get(INPUT));
            if let Some(answer) = answer {
                return question.conclude(answer);
            }
        }
        let mut input = json!({ "method": question.method().as_str() });
        if let Some(params) = question.params(text, caller.version) {
            input["params"] = params;
        }
        Ok(Answer::new(json!({
            "resultType": "input_required",
            "inputRequests": { INPUT: input },
            "requestState": self.seal.issue(self.now(), &params.name, call),
        })))
    }
}

/// Handshake era: a request of ours to the client, on the stream of the call.
fn ask_by_request(turn: &Turn, question: Question, text: &str) -> Step {
    if !question.is_offered_by(&turn.caller) {
        let text = format!("this client does not offer {}", question.method());
        return Step::Done(Ok(Answer::tool_error(text)));
    }
    let params = question.params(text, turn.caller.version).map(|params| raw(&params));
    let asked = turn.outlet.ask(question.method(), params);
    let conclude = async move {
        match timeout(PATIENCE, asked).await {
            Ok(Ok(result)) => question.conclude(&result),
            Ok(Err(error)) => Ok(question.refused(&error)),
            Err(_) => Ok(Answer::tool_error(format!("the client did not answer {}", question.method()))),
        }
    };
    Step::Waits(conclude.boxed())
}

/// Where the built-in tools end.
fn added_from(tools: &[Tool]) -> usize {
    tools.iter().take_while(|tool| !tool.is_added()).count()
}

/// Arguments that do not fit the tool. The text is for the model.
struct BadArguments(String);

fn read<'de, T: Deserialize<'de>>(arguments: &'de RawJson) -> Result<T, BadArguments> {
    serde_json::from_str(arguments.as_str())
        .map_err(|error| BadArguments(format!("invalid arguments: {error}")))
}

fn add(a: &Number, b: &Number) -> Option<Number> {
    let exact = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b));
    exact.map(Number::from).or_else(|| Number::from_f64(a.as_f64()? + b.as_f64()?))
}

fn log(turn: &Turn, log: &Log) -> Answer {
    let level = log.level.unwrap_or(LogLevel::Info);
    if turn.caller.log_level.is_none_or(|least| level < least) {
        return Answer::text("not sent: the client does not want this level");
    }
    let params = raw(&json!({ "level": level, "logger": "demo", "data": log.message }));
    turn.outlet.notify(Notification { method: Method::LogMessage, params: Some(params) });
    Answer::text("sent")
}
