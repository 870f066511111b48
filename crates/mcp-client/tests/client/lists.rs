//! Lists, page by page.

use std::time::Duration;

use mcp_client::{CallError, Client, ConnectOptions};
use mcp_protocol::{Era, Method};
use mcp_transport::{Outbound, TransportKind};

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

async fn client(page: impl Fn(&str) -> String + Send + Sync + 'static) -> (Client, Wire) {
    let answer = move |out: &Outbound, wire: &Wire| {
        if matches!(method(out), Some(Method::ToolsList | Method::ResourceTemplatesList)) {
            wire.push(result(out, &page(&params(out))));
        }
    };
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, answer));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    (client, server.wire())
}

#[tokio::test(start_paused = true)]
async fn pages_are_followed_to_the_end_and_items_stay_as_they_are() {
    let (client, _wire) = client(|params| match params {
        "" => r#"{"tools":[{"name":"a", "x":1.0}],"nextCursor":""}"#.into(),
        r#"{"cursor":""}"# => r#"{"tools":[],"nextCursor":"\u00e9\""}"#.into(),
        r#"{"cursor":"é\""}"# => r#"{"tools":[{"name":"b"}],"nextCursor":null}"#.into(),
        other => panic!("unexpected parameters {other}"),
    })
    .await;
    let items = client.list(Method::ToolsList, LIMIT).await.unwrap();
    let items: Vec<_> = items.iter().map(|item| item.as_str()).collect();
    assert_eq!(items, [r#"{"name":"a", "x":1.0}"#, r#"{"name":"b"}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_wrong_is_an_error() {
    type Page = fn(&str) -> String;
    let rows: [(&str, Page); 6] = [
        ("its cursor came before", |_| r#"{"tools":[],"nextCursor":"a"}"#.into()),
        ("member \"tools\" must be an array", |_| r#"{"tools":{}}"#.into()),
        ("member \"tools\" must be an array", |_| "{}".into()),
        ("member \"nextCursor\" must be a string", |_| r#"{"tools":[],"nextCursor":7}"#.into()),
        ("more than 10000 items", |_| format!(r#"{{"tools":[{}1]}}"#, "1,".repeat(10_000))),
        ("more than 1000 pages", |params| {
            format!(r#"{{"tools":[],"nextCursor":"{}x"}}"#, &params.replace(['"', '{', '}', ':'], ""))
        }),
    ];
    for (text, page) in rows {
        let (client, _wire) = client(page).await;
        let error = client.list(Method::ToolsList, LIMIT).await.unwrap_err();
        assert!(matches!(error, CallError::Invalid { .. }));
        assert!(error.to_string().contains(text), "{error} / {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_as_much_as_allowed_is_fine() {
    let (client, _wire) = client(|params| {
        let page = params.trim_start_matches(r#"{"cursor":""#).trim_end_matches(r#""}"#);
        let page: usize = page.parse().unwrap_or(0);
        let next = if page < 999 { format!(r#","nextCursor":"{}""#, page + 1) } else { String::new() };
        format!(r#"{{"tools":[1,2,3,4,5,6,7,8,9,10]{next}}}"#)
    })
    .await;
    assert_eq!(client.list(Method::ToolsList, LIMIT).await.unwrap().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn only_list_methods_can_be_listed_and_the_limit_is_for_the_whole() {
    let (client, wire) = client(|_| r#"{"resourceTemplates":[{}]}"#.into()).await;
    assert_eq!(client.list(Method::ResourceTemplatesList, LIMIT).await.unwrap().len(), 1);
    let error = client.list(Method::ToolsCall, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "tools/call is no list method");
    assert!(client.list(Method::PromptsList, LIMIT).await.unwrap_err().is_timeout());
    wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
}
