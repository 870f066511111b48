//! Lists, followed page by page to their end.

use std::collections::HashSet;
use std::time::Duration;

use mcp_protocol::{JsonKind, Method, RawJson};

use crate::answer::Answer;
use crate::call::{Deadline, Outgoing};
use crate::client::Client;
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
        self.list_until(method, Deadline::after(timeout)).await
    }

    pub(crate) async fn list_until(
        &self,
        method: Method,
        deadline: Deadline,
    ) -> Result<Vec<RawJson>, CallError> {
        let Some(member) = items_member(&method) else {
            return Err(CallError::malformed(format!("{method} is no list method")));
        };
        let mut list = Pages::default();
        let mut cursor = None;
        loop {
            let params = cursor.as_ref().map(page_params).transpose()?;
            let answer = self.call_until(Outgoing::new(method.clone(), params), deadline).await?;
            cursor = list.add(member, &answer)?;
            if cursor.is_none() {
                return Ok(list.items);
            }
        }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Pages {
    items: Vec<RawJson>,
    bytes: usize,
    cursors: HashSet<String>,
}

impl Pages {
    /// Adds a page; gives the cursor of the next one.
    fn add(&mut self, member: &str, page: &Answer) -> Result<Option<String>, CallError> {
        let invalid = |reason: String| CallError::unusable(reason, page.frame.clone());
        let Some(items) = page.result.get(member).and_then(|items| items.to::<Vec<RawJson>>().ok()) else {
            return Err(invalid(format!("the result holds no array {member:?}")));
        };
        self.bytes += items.iter().map(|item| item.as_bytes().len()).sum::<usize>();
        self.items.extend(items);
        if self.items.len() > MAX_ITEMS {
            return Err(invalid(format!("the list has more than {MAX_ITEMS} items")));
        }
        if self.bytes > MAX_BYTES {
            return Err(invalid(format!("the list has more than {MAX_BYTES} bytes")));
        }
        let next = page.result.get("nextCursor").filter(|cursor| cursor.kind() != JsonKind::Null);
        // An empty string is a cursor like any other.
        let Some(next) = next
            .map(|cursor| cursor.to::<String>())
            .transpose()
            .map_err(|_| invalid("nextCursor is not a string".to_owned()))?
        else {
            return Ok(None);
        };
        if !self.cursors.insert(next.clone()) {
            return Err(invalid("the list goes in circles: its cursor came before".to_owned()));
        }
        if self.cursors.len() >= MAX_PAGES {
            return Err(invalid(format!("the list has more than {MAX_PAGES} pages")));
        }
        Ok(Some(next))
    }
}

/// Where the result of a list method has its items.
fn items_member(method: &Method) -> Option<&'static str> {
    match method {
        Method::ToolsList => Some("tools"),
        Method::ResourcesList => Some("resources"),
        Method::ResourceTemplatesList => Some("resourceTemplates"),
        Method::PromptsList => Some("prompts"),
        Method::TasksList => Some("tasks"),
        _ => None,
    }
}

fn page_params(cursor: &String) -> Result<RawJson, CallError> {
    #[derive(serde::Serialize)]
    struct Page<'a> {
        cursor: &'a str,
    }
    RawJson::encode(&Page { cursor }).map_err(|error| CallError::malformed(error.to_string()))
}
