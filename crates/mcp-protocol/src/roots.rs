//! Roots: the folders a client lets a server work in.

use crate::json::RawJson;
use crate::structure::structure;

structure! {
    /// One folder or file.
    pub struct Root {
        /// A `file://` URI.
        req uri "uri": Box<str>;
        /// Its name for people.
        opt name "name": Box<str>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `roots/list` answers.
    pub struct ListRootsResult {
        /// The roots.
        req roots "roots": Vec<Root>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
