//! Messages for a session that belong to no request: they wait for its GET stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_protocol::Message;
use tokio::sync::Notify;

/// Most waiting messages. Beyond that the oldest goes: all of them only say that something changed.
const CAPACITY: usize = 64;

/// The waiting messages of one session.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Message>,
    taken: bool,
    closed: bool,
}

impl Mailbox {
    /// Adds a message.
    pub(crate) fn post(&self, message: Message) {
        let mut state = self.lock();
        if state.waiting.len() == CAPACITY {
            state.waiting.pop_front();
            tracing::debug!("a session does not fetch its messages, the oldest is dropped");
        }
        state.waiting.push_back(message);
        drop(state);
        self.news.notify_one();
    }

    /// Ends the stream that reads from here.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// Whether a stream reads from here.
    pub(crate) fn is_read(&self) -> bool {
        self.lock().taken
    }

    /// The reading end; `None` while another stream has it, so that no message goes to two streams.
    pub(crate) fn read(self: &Arc<Self>) -> Option<MailReader> {
        let mut state = self.lock();
        (!std::mem::replace(&mut state.taken, true)).then(|| MailReader(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes messages out of a [`Mailbox`]; dropping it lets another stream read.
#[derive(Debug)]
pub(crate) struct MailReader(Arc<Mailbox>);

impl MailReader {
    /// The next message; `None` once the mailbox is closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(message) = state.waiting.pop_front() {
                    return Some(message);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

impl Drop for MailReader {
    fn drop(&mut self) {
        self.0.lock().taken = false;
    }
}
