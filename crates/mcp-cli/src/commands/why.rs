//! `why`: the story of one request.

use jiff::Timestamp;
use mcp_api_types::{
    Attempt, ConnectionEvent, Delivery, ExplainedCandidate, Explanation, Outcome, Stage, Verdict,
};

use crate::{
    args::GlobalArgs,
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    render::{self, millis, word},
    text::{Line, Span, Style},
};

pub(crate) async fn run(request_id: &str, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    let path = ["invocations", request_id];
    let answer: Answer<Explanation> = output.wait("asking the gateway", client.get(&path, &[])).await?;
    if global.json {
        output.json(&answer.text)?;
    } else {
        output.lines(&story(&answer.body))?;
    }
    Ok(Exit::Ok)
}

/// A headline with the outcome, then what happened in the order of time.
fn story(told: &Explanation) -> Vec<Line> {
    let mut lines = vec![headline(told), facts(told)];
    lines.extend(asked_for(told).map(|text| vec![Span::plain(format!("  asked for {text}"))]));
    lines.extend(skipped(told));
    let steps = steps(told);
    if !steps.is_empty() {
        lines.push(Line::new());
    }
    let widest = |width: fn(&Step) -> usize| steps.iter().map(width).max().unwrap_or(0);
    let (time, server) = (widest(|step| step.time.width()), widest(|step| step.server.width()));
    for step in steps {
        let pad = |width: usize, span: &Span| Span::plain(" ".repeat(width - span.width()));
        let mut line = vec![Span::plain("  "), pad(time, &step.time), step.time];
        let gap = pad(server, &step.server);
        line.extend([Span::plain("  "), step.server, gap, Span::plain("  ")]);
        line.push(step.what);
        line.push(step.took);
        lines.push(line);
        if let Some(note) = step.note {
            lines.push(vec![Span::plain(" ".repeat(2 + time + 2 + server + 2)), note]);
        }
    }
    let untried: Vec<&str> = with_verdict(told, Verdict::NotTried).map(|seen| &*seen.server).collect();
    if !untried.is_empty() {
        let why =
            if told.outcome == Outcome::Served && !told.incomplete { "not needed" } else { "not tried" };
        lines.push(vec![Span::faint(format!("  {why}: {}", untried.join(", ")))]);
    }
    if told.incomplete {
        let text =
            "  its oldest steps are no longer retained; raise policy.max_invocation_events to keep more";
        lines.push(vec![Span::new(Style::Doubtful, text)]);
    }
    lines
}

fn headline(told: &Explanation) -> Line {
    let what = told.tool.as_deref().unwrap_or(&told.method);
    let (style, outcome) = match told.outcome {
        Outcome::Served => {
            let server = told.served_by.as_deref().unwrap_or("a server");
            (Style::Good, format!("was answered by {server}{}", before(told)))
        }
        Outcome::Failed => {
            let alone = told.server.is_some() || (told.preferred_only && told.preferred_servers.len() == 1);
            let why = told.code.and_then(|code| render::why_failed(code, alone));
            // Where nobody could be tried, the message says more than the code.
            let why = told.message.as_deref().or(why).unwrap_or("no server could be tried");
            (Style::Bad, format!("failed: {why}"))
        }
        Outcome::Cancelled => (Style::Doubtful, "ended without an answer: the caller went away".to_owned()),
        _ => (Style::Doubtful, "is still under way".to_owned()),
    };
    vec![Span::new(Style::Strong, what), Span::plain(" "), Span::new(style, outcome)]
}

/// What went wrong before somebody answered.
fn before(told: &Explanation) -> String {
    let failed: Vec<&str> = with_verdict(told, Verdict::Tried)
        .map(|seen| &*seen.server)
        .filter(|server| told.served_by.as_deref() != Some(server))
        .collect();
    match (told.attempts.last().and_then(|last| last.attempt.attempt), &failed[..]) {
        (Some(nth), _) if nth > 1 => format!(", at attempt {nth}"),
        (_, []) => String::new(),
        (_, [one]) => format!(", after {one} failed"),
        (_, [others @ .., last]) => format!(", after {} and {last} failed", others.join(", ")),
    }
}

fn facts(told: &Explanation) -> Line {
    let took = told.ended_at.as_ref().and_then(|at| elapsed(&told.started_at, at));
    let took = took.map(|took| format!(", took {took}")).unwrap_or_default();
    vec![Span::faint(format!("  {} {} at {}{took}", told.method, told.request_id, told.started_at))]
}

