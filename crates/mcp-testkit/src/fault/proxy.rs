//! A TCP proxy that damages what passes through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::host::Host;

/// Orders to end connections that may wait for one of them.
const ENDINGS: usize = 16;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// What is done to connections. The default lets everything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Each piece comes this much later, in both directions.
    pub latency: Duration,
    /// Pieces of the answer have at most so many bytes; 0: as they come.
    pub slice: usize,
    /// Nothing is forwarded in either direction, and nothing is closed: half-open connections, or a partition.
    pub stalled: bool,
    /// New connections are closed at once.
    pub refuse: bool,
    /// After so many bytes of answers on a connection, counted from when this was set, this happens.
    pub limit: Option<(u64, AtLimit)>,
}

/// What happens to a connection at its byte limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLimit {
    /// It is closed in order, toward the client.
    Close,
    /// It is reset.
    Reset,
    /// Nothing more is forwarded, and nothing is closed.
    Stall,
}

/// A proxy in front of one address. Gone when dropped, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    endings: broadcast::Sender<AtLimit>,
    open: watch::Sender<usize>,
    accepted: watch::Sender<usize>,
    _host: Host,
}

impl Proxy {
    /// Starts one that forwards to `target`.
    ///
    /// # Panics
    /// If the system gives no port or thread.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("sockets can be told not to block");
        let address = listener.local_addr().expect("it is bound");
        let rules = watch::Sender::new(Rules::default());
        let endings = broadcast::Sender::new(ENDINGS);
        let (open, accepted) = (watch::Sender::new(0), watch::Sender::new(0));
        let (of_host, ends, counter, total) =
            (rules.clone(), endings.clone(), open.clone(), accepted.clone());
        let host = Host::start("fault proxy", async move {
            let listener = TcpListener::from_std(listener).expect("the runtime has I/O");
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                total.send_modify(|total| *total += 1);
                if of_host.borrow().refuse {
                    continue;
                }
                counter.send_modify(|open| *open += 1);
                let (rules, ends, counter) = (of_host.subscribe(), ends.subscribe(), counter.clone());
                connections.spawn(async move {
                    forward(client, target, rules, ends).await;
                    counter.send_modify(|open| *open -= 1);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, rules, endings, open, accepted, _host: host }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rules, for open connections as well.
    pub fn set(&self, change: impl FnOnce(&mut Rules)) {
        self.rules.send_modify(change);
    }

    /// Closes all connections in order.
    pub fn close_all(&self) {
        // Without a connection there is nothing to close.
        let _ = self.endings.send(AtLimit::Close);
    }

    /// Resets all connections.
    pub fn reset_all(&self) {
        let _ = self.endings.send(AtLimit::Reset);
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }

    /// Waits until so many connections are open, for ever if need be.
    pub async fn has_open(&self, number: usize) {
        // It fails only without a sender, and that is in `self`.
        let _ = self.open.subscribe().wait_for(|open| *open == number).await;
    }
}

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    rules: watch::Receiver<Rules>,
    mut ends: broadcast::Receiver<AtLimit>,
) {
    let work = async {
        let mut stalled = rules.clone();
        // Of a connection made while nothing gets through the target knows nothing.
        let _ = stalled.wait_for(|rules| !rules.stalled).await;
        let Ok(mut server) = TcpStream::connect(target).await else { return AtLimit::Close };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            end = copy(&mut from_client, &mut to_server, rules.clone(), false) => end,
            end = copy(&mut from_server, &mut to_client, rules, true) => end,
        }
    };
    let end = tokio::select! {
        end = work => end,
        Ok(end) = ends.recv() => end,
    };
    if end == AtLimit::Reset {
        // It fails on a socket that is gone already.
        let _ = client.set_zero_linger();
    }
}

/// Forwards one direction until it ends, and says how the connection is to end.
async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut rules: watch::Receiver<Rules>,
    is_answer: bool,
) -> AtLimit {
    let mut chunk = vec![0; CHUNK];
    let (mut forwarded, mut limit) = (0u64, None);
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(read @ 1..) => read,
            Ok(_) => {
                // Nobody hears of the end, either.
                let _ = rules.wait_for(|rules| !rules.stalled).await;
                return AtLimit::Close;
            }
            Err(_) => return AtLimit::Reset,
        };
        let mut left = &chunk[..read];
        while !left.is_empty() {
            if rules.wait_for(|rules| !rules.stalled).await.is_err() {
                return AtLimit::Close;
            }
            let now = *rules.borrow();
            if limit != now.limit {
                (forwarded, limit) = (0, now.limit);
            }
            let mut size = if is_answer && now.slice > 0 { left.len().min(now.slice) } else { left.len() };
            if let Some((most, then)) = limit.filter(|_| is_answer) {
                let room = usize::try_from(most.saturating_sub(forwarded)).unwrap_or(usize::MAX);
                if room == 0 {
                    match then {
                        AtLimit::Stall => std::future::pending::<()>().await,
                        end => return end,
                    }
                }
                size = size.min(room);
            }
            if !now.latency.is_zero() {
                tokio::time::sleep(now.latency).await;
            }
            if to.write_all(&left[..size]).await.is_err() || to.flush().await.is_err() {
                return AtLimit::Close;
            }
            forwarded += size as u64;
            left = &left[size..];
        }
    }
}
