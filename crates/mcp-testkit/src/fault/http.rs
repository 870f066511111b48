//! HTTP/1.1 by hand: connections, sessions, and the stream of the two-endpoint transport.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{broadcast, mpsc, watch};

use super::ledger::{Ledger, Order, Received, Seen};
use super::output::{After, Output, Performer, Piece, State};
use super::request;
use super::script::Step;
use super::upstream::{Kind, default_steps};

/// Pieces waiting to be written to a stream.
const PIECES: usize = 64;

/// What the connections of an HTTP upstream share.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) ledger: Ledger,
    pub(crate) kind: Kind,
    /// The open streams of the two-endpoint transport, by session.
    streams: Arc<Mutex<HashMap<String, mpsc::Sender<Piece>>>>,
}

impl Server {
    pub(crate) fn new(ledger: Ledger, kind: Kind) -> Self {
        Self { ledger, kind, streams: Arc::default() }
    }

    /// Serves one connection to its end, which is returned.
    pub(crate) async fn serve(self, mut stream: TcpStream) -> After {
        let open = self.ledger.connected();
        // Failing that, small answers come late, which tests of time would show.
        let _ = stream.set_nodelay(true);
        let (gone, goes) = watch::channel(false);
        let orders = self.ledger.orders();
        let (read, write) = stream.split();
        let mut connection = Connection {
            server: &self,
            number: open.number,
            read,
            write,
            buffer: Vec::new(),
            gone,
            goes,
            orders,
        };
        let after = connection.run().await;
        if matches!(after, After::Reset | After::Die(None)) {
            // It fails on a socket that is gone already.
            let _ = stream.set_zero_linger();
        }
        after
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<String, mpsc::Sender<Piece>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connection<'a> {
    server: &'a Server,
    number: usize,
    read: ReadHalf<'a>,
    write: WriteHalf<'a>,
    buffer: Vec<u8>,
    gone: watch::Sender<bool>,
    goes: watch::Receiver<bool>,
    orders: broadcast::Receiver<Order>,
}

impl Connection<'_> {
    async fn run(&mut self) -> After {
        let ledger = self.server.ledger.clone();
        if let Some(steps) = ledger.take_plan(["connect"]) {
            let output = Output::Answer { writer: &mut self.write, head: String::new(), state: State::Body };
            let mut performer =
                Performer { ledger: &ledger, received: None, output, gone: self.goes.clone() };
            let listener = Listener {
                read: &mut self.read,
                buffer: &mut self.buffer,
                gone: &self.gone,
                orders: &mut self.orders,
            };
            match listener.during(performer.perform(steps), &ledger, self.number).await {
                After::Stay => {}
                after => return after,
            }
        }
        loop {
            let received = match self.next().await {
                Ok(received) => received,
                Err(after) => return after,
            };
            ledger.note(Seen::Message(Box::new(received.clone())));
            match self.answer(&received).await {
                After::Stay => {}
                after => return after,
            }
        }
    }

    /// The next request, or how the connection ends without one.
    async fn next(&mut self) -> Result<Received, After> {
        loop {
            if let Some(received) = request::take(&mut self.buffer, self.number) {
                return Ok(received);
            }
            tokio::select! {
                read = self.read.read_buf(&mut self.buffer) => {
                    if !matches!(read, Ok(1..)) {
                        self.server.ledger.note(Seen::Left(self.number));
                        return Err(After::Close);
                    }
                }
                Ok(Order::Do(step)) = self.orders.recv() => {
                    if let Some(after) = ending(&step) {
                        return Err(after);
                    }
                }
            }
        }
    }

    async fn answer(&mut self, received: &Received) -> After {
        let server = self.server;
        let plan = server.ledger.take_plan(received.keys());
        let direct = plan.as_deref().is_some_and(is_direct);
        match (server.kind, received.verb.as_str(), plan.clone()) {
            (Kind::Sse, "GET", plan) if !direct => {
                let session = server.ledger.open_session();
                let endpoint = format!("event: endpoint\ndata: /messages?session={session}\n\n");
                let steps = plan.unwrap_or_else(|| vec![Step::Bytes(endpoint.into())]);
                return self.stream(received, session, steps).await;
            }
            (Kind::Http(_), "GET", Some(steps)) if !direct => {
                let session = received.headers.get("mcp-session-id").cloned().unwrap_or_default();
                return self.stream(received, session, steps).await;
            }
            (Kind::Sse, "POST", plan) if !direct => return self.post(received, plan).await,
            _ => {}
        }
        let steps = plan.unwrap_or_else(|| default_steps(server.kind, &server.ledger, received));
        let output = Output::Answer { writer: &mut self.write, head: String::new(), state: State::Nothing };
        let mut performer =
            Performer { ledger: &server.ledger, received: Some(received), output, gone: self.goes.clone() };
        let listener = Listener {
            read: &mut self.read,
            buffer: &mut self.buffer,
            gone: &self.gone,
            orders: &mut self.orders,
        };
        listener.during(performer.perform(steps), &server.ledger, self.number).await
    }

