//! The demo server at the other end of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mcp_demo_server::{DemoOptions, DemoServer, Effect, PeerId};
use mcp_protocol::{EraPolicy, Message, Method, Notification, ProtocolVersion, RawJson, RequestId};
use mcp_transport::TransportKind;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::net::{Backend, Server, Wire};

/// Longer than any test.
const LONG: std::time::Duration = std::time::Duration::from_secs(86400);

struct Demo {
    core: Mutex<DemoServer>,
    peers: Mutex<HashMap<usize, (PeerId, Wire)>>,
    started: Instant,
    changed: Notify,
}

/// A demo server of one era.
pub(crate) fn server(name: &str, kind: TransportKind, version: ProtocolVersion) -> Server {
    let protocol = EraPolicy::Only(version.era());
    let options = DemoOptions { name: name.into(), protocol, ..DemoOptions::default() };
    let demo = Arc::new(Demo {
        core: Mutex::new(DemoServer::new(options)),
        peers: Mutex::default(),
        started: Instant::now(),
        changed: Notify::new(),
    });
    tokio::spawn(keep_time(Arc::downgrade(&demo)));
    Server::behind(name, kind, version, demo, None)
}

impl Demo {
    fn peer(&self, wire: &Wire) -> PeerId {
        let mut peers = self.peers.lock().unwrap();
        let open = || (self.core.lock().unwrap().open_peer(), wire.clone());
        peers.entry(wire.number()).or_insert_with(open).0
    }

    fn send(&self, effects: Vec<Effect>) {
        let peers = self.peers.lock().unwrap();
        for effect in effects {
            let Effect::Send { peer, within, message } = effect else { panic!("{effect:?}") };
            let (_, wire) = peers.values().find(|(known, _)| *known == peer).unwrap();
            wire.send(within.as_ref(), message.encode());
        }
        self.changed.notify_one();
    }

    fn receive(&self, wire: &Wire, message: Message) {
        let peer = self.peer(wire);
        let effects = self.core.lock().unwrap().receive(self.started.elapsed(), peer, message);
        self.send(effects);
    }
}

impl Backend for Demo {
    fn take(self: Arc<Self>, wire: &Wire, message: &Message) {
        self.receive(wire, message.clone());
    }

    fn left(&self, wire: &Wire, id: &RequestId) {
        let params = RawJson::encode(&json!({"requestId": id})).ok();
        self.receive(wire, Message::Notification(Notification { method: Method::Cancelled, params }));
    }
}

async fn keep_time(demo: std::sync::Weak<Demo>) {
    loop {
        let Some(this) = demo.upgrade() else { return };
        let due = this.core.lock().unwrap().next_deadline();
        let due = this.started + due.unwrap_or(LONG);
        if timeout_at(due, this.changed.notified()).await.is_err() {
            let effects = this.core.lock().unwrap().on_deadline(this.started.elapsed());
            this.send(effects);
        }
    }
}
