//! How answers look to people.

use jiff::Timestamp;
use mcp_api_types::{Attempt, FailureCode, InvocationError, Stage};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) mod fetched;

use crate::{
    table::Table,
    text::{self, Line, Span, Style},
};

/// The result of `tools/call`, as far as a terminal can show it.
#[derive(Debug)]
pub(crate) struct ToolResult<'a> {
    /// Whether the tool says that it failed.
    pub(crate) is_error: bool,
    blocks: Vec<Block<'a>>,
    /// Shown when there is no content, or the whole result when it is of another shape.
    instead: Option<&'a str>,
}

#[derive(Debug)]
enum Block<'a> {
    Text(String),
    Summary(String),
    Json(&'a str),
}

#[derive(Deserialize)]
struct RawToolResult<'a> {
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
    #[serde(default, rename = "structuredContent", borrow)]
    structured: Option<&'a RawValue>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    Text { text: String },
    Image(Encoded),
    Audio(Encoded),
    ResourceLink { uri: String, name: Option<String> },
    Resource { resource: Resource },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encoded {
    data: String,
    mime_type: String,
}

#[derive(Deserialize)]
struct Resource {
    uri: String,
    text: Option<String>,
    blob: Option<String>,
}

impl<'a> ToolResult<'a> {
    /// Reads the `result` member. What is not a tool result, or not content this knows, is kept as JSON.
    pub(crate) fn read(json: &'a str) -> Self {
        let Ok(raw) = serde_json::from_str::<RawToolResult<'a>>(json) else {
            return Self { is_error: false, blocks: Vec::new(), instead: Some(json) };
        };
        let instead = raw.content.is_empty().then(|| raw.structured.map_or(json, RawValue::get));
        Self { is_error: raw.is_error, blocks: raw.content.into_iter().map(Block::read).collect(), instead }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.blocks.iter().flat_map(Block::lines).collect();
        lines.extend(self.instead.into_iter().flat_map(json_lines));
        lines
    }
}

impl<'a> Block<'a> {
    fn read(raw: &'a RawValue) -> Self {
        match serde_json::from_str::<Content>(raw.get()) {
            Ok(Content::Text { text }) => Self::Text(text),
            Ok(Content::Image(image)) => Self::Summary(image.summary("image")),
            Ok(Content::Audio(audio)) => Self::Summary(audio.summary("audio")),
            Ok(Content::ResourceLink { uri, name }) => Self::Summary(match name {
                Some(name) => format!("[link to {name}: {uri}]"),
                None => format!("[link to {uri}]"),
            }),
            Ok(Content::Resource { resource: Resource { text: Some(text), .. } }) => Self::Text(text),
            Ok(Content::Resource { resource: Resource { uri, blob: Some(blob), .. } }) => {
                Self::Summary(format!("[resource {uri}, {}]", size(decoded_len(&blob))))
            }
            Ok(Content::Resource { resource: Resource { uri, .. } }) => {
                Self::Summary(format!("[resource {uri}]"))
            }
            Err(_) => Self::Json(raw.get()),
        }
    }

    fn lines(&self) -> Vec<Line> {
        match self {
            Self::Text(text) => text::lines(Style::Plain, text),
            Self::Summary(text) => vec![vec![Span::faint(text)]],
            Self::Json(text) => json_lines(text),
        }
    }
}

/// What is shown for want of something better.
fn json_lines(json: &str) -> Vec<Line> {
    vec![vec![Span::plain(text::json(json))]]
}

impl Encoded {
    fn summary(&self, what: &str) -> String {
        format!("[{what} {}, {}]", self.mime_type, size(decoded_len(&self.data)))
    }
}

/// Bytes behind base64 text.
fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The trace of an invocation.
pub(crate) fn attempts(attempts: &[Attempt]) -> Table {
    let mut table = Table::new(["#", "SERVER", "STAGE", "OUTCOME", "TIME", "ERROR"]);
    for (at, attempt) in attempts.iter().enumerate() {
        let outcome = match (&attempt.error_category, attempt.success) {
            (_, true) => Span::new(Style::Good, "ok"),
            (Some(category), false) => Span::new(Style::Bad, word(category)),
            (None, false) => Span::new(Style::Bad, "failed"),
        };
        table.row([
            Span::faint((at + 1).to_string()),
            Span::plain(&attempt.server),
            Span::plain(match attempt.stage {
                Stage::Initialize => "initialize",
                Stage::Invoke => "invoke",
            }),
            outcome,
            Span::plain(attempt.duration_ms.map(millis).unwrap_or_default()),
            Span::plain(attempt.error.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

/// Why an invocation failed, `directed` at one server or not. The attempts are told by their table, so they are not
/// repeated here.
pub(crate) fn failure(error: &InvocationError, directed: bool) -> String {
    let why = why_failed(error.code, directed).filter(|_| !error.attempts.is_empty());
    let advice = match error.code {
        FailureCode::AmbiguousNotRetried if why.is_some() => "; --idempotent true allows it",
        _ => "",
    };
    format!("{}: {}{advice}", error.method, why.unwrap_or(&error.message))
}

/// Why an invocation failed after something was tried, where the code says it; `directed` at one server.
pub(crate) fn why_failed(code: FailureCode, directed: bool) -> Option<&'static str> {
    Some(match code {
        FailureCode::AllCandidatesFailed if directed => "the server failed",
        FailureCode::AllCandidatesFailed => "every server that could be tried failed",
        FailureCode::AmbiguousNotRetried if directed => {
            "the call may have been carried out, so it was not repeated"
        }
        FailureCode::AmbiguousNotRetried => {
            "the call may have been carried out, so no other server was tried"
        }
        FailureCode::CallerError if directed => "the server refused the request",
        FailureCode::CallerError => "every server refused the request",
        FailureCode::DeadlineExceeded => "no server answered in time",
        FailureCode::ShuttingDown => "the gateway was shutting down",
        _ => return None,
    })
}

/// The name of an enumeration's value on the wire.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A span of milliseconds.
pub(crate) fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// A span of whole seconds, in its two largest units.
pub(crate) fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// How long until `instant`, on the clock of the gateway; the instant itself if either is unknown.
pub(crate) fn until(instant: &str, now: Option<Timestamp>) -> String {
    let Some((then, now)) = instant.parse::<Timestamp>().ok().zip(now) else {
        return instant.to_owned();
    };
    let left = then.duration_since(now);
    if left.is_negative() || left.is_zero() {
        return "now".to_owned();
    }
    // `now` is cut to whole seconds, so the time left is never understated.
    seconds(left.unsigned_abs().as_micros().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
