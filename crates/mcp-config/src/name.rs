//! Names an operator may give to servers, groups and views.

use mcp_registry::{InvalidServerName, ServerName};

/// Names no server can have: the REST API has `/servers/NAME` for them, so that a server of that name could
/// be neither read nor deleted.
pub const RESERVED_NAMES: [&str; 4] = ["connect", "health-check", "initialize", "refresh-tools"];

/// The name neither a server nor a group can have: the MCP endpoint has `/mcp/views/VIEW` beside `/mcp/NAME`.
pub const RESERVED_OWNER: &str = "views";

/// The name of a server that is to be registered, or what is wrong with it.
pub(crate) fn server_name(text: &str) -> Result<ServerName, String> {
    if RESERVED_NAMES.contains(&text) {
        return Err(format!("the name `{text}` is reserved: the REST API has a path of that name"));
    }
    owner_name(text)
}

/// The name of a server or a group, or what is wrong with it.
pub(crate) fn owner_name(text: &str) -> Result<ServerName, String> {
    if text == RESERVED_OWNER {
        return Err(format!("the name `{text}` is reserved: the MCP endpoint has a path of that name"));
    }
    any_name(text)
}

/// A name that is free of reserved ones, as that of a view.
pub(crate) fn any_name(text: &str) -> Result<ServerName, String> {
    text.parse().map_err(|error: InvalidServerName| error.to_string())
}
