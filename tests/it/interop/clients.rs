//! Clients of others through the gateway.
//!
//! A client is a program that is given a plan as its only argument and prints what came of it, both in JSON:
//!
//! - the plan has `transport` (`http`, `sse` or `stdio`), `url` or `command`, `era` (`handshake` or `stateless`) and
//!   `tries`. Each of those has its `column` and `method`; `params`, unless a list is to be read to its end;
//!   `counter` for `cancel`, a tool that tells how many calls were cancelled, or null; for `subscribe`, instead of
//!   all that, `uri` and `change`, a request that changes the resource;
//! - the answer has `revision` and `outcomes`, one for each try in their order: `{"result": …}` or
//!   `{"failed": "why"}`. For `progress` the result is `{"result": …, "reports": [1, 2, 3]}`, for `cancel`
//!   `{"noticed": true}`, or null without a counter, and for `subscribe` `{"told": true}`.

use std::process::Stdio;
use std::time::Duration;

use mcp_protocol::Era;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::features::{COLUMNS, Cell, Features, Try};
use super::servers::{of_everything, of_rmcp};
use super::table::{CLIENTS, Found};
use crate::gateway::binary;
use crate::gateway::configuration::Configuration;
use crate::gateway::running::Gateway;
use crate::peers::Program;
use crate::process::HttpServer;

/// For a client to try everything; only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(180);

/// Which era a client is told to speak.
const HANDSHAKE: &[Era] = &[Era::Handshake];
const BOTH: &[Era] = &[Era::Stateless, Era::Handshake];

/// How a client reaches the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All servers as one.
    All,
    /// Each server by itself.
    One,
    /// All as one over the transport with two endpoints.
    Sse,
    /// All as one by a gateway that the client starts.
    Stdio,
}

const WITHOUT_SSE: &[Way] = &[Way::All, Way::One, Way::Stdio];
const EVERY_WAY: &[Way] = &[Way::All, Way::One, Way::Sse, Way::Stdio];

/// A client of others.
struct Client {
    name: &'static str,
    program: Program,
    eras: &'static [Era],
    ways: &'static [Way],
    /// The columns that it has nothing for.
    lacks: &'static [&'static str],
}

/// A server behind the gateway.
struct Server {
    name: &'static str,
    features: Features,
    /// A resource and a template that it lists.
    listed: [&'static str; 2],
}

fn servers() -> [Server; 2] {
    [
        Server {
            name: "everything",
            features: of_everything(Era::Handshake),
            listed: [
                "demo://resource/static/document/features.md",
                "demo://resource/dynamic/text/{resourceId}",
            ],
        },
        Server {
            name: "rmcp",
            features: of_rmcp(Era::Stateless),
            listed: ["peer://counter", "peer://square/{number}"],
        },
    ]
}

/// What a client says.
#[derive(Debug, Deserialize)]
struct Report {
    revision: Option<String>,
    outcomes: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(Value),
    Failed(String),
}

impl Server {
    /// What to do for a column.
    fn plan(&self, column: &str, prefix: &str) -> Value {
        let Features { call, fail, read, prompt, progress, cancel, subscribe, elicit, sample, roots } =
            &self.features;
        let tried = |what: &Option<Try>| what.as_ref().unwrap().plan(prefix);
        let mut plan = match column {
            "tools" => json!({ "method": "tools/list" }),
            "prompts" => json!({ "method": "prompts/list" }),
            "resources" => json!({ "method": "resources/list" }),
            "templates" => json!({ "method": "resources/templates/list" }),
            "call" => tried(call),
            "error" => tried(fail),
            "read" => tried(read),
            "prompt" => tried(prompt),
            "progress" => tried(progress),
            "cancel" => {
                let (slow, counter) = cancel.as_ref().unwrap();
                let mut plan = slow.plan(prefix);
                plan["counter"] = json!(counter.map(|counter| format!("{prefix}{counter}")));
                plan
            }
            "subscribe" => {
                let (uri, change) = subscribe.as_ref().unwrap();
                json!({ "uri": uri, "change": change.plan(prefix) })
            }
            "elicit" => tried(elicit),
            "sample" => tried(sample),
            "roots" => tried(roots),
            _ => panic!("no column {column}"),
        };
        plan["column"] = json!(column);
        plan
    }

