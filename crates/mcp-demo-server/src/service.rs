//! The server as the front ends see it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::{EraPolicy, RpcError};
use mcp_server::{FrontLimits, Opened, Opening, Outcome, Principal, Service, StatelessCall, TransportShape};

use crate::caller::Caller;
use crate::demo::{Demo, Turn};
use crate::handshake::Session;
use crate::in_flight::InFlight;

/// What clients may take: less than of a gateway.
pub(crate) fn limits() -> FrontLimits {
    // Like most servers it ends soon when its input does.
    let linger = Duration::from_millis(500);
    FrontLimits { in_flight: 1024, sessions: 1000, linger, ..FrontLimits::default() }
}

/// One demo server, served.
pub(crate) struct DemoService(pub(crate) Arc<Demo>);

impl Service for DemoService {
    fn open(&self, opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>> {
        ready(Session::open(&self.0, opening)).boxed()
    }

    fn call(&self, call: StatelessCall) -> BoxFuture<'static, Outcome> {
        // Over HTTP every request is on its own.
        let in_flight = match call.transport {
            TransportShape::Stdio => self.0.on_pipe.clone(),
            TransportShape::Http | TransportShape::Sse => InFlight::default(),
        };
        let entry = match in_flight.enter(&call.request.id) {
            Ok(entry) => entry,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (id, caller) = (call.request.id.clone(), Caller::stateless(&call.meta));
        let answer = self.0.answer(Turn { id, caller, outlet: call.outlet }, &call.request);
        entry.until(answer)
    }

    fn mirrored(&self, _principal: &Principal, tool: &str) -> Option<Arc<ParamHeaders>> {
        self.0.mirrored.get(tool).cloned()
    }

    fn eras(&self) -> EraPolicy {
        self.0.options.protocol
    }
}
