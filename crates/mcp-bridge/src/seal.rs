//! State that clients carry for us, sealed against change.
