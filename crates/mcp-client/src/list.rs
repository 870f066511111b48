//! Lists, followed page by page to their end.

use std::collections::HashSet;
use std::time::Duration;

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::list::{Page, items_member};
use mcp_protocol::result::{CacheScope, Caching};
use mcp_protocol::{Method, RawJson};

use crate::answer::Answer;
use crate::call::Outgoing;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::CallError;

/// Most pages of one list. Source: reliability document §6.
const MAX_PAGES: usize = 1_000;
/// Most items of one list.
const MAX_ITEMS: usize = 10_000;
/// Most bytes all items of one list may have together.
const MAX_BYTES: usize = 64 << 20;

impl Client {
    /// All items of a list method, such as [`Method::ToolsList`], from all its pages.
    ///
    /// # Errors
    /// [`CallError`]; [`Invalid`](CallError::Invalid) for any other method, a page of the wrong shape,
    /// a cursor that comes twice, and beyond 1 000 pages, 10 000 items or 64 MiB. `timeout` limits the
    /// whole list.
    pub async fn list(&self, method: Method, timeout: Duration) -> Result<Vec<RawJson>, CallError> {
        self.list_until(method, None, Deadline::after(timeout)).await.map(|list| list.items)
    }

    /// The same with what the server says of how long the list may be kept, and, where each request says what the
    /// client is able to do, with other `capabilities` than the connection's: a server may show other lists then.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub async fn list_for(
        &self,
        method: Method,
        capabilities: Option<ClientCapabilities>,
        timeout: Duration,
    ) -> Result<Listed, CallError> {
        self.list_until(method, capabilities, Deadline::after(timeout)).await
    }

    pub(crate) async fn list_until(
        &self,
        method: Method,
        capabilities: Option<ClientCapabilities>,
        deadline: Deadline,
    ) -> Result<Listed, CallError> {
        if items_member(&method).is_none() {
            return Err(CallError::malformed(format!("{method} is no list method")));
        }
        let mut list = Pages::default();
        let mut cursor = None;
        loop {
            let params = cursor.as_deref().map(page_params).transpose()?;
            let mut outgoing = Outgoing::new(method.clone(), params);
            outgoing.capabilities = capabilities.clone();
            let answer = self.call_until(outgoing, deadline).await?;
            cursor = list.add(&method, &answer)?;
            if cursor.is_none() {
                break;
            }
        }
        let caching = list.caching();
        if method == Method::ToolsList && self.mirrors_arguments() {
            return Ok(Listed { items: self.tool_headers().learn(list.items), caching });
        }
        Ok(Listed { items: list.items, caching })
    }
}

/// A list, all its pages together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its items as they came.
    pub items: Vec<RawJson>,
    /// How long it may be kept, and by whom: the strictest word of its pages, where one that says nothing may not be
    /// kept at all; `None` if none of them says anything, as in the handshake era, which has no such members.
    pub caching: Option<Caching>,
}

/// What was read so far. Items are slices of their pages.
#[derive(Debug, Default)]
struct Pages {
    items: Vec<RawJson>,
    /// The strictest word.
    said: Option<Caching>,
    /// A page said nothing.
    silent: bool,
    bytes: usize,
    cursors: HashSet<Box<str>>,
}

impl Pages {
    fn caching(&self) -> Option<Caching> {
        self.said.map(|said| if self.silent { Caching::default() } else { said })
    }

    /// Adds a page; gives the cursor of the next one.
    fn add(&mut self, method: &Method, answer: &Answer) -> Result<Option<Box<str>>, CallError> {
        let invalid = |reason: String| CallError::unusable(reason, answer.frame.clone());
        let page = Page::read(method, &answer.result).map_err(|error| invalid(error.to_string()))?;
        let said = answer.envelope.as_ref().and_then(|envelope| envelope.caching);
        self.silent |= said.is_none();
        self.said = match (self.said, said) {
            (Some(all), Some(page)) => Some(Caching {
                ttl: all.ttl.min(page.ttl),
                scope: if all.scope == CacheScope::Public { page.scope } else { all.scope },
            }),
            (all, page) => all.or(page),
        };
        self.bytes += page.items.iter().map(|item| item.as_bytes().len()).sum::<usize>();
        self.items.extend(page.items);
        if self.items.len() > MAX_ITEMS {
            return Err(invalid(format!("the list has more than {MAX_ITEMS} items")));
        }
        if self.bytes > MAX_BYTES {
            return Err(invalid(format!("the list has more than {MAX_BYTES} bytes")));
        }
        let Some(next) = page.next_cursor else { return Ok(None) };
        if !self.cursors.insert(next.clone()) {
            return Err(invalid("the list goes in circles: its cursor came before".to_owned()));
        }
        if self.cursors.len() >= MAX_PAGES {
            return Err(invalid(format!("the list has more than {MAX_PAGES} pages")));
        }
        Ok(Some(next))
    }
}

fn page_params(cursor: &str) -> Result<RawJson, CallError> {
    #[derive(serde::Serialize)]
    struct Params<'a> {
        cursor: &'a str,
    }
    RawJson::encode(&Params { cursor }).map_err(|error| CallError::malformed(error.to_string()))
}
