//! `initialize`, on any transport.

use std::sync::Arc;

use mcp_protocol::initialize::counter_offer;
use mcp_protocol::{ErrorCode, Message, RawJson, Request, RpcError};

use crate::contain;
use crate::peer::Peer;
use crate::service::Opening;
use crate::text::answer_message;

/// Answers `initialize` and lets the conversation begin. Gives the answer, and what came before it was there.
pub(crate) async fn open(peer: &Arc<Peer>, request: Request) -> (Message, Result<Vec<Message>, ()>) {
    match begin(peer, request.params).await {
        Ok((result, held)) => (answer_message(request.id, Ok(result)), Ok(held)),
        Err(error) => (answer_message(request.id, Err(error)), Err(())),
    }
}

async fn begin(peer: &Arc<Peer>, params: Option<RawJson>) -> Result<(RawJson, Vec<Message>), RpcError> {
    let invalid = |text| RpcError::new(ErrorCode::INVALID_PARAMS, text);
    let params = params.ok_or_else(|| invalid("initialize needs params"))?;
    let wanted: Option<String> = params.get("protocolVersion").and_then(|version| version.to().ok());
    let wanted = wanted.ok_or_else(|| invalid("params.protocolVersion must be a string"))?;
    let version = counter_offer(&wanted);
    let opening = Opening {
        principal: peer.principal.clone(),
        transport: peer.shape,
        version,
        params,
        outlet: peer.outlet(),
    };
    let opened = contain::open(peer.service.open(opening)).await?;
    Ok((opened.result, peer.opened(version, opened.conversation)))
}
