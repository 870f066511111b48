//! The client against a server on an independent implementation, `rmcp`, over an in-process pipe.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use mcp_client::{CallEvent, Client, ConnectOptions, Outgoing, connect};
use mcp_protocol::{Era, Limits, Message, Method, RawJson};
use mcp_transport::{
    Connector, Delivery, Endpoint, Inbox, Incoming, Outbound, Reply, StdioEndpoint, Transport,
    TransportError, TransportErrorKind,
};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Semaphore};

const LIMIT: Duration = Duration::from_secs(20);

/// Two pages of tools; `count` reports progress, `wait` goes on until it is cancelled.
#[derive(Clone)]
struct Peer {
    era: Era,
    cancelled: Arc<Semaphore>,
}

impl ServerHandler for Peer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("mind the gap")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.era {
            Era::Stateless => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Era::Handshake => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_06_18).into(),
        }
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name| {
            Tool::new(name, "", Arc::new(serde_json::Map::from_iter([("type".into(), "object".into())])))
        };
        Ok(match request.and_then(|request| request.cursor) {
            None => {
                let mut page = ListToolsResult::with_all_items(vec![tool("echo"), tool("count")]);
                page.next_cursor = Some("2".into());
                page
            }
            Some(_) => ListToolsResult::with_all_items(vec![tool("wait")]),
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match &*request.name {
            "echo" => serde_json::to_string(&request.arguments).unwrap(),
            "count" => {
                let token = context.meta.get_progress_token().expect("a progress token");
                for n in 1..=3 {
                    let progress = ProgressNotificationParam::new(token.clone(), f64::from(n));
                    context.peer.notify_progress(progress).await.unwrap();
                }
                "done".to_owned()
            }
            "wait" => {
                context.ct.cancelled().await;
                self.cancelled.add_permits(1);
                "cancelled".to_owned()
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// Lines over an in-process pipe, as stdio has them.
struct Pipe {
    writer: Mutex<Option<WriteHalf<DuplexStream>>>,
    inbox: std::sync::Mutex<Option<Inbox>>,
}

impl Pipe {
    fn new(stream: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let inbox = stream::unfold(BufReader::new(reader), read_line).boxed();
        Self { writer: Mutex::new(Some(writer)), inbox: std::sync::Mutex::new(Some(inbox)) }
    }
}

async fn read_line(
    mut reader: BufReader<ReadHalf<DuplexStream>>,
) -> Option<(Result<Incoming, TransportError>, BufReader<ReadHalf<DuplexStream>>)> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await.unwrap() == 0 {
        return None;
    }
    let frame = Bytes::from(line);
    let frame = frame.slice_ref(frame.trim_ascii());
    let message = Message::parse(&frame, &Limits::default()).unwrap();
    Some((Ok(Incoming { message, frame }), reader))
}

impl Transport for Pipe {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut line = out.message.encode().to_vec();
            line.push(b'\n');
            let sent = match writer.as_mut() {
                Some(writer) => writer.write_all(&line).await.is_ok(),
                None => false,
            };
            let closed = || TransportErrorKind::Closed("closed".into());
            sent.then_some(Reply::Inbox).ok_or_else(|| TransportError::new(closed(), Delivery::NotSent))
        })
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inbox.get_mut().unwrap().take()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(mut writer) = self.writer.lock().await.take() {
                let _ = writer.shutdown().await;
            }
        })
    }
}

impl Connector for Peer {
    fn connect<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let peer = self.clone();
            tokio::spawn(async move {
                let service = peer.serve(theirs).await.expect("an opening that rmcp accepts");
                service.waiting().await.expect("an orderly end");
            });
            Ok(Box::new(Pipe::new(ours)) as Box<dyn Transport>)
        })
    }
}

fn tool(name: &str) -> Outgoing {
    let params = format!(r#"{{"name":"{name}","arguments":{{"n":12345678901234567890}}}}"#);
    Outgoing::new(Method::ToolsCall, Some(RawJson::parse(params, &Limits::default()).unwrap()))
}

async fn connected(peer: &Peer, hint: Option<Era>) -> Client {
    let options = ConnectOptions { hint, ..ConnectOptions::default() };
    let connected = connect(peer, &Endpoint::Stdio(StdioEndpoint::new("rmcp", [""; 0])), &options).await;
    connected.unwrap_or_else(|failed| panic!("{failed}: {:?}", failed.tried))
}

#[tokio::test]
async fn m2_both_eras_of_another_implementation() {
    for (era, hint, version) in [
        (Era::Stateless, None, "2026-07-28"),
        (Era::Stateless, Some(Era::Handshake), "2025-11-25"),
        (Era::Handshake, None, "2025-06-18"),
        (Era::Handshake, Some(Era::Handshake), "2025-06-18"),
    ] {
        let peer = Peer { era, cancelled: Arc::new(Semaphore::new(0)) };
        let client = connected(&peer, hint).await;
        let profile = client.profile();
        assert_eq!(profile.protocol_version, version, "{era} {hint:?}");
        assert_eq!(profile.instructions.as_deref(), Some("mind the gap"));
        assert!(profile.server_info.is_some() && profile.capabilities.is_some());

        let tools = client.list(Method::ToolsList, LIMIT).await.unwrap();
        let names: Vec<String> = tools.iter().map(|tool| tool.get("name").unwrap().to().unwrap()).collect();
        assert_eq!(names, ["echo", "count", "wait"]);

        let answer = client.call(tool("echo"), LIMIT).await.unwrap();
        assert!(answer.result.as_str().contains("12345678901234567890"), "{:?}", answer.result);
        let error = client.call(tool("nothing"), LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "rpc error: no tool nothing");
        client.ping(LIMIT).await.unwrap();
        client.handshake(LIMIT).await.unwrap();

        let mut counting = tool("count");
        counting.progress = true;
        let mut call = client.start(counting).await.unwrap();
        let mut notifications = 0;
        loop {
            match call.next().await.unwrap().unwrap() {
                CallEvent::Notification(notification) => {
                    assert_eq!(notification.method, Method::Progress);
                    notifications += 1;
                }
                CallEvent::Done(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(notifications, 3);

        drop(client.start(tool("wait")).await.unwrap());
        peer.cancelled.acquire().await.unwrap().forget();
        client.close().await;
    }
}