/// What the caller said about servers, if anything.
fn asked_for(told: &Explanation) -> Option<String> {
    if let Some(server) = &told.server {
        return Some(format!("{server}, and no other"));
    }
    let preferred = told.preferred_servers.join(", then ");
    let group = told.group.as_ref().map(|group| format!("servers of the group {group}"));
    let preferred = match (preferred.is_empty(), told.preferred_only) {
        (true, _) => None,
        (false, true) => Some(format!("{preferred}, and no other")),
        (false, false) => Some(format!("{preferred}, then any other")),
    };
    match (preferred, group) {
        (Some(preferred), Some(group)) => Some(format!("{preferred}; {group}")),
        (preferred, group) => preferred.or(group),
    }
}

fn with_verdict(told: &Explanation, wanted: Verdict) -> impl Iterator<Item = &ExplainedCandidate> {
    told.candidates.iter().filter(move |seen| seen.verdict == wanted)
}

/// One line of the story, and one more below it if there is a note.
struct Step {
    time: Span,
    server: Span,
    what: Span,
    took: Span,
    note: Option<Span>,
}

impl Step {
    fn new(time: &str, server: &str, what: Span) -> Self {
        let (time, server) = (Span::faint(time), Span::new(Style::Strong, server));
        Self { time, server, what, took: Span::plain(""), note: None }
    }
}

/// The attempts with the changes they caused, then what has not ended.
fn steps(told: &Explanation) -> Vec<Step> {
    let since =
        |at: &str| elapsed(&told.started_at, at).map_or_else(|| at.to_owned(), |since| format!("+{since}"));
    let tried = told.attempts.iter().map(|tried| (tried.seq, attempt(&since(&tried.at), &tried.attempt)));
    let changed = told
        .transitions
        .iter()
        .map(|change| (change.seq, Step::new(&since(&change.timestamp), &change.server, transition(change))));
    let mut happened: Vec<_> = tried.chain(changed).collect();
    happened.sort_by_key(|&(seq, _)| seq);
    let waiting = told.under_way.iter().map(|step| {
        let what = match step.stage {
            Stage::Initialize => "is being made ready",
            Stage::Invoke => "was asked, no answer yet",
        };
        let what = Span::new(Style::Doubtful, format!("{}{what}", nth(step.attempt)));
        Step::new(&since(&step.since), &step.server, what)
    });
    happened.into_iter().map(|(_, step)| step).chain(waiting).collect()
}

/// Who was passed over and why, a line for each reason. Those that were not asked for at all are no news.
fn skipped(told: &Explanation) -> Vec<Line> {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    let in_question =
        |seen: &&ExplainedCandidate| !told.preferred_only || told.preferred_servers.contains(&seen.server);
    for seen in told.candidates.iter().filter(in_question) {
        let Some(reason) = reason(seen) else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, servers)) => servers.push(&seen.server),
            None => reasons.push((reason, vec![&seen.server])),
        }
    }
    let line = |(reason, servers): (String, Vec<&str>)| {
        vec![
            Span::plain("  skipped "),
            Span::new(Style::Strong, servers.join(", ")),
            Span::plain(format!(": {reason}")),
        ]
    };
    reasons.into_iter().map(line).collect()
}

/// Why a server was skipped; `None` if it was not.
fn reason(seen: &ExplainedCandidate) -> Option<String> {
    let reason = match seen.verdict {
        Verdict::Tried | Verdict::NotTried => return None,
        Verdict::WindowClosed => {
            let until = seen.until.as_deref().unwrap_or("its next retry");
            return Some(format!("failed lately, not to be tried before {until}"));
        }
        Verdict::LacksTool => "known not to offer the tool",
        Verdict::Disabled => "disabled",
        Verdict::NotInGroup => "not in the group",
        Verdict::NotPreferred => "not asked for",
        ref other => return Some(word(other)),
    };
    Some(reason.to_owned())
}

fn attempt(time: &str, tried: &Attempt) -> Step {
    let took = tried.duration_ms.map(millis);
    let which = nth(tried.attempt);
    if tried.success {
        let (style, what) = match tried.stage {
            Stage::Initialize => (Style::Plain, "ready"),
            Stage::Invoke => (Style::Good, "answered"),
        };
        let took = Span::faint(took.map(|took| format!(" ({took})")).unwrap_or_default());
        return Step { took, ..Step::new(time, &tried.server, Span::new(style, format!("{which}{what}"))) };
    }
    let what = match tried.stage {
        Stage::Initialize => "could not be made ready",
        Stage::Invoke => "failed",
    };
    let error = tried.error.as_deref().unwrap_or("no reason is retained");
    let what = Span::new(Style::Bad, format!("{which}{what}: {error}"));
    let mut note = tried.error_category.as_ref().map(word).unwrap_or_default();
    if let Some(took) = took {
        note.push_str(&format!(" after {took}"));
    }
    // A server that could not be made ready was sent no request.
    let delivery = tried.delivery.filter(|_| tried.stage == Stage::Invoke);
    note.push_str(match delivery {
        Some(Delivery::NotSent) => ", never sent",
        Some(Delivery::Rejected) => ", refused before it was executed",
        Some(Delivery::Unknown) => ", may have been executed",
        _ => "",
    });
    Step { note: Some(Span::faint(note.trim_start())), ..Step::new(time, &tried.server, what) }
}

