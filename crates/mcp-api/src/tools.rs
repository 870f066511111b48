//! The tools servers offer: endpoint 25 of contract §6.3, and refreshing them.

use axum::Json;
use axum::extract::State;
use mcp_api_types::{Server, ServerList, ServerTools};
use mcp_manager::Manager;
use mcp_registry::{KnownTool, ServerRecord};
use serde_json::value::RawValue;

use crate::convert;
use crate::error::ApiError;
use crate::extract::ServerPath;
use crate::servers::{list_of, one};
use crate::state::ApiState;

/// `GET /server-tools`: every server with its known tools, null where they are unknown.
pub(crate) async fn all(State(state): State<ApiState>) -> Json<ServerTools> {
    Json(server_tools(state.manager()))
}

/// `GET /servers/{name}/tools`
pub(crate) async fn of_server(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Option<Vec<Box<RawValue>>>>, ApiError> {
    let record = state.manager().server(&name)?;
    Ok(Json(listed(&record)))
}

/// `POST /servers/{name}/refresh-tools`: asks the server; the answer is its record afterwards. What clients of the MCP
/// endpoint see is read again by itself.
pub(crate) async fn refresh(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Server>, ApiError> {
    let record = state.manager().refresh_tools(&name).await?;
    look_again(&state, Some(&name));
    one(&state, record)
}

/// `POST /servers/refresh-tools`: asks every server.
pub(crate) async fn refresh_all(State(state): State<ApiState>) -> Json<ServerList> {
    let records = state.manager().refresh_all_tools().await;
    look_again(&state, None);
    list_of(&state, &records)
}

fn look_again(state: &ApiState, server: Option<&str>) {
    if let Some(bridge) = state.bridge() {
        bridge.look_again(server);
    }
}

/// Every server with its known tools, null where they are unknown.
#[must_use]
pub fn server_tools(manager: &Manager) -> ServerTools {
    let table = manager.table();
    table.servers().iter().map(|record| (record.name().to_string(), listed(record))).collect()
}

/// Tool objects as the server listed them; a tool known only by name is an object with just that.
fn listed(record: &ServerRecord) -> Option<Vec<Box<RawValue>>> {
    let tools = record.tools.as_ref()?;
    let object = |name: &str, tool: &KnownTool| match &tool.listed {
        Some(listed) => convert::raw(listed),
        None => serde_json::value::to_raw_value(&serde_json::json!({ "name": name })).ok(),
    };
    Some(tools.iter().filter_map(|(name, tool)| object(name, tool)).collect())
}
