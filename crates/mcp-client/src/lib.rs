//! One connection to one MCP server: era detection, correlation, cancellation.
