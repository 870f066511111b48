//! The demo server at the other end of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mcp_demo_server::{DemoOptions, serve_http, serve_sse, serve_stdio};
use mcp_protocol::{EraPolicy, Message, ProtocolVersion};
use mcp_transport::TransportKind;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::net::{Backend, Server, Wire};

/// Bytes on the way in either direction.
const PIPE: usize = 1 << 20;
/// Messages that wait to be written.
const QUEUE: usize = 256;

/// A demo server of one era: on pipes in memory, or on a socket.
pub(crate) async fn server(name: &str, kind: TransportKind, version: ProtocolVersion) -> Server {
    let protocol = EraPolicy::Only(version.era());
    let options = DemoOptions { name: name.into(), protocol, ..DemoOptions::default() };
    if kind == TransportKind::Stdio {
        let demo = Arc::new(Piped { options, pipes: Mutex::default() });
        return Server::behind(name, kind, version, demo, None);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = if kind == TransportKind::Sse {
        tokio::spawn(async move {
            serve_sse(options, listener, std::future::pending()).await;
        })
    } else {
        tokio::spawn(async move {
            serve_http(options, listener, std::future::pending()).await;
        })
    };
    Server::behind(name, kind, version, Arc::new(Remote(serving)), None).at(address)
}

/// A process for each connection, as it were.
struct Piped {
    options: DemoOptions,
    pipes: Mutex<HashMap<usize, mpsc::Sender<Message>>>,
}

impl Backend for Piped {
    fn take(self: Arc<Self>, wire: &Wire, message: &Message) {
        let mut pipes = self.pipes.lock().unwrap();
        let pipe = pipes.entry(wire.number()).or_insert_with(|| start(self.options.clone(), wire.clone()));
        pipe.try_send(message.clone()).unwrap();
    }
}

fn start(options: DemoOptions, wire: Wire) -> mpsc::Sender<Message> {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (sender, messages) = mpsc::channel(QUEUE);
    let (reader, writer) = tokio::io::split(ours);
    tokio::spawn(write(messages, writer));
    tokio::spawn(async move {
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            wire.send(None, line);
        }
    });
    tokio::spawn(async move {
        let (reader, writer) = tokio::io::split(theirs);
        serve_stdio(options, reader, writer).await
    });
    sender
}

async fn write(mut messages: mpsc::Receiver<Message>, mut writer: WriteHalf<DuplexStream>) {
    while let Some(message) = messages.recv().await {
        writer.write_all(&message.encode()).await.unwrap();
        writer.write_all(b"\n").await.unwrap();
    }
}

/// One that is served on a socket until this is dropped.
struct Remote(JoinHandle<()>);

impl Backend for Remote {
    fn take(self: Arc<Self>, _wire: &Wire, _message: &Message) {}
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.0.abort();
    }
}
