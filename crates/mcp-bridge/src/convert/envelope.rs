//! What the stateless era wraps around results and requests, put on and taken off.

use std::time::Duration;

use mcp_protocol::meta;
use mcp_protocol::result::{CacheScope, Caching, Envelope, is_cacheable};
use mcp_protocol::{Era, InvalidJson, JsonKind, Method, ProtocolVersion, RawJson};

/// How a complete result of a server may be stored by the client, `age` after it came from the server.
///
/// A server of the handshake era says nothing of it, so its results are stale at once and nobody else's.
/// `personal`: the result was fetched with somebody's own credentials; that it is public is not believed then, since
/// a wrong label would leak. Source: bridging §11.
#[must_use]
pub fn caching(said: Option<Caching>, age: Duration, personal: bool) -> Caching {
    let said = said.unwrap_or_default();
    Caching {
        ttl: said.ttl.saturating_sub(age),
        scope: if personal { CacheScope::Private } else { said.scope },
    }
}

/// How a result that is put together may be stored: as briefly as the briefest part, and privately if one part is
/// private. Without parts: not at all. Source: bridging §11.
#[must_use]
pub fn caching_of_all(parts: impl IntoIterator<Item = Caching>) -> Caching {
    let both = |a: Caching, b: Caching| Caching {
        ttl: a.ttl.min(b.ttl),
        scope: if a.scope == CacheScope::Public { b.scope } else { a.scope },
    };
    parts.into_iter().reduce(both).unwrap_or_default()
}

/// A complete result as it goes to a client: with the envelope of the stateless era, or without it.
///
/// `said` is what the result says of itself, if it comes of a stateless server. `caching` is written where the method
/// has it (wire reference §3.4). `server_info` is our own name, or `None` to leave whatever name is there, as where one
/// server is shown as it is. If nothing changes, the result comes back as it was, not copied. Source: bridging §2, "Result envelope".
///
/// # Errors
/// [`InvalidJson`] if the result, or a `_meta` in it, is no proper object.
pub fn seal(
    result: &RawJson,
    said: Option<&Envelope>,
    method: &Method,
    caching: Caching,
    server_info: Option<&RawJson>,
    server: ProtocolVersion,
    client: ProtocolVersion,
) -> Result<RawJson, InvalidJson> {
    match (server.era(), client.era()) {
        (Era::Handshake, Era::Handshake) => Ok(result.clone()),
        (Era::Stateless, Era::Handshake) => Envelope::strip(result),
        (_, Era::Stateless) => {
            let wanted = Envelope::complete(is_cacheable(method).then_some(caching));
            if server_info.is_none() && is_sealed(result, said, &wanted) {
                return Ok(result.clone());
            }
            wanted.stamp(result, server_info)
        }
    }
}

/// Whether a result has the envelope already, word for word.
fn is_sealed(result: &RawJson, said: Option<&Envelope>, wanted: &Envelope) -> bool {
    if said != Some(wanted) {
        return false;
    }
    let Some(caching) = &wanted.caching else { return true };
    // What is missing or out of bounds reads as if it were written otherwise.
    let Ok(members) = result.members() else { return false };
    let scope = members.get_text("cacheScope").and_then(|scope| scope.strip_prefix('"')?.strip_suffix('"'));
    members.get_text("ttlMs") == Some(&*caching.ttl.as_millis().to_string())
        && scope == Some(caching.scope.as_str())
}

/// The parameters of a client's request as they go to a server: with the name that the server knows a tool or prompt
/// by, and without what its revision does not know: `context` of `completion/complete`, and what a stateless client
/// carries from attempt to attempt. If nothing changes, they come back as they were, not copied.
///
/// What `_meta` says of the sender is left for the connection to the server to replace or to leave out: `server` may
/// be a guess, and another server of a group may speak something else. Source: bridging §5.
///
/// # Errors
/// [`InvalidJson`] if the parameters are no proper object, or a `_meta` in those of a handshake client: a stateless
/// one's was read before.
pub fn upstream_params(
    params: Option<&RawJson>,
    method: &Method,
    name: Option<&str>,
    server: ProtocolVersion,
    client: ProtocolVersion,
) -> Result<Option<RawJson>, InvalidJson> {
    let Some(params) = params else { return Ok(None) };
    let completes = *method == Method::CompletionComplete;
    let both_stateless = server.era() == Era::Stateless && client.era() == Era::Stateless;
    if name.is_none() && both_stateless && !completes {
        return Ok(Some(params.clone()));
    }
    let mut members = params.members()?;
    let mut changed = false;
    if client.era() == Era::Handshake
        && let Some(meta) = params.get(meta::MEMBER).filter(|meta| meta.kind() != JsonKind::Null)
    {
        meta.members()?;
    }
    if server.era() == Era::Handshake {
        // What a stateless client carries from attempt to attempt means nothing there (bridging §6.3.1, rule 1).
        changed |= members.remove("inputResponses") | members.remove("requestState");
    }
    match name {
        Some(name) if completes => {
            if let Some(reference) = params.get("ref") {
                let mut prompt = reference.members()?;
                prompt.set_json("name", RawJson::string(name));
                members.set_json("ref", prompt.encode());
                changed = true;
            }
        }
        Some(name) => {
            let name = RawJson::string(name);
            if members.get_text("name") != Some(name.as_str()) {
                members.set_json("name", name);
                changed = true;
            }
        }
        None => {}
    }
    if completes && server < ProtocolVersion::V2025_06_18 {
        changed |= members.remove("context");
    }
    Ok(Some(if changed { members.encode() } else { params.clone() }))
}

/// The parameters of a server's question as they go to a client: without what belongs to the server's own leg, its
/// token for progress among it, as nobody passes such progress on. What cannot be read stays as it is.
#[must_use]
pub fn question_params(params: RawJson) -> RawJson {
    let own = |key: &&str| *key == meta::PROGRESS_TOKEN || meta::HOP_KEYS.contains(key);
    let has_own = params
        .get(meta::MEMBER)
        .is_some_and(|meta| meta.members().is_ok_and(|members| members.texts().any(|(key, _)| own(&key))));
    if !has_own {
        return params;
    }
    let keys: Vec<_> = meta::HOP_KEYS.iter().copied().chain([meta::PROGRESS_TOKEN]).collect();
    meta::strip(&params, &keys).unwrap_or(params)
}

#[cfg(test)]
mod tests;
