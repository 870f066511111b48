//! `events` and `invocations`: what happened, and what happens.

use mcp_api_types::{ConnectionEvent, InvocationEvent, Phase, Status};

use super::follow::{Stream, show};
use crate::{
    args::{EventsArgs, GlobalArgs, InvocationsArgs},
    exit::{Error, Exit},
    output::Output,
    render::word,
    text::{Line, Span, Style},
};

pub(crate) async fn run(args: &EventsArgs, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    let filters = filters([("server", &args.server), ("correlation_id", &args.correlation_id)]);
    show::<ConnectionEvent>(filters, &args.follow, global, output).await
}

pub(crate) async fn run_invocations(
    args: &InvocationsArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let filters =
        filters([("server", &args.server), ("method", &args.method), ("request_id", &args.request_id)]);
    show::<InvocationEvent>(filters, &args.follow, global, output).await
}

fn filters<const N: usize>(given: [(&'static str, &Option<String>); N]) -> Vec<(&'static str, String)> {
    given.into_iter().filter_map(|(key, value)| value.clone().map(|value| (key, value))).collect()
}

impl Stream for ConnectionEvent {
    const PATH: &'static str = "events";

    fn seq(&self) -> u64 {
        self.seq
    }

    fn line(&self) -> Line {
        let status = |status: Status| {
            let style = match status {
                Status::Healthy => Style::Good,
                Status::Degraded => Style::Doubtful,
                Status::Unreachable => Style::Bad,
            };
            Span::new(style, word(&status))
        };
        let mut line = vec![
            Span::faint(&self.timestamp),
            Span::plain("  "),
            Span::new(Style::Strong, &self.server),
            Span::plain("  "),
            status(self.from_status),
            Span::plain(" → "),
            status(self.to_status),
        ];
        // On recovery the reason is the status again.
        if self.reason != word(&self.to_status) {
            line.push(Span::plain(format!("  {}", self.reason)));
        }
        line.extend(self.correlation_id.as_ref().map(|id| Span::faint(format!("  {id}"))));
        line
    }
}

impl Stream for InvocationEvent {
    const PATH: &'static str = "invocation-events";

    fn seq(&self) -> u64 {
        self.seq
    }

    fn line(&self) -> Line {
        let style = match self.phase {
            Phase::InitializeFailure | Phase::InvokeFailure => Style::Bad,
            Phase::InvokeSuccess => Style::Good,
            _ => Style::Plain,
        };
        let mut line = vec![
            Span::faint(&self.timestamp),
            Span::plain("  "),
            Span::new(Style::Strong, &self.server),
            Span::plain(format!("  {}  ", self.method)),
            Span::new(style, word(&self.phase)),
        ];
        if let Some(error) = &self.error {
            line.push(Span::plain(format!("  {error}")));
        }
        if let Some(category) = &self.error_category {
            line.push(Span::faint(format!(" ({})", word(category))));
        }
        line.push(Span::faint(format!("  {}", self.request_id)));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::text;

    #[test]
    fn an_event_is_one_line() {
        let event = |json: &str| serde_json::from_str::<ConnectionEvent>(json).unwrap().line();
        let lines = [
            event(
                r#"{"server":"a","from_status":"healthy","to_status":"degraded","reason":"two\nlines",
                    "timestamp":"2026-01-01T00:00:00Z","correlation_id":"id","seq":1}"#,
            ),
            event(
                r#"{"server":"a","from_status":"degraded","to_status":"healthy","reason":"healthy",
                    "timestamp":"2026-01-01T00:00:01Z","correlation_id":null,"seq":2}"#,
            ),
        ];
        assert_eq!(
            text(&lines),
            "2026-01-01T00:00:00Z  a  healthy → degraded  two lines  id\n\
             2026-01-01T00:00:01Z  a  degraded → healthy\n"
        );
    }

    #[test]
    fn a_step_of_an_invocation_is_one_line() {
        let event = |json: &str| serde_json::from_str::<InvocationEvent>(json).unwrap().line();
        let lines = [
            event(
                r#"{"server":"a","method":"tools/call","request_id":"id","phase":"invoke_failure",
                    "timestamp":"2026-01-01T00:00:00Z","error":"gone","error_category":"transport_error","seq":1}"#,
            ),
            event(
                r#"{"server":"b","method":"tools/call","request_id":"id","phase":"invoke_success",
                    "timestamp":"2026-01-01T00:00:00Z","error":null,"error_category":null,"seq":2}"#,
            ),
        ];
        assert_eq!(
            text(&lines),
            "2026-01-01T00:00:00Z  a  tools/call  invoke_failure  gone (transport_error)  id\n\
             2026-01-01T00:00:00Z  b  tools/call  invoke_success  id\n"
        );
    }
}
