//! Shell scripts as servers, and what is left of them.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use mcp_protocol::{Limits, Message};
use mcp_transport::{Inbox, Outbound, StdioEndpoint, Transport, TransportError};
use mcp_transport_stdio::{StdioConnector, StdioOptions, StdioTransport};

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn script(text: &str) -> StdioEndpoint {
    StdioEndpoint::new("sh", ["-c", text])
}

/// Short stop times, so that the tests of them are quick.
pub(crate) fn quick() -> StdioOptions {
    StdioOptions {
        close_stdin: Duration::from_millis(200),
        terminate: Duration::from_millis(400),
        ..StdioOptions::default()
    }
}

pub(crate) struct Server {
    pub(crate) transport: StdioTransport,
    pub(crate) inbox: Inbox,
}

pub(crate) fn start(endpoint: &StdioEndpoint, options: StdioOptions) -> Server {
    let mut transport = StdioConnector::new(options).open(endpoint).unwrap();
    let inbox = transport.take_inbox().unwrap();
    assert!(transport.take_inbox().is_none(), "the inbox can be taken once");
    Server { transport, inbox }
}

pub(crate) fn run(text: &str) -> Server {
    start(&script(text), quick())
}

impl Server {
    pub(crate) async fn send(&self, text: &str) -> Result<(), TransportError> {
        patient(self.transport.send(Outbound::new(message(text)))).await.map(drop)
    }

    /// The next message as text.
    pub(crate) async fn next(&mut self) -> Result<String, TransportError> {
        let item = patient(self.inbox.next()).await.expect("an item");
        item.map(|incoming| String::from_utf8(incoming.message.encode().into()).unwrap())
    }

    /// Takes everything up to the end: the messages, and the error that ended it.
    pub(crate) async fn rest(&mut self) -> (Vec<String>, Option<TransportError>) {
        let mut messages = Vec::new();
        let mut end = None;
        while let Some(item) = patient(self.inbox.next()).await {
            assert!(end.is_none(), "{item:?} after {end:?}");
            match item {
                Ok(incoming) => {
                    messages.push(String::from_utf8(incoming.message.encode().into()).unwrap());
                }
                Err(error) => end = Some(error),
            }
        }
        (messages, end)
    }

    pub(crate) async fn close(&self) {
        patient(self.transport.close()).await;
    }
}

pub(crate) fn message(text: &str) -> Message {
    Message::parse(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for 20 s")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

/// The processes of a group that run, as lines of `/proc/*/stat`. Zombies do not count.
#[cfg(target_os = "linux")]
pub(crate) fn members(group: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    let in_group = |stat: &String| {
        // pid (name) state parent group …; the name may hold anything.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        fields[2] == group.to_string() && fields[0] != "Z"
    };
    stats.filter(in_group).collect()
}

/// Whether a process runs. A zombie does not.
#[cfg(target_os = "linux")]
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

/// The fields of `/proc/PID/stat` behind the name: state, parent, group, …
#[cfg(target_os = "linux")]
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything.
    Some(stat[stat.rfind(')')? + 2..].split(' ').map(str::to_owned).collect())
}
