//! Reading the configuration again: `POST /reload` (product §3).

use std::future::Future;
use std::pin::Pin;

use axum::Json;
use axum::extract::State;
use mcp_api_types::ReloadReport;

use crate::error::ApiError;
use crate::state::ApiState;

/// Reads the configuration again and applies it; whoever wires the API knows how.
pub trait Reload: Send + Sync + std::fmt::Debug + 'static {
    /// A file that is wrong changes nothing.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<ReloadReport, ReloadError>> + Send + '_>>;
}

/// Why the configuration was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadError {
    /// Everything that is wrong, one mistake each, with its place.
    pub mistakes: Vec<String>,
}

/// `POST /reload`
pub(crate) async fn reload(State(state): State<ApiState>) -> Result<Json<ReloadReport>, ApiError> {
    let Some(reloader) = state.reloader() else { return Err(ApiError::NothingToReload) };
    reloader.reload().await.map(Json).map_err(|error| ApiError::configuration(error.mistakes))
}
