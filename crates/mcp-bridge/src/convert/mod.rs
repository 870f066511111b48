//! Translation between revisions: pure functions of messages and versions.
