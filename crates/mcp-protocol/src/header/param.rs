//! `x-mcp-header`: arguments of a tool that are repeated in HTTP headers.

use std::collections::HashSet;

use serde_json::Value;

use super::{PARAM_PREFIX, decode_value, encode_value};
use crate::error::{ErrorCode, RpcError};
use crate::json::{JsonKind, RawJson};
use crate::number::canonical_integer;

/// The keyword in a property's schema that asks for a header.
const KEYWORD: &str = "x-mcp-header";

/// The type of an argument that is repeated in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// Text, as it is.
    String,
    /// An integer in decimal digits; compared as a number.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// One annotated property of an input schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    /// The names that lead from the arguments to the value.
    pub path: Vec<Box<str>>,
    /// What follows `Mcp-Param-` in the header's name, as the schema spells it.
    pub token: Box<str>,
    /// The declared type.
    pub kind: ParamType,
}

/// The annotated properties of an input schema, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamHeaders(Vec<ParamHeader>);

/// Why a tool cannot be offered over HTTP in the stateless era.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnnotation {
    /// The schema cannot be read at all.
    #[error("the input schema cannot be read: {detail}")]
    Schema {
        /// What the parser says.
        detail: Box<str>,
    },
    /// The annotation is no header token.
    #[error("x-mcp-header at {at} must be a non-empty string of token characters, found {found}")]
    Token {
        /// Where, as a JSON pointer into the schema.
        at: Box<str>,
        /// The annotation as JSON.
        found: Box<str>,
    },
    /// Two annotations name the same header.
    #[error("x-mcp-header at {at} repeats the name {token:?}")]
    Repeated {
        /// Where, as a JSON pointer into the schema.
        at: Box<str>,
        /// The name.
        token: Box<str>,
    },
    /// Only strings, integers and booleans have a header form.
    #[error("x-mcp-header at {at} stands on a property that is no string, integer or boolean")]
    Type {
        /// Where, as a JSON pointer into the schema.
        at: Box<str>,
    },
    /// The value cannot be found by names alone.
    #[error("x-mcp-header at {at} is not reachable through \"properties\" alone")]
    Unreachable {
        /// Where, as a JSON pointer into the schema.
        at: Box<str>,
    },
}

/// A header that is missing, unexpected, unreadable or different from the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {header} {reason}")]
pub struct HeaderMismatch {
    /// The header's name.
    pub header: Box<str>,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl HeaderMismatch {
    /// The error to answer with.
    #[must_use]
    pub fn to_error(&self) -> RpcError {
        RpcError::new(ErrorCode::HEADER_MISMATCH, &self.to_string())
    }
}

impl ParamHeaders {
    /// Finds the annotations of a tool's `inputSchema`.
    ///
    /// # Errors
    /// [`InvalidAnnotation`] says why the tool is to be left out of `tools/list`.
    pub fn from_schema(schema: &RawJson) -> Result<Self, InvalidAnnotation> {
        // Most schemas have none; looking for the word is far cheaper than reading the schema. A keyword
        // with escapes in it is missed by this, so a backslash anywhere also leads to the full reading.
        let text = schema.as_str().as_bytes();
        if memchr::memmem::find(text, KEYWORD.as_bytes()).is_none() && memchr::memchr(b'\\', text).is_none() {
            return Ok(Self::default());
        }
        let schema: Value = serde_json::from_slice(schema.as_bytes())
            .map_err(|error| InvalidAnnotation::Schema { detail: error.to_string().into() })?;
        let mut search = Search::default();
        search.schema(&schema, &mut String::new(), Some(&mut Vec::new()))?;
        Ok(Self(search.found))
    }

    /// The annotated properties.
    #[must_use]
    pub fn as_slice(&self) -> &[ParamHeader] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers a call with these arguments carries: name in lower case, value encoded.
    #[must_use]
    pub fn values(&self, arguments: Option<&RawJson>) -> Vec<(String, String)> {
        let value = |header: &ParamHeader| Some((header.name(), header.text(arguments)?));
        let encode = |(name, text): (String, String)| (name, encode_value(&text).into_owned());
        self.0.iter().filter_map(value).map(encode).collect()
    }

    /// Compares the headers of a call with its arguments, as a server has to. `header` looks a value up
    /// by its lower-case name.
    ///
    /// # Errors
    /// [`HeaderMismatch`] names the first header that is missing, unexpected, unreadable or different.
    pub fn check<'h>(
        &self,
        arguments: Option<&RawJson>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<(), HeaderMismatch> {
        self.0.iter().try_for_each(|param| {
            let name = param.name();
            let reason = match (param.text(arguments), header(&name)) {
                (None, None) => return Ok(()),
                (Some(_), None) => "is missing",
                (None, Some(_)) => "has no value in the body",
                (Some(text), Some(value)) => match decode_value(value) {
                    Ok(found) if param.agrees(&text, &found) => return Ok(()),
                    Ok(_) => "differs from the body",
                    Err(_) => "cannot be read",
                },
            };
            Err(HeaderMismatch { header: name.into(), reason })
        })
    }
}

impl ParamHeader {
    /// The header's name in lower case.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{PARAM_PREFIX}{}", self.token.to_ascii_lowercase())
    }