    /// An open stream of a session: what `steps` say, then what calls and the test say.
    async fn stream(&mut self, received: &Received, session: String, steps: Vec<Step>) -> After {
        let server = self.server;
        let (sender, mut pieces) = mpsc::channel(PIECES);
        server.streams().insert(session.clone(), sender.clone());
        let (ledger, received) = (server.ledger.clone(), received.clone());
        let to = sender.clone();
        let performing = tokio::spawn(async move {
            perform_shared(&ledger, Some(&received), to, true, steps).await;
        });
        let after = self.forward(&sender, &mut pieces).await;
        performing.abort();
        server.streams().remove(&session);
        if server.kind == Kind::Sse {
            server.ledger.end_session(&session);
        }
        after
    }

    /// Writes the pieces of a stream until it ends.
    async fn forward(&mut self, sender: &mpsc::Sender<Piece>, pieces: &mut mpsc::Receiver<Piece>) -> After {
        const HEAD: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        if self.write.write_all(HEAD).await.is_err() {
            return After::Close;
        }
        loop {
            tokio::select! {
                Some(piece) = pieces.recv() => match piece {
                    Piece::Out(bytes) if !bytes.is_empty() => {
                        let head = format!("{:x}\r\n", bytes.len());
                        let chunk = [head.as_bytes(), &bytes, b"\r\n"].concat();
                        if self.write.write_all(&chunk).await.is_err() {
                            return After::Close;
                        }
                    }
                    Piece::End(after) => return after,
                    Piece::Out(_) | Piece::Err(_) | Piece::Freeze => {}
                },
                read = self.read.read_buf(&mut self.buffer) => {
                    if !matches!(read, Ok(1..)) {
                        self.server.ledger.note(Seen::Left(self.number));
                        return After::Close;
                    }
                }
                Ok(Order::Do(step)) = self.orders.recv() => match (ending(&step), step) {
                    (Some(after), _) => return after,
                    (None, Step::Event(text)) => {
                        let event = format!("event: message\ndata: {text}\n\n").into_bytes();
                        // A full queue is one that nobody reads: then the order is lost, as events are.
                        let _ = sender.try_send(Piece::Out(event));
                    }
                    _ => {}
                },
            }
        }
    }

    /// A message of the two-endpoint transport: accepted at once, answered on the stream of its session.
    async fn post(&mut self, received: &Received, plan: Option<Vec<Step>>) -> After {
        let server = self.server;
        let session = received.target.split_once("session=").map_or("", |(_, session)| session);
        let Some(stream) = server.streams().get(session).cloned() else {
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            return if self.write.write_all(answer).await.is_ok() { After::Stay } else { After::Close };
        };
        let accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted";
        if self.write.write_all(accepted).await.is_err() {
            return After::Close;
        }
        let steps = plan.unwrap_or_else(|| default_steps(server.kind, &server.ledger, received));
        let (ledger, received) = (server.ledger.clone(), received.clone());
        tokio::spawn(async move { perform_shared(&ledger, Some(&received), stream, true, steps).await });
        After::Stay
    }
}

/// What a connection hears while it does the steps of a plan.
struct Listener<'a, 's> {
    read: &'a mut ReadHalf<'s>,
    buffer: &'a mut Vec<u8>,
    gone: &'a watch::Sender<bool>,
    orders: &'a mut broadcast::Receiver<Order>,
}

impl Listener<'_, '_> {
    /// Notices that the client goes, and orders to end, until the steps are done.
    async fn during(self, steps: impl Future<Output = After>, ledger: &Ledger, number: usize) -> After {
        let mut steps = std::pin::pin!(steps);
        let mut listening = true;
        loop {
            tokio::select! {
                after = &mut steps => return after,
                read = self.read.read_buf(self.buffer), if listening => {
                    if !matches!(read, Ok(1..)) {
                        listening = false;
                        ledger.note(Seen::Left(number));
                        self.gone.send_replace(true);
                    }
                }
                Ok(Order::Do(step)) = self.orders.recv() => {
                    if let Some(after) = ending(&step) {
                        return after;
                    }
                }
            }
        }
    }
}

/// Does steps whose messages go to a channel shared by all.
pub(crate) async fn perform_shared(
    ledger: &Ledger,
    received: Option<&Received>,
    pieces: mpsc::Sender<Piece>,
    events: bool,
    steps: Vec<Step>,
) {
    let (sender, gone) = watch::channel(false);
    let output: Output<'_, tokio::io::Sink> = Output::Shared { pieces: pieces.clone(), events };
    let mut performer = Performer { ledger, received, output, gone };
    tokio::select! {
        after = performer.perform(steps) => {
            if after != After::Stay {
                // Without a receiver it has ended already.
                let _ = pieces.send(Piece::End(after)).await;
            }
        }
        () = pieces.closed() => {}
    }
    drop(sender);
}

/// How a connection ends at once by this step, if it does.
fn ending(step: &Step) -> Option<After> {
    match step {
        Step::Close => Some(After::Close),
        Step::Reset => Some(After::Reset),
        Step::Exit(status) => Some(After::Die(Some(*status))),
        Step::Kill => Some(After::Die(None)),
        _ => None,
    }
}

/// Whether a plan is about the answer to the HTTP request itself, and not about a stream.
fn is_direct(steps: &[Step]) -> bool {
    matches!(steps.first(), Some(Step::Status(..) | Step::Head(_) | Step::Raw(_)))
}
