//! R14 with tokens that can be renewed.

use std::rc::Rc;

use futures::future::join_all;
use mcp_testkit::fault::{Kind, Step, Upstream};
use mcp_transport::{Auth, ClientAuthentication, ClientCredentials, Delivery, Endpoint};

use crate::outcome::kind;
use crate::table::{NET, Phase, Row};
use crate::world::{AMPLE, World};

const REVOKED: &str = "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n";

pub(crate) fn cells(row: Row) -> Row {
    row.on(NET, Phase::Request, "a_token_is_renewed", renewed)
        .on(NET, Phase::Request, "a_token_is_renewed_once_for_all", renewed_for_all)
        .on(NET, Phase::Request, "a_new_token_is_refused_as_well", refused_again)
        .on(NET, Phase::Request, "a_token_cannot_be_renewed", not_renewed)
        .on(NET, Phase::Handshake, "there_is_no_token", no_token)
}

/// A server that gives out tokens, one after the other.
fn issuer(w: &World) -> Upstream {
    let issuer = Upstream::start(Kind::Http(w.transport.era()));
    for number in 1..=3 {
        let token = format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
        issuer.plan_once("POST", [Step::Status(200, "Content-Type: application/json\r\n".into(), token)]);
    }
    let mut endpoint = w.endpoint();
    let auth = Auth::ClientCredentials(Box::new(ClientCredentials {
        token_url: format!("http://{}/token", issuer.address()).parse().unwrap(),
        client_id: "us".into(),
        client_secret: "hunter2".into(),
        scope: None,
        resource: None,
        method: ClientAuthentication::Basic,
    }));
    match &mut endpoint {
        Endpoint::Http(http) => http.auth = Some(auth),
        Endpoint::Sse(sse) => sse.http.auth = Some(auth),
        _ => unreachable!("only what goes over HTTP is asked for tokens"),
    }
    w.reach(endpoint);
    issuer
}

fn revoked() -> [Step; 1] {
    [Step::Status(401, REVOKED.into(), String::new())]
}

/// The tokens a call was sent with.
fn sent_with(w: &World, nonce: &str) -> Vec<String> {
    let token = |headers: &std::collections::BTreeMap<String, String>| headers.get("authorization").cloned();
    w.upstream.ledger().received(nonce).iter().filter_map(|call| token(&call.headers)).collect()
}

async fn renewed(w: Rc<World>) {
    let issuer = issuer(&w);
    let client = w.connect().await;
    w.upstream.plan_once("a", revoked());
    w.call(&client, "a", AMPLE).await.answered().at_once();
    assert_eq!(sent_with(&w, "a"), ["Bearer t1", "Bearer t2"]);
    w.works(&client).await;
    assert_eq!(sent_with(&w, "next"), ["Bearer t2"]);
    assert_eq!(issuer.ledger().received("POST").len(), 2);
}

async fn renewed_for_all(w: Rc<World>) {
    let issuer = issuer(&w);
    let client = w.connect().await;
    let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
    for name in &names {
        w.upstream.plan_once(name, revoked());
    }
    for ended in join_all(names.iter().map(|name| w.call(&client, name, AMPLE))).await {
        ended.answered();
    }
    assert_eq!(issuer.ledger().received("POST").len(), 2, "one renewal for all");
}

async fn refused_again(w: Rc<World>) {
    let issuer = issuer(&w);
    let client = w.connect().await;
    w.plan("a", revoked());
    w.call(&client, "a", AMPLE).await.failed(&["status"], Delivery::Rejected).at_once().has_status(401);
    assert_eq!(sent_with(&w, "a").len(), 2, "once more with a new token, and no more");
    assert_eq!(issuer.ledger().received("POST").len(), 2);
    w.works(&client).await;
}

async fn not_renewed(w: Rc<World>) {
    let issuer = issuer(&w);
    let client = w.connect().await;
    w.upstream.plan_once("a", revoked());
    issuer.order_exit().await;
    let ended = w.call(&client, "a", AMPLE).await;
    let Err(error) = &ended.result else { panic!("{ended:?}") };
    assert!(["status", "connect", "endpoint", "closed"].contains(&kind(error)), "{error}");
    assert_ne!(error.delivery(), Delivery::Unknown, "it was refused, or never sent again: {error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    ended.took.at_once();
    assert_eq!(sent_with(&w, "a").len(), 1);
}

async fn no_token(w: Rc<World>) {
    let issuer = issuer(&w);
    issuer.order_exit().await;
    let ended = w.connect_fails().await;
    let Err(error) = &ended.result else { unreachable!("it fails") };
    assert_eq!(error.delivery(), Delivery::NotSent, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    ended.took.at_once();
    assert!(w.upstream.ledger().received("POST").is_empty(), "nothing is sent without one");
}
