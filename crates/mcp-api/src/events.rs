//! The event streams: endpoints 13, 14 and 29 of contract §6.

use std::num::NonZeroU64;

use axum::Json;
use axum::extract::State;
use mcp_api_types::{
    ConnectionEvent, ConnectionEventQuery, InvocationEvent, InvocationEventQuery, ItemList, RegistryEvent,
    RegistryEventKind,
};
use mcp_registry::{ConnectionFilter, InvocationFilter, RegistryFilter};
use serde::Deserialize;

use crate::convert;
use crate::extract::Params;
use crate::state::ApiState;

/// The query of `GET /registry-events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryEventQuery {
    server: Option<String>,
    #[serde(rename = "type")]
    kind: Option<RegistryEventKind>,
    limit: Option<NonZeroU64>,
}

/// A limit as a count; one that does not fit this machine limits nothing.
pub(crate) fn newest(limit: Option<NonZeroU64>) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))
}

/// `GET /events`
pub(crate) async fn connection(
    State(state): State<ApiState>,
    Params(query): Params<ConnectionEventQuery>,
) -> Json<ItemList<ConnectionEvent>> {
    let filter = ConnectionFilter {
        server: query.server.as_deref(),
        correlation_id: query.correlation_id.as_deref(),
        limit: newest(query.limit),
    };
    let events = state.manager().journal().connection_events(&filter);
    Json(ItemList { items: events.into_iter().map(convert::connection_event).collect() })
}

/// `GET /invocation-events`
pub(crate) async fn invocation(
    State(state): State<ApiState>,
    Params(query): Params<InvocationEventQuery>,
) -> Json<ItemList<InvocationEvent>> {
    let filter = InvocationFilter {
        server: query.server.as_deref(),
        method: query.method.as_deref(),
        request_id: query.request_id.as_deref(),
        limit: newest(query.limit),
    };
    let events = state.manager().journal().invocation_events(&filter);
    Json(ItemList { items: events.into_iter().map(convert::invocation_event).collect() })
}

/// `GET /registry-events`
pub(crate) async fn registry(
    State(state): State<ApiState>,
    Params(query): Params<RegistryEventQuery>,
) -> Json<ItemList<RegistryEvent>> {
    let filter = RegistryFilter {
        server: query.server.as_deref(),
        kind: query.kind.map(RegistryEventKind::as_str),
        limit: newest(query.limit),
    };
    let events = state.manager().journal().registry_events(&filter);
    Json(ItemList { items: events.into_iter().map(convert::registry_event).collect() })
}
