//! Names an operator may give to a server.

use mcp_registry::{InvalidServerName, ServerName};

/// Names no server can have: the REST API has `/servers/NAME` for them, so that a server of that name could
/// be neither read nor deleted.
pub const RESERVED_NAMES: [&str; 4] = ["connect", "health-check", "initialize", "refresh-tools"];

/// The name of a server that is to be registered, or what is wrong with it.
pub(crate) fn server_name(text: &str) -> Result<ServerName, String> {
    if RESERVED_NAMES.contains(&text) {
        return Err(format!("the name `{text}` is reserved: the REST API has a path of that name"));
    }
    text.parse().map_err(|error: InvalidServerName| error.to_string())
}
