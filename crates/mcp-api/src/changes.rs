//! Tools whose definitions change: what there is to approve, and approving it. Source: product §5.

use axum::Json;
use axum::extract::State;
use mcp_api_types::{ApproveTool, ItemList, ToolChange, ToolChangeQuery, ToolVersion, ValidationError};
use mcp_bridge::guard::Version;
use mcp_bridge::{Digest, InvalidDigest, ToolHistory};
use mcp_registry::{InvalidServerName, OnToolChange, ServerName};

use crate::error::ApiError;
use crate::extract::{Body, Params, TheBridge};
use crate::state::ApiState;

/// `GET /tool-changes`
pub(crate) async fn list(
    State(state): State<ApiState>,
    TheBridge(bridge): TheBridge,
    Params(query): Params<ToolChangeQuery>,
) -> Json<ItemList<ToolChange>> {
    let changes = bridge.tool_changes().into_iter().map(|change| convert(&state, change));
    let wanted = |change: &ToolChange| {
        query.server.as_ref().is_none_or(|server| change.server == *server)
            && query.pending.is_none_or(|pending| change.pending == pending)
    };
    Json(ItemList { items: changes.filter(wanted).collect() })
}

/// `POST /tool-changes/approve`: the answer is the tool's history afterwards.
pub(crate) async fn approve(
    State(state): State<ApiState>,
    TheBridge(bridge): TheBridge,
    Body(ApproveTool { server, tool, digest }): Body<ApproveTool>,
) -> Result<Json<Option<ToolChange>>, ApiError> {
    let invalid =
        |key: &str, why: String| ApiError::Invalid(ValidationError::one(["body", key], why, "value_error"));
    let name: ServerName =
        server.parse().map_err(|error: InvalidServerName| invalid("server", error.to_string()))?;
    let digest: Digest =
        digest.parse().map_err(|error: InvalidDigest| invalid("digest", error.to_string()))?;
    bridge.approve_tool(&name, &tool, digest).await?;
    tracing::info!(server = %name, tool, %digest, "the definition of a tool was approved");
    let mut changes = bridge.tool_changes().into_iter();
    // None if it was never anything else.
    let change = changes.find(|change| change.server == name && *change.tool == *tool);
    Ok(Json(change.map(|change| convert(&state, change))))
}

fn convert(state: &ApiState, ToolHistory { server, tool, history }: ToolHistory) -> ToolChange {
    let version = |version: Version| ToolVersion {
        digest: version.digest.to_string(),
        since: version.since.to_string(),
    };
    let pending = !history.is_approved();
    let blocks = state
        .manager()
        .server(server.as_str())
        .is_ok_and(|record| record.definition.on_tool_change == OnToolChange::Block);
    ToolChange {
        server: server.to_string(),
        tool: tool.into(),
        pending,
        withheld: pending && blocks,
        current: version(history.current()),
        approved: history.approved().to_string(),
        earlier: history.earlier().map(version).collect(),
    }
}
