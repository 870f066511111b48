//! `tools/call`

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_protocol::logging::LogLevel;
use mcp_protocol::{ErrorCode, Message, Method, Notification, RawJson, Request, RequestId, RpcError};
use serde::Deserialize;
use serde_json::{Number, Value, json};

use crate::answer::{Answer, Outcome, invalid_params, raw};
use crate::ask::Question;
use crate::core::{DemoServer, Effect, Step, Turn, busy};
use crate::params::required_params;
use crate::resources::COUNTER;
use crate::running::{Slow, Work};
use crate::tools::Tool;

/// Longest time `slow` takes.
const LONGEST: Duration = Duration::from_secs(600);
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
struct Pace {
    ms: Option<u64>,
    seconds: Option<f64>,
    steps: Option<u32>,
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

impl DemoServer {
    pub(crate) fn call_tool(&mut self, turn: &Turn<'_>, request: &Request, out: &mut Vec<Effect>) -> Step {
        let params: CallParams = match required_params(request) {
            Ok(params) => params,
            Err(error) => return Step::Done(Err(error)),
        };
        if !self.tools.iter().any(|tool| tool.name == params.name) {
            return Step::Done(Err(invalid_params(&format!("unknown tool {:?}", params.name))));
        }
        let arguments = params.arguments.clone().unwrap_or_else(RawJson::empty_object);
        if arguments.members().is_err() {
            return Step::Done(Err(invalid_params("arguments must be an object")));
        }
        match self.run(turn, &params, &arguments, out) {
            Ok(step) => step,
            // Since 2025-11-25 a model gets to see what was wrong with its arguments.
            Err(BadArguments(text)) => Step::Done(Ok(Answer::tool_error(text))),
        }
    }

    fn run(
        &mut self,
        turn: &Turn<'_>,
        params: &CallParams,
        arguments: &RawJson,
        out: &mut Vec<Effect>,
    ) -> Result<Step, BadArguments> {
        if let Some(question) = Question::of_tool(&params.name) {
            let ask: Ask = read(arguments)?;
            let text = ask.question.unwrap_or_else(|| "What is your answer?".to_owned());
            return Ok(if turn.caller.is_stateless() {
                Step::Done(self.ask_by_result(turn, question, &text, params, arguments))
            } else {
                self.ask_by_request(turn, question, &text, out)
            });
        }
        let answer = match params.name.as_str() {
            "echo" => Answer::text(read::<Echo>(arguments)?.message),
            "add" => {
                let Addends { a, b } = read(arguments)?;
                let sum = add(&a, &b).ok_or_else(|| BadArguments("the sum is too large".into()))?;
                Answer::structured(json!({ "sum": sum }), &turn.caller)
            }
            "whoami" => Answer::structured(self.describe_self(turn), &turn.caller),
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
            "slow" => return self.start_slow(turn, &read(arguments)?),
            "route" => Answer::text(format!("routed to {}", read::<Region>(arguments)?.region)),
            "log" => log(turn, &read(arguments)?, out),
            "increment" => {
                self.counter = self.counter.wrapping_add(1);
                self.resource_updated(COUNTER, out);
                Answer::text(self.counter.to_string())
            }
            "add_tool" => self.add_tool(read(arguments)?, out)?,
            "remove_tool" => self.remove_tool(&read(arguments)?, out)?,
            "crash" => {
                let status = read::<Exit>(arguments)?.status.unwrap_or(1);
                out.push(Effect::Crash { status });
                return Ok(Step::Silent);
            }
            added => Answer::text(format!("this is {added}")),
        };
        Ok(Step::Done(Ok(answer)))
    }

    fn describe_self(&self, turn: &Turn<'_>) -> Value {
        json!({
            "server": self.identity.name,
            "pid": std::process::id(),
            "era": turn.caller.era().to_string(),
            "revision": turn.caller.version,
        })
    }

    fn start_slow(&mut self, turn: &Turn<'_>, pace: &Pace) -> Result<Step, BadArguments> {
        let total = match (pace.ms, pace.seconds) {
            (Some(ms), _) => Duration::from_millis(ms),
            (None, Some(seconds)) => {
                Duration::try_from_secs_f64(seconds).map_err(|error| BadArguments(error.to_string()))?
            }
            (None, None) => Duration::from_secs(1),
        };
        let steps = pace.steps.unwrap_or(5);
        if total > LONGEST || !(1..=1000).contains(&steps) {
            return Err(BadArguments(format!("at most {LONGEST:?}, in 1 to 1000 steps")));
        }
        if !self.has_room(turn.peer) {
            return Ok(Step::Done(Err(busy())));
        }
        Ok(Step::Waits(Work::Slow(Slow { started: turn.now, total, steps, done: 0 })))
    }

