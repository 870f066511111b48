//! Lists and new sessions: with one server and with a hundred.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::StatusCode;
use mcp_protocol::{Era, Method, RequestId, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Failure;
use crate::calls::{Door, check, initialize, open_session, request};
use crate::connection::{Answer, Connection};
use crate::fleet::{Programs, Way, servers};
use crate::report::{Listed, Memory, Report};
use crate::run::ROUNDS;
use crate::running::Running;
use crate::upstream::Upstream;
use crate::{load, usage};

/// The numbers of servers that are compared.
const SERVERS: [usize; 2] = [1, 100];

/// Tools of each server.
const TOOLS: usize = 20;

/// Requests of each kind.
const REQUESTS: u64 = 800;

/// Most pages of one list.
const PAGES: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The first page of `tools/list`.
    List(Era),
    /// `initialize`, after which the session is ended uncounted.
    Open,
    /// `server/discover`.
    Discover,
}

/// Who is asked, and what came of it.
struct Asked {
    process: &'static str,
    id: u32,
    servers: usize,
    door: Door,
    question: Question,
    /// In nanoseconds.
    latencies: Histogram<u64>,
    cpu: Option<Duration>,
    bytes: usize,
    /// Of the list as a whole.
    tools: Option<usize>,
    pages: Option<usize>,
}

/// Asks the floor and gateways with one server and with a hundred.
pub(crate) async fn measure(
    programs: &Programs,
    ways: &[Way],
    share: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let legacy = Upstream::start(Era::Handshake, TOOLS - 1).await?;
    let modern = Upstream::start(Era::Stateless, TOOLS - 1).await?;
    let mut running = Vec::new();
    let mut asked = Vec::new();
    if ways.contains(&Way::Floor) {
        for upstream in [&legacy, &modern] {
            let mut floor = programs.floor(upstream).await?;
            floor.listening().await?;
            add(&mut asked, "floor", 1, &floor, &[upstream.era()]).await?;
            running.push(floor);
        }
    }
    if ways.contains(&Way::All) {
        for count in SERVERS {
            let names: Vec<_> = (1..=count).map(|number| format!("s{number}")).collect();
            let named: Vec<_> = names.iter().map(|name| (name.as_str(), &legacy)).collect();
            let mut gateway = Running::gateway(&programs.gateway, &servers(&named)?).await?;
            let door = door(&gateway, Era::Stateless);
            let complete = gateway.until(async |_| Ok(whole_list(&door).await?.0 == count * TOOLS)).await?;
            let state =
                format!("{count} × {TOOLS} tools listed, {} ms after its start", complete.as_millis());
            report.memory.extend(gateway.memory().map(|bytes| Memory::new("gateway", &state, bytes)));
            add(&mut asked, "gateway", count, &gateway, &[Era::Handshake, Era::Stateless]).await?;
            running.push(gateway);
        }
    }
    for _ in 0..ROUNDS {
        for asked in &mut asked {
            asked.ask(REQUESTS / share / ROUNDS as u64).await?;
        }
    }
    asked.sort_by_key(|asked| asked.question.name());
    report.lists.extend(asked.iter().map(Asked::listed));
    for running in running {
        running.stop().await?;
    }
    Ok(())
}

async fn add(
    asked: &mut Vec<Asked>,
    process: &'static str,
    servers: usize,
    running: &Running,
    eras: &[Era],
) -> Result<(), Failure> {
    for &era in eras {
        let opening = if era == Era::Handshake { Question::Open } else { Question::Discover };
        for question in [Question::List(era), opening] {
            let door = door(running, era);
            let mut one = Asked {
                process,
                id: running.id(),
                servers,
                question,
                latencies: load::latencies()?,
                cpu: Some(Duration::ZERO),
                bytes: 0,
                tools: None,
                pages: None,
                door,
            };
            if let Question::List(_) = question {
                let (tools, pages) = whole_list(&one.door).await?;
                if tools != servers * TOOLS {
                    return Err(format!("{process} lists {tools} tools of {servers} × {TOOLS}").into());
                }
                (one.tools, one.pages) = (Some(tools), Some(pages));
            }
            asked.push(one);
        }
    }
    Ok(())
}

fn door(running: &Running, era: Era) -> Door {
    Door { address: running.address(), path: "/mcp".to_owned(), tool: String::new(), era }
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::List(Era::Handshake) => "`tools/list`, legacy",
            Self::List(Era::Stateless) => "`tools/list`, modern",
            Self::Open => "`initialize`",
            Self::Discover => "`server/discover`",
        }
    }
}

