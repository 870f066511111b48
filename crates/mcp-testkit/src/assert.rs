//! What tests of events and traffic ask again and again. Source: contract §5.2, §5.5, §9.1.

use std::fmt::Debug;

use mcp_registry::{ConnectionFilter, InvocationEvent, InvocationFilter, Journal, Phase, ServerName, Status};

/// Which phases an invocation may go through on each server it tries. Source: contract §5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Attempts on one server after one initialize stage, at most.
    pub attempts: u32,
}

/// How an invocation ended, as its events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No server was tried: no events.
    Untried,
    /// Answered.
    Success,
    /// Every attempt failed.
    Failure,
    /// Under way: a stage has begun and not ended.
    Open,
}

/// Phases that no invocation goes through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {at} is out of turn in {phases:?}")]
pub struct IllegalPhases {
    /// Which event, from 0.
    pub at: usize,
    /// All of them.
    pub phases: Vec<(ServerName, Phase)>,
}

impl Shape {
    /// A routed call: one attempt on each server.
    pub const ROUTED: Self = Self { attempts: 1 };

    /// Reads the events of one invocation, oldest first.
    ///
    /// # Errors
    /// [`IllegalPhases`] if they are no legal sequence, or belong to several invocations.
    pub fn ending(self, events: &[InvocationEvent]) -> Result<Ending, IllegalPhases> {
        let mut open: Option<&InvocationEvent> = None;
        let mut ending = Ending::Untried;
        let mut attempts = 0;
        for (at, event) in events.iter().enumerate() {
            let same = open.is_none_or(|open| open.server == event.server);
            let of_one = event.request_id == events[0].request_id && event.method == events[0].method;
            let again = at > 0 && events[at - 1].server == event.server && attempts < self.attempts;
            let legal = match (open.map(|open| open.phase), event.phase) {
                (None, Phase::InitializeStart) => true,
                // A further attempt on the same server.
                (None, Phase::InvokeStart) => again && attempts > 0,
                (Some(Phase::InitializeStart), Phase::InitializeSuccess | Phase::InitializeFailure)
                | (Some(Phase::InitializeSuccess), Phase::InvokeStart)
                | (Some(Phase::InvokeStart), Phase::InvokeSuccess | Phase::InvokeFailure) => true,
                _ => false,
            };
            if !(legal && same && of_one && ending != Ending::Success) {
                let phases = events.iter().map(|event| (event.server.clone(), event.phase)).collect();
                return Err(IllegalPhases { at, phases });
            }
            (open, ending) = match event.phase {
                Phase::InitializeFailure | Phase::InvokeFailure => (None, Ending::Failure),
                Phase::InvokeSuccess => (None, Ending::Success),
                Phase::InitializeStart | Phase::InitializeSuccess | Phase::InvokeStart => {
                    (Some(event), Ending::Open)
                }
            };
            match event.phase {
                Phase::InitializeStart => attempts = 0,
                Phase::InvokeStart => attempts += 1,
                _ => {}
            }
        }
        Ok(ending)
    }
}

/// The order in which servers were asked, by the starts among the phases: (server, `initialize` or the
/// method). A cached handshake has its phase but no traffic, so traffic is a part of this
/// ([`assert_subsequence`]).
#[must_use]
pub fn call_order(events: &[InvocationEvent]) -> Vec<(String, String)> {
    let starts = events.iter().filter_map(|event| match event.phase {
        Phase::InitializeStart => Some((event.server.to_string(), "initialize".to_owned())),
        Phase::InvokeStart => Some((event.server.to_string(), event.method.as_str().to_owned())),
        _ => None,
    });
    starts.collect()
}

/// Asserts that `part` is `whole` with nothing but omissions.
///
/// # Panics
/// If it is not; the message shows both.
#[track_caller]
pub fn assert_subsequence<T: PartialEq + Debug>(part: &[T], whole: &[T]) {
    let mut rest = whole.iter();
    let fits = part.iter().all(|item| rest.any(|other| other == item));
    assert!(fits, "not a subsequence:\n{part:?}\nof\n{whole:?}");
}

/// Asserts that the events of an invocation on one server are these phases, and that a limit of 1 gives
/// the last of them. `method` narrows the query where given.
///
/// # Panics
/// If they are not.
#[track_caller]
pub fn assert_invocation_filters(
    journal: &Journal,
    request_id: &str,
    server: &str,
    method: Option<&str>,
    phases: &[Phase],
) {
    let filter = InvocationFilter { server: Some(server), method, request_id: Some(request_id), limit: None };
    let found = |filter: &InvocationFilter<'_>| -> Vec<Phase> {
        journal.invocation_events(filter).into_iter().map(|event| event.phase).collect()
    };
    assert_eq!(found(&filter), phases, "{filter:?}");
    let newest = InvocationFilter { limit: Some(1), ..filter };
    assert_eq!(found(&newest), phases[phases.len().saturating_sub(1)..], "{newest:?}");
}

