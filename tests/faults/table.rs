//! The table of cells: which fault, on which transport, at which point of a connection's life.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use mcp_protocol::Era;
use mcp_testkit::fault::Kind;

use crate::world::World;

/// A transport and what is spoken over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    StdioLegacy,
    StdioModern,
    HttpLegacy,
    HttpModern,
    Sse,
}

use Transport::{HttpLegacy, HttpModern, Sse, StdioLegacy, StdioModern};

pub(crate) const ALL: &[Transport] = &[StdioLegacy, StdioModern, HttpLegacy, HttpModern, Sse];
pub(crate) const STDIO: &[Transport] = &[StdioLegacy, StdioModern];
pub(crate) const HTTP: &[Transport] = &[HttpLegacy, HttpModern];
/// All that go over sockets.
pub(crate) const NET: &[Transport] = &[HttpLegacy, HttpModern, Sse];
/// All on which what the server says comes on one channel for all calls.
pub(crate) const SHARED: &[Transport] = &[StdioLegacy, StdioModern, Sse];
/// The two endpoints of 2024-11-05.
pub(crate) const SSE: &[Transport] = &[Sse];
pub(crate) const MODERN_HTTP: &[Transport] = &[HttpModern];
pub(crate) const SESSIONS: &[Transport] = &[HttpLegacy];
pub(crate) const MODERN: &[Transport] = &[StdioModern, HttpModern];
pub(crate) const LEGACY: &[Transport] = &[StdioLegacy, HttpLegacy];

impl Transport {
    pub(crate) fn kind(self) -> Kind {
        match self {
            StdioLegacy => Kind::Stdio(Era::Handshake),
            StdioModern => Kind::Stdio(Era::Stateless),
            HttpLegacy => Kind::Http(Era::Handshake),
            HttpModern => Kind::Http(Era::Stateless),
            Sse => Kind::Sse,
        }
    }

    pub(crate) fn era(self) -> Era {
        match self {
            StdioLegacy | HttpLegacy | Sse => Era::Handshake,
            StdioModern | HttpModern => Era::Stateless,
        }
    }

    pub(crate) fn is_stdio(self) -> bool {
        STDIO.contains(&self)
    }

    /// Whether what the server says comes on one channel for all calls, without which there is no connection.
    pub(crate) fn is_shared(self) -> bool {
        SHARED.contains(&self)
    }

    fn word(self) -> &'static str {
        match self {
            StdioLegacy => "stdio_legacy",
            StdioModern => "stdio_modern",
            HttpLegacy => "http_legacy",
            HttpModern => "http_modern",
            Sse => "sse",
        }
    }
}

/// Where in the life of a connection the fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Opening the socket, starting the process.
    Connect,
    /// Finding out the era, `initialize`.
    Handshake,
    /// A request was sent, and nothing of its answer came.
    Request,
    /// A part of the answer came, or something in its place.
    Answer,
    /// Between calls.
    Idle,
    /// While we close.
    Stopping,
    /// After a failure, when the upstream is well again.
    Recovery,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Idle => "idle",
            Self::Stopping => "stopping",
            Self::Recovery => "recovery",
        }
    }
}

type Run = Arc<dyn Fn(Rc<World>) -> LocalBoxFuture<'static, ()> + Send + Sync>;

/// One test.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) transport: Transport,
    pub(crate) phase: Phase,
    pub(crate) name: String,
    pub(crate) run: Run,
}

/// One row of the failure catalogue (reliability §5).
pub(crate) struct Row {
    id: &'static str,
    name: &'static str,
    fault: &'static str,
    must_hold: &'static str,
    cells: Vec<Cell>,
}

impl Row {
    pub(crate) fn new(
        id: &'static str,
        name: &'static str,
        fault: &'static str,
        must_hold: &'static str,
    ) -> Self {
        Self { id, name, fault, must_hold, cells: Vec::new() }
    }

    /// One cell for each of the transports.
    pub(crate) fn on<F>(
        mut self,
        transports: &[Transport],
        phase: Phase,
        case: &str,
        run: impl Fn(Rc<World>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let run: Run = Arc::new(move |world| Box::pin(run(world)));
        for &transport in transports {
            self.cells.push(Cell {
                transport,
                phase,
                name: format!(
                    "{}_{}/{}/{}_{case}",
                    self.id.to_lowercase(),
                    self.name,
                    transport.word(),
                    phase.word()
                ),
                run: run.clone(),
            });
        }
        self
    }
}

/// All cells, in the order of the rows.
pub(crate) fn cells(rows: &[Row]) -> Vec<Cell> {
    rows.iter().flat_map(|row| row.cells.iter().cloned()).collect()
}

/// `docs/faults.md`.
pub(crate) fn document(rows: &[Row], known: &[(&str, &str)]) -> String {
    let cells = cells(rows);
    let mut text = String::from(HEAD);
    let count = |transport| cells.iter().filter(|cell| cell.transport == transport).count();
    let _ = writeln!(text, "**{} cells** in {} rows: {}.", cells.len(), rows.len(), {
        let counts: Vec<_> = ALL.iter().map(|&of| format!("{} {}", of.word(), count(of))).collect();
        counts.join(", ")
    });
    let mut phases = BTreeMap::<Phase, usize>::new();
    for cell in &cells {
        *phases.entry(cell.phase).or_default() += 1;
    }
    let phases: Vec<_> = phases.iter().map(|(phase, count)| format!("{} {count}", phase.word())).collect();
    let _ = writeln!(text, "By phase: {}.", phases.join(", "));
    let _ = writeln!(text, "Cells that fail for a known reason (see the end): {}.\n", known.len());
    text.push_str("| row | fault | cells |\n|---|---|---:|\n");
    for row in rows {
        let _ = writeln!(text, "| {} | {} | {} |", row.id, row.fault, row.cells.len());
    }
    for row in rows {
        let _ = writeln!(text, "\n## {} {}\n\nMust hold: {}.\n", row.id, row.fault, row.must_hold);
        text.push_str("| transport | phase | test |\n|---|---|---|\n");
        for cell in &row.cells {
            let (transport, phase) = (cell.transport.word(), cell.phase.word());
            let _ = writeln!(text, "| {transport} | {phase} | `{}` |", cell.name);
        }
    }
    text.push_str("\n## Known to fail\n\n");
    if known.is_empty() {
        text.push_str("None.\n");
    }
    for (name, why) in known {
        let _ = writeln!(text, "- `{name}`: {why}");
    }
    text
}

const HEAD: &str = "\
# Faults

What upstreams and networks do to us, on which transport and at which point of a connection's life, and the test
that shows what then holds. Rows are those of the failure catalogue. Every cell runs the real client (and, where the
row is about restarts and recovery, the manager) against the fault upstream of `mcp-testkit`, over real sockets and
processes, and checks besides: one outcome for each call, at its time, with an honest `delivery`; executions at most
as often as promised; and afterwards no request waiting, no task, no connection and no process left.

Written by `cargo xtask faults`; a test fails when it is out of date. Run one cell with
`cargo test -p mcp-tests --test faults -- NAME`.

";
