//! An upstream over stdio: one pipe for all clients, on which the ids tell the answers apart.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use mcp_protocol::{Limits, Message, RequestId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use crate::Failure;

use super::{Body, Forward, json, status, with_id};

/// Most messages that wait to be written.
const QUEUE: usize = 256;

pub(super) struct Process {
    queue: mpsc::Sender<Bytes>,
    waiting: Waiting,
    /// Ends with the proxy.
    _child: Child,
}

/// Who waits for the answer to which of our ids.
type Waiting = Arc<Mutex<HashMap<i64, oneshot::Sender<Message>>>>;

impl Process {
    pub(super) fn start(command: &[String]) -> Result<Self, Failure> {
        let (program, args) = command.split_first().ok_or("no command")?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let (input, output) =
            child.stdin.take().zip(child.stdout.take()).ok_or("the process has no pipes")?;
        let (queue, queued) = mpsc::channel(QUEUE);
        let waiting = Waiting::default();
        tokio::spawn(write(input, queued));
        tokio::spawn(read(output, Arc::clone(&waiting)));
        Ok(Self { queue, waiting, _child: child })
    }

    pub(super) async fn forward(&self, parts: &Parts, forward: Forward) -> Result<Response<Body>, Failure> {
        if parts.method != Method::POST {
            return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
        }
        let Some(ids) = forward.ids else {
            self.queue.send(forward.body).await?;
            return Ok(status(StatusCode::ACCEPTED));
        };
        let (sender, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(ids.1, sender);
        self.queue.send(forward.body).await?;
        Ok(json(with_id(answered.await?, &ids).encode()))
    }
}

async fn write(mut input: ChildStdin, mut queued: mpsc::Receiver<Bytes>) {
    let mut out = BytesMut::new();
    while let Some(first) = queued.recv().await {
        let mut next = Some(first);
        // What waits is written at once.
        while let Some(message) = next {
            out.put_slice(&message);
            out.put_slice(b"\n");
            next = queued.try_recv().ok();
        }
        if input.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn read(output: ChildStdout, waiting: Waiting) {
    let mut output = BufReader::with_capacity(1 << 16, output);
    loop {
        let mut line = Vec::new();
        if !output.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
            break;
        }
        let Ok(message) = Message::parse(&Bytes::from(line), &Limits::default()) else { continue };
        let (Message::Response(mcp_protocol::Response { id: RequestId::Integer(id), .. })
        | Message::Failure(mcp_protocol::Failure { id: Some(RequestId::Integer(id)), .. })) = &message
        else {
            continue;
        };
        let sender = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(sender) = sender {
            // A client that has left is its own business.
            let _ = sender.send(message);
        }
    }
    // Whoever waits is told: there will be no answer.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
