use std::future::ready;

use futures::FutureExt;
use mcp_protocol::{ErrorCode, RpcError};

use super::*;
use crate::limits::FrontLimits;
use crate::service::{Opened, Opening, StatelessCall};

struct Nobody;

impl Service for Nobody {
    fn open(&self, _opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>> {
        ready(Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "nobody is here"))).boxed()
    }

    fn call(&self, _call: StatelessCall) -> BoxFuture<'static, Outcome> {
        ready(Ok(RawJson::empty_object())).boxed()
    }

    fn mirrored(&self, _: &Principal, _: &str) -> Option<Arc<mcp_protocol::header::ParamHeaders>> {
        None
    }
}

pub(crate) fn peer(shape: TransportShape) -> Arc<Peer> {
    Peer::new(&Shared::new(FrontLimits::default()), Principal::anonymous(), Arc::new(Nobody), shape)
}

fn request() -> Request {
    Request { id: RequestId::Integer(1), method: Method::ToolsCall, params: None }
}

fn progress() -> Notification {
    Notification { method: Method::Progress, params: None }
}

/// Whoever says something may have looked whether the request is open before the answer came.
#[tokio::test]
async fn nothing_is_said_about_a_request_once_it_is_answered() {
    for shape in [TransportShape::Http, TransportShape::Stdio] {
        let peer = peer(shape);
        let stream = peer.reserve_stream();
        let done = |_, _| ready(Ok(RawJson::empty_object())).boxed();
        let mut running = peer.start(Era::Handshake, request(), stream, done).unwrap();
        assert!((&mut running).await.is_some());
        let call = Arc::clone(&running.call);
        assert!(!peer.notify(Some(&call), progress()));
        let asked = peer.ask(Some(&call), Method::RootsList, None).await;
        assert_eq!(asked, Err(AskError::Unreachable("the request has ended")));
        drop(running);
        assert!(!peer.lock().store.has(COMMON + 1), "no stream is left that nobody would end");
        assert_eq!(peer.shared.counters.dropped.get(), 1);
    }
}

#[test]
fn what_is_taken_back_is_said_where_somebody_reads() {
    let peer = peer(TransportShape::Http);
    let gone = peer.reserve_stream();
    peer.say_cancelled(gone, RequestId::Integer(1));
    let state = peer.lock();
    assert!(!state.store.has(gone), "no stream is made for it");
    assert!(!state.store.is_full(COMMON, &FrontLimits { queue_messages: 2, ..FrontLimits::default() }));
    assert!(state.store.is_full(COMMON, &FrontLimits { queue_messages: 1, ..FrontLimits::default() }));
}
