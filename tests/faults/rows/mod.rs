//! The rows of the catalogue, by kind of fault.

mod bytes;
mod deaths;
mod hangs;
mod links;
mod messages;
mod names;
mod pipes;
mod pools;
mod processes;
mod protocol;
mod restarts;
mod statuses;
mod tokens;

use crate::table::Row;

/// A notification that says nothing of interest.
const SAID: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}"#;

/// Progress of the call it is said for.
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;

/// The tools are others than before.
const LIST_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

/// All rows, in the order of the catalogue.
pub(crate) fn all() -> Vec<Row> {
    vec![
        deaths::r01(),
        hangs::r02(),
        hangs::r03(),
        hangs::r04(),
        links::r05(),
        links::r06(),
        links::r07(),
        messages::r08(),
        messages::r09(),
        messages::r10(),
        messages::r11(),
        messages::r12(),
        statuses::r13(),
        statuses::r14(),
        statuses::r15(),
        statuses::r16(),
        statuses::r17(),
        statuses::r18(),
        bytes::r19(),
        bytes::r20(),
        bytes::r21(),
        restarts::r22(),
        restarts::r23(),
        names::r24(),
        names::r25(),
        names::r26(),
        processes::r27(),
        processes::r28(),
        processes::r29(),
        pipes::r30(),
        pipes::r31(),
        pipes::r32(),
        restarts::r33(),
        protocol::r34(),
        protocol::r35(),
        pools::r36(),
        pools::r37(),
    ]
}
