//! TOML into a tree.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::diagnostic::{Finding, position};
use crate::tree::{Entry, Node, Value};

/// Most syntax errors looked at; a file that is no TOML at all has one in each line.
const MAX_ERRORS: usize = 50;

/// Parses a document. Every line with a syntax error is reported.
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Finding>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut findings: Vec<Finding> = Vec::new();
    let mut last_line = None;
    for error in errors.iter().take(MAX_ERRORS) {
        let at = error.span().map_or(text.len(), |span| span.start);
        let line = position(text, at).line;
        // One mistake often causes several errors in its line; the first says it best.
        if last_line.replace(line) != Some(line) {
            findings.push(Finding::at(at, format!("not valid TOML: {}", error.message())));
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let at = document.span().start;
    let value = table(document.into_inner(), &mut findings);
    if findings.is_empty() { Ok(Node { at, value }) } else { Err(findings) }
}

fn table(table: DeTable<'_>, findings: &mut Vec<Finding>) -> Value {
    let entry = |(key, value): (Spanned<_>, _)| {
        let key_at = key.span().start;
        Entry { key: std::borrow::Cow::into_owned(key.into_inner()), key_at, node: node(value, findings) }
    };
    let mut entries: Vec<Entry> = table.into_iter().map(entry).collect();
    // The parser sorts by name; users think in the order of the file.
    entries.sort_by_key(|entry| entry.key_at);
    Value::Table(entries)
}

fn node(value: Spanned<DeValue<'_>>, findings: &mut Vec<Finding>) -> Node {
    let at = value.span().start;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => integer(&number).map_or_else(
            || {
                findings.push(Finding::at(at, "not valid TOML: the number is too large"));
                Value::Integer(0)
            },
            Value::Integer,
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(item, findings)).collect()),
        DeValue::Table(inner) => table(inner, findings),
    };
    Node { at, value }
}

fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}
