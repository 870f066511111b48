//! The floor: as little as a gateway can do and still be one.
//!
//! It reads the JSON-RPC envelope, takes a prefix off the name of the tool, gives every request an id of its own
//! and every session too, and puts back the ids of the client in what comes back. One upstream, no checks beyond
//! those of the parser, no policy, no log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use mcp_protocol::{Limits, Message, Method, RawJson, RequestId};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

mod events;
mod http;
mod process;

use events::Events;
use http::Http;
use process::Process;

/// How the floor proxy is started.
#[derive(Debug, Clone, Parser)]
#[command(about = "The floor of the gateway benchmark: an envelope-aware proxy that does nothing else")]
pub struct FloorOptions {
    /// Address to listen on
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// What is taken off the names of tools
    #[arg(long, default_value = "floor__")]
    prefix: String,
    /// The upstream, if it is reached over HTTP
    #[arg(long, value_name = "URL", required_unless_present = "command")]
    url: Option<Uri>,
    /// The upstream's program and its arguments, if it is reached over stdio
    #[arg(last = true, conflicts_with = "url")]
    command: Vec<String>,
}

/// What is sent back: a whole body, or a stream of events as they come.
type Body = Either<Full<Bytes>, Events>;

/// A message of the client on its way to the upstream.
struct Forward {
    body: Bytes,
    /// Of a request: the client's id, and the one the upstream sees instead.
    ids: Option<(RequestId, i64)>,
    /// Of a request that names a tool: the name the upstream knows it by.
    tool: Option<String>,
}

struct Floor {
    prefix: String,
    next_id: AtomicI64,
    upstream: Upstream,
}

enum Upstream {
    Http(Box<Http>),
    Process(Process),
}

/// Serves until the process is ended.
///
/// # Errors
/// What keeps it from listening or from starting its upstream.
pub async fn serve_floor(options: FloorOptions) -> Result<(), Failure> {
    let upstream = match options.url {
        Some(url) => Upstream::Http(Box::new(Http::new(url))),
        None => Upstream::Process(Process::start(&options.command)?),
    };
    let floor = Arc::new(Floor { prefix: options.prefix, next_id: AtomicI64::new(1), upstream });
    let listener = TcpListener::bind(options.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&floor)));
    }
}

async fn serve(stream: TcpStream, floor: Arc<Floor>) {
    let service = service_fn(move |request| {
        let floor = Arc::clone(&floor);
        async move {
            let response = floor.respond(request).await;
            Ok::<_, Infallible>(response.unwrap_or_else(|_| status(StatusCode::BAD_GATEWAY)))
        }
    });
    if stream.set_nodelay(true).is_ok() {
        // A peer that goes away is its own business.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

impl Floor {
    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let forward = if body.is_empty() {
            Forward { body, ids: None, tool: None }
        } else {
            match self.rewrite(body) {
                Ok(forward) => forward,
                Err(_) => return Ok(status(StatusCode::BAD_REQUEST)),
            }
        };
        match &self.upstream {
            Upstream::Http(upstream) => upstream.forward(&parts, forward).await,
            Upstream::Process(upstream) => upstream.forward(&parts, forward).await,
        }
    }

    fn rewrite(&self, body: Bytes) -> Result<Forward, Failure> {
        let Message::Request(mut request) = Message::parse(&body, &Limits::default())? else {
            return Ok(Forward { body, ids: None, tool: None });
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ids = Some((std::mem::replace(&mut request.id, RequestId::Integer(id)), id));
        let mut tool = None;
        if let (Method::ToolsCall, Some(params)) = (&request.method, &request.params) {
            let mut members = params.members()?;
            let name: String = serde_json::from_str(members.get_text("name").unwrap_or_default())?;
            let bare = name.strip_prefix(&self.prefix).unwrap_or(&name).to_owned();
            members.set_json("name", RawJson::string(&bare));
            let renamed = members.encode();
            drop(members);
            request.params = Some(renamed);
            tool = Some(bare);
        }
        Ok(Forward { body: Message::Request(request).encode(), ids, tool })
    }
}

/// A message of the upstream with the client's id, if it is the answer.
fn answer(frame: &Bytes, ids: &(RequestId, i64)) -> Result<Message, Failure> {
    Ok(with_id(Message::parse(frame, &Limits::default())?, ids))
}

fn with_id(mut message: Message, (client, ours): &(RequestId, i64)) -> Message {
    match &mut message {
        Message::Response(response) if response.id == RequestId::Integer(*ours) => {
            response.id = client.clone();
        }
        Message::Failure(failure) if failure.id == Some(RequestId::Integer(*ours)) => {
            failure.id = Some(client.clone());
        }
        _ => {}
    }
    message
}

fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// Whether the client means to end its session.
fn is_end(parts: &Parts) -> bool {
    parts.method == hyper::Method::DELETE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_the_id_of_the_client_and_a_notification_stays() {
        let ids = (RequestId::Text("a".into()), 7);
        for (came, goes) in [
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{"id":7}}"#,
                r#"{"jsonrpc":"2.0","id":"a","result":{"id":7}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}"#,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
            ),
        ] {
            assert_eq!(answer(&Bytes::from_static(came.as_bytes()), &ids).unwrap().encode(), goes);
        }
    }

    #[test]
    fn the_prefix_goes_and_the_rest_of_the_request_stays() {
        let upstream = Upstream::Http(Box::new(Http::new(Uri::from_static("http://localhost/mcp"))));
        let floor = Floor { prefix: "floor__".into(), next_id: AtomicI64::new(41), upstream };
        let came = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"floor__a","arguments":{"n":1.00}}}"#;
        let forward = floor.rewrite(Bytes::from_static(came.as_bytes())).unwrap();
        assert_eq!(
            forward.body,
            r#"{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{"name":"a","arguments":{"n":1.00}}}"#
        );
        assert_eq!(
            (forward.tool.as_deref(), forward.ids),
            (Some("a"), Some((RequestId::Text("x".into()), 41)))
        );
    }
}