    fn add_tool(&mut self, Name { name }: Name, out: &mut Vec<Effect>) -> Result<Answer, BadArguments> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
            return Err(BadArguments("a tool name has 1 to 64 characters of [A-Za-z0-9_-]".into()));
        }
        if self.tools.iter().any(|tool| tool.name == name) {
            return Err(BadArguments(format!("there is a tool {name:?} already")));
        }
        if self.added_from() + MOST_ADDED <= self.tools.len() {
            return Err(BadArguments(format!("at most {MOST_ADDED} tools can be added")));
        }
        self.tools.push(Tool::added(&name));
        self.tools_changed(out);
        Ok(Answer::text(format!("added {name}")))
    }

    fn remove_tool(&mut self, Name { name }: &Name, out: &mut Vec<Effect>) -> Result<Answer, BadArguments> {
        let added = self.added_from();
        let at = self.tools[added..].iter().position(|tool| tool.name == *name);
        let at = at.ok_or_else(|| BadArguments(format!("no tool {name:?} was added")))?;
        self.tools.remove(added + at);
        self.tools_changed(out);
        Ok(Answer::text(format!("removed {name}")))
    }

    /// Where the built-in tools end.
    fn added_from(&self) -> usize {
        self.tools.iter().take_while(|tool| !tool.is_added()).count()
    }

    /// Handshake era: a request of ours to the client, on the stream of the call.
    fn ask_by_request(
        &mut self,
        turn: &Turn<'_>,
        question: Question,
        text: &str,
        out: &mut Vec<Effect>,
    ) -> Step {
        if !question.is_offered_by(&turn.caller) {
            let text = format!("this client does not offer {}", question.method());
            return Step::Done(Ok(Answer::tool_error(text)));
        }
        if !self.has_room(turn.peer) {
            return Step::Done(Err(busy()));
        }
        let ours = self.mint_id();
        let params = question.params(text, turn.caller.version).map(|params| raw(&params));
        let request = Request { id: RequestId::Integer(ours), method: question.method(), params };
        out.push(Effect::Send {
            peer: turn.peer,
            within: Some(turn.id.clone()),
            message: Message::Request(request),
        });
        Step::Waits(Work::Asked { ours, question, due: turn.now + PATIENCE })
    }

    /// Stateless era: the result says what is needed, the client comes back with it (§3.5).
    fn ask_by_result(
        &self,
        turn: &Turn<'_>,
        question: Question,
        text: &str,
        params: &CallParams,
        arguments: &RawJson,
    ) -> Outcome {
        if !question.is_offered_by(&turn.caller) {
            let data = raw(&json!({ "requiredCapabilities": question.capabilities() }));
            let text = format!("this tool needs a client that offers {}", question.method());
            return Err(RpcError::with_data(ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY, &text, &data));
        }
        let call = arguments.as_str();
        if let Some(state) = &params.request_state {
            if !self.seal.accepts(turn.now, &params.name, call, state) {
                return Err(invalid_params("requestState is expired or not of this call"));
            }
            let answer = params.input_responses.as_ref().and_then(|answers| answers.get(INPUT));
            if let Some(answer) = answer {
                return question.conclude(answer);
            }
        }
        let mut input = json!({ "method": question.method().as_str() });
        if let Some(params) = question.params(text, turn.caller.version) {
            input["params"] = params;
        }
        Ok(Answer::new(json!({
            "resultType": "input_required",
            "inputRequests": { INPUT: input },
            "requestState": self.seal.issue(turn.now, &params.name, call),
        })))
    }
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

fn log(turn: &Turn<'_>, log: &Log, out: &mut Vec<Effect>) -> Answer {
    let level = log.level.unwrap_or(LogLevel::Info);
    if turn.caller.log_level.is_none_or(|least| level < least) {
        return Answer::text("not sent: the client does not want this level");
    }
    let params = raw(&json!({ "level": level, "logger": "demo", "data": log.message }));
    out.push(Effect::Send {
        peer: turn.peer,
        within: Some(turn.id.clone()),
        message: Message::Notification(Notification { method: Method::LogMessage, params: Some(params) }),
    });
    Answer::text("sent")
}
