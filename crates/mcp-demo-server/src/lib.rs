//! A built-in MCP server that exercises every feature, both eras.
