//! Reading the params of a method.

use mcp_protocol::{RawJson, Request, RpcError};
use serde::Deserialize;

use crate::answer::invalid_params;

/// Reads params that may be absent as a whole.
pub(crate) fn read_params<'de, T: Deserialize<'de> + Default>(request: &'de Request) -> Result<T, RpcError> {
    request.params.as_ref().map_or_else(|| Ok(T::default()), read)
}

/// Reads params that must be there.
pub(crate) fn required_params<'de, T: Deserialize<'de>>(request: &'de Request) -> Result<T, RpcError> {
    read(request.params.as_ref().ok_or_else(|| invalid_params("this method needs params"))?)
}

/// Reads params.
pub(crate) fn read<'de, T: Deserialize<'de>>(params: &'de RawJson) -> Result<T, RpcError> {
    serde_json::from_str(params.as_str()).map_err(|error| invalid_params(&format!("invalid params: {error}")))
}
