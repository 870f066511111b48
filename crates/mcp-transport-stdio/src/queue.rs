//! A queue bounded in messages and in bytes.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The receiving end is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// Makes a queue for `messages` items of `bytes` bytes together.
///
/// When it is full, senders wait. An item larger than the whole queue is let in when the queue is empty.
pub(crate) fn queue<T>(messages: usize, bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (items, received) = mpsc::channel(messages.max(1));
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, MOST_BYTES);
    (Sender { items, room: Arc::new(Semaphore::new(bytes as usize)), bytes }, Receiver { items: received })
}

/// A semaphore holds no more permits than this on a system of 32 bits.
const MOST_BYTES: u32 = u32::MAX >> 3;

#[derive(Debug)]
pub(crate) struct Sender<T> {
    items: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    bytes: u32,
}

impl<T> Sender<T> {
    /// Waits for room, then hands over the item, in the order of the calls. If the future is dropped,
    /// the item was not handed over.
    pub(crate) async fn send(&self, item: T, bytes: usize) -> Result<(), Gone> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes);
        let permit = Arc::clone(&self.room).acquire_many_owned(wanted).await.map_err(|_| Gone)?;
        self.items.send((item, permit)).await.map_err(|_| Gone)
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<T> {
    items: mpsc::Receiver<(T, OwnedSemaphorePermit)>,
}

impl<T> Receiver<T> {
    /// The next item, or `None` once nothing can come any more.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        self.items.recv().await.map(|(item, _)| item)
    }

    /// The same for a stream.
    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.items.poll_recv(context).map(|received| received.map(|(item, _)| item))
    }

    /// Takes what is there without waiting.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        self.items.try_recv().ok().map(|(item, _)| item)
    }

    /// Lets nothing more in. What is there can still be received.
    pub(crate) fn close(&mut self) {
        self.items.close();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn both_bounds_make_senders_wait() {
        let (sender, mut receiver) = queue(2, 10);
        sender.send('a', 6).await.unwrap();
        assert!(sender.send('b', 6).now_or_never().is_none(), "12 bytes in 10");
        sender.send('c', 4).await.unwrap();
        assert!(sender.send('d', 0).now_or_never().is_none(), "three items in two places");
        assert_eq!(receiver.recv().await, Some('a'));
        assert_eq!(receiver.recv().await, Some('c'));
        sender.send('e', 1_000_000).await.unwrap();
        assert!(sender.send('f', 1).now_or_never().is_none(), "a large item waits alone");
        receiver.close();
        assert_eq!(receiver.try_recv(), Some('e'));
        assert!(sender.send('g', 1).await.is_err());
        assert_eq!(receiver.recv().await, None);
    }
}