    /// What came of it.
    fn judge(&self, column: &str, prefix: &str, outcome: &Outcome) -> Cell {
        let result = match outcome {
            Outcome::Result(result) => result,
            Outcome::Failed(why) => return Cell::Failed(format!("{}: {why}", self.name)),
        };
        let Features { call, fail, read, prompt, progress, elicit, sample, roots, .. } = &self.features;
        let lists = |member: &str, expected: String| {
            let has = |entry: &Value| entry[member] == expected;
            let has = result.as_array().is_some_and(|entries| entries.iter().any(has));
            if has { Ok(()) } else { Err(format!("no {expected} in {result}")) }
        };
        let named =
            |what: &Option<Try>| lists("name", format!("{prefix}{}", what.as_ref().unwrap().name().unwrap()));
        let answers =
            |what: &Option<Try>, result: &Value| what.as_ref().unwrap().judge_text(&result.to_string());
        let [resource, template] = self.listed;
        let judged = match column {
            "tools" => named(call),
            "prompts" => named(prompt),
            "resources" => lists("uri", resource.to_owned()),
            "templates" => lists("uriTemplate", template.to_owned()),
            "call" => answers(call, result),
            "error" => answers(fail, result),
            "read" => answers(read, result),
            "prompt" => answers(prompt, result),
            "progress" => {
                let reports: Option<Vec<f64>> = serde_json::from_value(result["reports"].clone()).ok();
                if reports == Some(vec![1.0, 2.0, 3.0]) {
                    answers(progress, &result["result"])
                } else {
                    Err(format!("progress was {}", result["reports"]))
                }
            }
            "cancel" if *result == json!({ "noticed": null }) => return Cell::Sent,
            "cancel" if *result == json!({ "noticed": true }) => Ok(()),
            "subscribe" if *result == json!({ "told": true }) => Ok(()),
            "cancel" | "subscribe" => Err(format!("the client says {result}")),
            "elicit" => answers(elicit, result),
            "sample" => answers(sample, result),
            "roots" => answers(roots, result),
            _ => panic!("no column {column}"),
        };
        judged.map_err(|why| format!("{}: {why}", self.name)).map(|()| Cell::Works).into()
    }
}

impl Client {
    /// Tries everything in every way.
    async fn rows(self) {
        let Some(everything) = Program::node(self.name, "server-everything") else { return };
        let modern = HttpServer::announcing(Program::rmcp().with_args(["http"]).command()).await;
        // A list is complete once the slower server is there.
        let configuration = Configuration::new("[gateway]\nlist_wait = 20000")
            .stdio("everything", &everything.with_args(["stdio"]), "")
            .http("rmcp", &modern.url(), "");
        let gateway = Gateway::configured(&configuration).await;
        gateway.all_healthy().await;
        let mut found = Found::by(&CLIENTS, self.name);
        for way in self.ways {
            let eras = if *way == Way::Sse { HANDSHAKE } else { self.eras };
            for era in eras {
                let (revision, cells) = self.row(&gateway, *way, *era).await;
                found.line(way.label(), &revision, &cells);
            }
        }
        gateway.stop().await;
        found.done();
    }

    /// The revision and what came of everything, with both servers.
    async fn row(&self, gateway: &Gateway, way: Way, era: Era) -> (String, [Cell; COLUMNS.len()]) {
        let [everything, rmcp] = servers();
        let runs = match way {
            Way::One => vec![vec![everything], vec![rmcp]],
            _ => vec![vec![everything, rmcp]],
        };
        let mut revision = String::new();
        let mut cells = [const { Cell::NotOffered }; COLUMNS.len()];
        for servers in runs {
            let prefix = |server: &Server| match way {
                Way::One => String::new(),
                _ => format!("{}__", server.name),
            };
            let columns = || COLUMNS.iter().enumerate().filter(|(_, column)| !self.lacks.contains(column));
            let tried = || servers.iter().flat_map(|server| columns().map(move |column| (server, column)));
            let mut plan = way.reach(gateway, servers[0].name);
            plan["era"] = json!(if era == Era::Handshake { "handshake" } else { "stateless" });
            plan["tries"] =
                tried().map(|(server, (_, column))| server.plan(column, &prefix(server))).collect();
            let report = self.run(gateway, &plan).await;
            for (number, (server, (index, column))) in tried().enumerate() {
                let cell = match &report {
                    Ok(report) => server.judge(column, &prefix(server), &report.outcomes[number]),
                    Err(why) => Cell::Failed(why.clone()),
                };
                cells[index].join(cell);
            }
            revision = report.ok().and_then(|report| report.revision).unwrap_or_else(|| "–".to_owned());
        }
        (revision, cells)
    }

