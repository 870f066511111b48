//! One live connection to a process.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use mcp_protocol::Message;
use mcp_transport::{Delivery, Inbox, Outbound, Reply, Transport, TransportError, TransportErrorKind};
use tokio::sync::oneshot;

use crate::connection::{Connection, Phase};
use crate::framing::encode_line;
use crate::process::Group;
use crate::queue::{Receiver, Sender};
use crate::reader::Item;
use crate::writer::Job;

/// Lines of stderr in [`Transport::details`].
const DETAIL_LINES: usize = 20;

/// One live connection to a server process. Dropping it kills the process and everything it started;
/// [`close`](Transport::close) lets it end in order.
#[derive(Debug)]
pub struct StdioTransport {
    connection: Arc<Connection>,
    group: Arc<Group>,
    outgoing: Sender<Job>,
    inbox: Option<Receiver<Item>>,
    max_bytes: usize,
}

impl StdioTransport {
    pub(crate) fn new(
        connection: Arc<Connection>,
        group: Arc<Group>,
        outgoing: Sender<Job>,
        inbox: Receiver<Item>,
        max_bytes: usize,
    ) -> Self {
        Self { connection, group, outgoing, inbox: Some(inbox), max_bytes }
    }

    /// The id of the server's process, also after its end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.connection.pid()
    }

    /// The last lines of stderr that are not blank, oldest first. Control characters are escaped, values
    /// of variables the server was given by name are replaced, long lines are cut.
    #[must_use]
    pub fn stderr_lines(&self, count: usize) -> Vec<String> {
        self.connection.stderr_lines(count)
    }

    async fn send_message(&self, message: Message) -> Result<Reply, TransportError> {
        let reply = if matches!(message, Message::Request(_)) { Reply::Inbox } else { Reply::Accepted };
        let line = encode_line(&message);
        drop(message);
        let bytes = line.len() - 1;
        if bytes > self.max_bytes {
            let text = format!("message of {bytes} bytes exceeds the limit of {} bytes", self.max_bytes);
            return Err(TransportError::new(TransportErrorKind::Payload(text.into()), Delivery::NotSent));
        }
        let (done, written) = oneshot::channel();
        if self.connection.phase() >= Phase::Stopping {
            return Err(self.connection.error(Delivery::NotSent));
        }
        tokio::select! {
            biased;
            sent = self.outgoing.send(Job { line, done }, bytes) => {
                if sent.is_err() {
                    return self.lost(Delivery::NotSent).await;
                }
            }
            () = self.connection.reached(Phase::Stopping) => {
                return Err(self.connection.error(Delivery::NotSent));
            }
        }
        match written.await {
            Ok(Ok(())) => Ok(reply),
            Ok(Err(delivery)) => self.lost(delivery).await,
            Err(_) => self.lost(Delivery::Unknown).await, // the writer was dropped with its runtime
        }
    }

    /// The writer has given up. Why is known as soon as the connection has ended, which it is about to.
    async fn lost(&self, delivery: Delivery) -> Result<Reply, TransportError> {
        self.connection.reached(Phase::Ended).await;
        Err(self.connection.error(delivery))
    }
}

impl Transport for StdioTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(self.send_message(out.message))
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        let messages = self.inbox.take()?;
        Some(inbox(messages, Arc::clone(&self.connection)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.connection.stop();
            self.connection.reached(Phase::Gone).await;
        })
    }

    /// `pid`; `stderr`, its last 20 lines, if there are any; `stdout_noise`, the number of lines on stdout
    /// that were no message, if not zero.
    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![("pid", self.pid().to_string())];
        let stderr = self.stderr_lines(DETAIL_LINES);
        if !stderr.is_empty() {
            details.push(("stderr", stderr.join("\n")));
        }
        let noise = self.connection.noise_lines();
        if noise > 0 {
            details.push(("stdout_noise", noise.to_string()));
        }
        details
    }

    fn unclean_end(&self) -> Option<String> {
        self.connection.unclean().map(str::to_owned)
    }
}

impl Drop for StdioTransport {
    fn drop(&mut self) {
        self.connection.stop();
        self.group.kill();
    }
}

/// Everything that was read, then the reason why there is no more.
fn inbox(mut messages: Receiver<Item>, connection: Arc<Connection>) -> Inbox {
    let ending = Arc::clone(&connection);
    let items = stream::poll_fn(move |context| messages.poll_recv(context));
    let end = stream::once(async move {
        connection.reached(Phase::Ended).await;
        connection.loss().map(|kind| Err(TransportError::new(kind, Delivery::Unknown)))
    });
    items
        .chain(end.filter_map(std::future::ready))
        .take_until(async move { ending.closed_by_us().await })
        .boxed()
}