impl Asked {
    /// Asks so many times, one after the other, on one connection.
    async fn ask(&mut self, times: u64) -> Result<(), Failure> {
        let mut connection = Connection::open(self.door.address).await?;
        let mut has_session = false;
        let body = match self.question {
            Question::List(era) => {
                has_session = open_session(&mut connection, &self.door).await?;
                request(&mut connection, era, RequestId::Integer(1), Method::ToolsList, None)?
            }
            Question::Open => initialize(),
            Question::Discover => {
                let id = RequestId::Integer(1);
                request(&mut connection, Era::Stateless, id, Method::ServerDiscover, None)?
            }
        };
        let before = usage::cpu(self.id);
        for _ in 0..times {
            let start = Instant::now();
            let answer = connection.post(&self.door.path, body.clone()).await?;
            self.latencies.saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            message(&answer)?;
            self.bytes = answer.body.len();
            if self.question == Question::Open {
                self.end(&mut connection, &answer).await?;
            }
        }
        let used = usage::cpu(self.id).zip(before).map(|(after, before)| after.saturating_sub(before));
        self.cpu = self.cpu.zip(used).map(|(sum, used)| sum + used);
        if has_session {
            connection.delete(&self.door.path).await?;
        }
        Ok(())
    }

    /// Ends the session that was just opened.
    async fn end(&self, connection: &mut Connection, answer: &Answer) -> Result<(), Failure> {
        if let Some(session) = answer.headers.get(header::SESSION_ID) {
            connection.headers().insert(header::SESSION_ID, session.clone());
            connection.delete(&self.door.path).await?;
            connection.headers().remove(header::SESSION_ID);
        }
        Ok(())
    }

    fn listed(&self) -> Listed {
        let asked = self.latencies.len();
        Listed {
            question: self.question.name(),
            process: self.process,
            servers: self.servers,
            tools: self.tools,
            pages: self.pages,
            bytes: self.bytes,
            p50_us: self.latencies.value_at_quantile(0.5) as f64 / 1e3,
            p99_us: self.latencies.value_at_quantile(0.99) as f64 / 1e3,
            cpu_us: self.cpu.map(|used| used.as_secs_f64() * 1e6 / asked as f64),
        }
    }
}

/// How many tools of different names there are, and on how many pages.
async fn whole_list(door: &Door) -> Result<(usize, usize), Failure> {
    let mut connection = Connection::open(door.address).await?;
    let has_session = open_session(&mut connection, door).await?;
    let mut names = HashSet::new();
    let mut cursor = Value::Null;
    let mut pages = 0;
    while pages == 0 || !cursor.is_null() {
        if pages == PAGES {
            return Err(format!("the list of tools has more than {PAGES} pages").into());
        }
        let params = (pages > 0).then(|| json!({"cursor": cursor}));
        let id = RequestId::Integer(i64::try_from(pages)?);
        let body = request(&mut connection, door.era, id, Method::ToolsList, params)?;
        let mut result = message(&connection.post(&door.path, body).await?)?["result"].take();
        let tools = result["tools"].as_array().ok_or("the answer holds no tools")?;
        names.extend(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)));
        cursor = result["nextCursor"].take();
        pages += 1;
    }
    if has_session {
        connection.delete(&door.path).await?;
    }
    Ok((names.len(), pages))
}

/// The message of an answer, be it a body or the last event of a stream.
fn message(answer: &Answer) -> Result<Value, Failure> {
    let body = &answer.body;
    check(answer.status == StatusCode::OK, body)?;
    let is_stream = !body.trim_ascii_start().starts_with(b"{");
    let data = |body: &Bytes| {
        let lines = body.split(|byte| *byte == b'\n');
        lines.filter_map(|line| line.strip_prefix(b"data:")).next_back().map(|line| body.slice_ref(line))
    };
    let json = if is_stream { data(body).ok_or("the stream has no event")? } else { body.clone() };
    let message: Value = serde_json::from_slice(&json)?;
    check(message.get("result").is_some(), body)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_message_is_found_in_a_body_and_at_the_end_of_a_stream() {
        let expected = json!({"id": 1, "result": {"tools": []}});
        for body in [
            r#"{"id":1,"result":{"tools":[]}}"#,
            "data: \n\nevent: message\ndata: {\"id\":1,\"result\":{\"tools\":[]}}\n\n",
        ] {
            assert_eq!(message(&answer(body)).unwrap(), expected);
        }
    }

    #[test]
    fn an_error_is_no_answer() {
        assert!(message(&answer(r#"{"id":1,"error":{"code":-32603,"message":"no"}}"#)).is_err());
    }

    #[tokio::test]
    async fn a_list_counts_every_name() {
        for era in [Era::Handshake, Era::Stateless] {
            let upstream = Upstream::start(era, TOOLS - 1).await.unwrap();
            let door =
                Door { address: upstream.address(), path: "/mcp".to_owned(), tool: String::new(), era };
            assert_eq!(whole_list(&door).await.unwrap(), (TOOLS, 1));
        }
    }
}
