//! No interleaving of answers, cancellations and noise makes one call see another's answer.

use std::time::Duration;

use futures::future::join_all;
use mcp_client::{CallError, ConnectOptions, Outgoing};
use mcp_protocol::{Era, Method, RawJson};
use mcp_transport::TransportKind;
use proptest::prelude::*;

use crate::wire::*;

/// What the server does with one of the calls it holds.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer,
    AnswerTwice,
    Refuse,
    /// Answers with the id as a string, which is another id.
    Misspell,
    Nothing,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Answer),
        1 => Just(Act::AnswerTwice),
        1 => Just(Act::Refuse),
        1 => Just(Act::Misspell),
        1 => Just(Act::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn answers_never_cross(
        acts in prop::collection::vec(act(), 1..40),
        shuffle in any::<prop::sample::Index>(),
        stride in 1_usize..40,
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(acts, shuffle, stride));
    }
}

async fn check(acts: Vec<Act>, shuffle: prop::sample::Index, stride: usize) {
    let many = acts.len();
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let wire = server.wire();

    let calls = join_all((0..many).map(|n| {
        let params = Some(RawJson::encode(&std::collections::BTreeMap::from([("name", n)])).unwrap());
        client.call(Outgoing::new(Method::ToolsCall, params), Duration::from_secs(5))
    }));
    let answering = async {
        let held = wire.wait_for_many(&Method::ToolsCall, many).await;
        // Every call once, in an order that depends on the stride and the start.
        let mut order: Vec<usize> = (0..many).collect();
        order.rotate_left(shuffle.index(many));
        order.sort_by_key(|n| n % stride);
        for n in order {
            let (out, params) = (&held[n], params(&held[n]));
            match acts[n] {
                Act::Answer => wire.push(result(out, &params)),
                Act::AnswerTwice => {
                    wire.push(result(out, &params));
                    wire.push(result(out, r#"{"name":"wrong"}"#));
                }
                Act::Refuse => wire.push(error(out, -32000, &params)),
                Act::Misspell => {
                    wire.push(format!(
                        r#"{{"jsonrpc":"2.0","id":"{}","result":{{"name":"wrong"}}}}"#,
                        id(out)
                    ));
                }
                Act::Nothing => {}
            }
        }
    };
    let (outcomes, ()) = futures::join!(calls, answering);
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let own = format!(r#"{{"name":{n}}}"#);
        match (acts[n], outcome) {
            (Act::Answer | Act::AnswerTwice, Ok(answer)) => assert_eq!(answer.result.as_str(), own),
            (Act::Refuse, Err(CallError::Rpc { error, .. })) => {
                assert_eq!(error.data().unwrap().as_str(), own);
            }
            (Act::Misspell | Act::Nothing, Err(error)) => assert!(error.is_timeout()),
            (act, outcome) => panic!("call {n}, {act:?}: {outcome:?}"),
        }
    }
    let count = |wanted: fn(&Act) -> bool| acts.iter().filter(|act| wanted(act)).count() as u64;
    let stats = client.stats();
    assert_eq!(stats.late_answers, count(|act| matches!(act, Act::AnswerTwice)));
    assert_eq!(stats.unknown_answers, count(|act| matches!(act, Act::Misspell)));
    assert_eq!(client.details().last(), Some(&("waiting", "0".to_owned())));
}