    /// The text of the value at the property's path; `None` if it is absent, `null`, or of a kind that has
    /// no header form (the call is invalid then, for another reason).
    fn text(&self, arguments: Option<&RawJson>) -> Option<String> {
        let value = self.path.iter().try_fold(arguments?.clone(), |object, name| object.get(name))?;
        match value.kind() {
            JsonKind::String => value.to().ok(),
            JsonKind::Number => canonical_integer(value.as_str()),
            JsonKind::Bool => Some(value.as_str().to_owned()),
            JsonKind::Null | JsonKind::Array | JsonKind::Object => None,
        }
    }

    fn agrees(&self, text: &str, found: &str) -> bool {
        text == found
            || self.kind == ParamType::Integer && canonical_integer(found).is_some_and(|found| found == text)
    }
}

/// How a keyword of JSON Schema holds other schemas.
enum Holds {
    One,
    List,
    Map,
}

/// The keywords, other than `properties`, under which schemas stand. What is not listed holds data.
fn holds(keyword: &str) -> &'static [Holds] {
    match keyword {
        "additionalItems"
        | "additionalProperties"
        | "contains"
        | "contentSchema"
        | "else"
        | "if"
        | "not"
        | "propertyNames"
        | "then"
        | "unevaluatedItems"
        | "unevaluatedProperties" => &[Holds::One],
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => &[Holds::List],
        "items" => &[Holds::One, Holds::List],
        "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" => &[Holds::Map],
        _ => &[],
    }
}

#[derive(Default)]
struct Search {
    found: Vec<ParamHeader>,
    tokens: HashSet<String>,
}

impl Search {
    /// Visits a schema. `path` is `None` once the way led through anything but `properties`. The depth of
    /// the recursion is bounded by the parser's limit on nesting.
    fn schema(
        &mut self,
        schema: &Value,
        at: &mut String,
        mut path: Option<&mut Vec<Box<str>>>,
    ) -> Result<(), InvalidAnnotation> {
        let Value::Object(members) = schema else { return Ok(()) };
        if let Some(annotation) = members.get(KEYWORD) {
            self.annotation(annotation, members.get("type"), at, path.as_deref())?;
        }
        for (keyword, value) in members {
            if keyword == "properties" {
                let Value::Object(properties) = value else { continue };
                for (name, property) in properties {
                    if let Some(path) = path.as_deref_mut() {
                        path.push(name.as_str().into());
                    }
                    self.step(&["properties", name], property, at, path.as_deref_mut())?;
                    if let Some(path) = path.as_deref_mut() {
                        path.pop();
                    }
                }
                continue;
            }
            for holds in holds(keyword) {
                match (holds, value) {
                    (Holds::One, Value::Object(_)) => self.step(&[keyword], value, at, None)?,
                    (Holds::List, Value::Array(list)) => {
                        for (index, item) in list.iter().enumerate() {
                            self.step(&[keyword, &index.to_string()], item, at, None)?;
                        }
                    }
                    (Holds::Map, Value::Object(map)) => {
                        for (name, item) in map {
                            self.step(&[keyword, name], item, at, None)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        names: &[&str],
        schema: &Value,
        at: &mut String,
        path: Option<&mut Vec<Box<str>>>,
    ) -> Result<(), InvalidAnnotation> {
        let len = at.len();
        for name in names {
            at.push('/');
            at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        let result = self.schema(schema, at, path);
        at.truncate(len);
        result
    }

    fn annotation(
        &mut self,
        annotation: &Value,
        kind: Option<&Value>,
        at: &str,
        path: Option<&Vec<Box<str>>>,
    ) -> Result<(), InvalidAnnotation> {
        let at = || Box::from(if at.is_empty() { "the root" } else { at });
        let token = annotation.as_str().filter(|token| is_token(token));
        let token = token
            .ok_or_else(|| InvalidAnnotation::Token { at: at(), found: annotation.to_string().into() })?;
        let path = path.ok_or_else(|| InvalidAnnotation::Unreachable { at: at() })?;
        let kind = match kind.and_then(Value::as_str) {
            Some("string") => ParamType::String,
            Some("integer") => ParamType::Integer,
            Some("boolean") => ParamType::Boolean,
            _ => return Err(InvalidAnnotation::Type { at: at() }),
        };
        if path.is_empty() {
            return Err(InvalidAnnotation::Type { at: at() });
        }
        if !self.tokens.insert(token.to_ascii_lowercase()) {
            return Err(InvalidAnnotation::Repeated { at: at(), token: token.into() });
        }
        self.found.push(ParamHeader { path: path.clone(), token: token.into(), kind });
        Ok(())
    }
}

/// RFC 9110 §5.6.2: one or more token characters.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests;
