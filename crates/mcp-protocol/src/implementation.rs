//! Who a peer says it is.

use crate::resource::Icon;
use crate::structure::structure;

structure! {
    /// The name and version of a client or server: for people, never for decisions.
    pub struct Implementation {
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its version.
        req version "version": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
        /// What it does; since 2025-11-25.
        opt description "description": Box<str>;
        /// Its home page; since 2025-11-25.
        opt website_url "websiteUrl": Box<str>;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
    }
}

impl Implementation {
    /// The name to show: the title, else the name.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }
}
