//! MCP over Streamable HTTP, client side, both eras.
