//! The REST API on axum.
