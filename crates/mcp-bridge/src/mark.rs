//! Names that few texts hold.

use std::sync::OnceLock;

use mcp_protocol::RawJson;
use memchr::memmem::Finder;

/// The name of a member that few objects have. To look for the name alone is several times as fast as to go through the
/// members.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) name: &'static str,
    finder: OnceLock<Finder<'static>>,
}

impl Mark {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, finder: OnceLock::new() }
    }

    /// Whether it stands in a text, at whatever depth.
    pub(crate) fn stands_in(&self, text: &RawJson) -> bool {
        let finder = || Finder::new(&format!("\"{}\"", self.name)).into_owned();
        self.finder.get_or_init(finder).find(text.as_bytes()).is_some()
    }

    /// The member of an object.
    pub(crate) fn of(&self, object: &RawJson) -> Option<RawJson> {
        self.stands_in(object).then(|| object.get(self.name))?
    }
}