/// The same for the status changes that an invocation caused on one server.
///
/// # Panics
/// If they are not these.
#[track_caller]
pub fn assert_connection_filters(journal: &Journal, request_id: &str, server: &str, statuses: &[Status]) {
    let filter = ConnectionFilter { server: Some(server), correlation_id: Some(request_id), limit: None };
    let found = |filter: &ConnectionFilter<'_>| -> Vec<Status> {
        journal.connection_events(filter).into_iter().map(|event| event.to_status).collect()
    };
    assert_eq!(found(&filter), statuses, "{filter:?}");
    let newest = ConnectionFilter { limit: Some(1), ..filter };
    assert_eq!(found(&newest), statuses[statuses.len().saturating_sub(1)..], "{newest:?}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mcp_protocol::Method;
    use mcp_registry::{ErrorCategory, Failure, Policy, Timestamp};

    use super::*;

    /// `"p IS IY VS VF q IS IF"`: servers and phases.
    fn journal(story: &str) -> Journal {
        let journal = Journal::new(&Policy::default());
        let mut server: ServerName = "p".parse().unwrap();
        for word in story.split_whitespace() {
            let phase = match word {
                "IS" => Phase::InitializeStart,
                "IY" => Phase::InitializeSuccess,
                "IF" => Phase::InitializeFailure,
                "VS" => Phase::InvokeStart,
                "VY" => Phase::InvokeSuccess,
                "VF" => Phase::InvokeFailure,
                name => {
                    server = name.parse().unwrap();
                    continue;
                }
            };
            let failure = matches!(word, "IF" | "VF").then(|| Failure::new(ErrorCategory::Unknown, "x"));
            let now = Timestamp::from_micros(0);
            let event = InvocationEvent::new(now, server.clone(), Method::ToolsCall, "r".into(), phase);
            journal.invocation(InvocationEvent { failure, ..event });
        }
        journal
    }

    fn events(story: &str) -> Vec<InvocationEvent> {
        journal(story).invocation_events(&InvocationFilter::default())
    }

    #[test]
    fn legal_sequences_end_as_they_say() {
        for (story, ending) in [
            ("", Ending::Untried),
            ("p IS IF", Ending::Failure),
            ("p IS IY VS VF", Ending::Failure),
            ("p IS IY VS VY", Ending::Success),
            ("p IS IF q IS IY VS VF r IS IY VS VY", Ending::Success),
            ("p IS", Ending::Open),
            ("p IS IY", Ending::Open),
            ("p IS IF q IS IY VS", Ending::Open),
        ] {
            assert_eq!(Shape::ROUTED.ending(&events(story)), Ok(ending), "{story}");
        }
        let directed = Shape { attempts: 3 };
        assert_eq!(directed.ending(&events("p IS IY VS VF VS VF VS VY")), Ok(Ending::Success));
    }

    #[test]
    fn illegal_sequences_are_found_where_they_go_wrong() {
        for (story, at) in [
            ("p IY", 0),
            ("p VS", 0),
            ("p IS VS", 1),
            ("p IS IF VS", 2),
            ("p IS IY VS VF VS", 4),
            ("p IS IY VS VY q IS", 4),
            ("p IS q IY", 1),
            ("p IS IS", 1),
        ] {
            let illegal = Shape::ROUTED.ending(&events(story)).unwrap_err();
            assert_eq!(illegal.at, at, "{story}");
        }
        let directed = Shape { attempts: 2 };
        assert_eq!(directed.ending(&events("p IS IY VS VF VS VF VS VY")).unwrap_err().at, 6);
        assert_eq!(directed.ending(&events("p IS IY VS VF q VS VY")).unwrap_err().at, 4);
        let mut mixed = events("p IS IF q IS");
        mixed[2].request_id = Arc::from("other");
        assert_eq!(Shape::ROUTED.ending(&mixed).unwrap_err().at, 2);
    }

    #[test]
    fn traffic_is_compared_with_the_starts() {
        let order = call_order(&events("p IS IY VS VF q IS IY VS VY"));
        let pair = |server: &str, method: &str| (server.to_owned(), method.to_owned());
        let whole = [
            pair("p", "initialize"),
            pair("p", "tools/call"),
            pair("q", "initialize"),
            pair("q", "tools/call"),
        ];
        assert_eq!(order, whole);
        assert_subsequence(&[whole[1].clone(), whole[3].clone()], &order);
    }

    #[test]
    #[should_panic(expected = "not a subsequence")]
    fn another_order_is_no_subsequence() {
        assert_subsequence(&[2, 1], &[1, 2]);
    }

    #[test]
    fn queries_agree_with_their_limit() {
        let journal = journal("p IS IF q IS IY VS VY");
        let method = Some("tools/call");
        let failed = [Phase::InitializeStart, Phase::InitializeFailure];
        assert_invocation_filters(&journal, "r", "p", method, &failed);
        assert_invocation_filters(&journal, "r", "nobody", None, &[]);
        assert_connection_filters(&journal, "r", "p", &[]);
    }
}
