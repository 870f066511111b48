//! The published JSON Schemas of all revisions against this crate: everything generated from them is
//! read and written back, everything written by this crate is valid.
//!
//! The schema files are no part of the repository. They are looked for in `$MCP_SCHEMA_DIR`, then in
//! `../shared/protocol/schema` beside the workspace. Without them the tests say that they are skipped,
//! or fail where `CI=true`.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

mod files;
mod generate;
mod messages;
mod structures;
mod tables;
mod written;