/// Which attempt of a directed call it is.
fn nth(attempt: Option<u32>) -> String {
    attempt.map(|nth| format!("attempt {nth} ")).unwrap_or_default()
}

fn transition(change: &ConnectionEvent) -> Span {
    let text = format!("was {}, is now {}", word(&change.from_status), word(&change.to_status));
    Span::new(Style::Doubtful, text)
}

/// The time between two instants; `None` if they cannot be read.
fn elapsed(from: &str, to: &str) -> Option<String> {
    let (from, to) = (from.parse::<Timestamp>().ok()?, to.parse::<Timestamp>().ok()?);
    Some(millis(to.duration_since(from).as_secs_f64() * 1000.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::table::text;

    fn told(changes: &Value) -> String {
        let mut story = json!({
            "request_id": "5c1f", "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:30.25Z",
            "method": "tools/call", "tool": "search", "server": null, "preferred_servers": [],
            "preferred_only": false, "group": null, "outcome": "served", "served_by": "backup", "code": null,
            "message": null, "candidates": [], "attempts": [], "under_way": null, "transitions": [],
            "incomplete": false,
        });
        for (key, value) in changes.as_object().unwrap() {
            story[key] = value.clone();
        }
        text(&super::story(&serde_json::from_value(story).unwrap()))
    }

    fn candidate(server: &str, verdict: &str) -> Value {
        json!({"server": server, "status": "healthy", "verdict": verdict})
    }

    fn answered(server: &str, stage: &str, at: &str, seq: u64) -> Value {
        json!({"server": server, "stage": stage, "success": true, "error": null, "error_category": null,
               "duration_ms": 2.25, "at": at, "seq": seq})
    }

    fn failed(server: &str, stage: &str, delivery: &str, at: &str, seq: u64) -> Value {
        json!({"server": server, "stage": stage, "success": false, "error": "timed out after 30s",
               "error_category": "network_timeout", "duration_ms": 30000.0, "delivery": delivery, "at": at, "seq": seq})
    }

    #[test]
    fn a_failover_is_told_in_the_order_of_time() {
        let story = told(&json!({
            "preferred_servers": ["primary"], "group": "g",
            "candidates": [candidate("primary", "tried"), candidate("backup", "tried"), candidate("spare", "not_tried"),
                           candidate("off", "disabled"), candidate("other", "not_in_group"),
                           {"server": "waits", "status": "degraded", "verdict": "window_closed",
                            "until": "2026-01-01T00:00:04Z"},
                           candidate("stranger", "not_in_group"), candidate("without", "lacks_tool")],
            "attempts": [answered("primary", "initialize", "2026-01-01T00:00:00Z", 2),
                         failed("primary", "invoke", "unknown", "2026-01-01T00:00:30Z", 4),
                         answered("backup", "initialize", "2026-01-01T00:00:30Z", 7),
                         answered("backup", "invoke", "2026-01-01T00:00:30.25Z", 9)],
            "transitions": [{"server": "primary", "from_status": "healthy", "to_status": "degraded",
                             "reason": "timed out after 30s", "timestamp": "2026-01-01T00:00:30Z",
                             "correlation_id": "5c1f", "seq": 5}],
        }));
        assert_eq!(
            story,
            "search was answered by backup, after primary failed\n\
             \u{20} tools/call 5c1f at 2026-01-01T00:00:00Z, took 30.2 s\n\
             \u{20} asked for primary, then any other; servers of the group g\n\
             \u{20} skipped off: disabled\n\
             \u{20} skipped other, stranger: not in the group\n\
             \u{20} skipped waits: failed lately, not to be tried before 2026-01-01T00:00:04Z\n\
             \u{20} skipped without: known not to offer the tool\n\
             \n\
             \u{20} +0.0 ms  primary  ready (2.2 ms)\n\
             \u{20} +30.0 s  primary  failed: timed out after 30s\n\
             \u{20}                   network_timeout after 30.0 s, may have been executed\n\
             \u{20} +30.0 s  primary  was healthy, is now degraded\n\
             \u{20} +30.0 s  backup   ready (2.2 ms)\n\
             \u{20} +30.2 s  backup   answered (2.2 ms)\n\
             \u{20} not needed: spare\n"
        );
    }

    #[test]
    fn attempts_on_one_server_are_numbered() {
        let numbered = |mut attempt: Value, nth: u32| {
            attempt["attempt"] = json!(nth);
            attempt
        };
        let story = told(&json!({
            "server": "backup", "candidates": [candidate("backup", "tried")],
            "attempts": [answered("backup", "initialize", "2026-01-01T00:00:00Z", 2),
                         numbered(failed("backup", "invoke", "not_sent", "2026-01-01T00:00:01Z", 4), 1),
                         numbered(answered("backup", "invoke", "2026-01-01T00:00:02Z", 6), 2)],
        }));
        assert_eq!(
            story,
            "search was answered by backup, at attempt 2\n\
             \u{20} tools/call 5c1f at 2026-01-01T00:00:00Z, took 30.2 s\n\
             \u{20} asked for backup, and no other\n\
             \n\
             \u{20} +0.0 ms  backup  ready (2.2 ms)\n\
             \u{20}  +1.0 s  backup  attempt 1 failed: timed out after 30s\n\
             \u{20}                  network_timeout after 30.0 s, never sent\n\
             \u{20}  +2.0 s  backup  attempt 2 answered (2.2 ms)\n"
        );
    }

    #[test]
    fn the_headline_says_how_it_ended() {
        let tried = |names: &[&str]| names.iter().map(|name| candidate(name, "tried")).collect::<Vec<_>>();
        for (changes, headline) in [
            (json!({}), "search was answered by backup"),
            (
                json!({"candidates": tried(&["a", "b", "c", "backup"])}),
                "search was answered by backup, after a, b and c failed",
            ),
            (json!({"tool": null}), "tools/call was answered by backup"),
            (
                json!({"outcome": "failed", "code": "no_candidates", "message": "no server is reachable: none is registered"}),
                "search failed: no server is reachable: none is registered",
            ),
            (
                json!({"outcome": "failed", "code": "all_candidates_failed", "candidates": tried(&["a"])}),
                "search failed: every server that could be tried failed",
            ),
            (
                json!({"outcome": "failed", "code": "all_candidates_failed", "server": "a"}),
                "search failed: the server failed",
            ),
            (
                json!({"outcome": "failed", "code": "ambiguous_not_retried", "preferred_servers": ["a"],
                       "preferred_only": true, "candidates": tried(&["a"])}),
                "search failed: the call may have been carried out, so it was not repeated",
            ),
            (
                json!({"outcome": "failed", "code": "no_candidates", "server": "a"}),
                "search failed: no server could be tried",
            ),
            (
                json!({"outcome": "failed", "code": "deadline_exceeded"}),
                "search failed: no server answered in time",
            ),
            (json!({"outcome": "cancelled"}), "search ended without an answer: the caller went away"),
            (json!({"outcome": "running", "ended_at": null}), "search is still under way"),
        ] {
            assert_eq!(told(&changes).lines().next(), Some(headline), "{changes}");
        }
    }

    #[test]
    fn what_is_missing_or_not_over_is_said() {
        let story = told(&json!({
            "outcome": "running", "ended_at": null, "incomplete": true,
            "candidates": [candidate("a", "tried"), candidate("b", "not_tried")],
            "under_way": {"server": "a", "stage": "invoke", "since": "2026-01-01T00:00:01Z"},
        }));
        assert_eq!(
            story,
            "search is still under way\n\
             \u{20} tools/call 5c1f at 2026-01-01T00:00:00Z\n\
             \n\
             \u{20} +1.0 s  a  was asked, no answer yet\n\
             \u{20} not tried: b\n\
             \u{20} its oldest steps are no longer retained; raise policy.max_invocation_events to keep more\n"
        );
    }

    #[test]
    fn servers_that_were_not_asked_for_are_not_told() {
        let waits = |server: &str| {
            json!({"server": server, "status": "degraded", "verdict": "window_closed",
                   "until": "2026-01-01T00:00:04Z"})
        };
        let story = told(&json!({
            "preferred_servers": ["a", "b"], "preferred_only": true,
            "candidates": [candidate("a", "tried"), waits("b"), waits("c"), candidate("d", "not_preferred")],
        }));
        let skipped: Vec<_> = story.lines().filter(|line| line.contains("skipped")).collect();
        assert_eq!(skipped, ["  skipped b: failed lately, not to be tried before 2026-01-01T00:00:04Z"]);
    }

    #[test]
    fn what_the_caller_asked_for_is_told() {
        for (changes, line) in [
            (json!({}), None),
            (json!({"preferred_servers": ["a", "b"]}), Some("  asked for a, then b, then any other")),
            (
                json!({"preferred_servers": ["a"], "preferred_only": true}),
                Some("  asked for a, and no other"),
            ),
            (json!({"group": "g"}), Some("  asked for servers of the group g")),
        ] {
            let story = told(&changes);
            assert_eq!(story.lines().find(|line| line.contains("asked for")), line, "{changes}");
        }
    }
}
