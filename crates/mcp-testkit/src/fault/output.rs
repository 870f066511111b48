//! Doing the steps of a plan: what goes out, in which framing.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::ledger::{Ledger, Received};
use super::script::{RESULT, Step};

/// Bytes of a flood that are written at once.
const BLOCK: usize = 64 << 10;

/// How a connection goes on after a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays.
    Stay,
    /// It ends in order, or with a reset.
    Close,
    Reset,
    /// The whole upstream ends: with a status, or killed if there is none.
    Die(Option<u8>),
}

/// One thing for whoever owns a shared channel: the stdout of a process, or the stream of a session.
#[derive(Debug)]
pub(crate) enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
    Freeze,
    End(After),
}

/// Where messages go.
pub(crate) enum Output<'a, W> {
    /// The answer to one HTTP request.
    Answer { writer: &'a mut W, head: String, state: State },
    /// A channel all messages share.
    Shared { pieces: mpsc::Sender<Piece>, events: bool },
}

/// How far an HTTP answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Nothing,
    /// A chunked event stream is open.
    Stream,
    /// A body of announced length, or raw bytes; nothing is to be added.
    Body,
}

/// Does steps for one received message.
pub(crate) struct Performer<'a, W> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) received: Option<&'a Received>,
    pub(crate) output: Output<'a, W>,
    /// Turns true when the client has gone.
    pub(crate) gone: watch::Receiver<bool>,
}

impl<W: AsyncWrite + Unpin> Performer<'_, W> {
    /// Does all steps, and completes the answer if it was begun.
    pub(crate) async fn perform(&mut self, steps: Vec<Step>) -> After {
        for step in steps {
            match self.step(step).await {
                Ok(After::Stay) => {}
                Ok(after) => return after,
                // Nobody listens any more.
                Err(_) => return After::Close,
            }
        }
        let Output::Answer { writer, state, .. } = &mut self.output else { return After::Stay };
        let end: &[u8] = match state {
            State::Nothing => b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
            State::Stream => b"0\r\n\r\n",
            State::Body => b"",
        };
        if writer.write_all(end).await.is_err() { After::Close } else { After::Stay }
    }

    async fn step(&mut self, step: Step) -> io::Result<After> {
        match step {
            Step::Execute => {
                if let Some(nonce) = self.received.and_then(|received| received.nonce.as_deref()) {
                    self.ledger.executed(nonce);
                }
            }
            Step::Answer => self.json(RESULT, false).await?,
            Step::Json(text) => self.json(&text, false).await?,
            Step::HalfJson(text) => self.json(&text, true).await?,
            Step::Event(text) => {
                let event = self.event(&text);
                self.body(event).await?;
            }
            Step::HalfEvent(text) => {
                let mut event = self.event(&text);
                event.truncate(event.len() / 2);
                self.body(event).await?;
            }
            Step::Bytes(bytes) => self.body(bytes).await?,
            Step::Raw(bytes) => match &mut self.output {
                Output::Answer { writer, state, .. } => {
                    *state = State::Body;
                    writer.write_all(&bytes).await?;
                }
                Output::Shared { pieces, .. } => put(pieces, Piece::Out(bytes)).await?,
            },
            Step::Head(lines) => {
                if let Output::Answer { head, .. } = &mut self.output {
                    head.push_str(&lines);
                }
            }
            Step::Status(status, lines, body) => self.status(status, &lines, &body).await?,
            Step::Stderr(bytes) => self.piece(Piece::Err(bytes)).await?,
            Step::StderrFlood(block, times) => {
                for _ in 0..times {
                    self.piece(Piece::Err(block.clone())).await?;
                }
            }
            Step::Flood(text, times) => self.flood(&text, times).await?,
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Until(gate) => gate.opened().await,
            Step::Hang => {
                // An error means that the connection is over, too.
                let _ = self.gone.wait_for(|gone| *gone).await;
                return Ok(After::Close);
            }
            Step::Freeze => self.piece(Piece::Freeze).await?,
            Step::Deaf => {}
            Step::Close => return Ok(After::Close),
            Step::Reset => return Ok(After::Reset),
            Step::Exit(status) => return Ok(After::Die(Some(status))),
            Step::Kill => return Ok(After::Die(None)),
        }
        Ok(After::Stay)
    }

    /// A message as a whole body, or half of it.
    async fn json(&mut self, text: &str, half: bool) -> io::Result<()> {
        let text = self.fill(text);
        let Output::Answer { writer, head, state: state @ State::Nothing } = &mut self.output else {
            let mut event = self.event(&text);
            if half {
                event.truncate(event.len() / 2);
            }
            return self.body(event).await;
        };
        *state = State::Body;
        let (head, length) = (std::mem::take(head), text.len());
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{head}\r\n"
        );
        let shown = if half { length / 2 } else { length };
        writer.write_all(&[head.as_bytes(), &text.as_bytes()[..shown]].concat()).await?;
        writer.flush().await
    }

    async fn status(&mut self, status: u16, lines: &str, body: &str) -> io::Result<()> {
        let body = self.fill(body);
        let Output::Answer { writer, head, state } = &mut self.output else { return Ok(()) };
        *state = State::Body;
        let head = std::mem::take(head) + lines;
        let length = body.len();
        let text = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{head}\r\n{body}");
        writer.write_all(text.as_bytes()).await
    }

    async fn flood(&mut self, text: &str, times: u32) -> io::Result<()> {
        let event = self.event(text);
        let in_block = (BLOCK / event.len()).max(1);
        let mut left = usize::try_from(times).unwrap_or(usize::MAX);
        while left > 0 {
            let now = left.min(in_block);
            self.body(event.repeat(now)).await?;
            left -= now;
        }
        Ok(())
    }

    /// A message as an event or line.
    fn event(&self, text: &str) -> Vec<u8> {
        let text = self.fill(text);
        match &self.output {
            Output::Shared { events: false, .. } => format!("{text}\n"),
            _ => format!("event: message\ndata: {text}\n\n"),
        }
        .into_bytes()
    }

    /// Bytes of the body; opens an event stream if nothing is open.
    async fn body(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (writer, head, state) = match &mut self.output {
            Output::Shared { pieces, .. } => return put(pieces, Piece::Out(bytes)).await,
            Output::Answer { writer, head, state } => (writer, head, state),
        };
        let mut text = Vec::new();
        if *state == State::Nothing {
            *state = State::Stream;
            let head = std::mem::take(head);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{head}\r\n"
            );
            text.extend_from_slice(head.as_bytes());
        }
        if *state == State::Stream && !bytes.is_empty() {
            text.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            text.extend_from_slice(&bytes);
            text.extend_from_slice(b"\r\n");
        } else {
            text.extend_from_slice(&bytes);
        }
        writer.write_all(&text).await?;
        writer.flush().await
    }

    async fn piece(&mut self, piece: Piece) -> io::Result<()> {
        match &self.output {
            Output::Shared { pieces, .. } => put(pieces, piece).await,
            Output::Answer { .. } => Ok(()),
        }
    }

    /// Puts the request's own values into a text.
    fn fill(&self, text: &str) -> String {
        let Some(received) = self.received else { return text.to_owned() };
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        text.replace("$ID", &value(&received.id))
            .replace("$NONCE", received.nonce.as_deref().unwrap_or_default())
            .replace("$TOKEN", &value(&received.token))
    }
}

async fn put(pieces: &mpsc::Sender<Piece>, piece: Piece) -> io::Result<()> {
    pieces.send(piece).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}