    /// Runs the client to its end.
    async fn run(&self, gateway: &Gateway, plan: &Value) -> Result<Report, String> {
        let mut command = self.program.clone().with_args([plan.to_string().as_str()]).command();
        let home = gateway.home().path();
        command.current_dir(home).env("HOME", home).kill_on_drop(true).stdin(Stdio::null());
        let output = timeout(LIMIT, command.output()).await;
        let output = output.map_err(|_| format!("the client takes longer than {LIMIT:?}"))?.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        eprint!("client: {said}");
        let report = serde_json::from_slice(&output.stdout);
        report.map_err(|error| format!("the client ended with {}: {error}: {said}", output.status))
    }
}

impl Way {
    fn label(self) -> &'static str {
        match self {
            Self::All => "`/mcp`",
            Self::One => "`/mcp/{server}`",
            Self::Sse => "`/sse`",
            Self::Stdio => "`mcp-gateway stdio`",
        }
    }

    /// The part of a plan that says how to reach the gateway, or one server behind it.
    fn reach(self, gateway: &Gateway, server: &str) -> Value {
        let at = |path: &str| gateway.url().join(path).unwrap();
        match self {
            Self::All => json!({ "transport": "http", "url": at("/mcp") }),
            Self::One => json!({ "transport": "http", "url": at(&format!("/mcp/{server}")) }),
            Self::Sse => json!({ "transport": "sse", "url": at("/sse") }),
            Self::Stdio => {
                let config = gateway.home().path().join("mcp-gateway.toml");
                let program = Program::at(binary::path()).with_args(["stdio", "--config"]);
                let command = program.with_args(config.to_str()).endpoint();
                let words: Vec<_> = [command.command].into_iter().chain(command.args).collect();
                json!({ "transport": "stdio", "command": words })
            }
        }
    }
}

#[tokio::test]
async fn typescript_sdk_v1_client() {
    let name = "TypeScript SDK 1.32.2";
    let Some(program) = Program::script(name, "typescript_v1_client.mjs") else { return };
    Client { name, program, eras: HANDSHAKE, ways: EVERY_WAY, lacks: &[] }.rows().await;
}

#[tokio::test]
async fn typescript_sdk_v2_client() {
    let name = "TypeScript SDK 2.4.0";
    let Some(program) = Program::script(name, "typescript_v2_client.mjs") else { return };
    Client { name, program, eras: BOTH, ways: EVERY_WAY, lacks: &[] }.rows().await;
}

#[tokio::test]
async fn python_sdk_v1_client() {
    let name = "Python SDK 1.30.0";
    let Some(program) = Program::python_v1_script(name, "python_v1_client.py") else { return };
    // It tells nobody that it has given up a call.
    Client { name, program, eras: HANDSHAKE, ways: EVERY_WAY, lacks: &["cancel"] }.rows().await;
}

#[tokio::test]
async fn python_sdk_v2_client() {
    let name = "Python SDK 2.3.0";
    let Some(program) = Program::python_script(name, "python_v2_client.py") else { return };
    Client { name, program, eras: BOTH, ways: EVERY_WAY, lacks: &[] }.rows().await;
}

#[tokio::test]
async fn fastmcp_client() {
    let name = "FastMCP 4.1.2";
    let Some(program) = Program::python_script(name, "fastmcp_client.py") else { return };
    Client { name, program, eras: BOTH, ways: EVERY_WAY, lacks: &["subscribe"] }.rows().await;
}

#[tokio::test]
async fn rmcp_client() {
    let program = Program::rmcp_client();
    Client { name: "rmcp 3.9", program, eras: BOTH, ways: WITHOUT_SSE, lacks: &[] }.rows().await;
}

#[tokio::test]
async fn inspector() {
    let name = "MCP Inspector 2.12.0";
    let Some(program) = Program::script(name, "inspector_client.mjs") else { return };
    let lacks = &["progress", "cancel", "subscribe", "elicit", "sample", "roots"];
    Client { name, program, eras: BOTH, ways: EVERY_WAY, lacks }.rows().await;
}

#[tokio::test]
async fn mcporter() {
    let name = "mcporter 0.12.3";
    let Some(program) = Program::script(name, "mcporter_client.mjs") else { return };
    let lacks =
        &["prompts", "templates", "prompt", "progress", "cancel", "subscribe", "elicit", "sample", "roots"];
    Client { name, program, eras: HANDSHAKE, ways: EVERY_WAY, lacks }.rows().await;
}
