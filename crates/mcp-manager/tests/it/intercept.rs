//! Looks at messages on their way to scripted servers, and answers in their place.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use mcp_protocol::{Limits, Message};
use mcp_testkit::ScriptedCluster;
use mcp_transport::{
    Connector, Delivery, Endpoint, Inbox, Incoming, Outbound, Reply, Transport, TransportError,
    TransportErrorKind,
};

type Answer = Result<Reply, TransportError>;

/// A connector whose every message goes through `look` first. What that returns is the answer; without one
/// the scripted server is asked.
pub(crate) fn intercept(
    cluster: ScriptedCluster,
    look: impl Fn(&Outbound) -> Option<Answer> + Send + Sync + 'static,
) -> Arc<dyn Connector> {
    Arc::new(Intercept { cluster, look: Arc::new(look) })
}

/// An answer with this text, parsed as a real one is.
pub(crate) fn answer(text: String) -> Answer {
    let frame = Bytes::from(text);
    let parsed = Message::parse(&frame, &Limits::default());
    let item = parsed.map(|message| Incoming { message, frame }).map_err(|error| {
        TransportError::new(TransportErrorKind::Payload(error.to_string().into()), Delivery::Unknown)
    });
    Ok(Reply::Own(futures::stream::once(ready(item)).boxed()))
}

/// The same, on a stream that stays open without another word.
pub(crate) fn then_silence(text: String) -> Answer {
    match answer(text)? {
        Reply::Own(frames) => Ok(Reply::Own(frames.chain(futures::stream::pending()).boxed())),
        other => Ok(other),
    }
}

/// A message that could not be sent.
pub(crate) fn unsent(text: &str) -> Answer {
    Err(TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent))
}

struct Intercept<F> {
    cluster: ScriptedCluster,
    look: Arc<F>,
}

impl<F: Fn(&Outbound) -> Option<Answer> + Send + Sync + 'static> Connector for Intercept<F> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let transport = self.cluster.connect(endpoint).await?;
            Ok(Box::new(Intercepted { transport, look: self.look.clone() }) as Box<dyn Transport>)
        })
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        Connector::health(&self.cluster, endpoint, path)
    }
}

struct Intercepted<F> {
    transport: Box<dyn Transport>,
    look: Arc<F>,
}

impl<F: Fn(&Outbound) -> Option<Answer> + Send + Sync + 'static> Transport for Intercepted<F> {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Answer> {
        match (self.look)(&out) {
            Some(answer) => Box::pin(ready(answer)),
            None => self.transport.send(out),
        }
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.transport.take_inbox()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.transport.close()
    }
}
