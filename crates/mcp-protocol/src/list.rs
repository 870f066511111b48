//! Lists in pages: `tools/list`, `resources/list` and the like, without typing each item.

use serde_json::value::RawValue;

use crate::json::{InvalidJson, JsonKind, RawJson};
use crate::method::Method;

/// One page of a list. The items stay the bytes they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The items, in order.
    pub items: Vec<RawJson>,
    /// Where the list goes on; `None` at its end. An empty string is a cursor like any other.
    pub next_cursor: Option<Box<str>>,
}

/// Why a result is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPage {
    /// The method answers no list.
    #[error("{method} does not answer with a list")]
    NoList {
        /// The method.
        method: Method,
    },
    /// The result is no object or names a member twice.
    #[error(transparent)]
    Json(#[from] InvalidJson),
    /// The array is missing or something else.
    #[error("member {member:?} must be an array")]
    NoItems {
        /// The member that holds the items.
        member: &'static str,
    },
    /// `nextCursor` is neither a string nor absent.
    #[error("member \"nextCursor\" must be a string")]
    Cursor,
}

/// The member of a method's result that holds the items; `None` if the method answers no list.
#[must_use]
pub fn items_member(method: &Method) -> Option<&'static str> {
    match method {
        Method::ToolsList => Some("tools"),
        Method::ResourcesList => Some("resources"),
        Method::ResourceTemplatesList => Some("resourceTemplates"),
        Method::PromptsList => Some("prompts"),
        Method::TasksList => Some("tasks"),
        Method::RootsList => Some("roots"),
        _ => None,
    }
}

impl Page {
    /// Reads the result of a list method.
    ///
    /// # Errors
    /// [`InvalidPage`] if the method answers no list or the result is not shaped like one.
    pub fn read(method: &Method, result: &RawJson) -> Result<Self, InvalidPage> {
        let member = member_of(method)?;
        let members = result.members()?;
        let items = members.get_text(member).ok_or(InvalidPage::NoItems { member })?;
        let items: Vec<&RawValue> =
            serde_json::from_str(items).map_err(|_| InvalidPage::NoItems { member })?;
        let next_cursor = match members.get_text("nextCursor") {
            None | Some("null") => None,
            Some(cursor) => Some(serde_json::from_str(cursor).map_err(|_| InvalidPage::Cursor)?),
        };
        Ok(Self { items: items.into_iter().map(|item| result.part(item.get())).collect(), next_cursor })
    }

    /// Writes the page as the result of a list method, without the envelope of the stateless era.
    ///
    /// # Errors
    /// [`InvalidPage::NoList`] if the method answers no list.
    pub fn encode(&self, method: &Method) -> Result<RawJson, InvalidPage> {
        let mut members = crate::members::Members::default();
        members.set_json(member_of(method)?, RawJson::encode(&self.items)?);
        if let Some(cursor) = &self.next_cursor {
            members.set_json("nextCursor", RawJson::string(cursor));
        }
        Ok(members.encode())
    }
}

fn member_of(method: &Method) -> Result<&'static str, InvalidPage> {
    items_member(method).ok_or_else(|| InvalidPage::NoList { method: method.clone() })
}

/// The params that ask for the page a cursor names; the rest of the params stays as it is.
///
/// # Errors
/// [`InvalidJson`] if `params` is no proper object.
pub fn params_at(params: Option<&RawJson>, cursor: &str) -> Result<RawJson, InvalidJson> {
    let empty = RawJson::empty_object();
    let mut members = params.unwrap_or(&empty).members()?;
    members.set_json("cursor", RawJson::string(cursor));
    Ok(members.encode())
}

/// The cursor a list request carries; `None` asks for the first page.
///
/// # Errors
/// [`InvalidPage`] if the cursor is no string.
pub fn cursor_of(params: Option<&RawJson>) -> Result<Option<Box<str>>, InvalidPage> {
    let Some(cursor) = params.and_then(|params| params.get("cursor")) else { return Ok(None) };
    match cursor.kind() {
        JsonKind::Null => Ok(None),
        _ => cursor.to().map(Some).map_err(|_| InvalidPage::Cursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn raw(text: &'static str) -> RawJson {
        RawJson::parse(text, &Limits::default()).unwrap()
    }

    #[test]
    fn items_are_slices_and_an_empty_cursor_is_a_cursor() {
        let result = raw(r#"{"tools":[{"name":"a", "n":1.0},7],"nextCursor":"","_meta":{}}"#);
        let page = Page::read(&Method::ToolsList, &result).unwrap();
        let items: Vec<_> = page.items.iter().map(RawJson::as_str).collect();
        assert_eq!(items, [r#"{"name":"a", "n":1.0}"#, "7"]);
        assert_eq!(page.next_cursor.as_deref(), Some(""));
        assert_eq!(
            page.encode(&Method::ToolsList).unwrap().as_str(),
            r#"{"tools":[{"name":"a", "n":1.0},7],"nextCursor":""}"#
        );
        let (whole, part) = (result.as_bytes().as_ptr_range(), page.items[0].as_bytes().as_ptr_range());
        assert!(whole.start <= part.start && part.end <= whole.end);
    }

    #[test]
    fn what_is_no_page_is_named() {
        let no_items = InvalidPage::NoItems { member: "tools" };
        for (text, error) in [
            ("{}", no_items.clone()),
            (r#"{"tools":{}}"#, no_items),
            (r#"{"tools":[],"nextCursor":7}"#, InvalidPage::Cursor),
            ("[]", InvalidPage::Json(InvalidJson::NotAnObject { found: JsonKind::Array })),
        ] {
            assert_eq!(Page::read(&Method::ToolsList, &raw(text)).unwrap_err(), error, "{text}");
        }
        assert!(matches!(Page::read(&Method::Ping, &raw("{}")), Err(InvalidPage::NoList { .. })));
        let last = Page::read(&Method::PromptsList, &raw(r#"{"prompts":[],"nextCursor":null}"#)).unwrap();
        assert_eq!(last.next_cursor, None);
    }

    #[test]
    fn the_cursor_travels_in_the_params() {
        let params = raw(r#"{"x":1.0,"cursor":"a"}"#);
        let next = params_at(Some(&params), "b\"").unwrap();
        assert_eq!(next.as_str(), r#"{"x":1.0,"cursor":"b\""}"#);
        assert_eq!(cursor_of(Some(&next)).unwrap().as_deref(), Some("b\""));
        assert_eq!(cursor_of(None), Ok(None));
        assert_eq!(cursor_of(Some(&raw(r#"{"cursor":7}"#))), Err(InvalidPage::Cursor));
    }
}
