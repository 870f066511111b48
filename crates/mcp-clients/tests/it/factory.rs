//! Clients made of configurations. Source: contract §7.3.

use std::sync::{Arc, Mutex};

use mcp_clients::{Blueprint, ClientConfig, ClientFactory, ClientOptions, FactoryError, McpClient};
use mcp_config::InvalidField;
use mcp_testkit::{Action, FnTransport, ManualClock, ScriptedCluster};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::support::{World, http, options};

/// A factory whose servers are scripted.
fn scripted() -> (ClientFactory, ScriptedCluster, ManualClock) {
    let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
    (ClientFactory::over(Arc::new(cluster.clone()), options(&clock)), cluster, clock)
}

fn minimal(transport: &str) -> Value {
    match transport {
        "stdio" => json!({"command": "server"}),
        _ => json!({"url": "https://p.example/mcp"}),
    }
}

#[tokio::test(start_paused = true)]
async fn j9_each_transport_makes_a_client_that_works() {
    let (factory, cluster, _clock) = scripted();
    assert_eq!(factory.supported_transports(), ["http", "sse", "stdio"]);
    for (transport, kind, server) in [
        ("http", TransportKind::Http, "p"),
        ("sse", TransportKind::Sse, "p"),
        ("stdio", TransportKind::Stdio, "server"),
    ] {
        let client = factory.create(transport, minimal(transport)).unwrap();
        assert_eq!(client.definition().endpoint.kind(), kind);
        assert_eq!(client.definition().name.as_str(), transport, "the name there is without one");
        assert_eq!(cluster.opened(server), u32::from(transport == "sse"), "not connected");
        assert!(client.connect().await.success());
        assert!(client.call_tool("t", &json!({})).await.is_ok());
        client.disconnect().await;
    }
    let explicit = minimal("http");
    let named = ClientConfig::from(explicit).with("name", "a").with("transport", "http");
    assert_eq!(factory.create("http", named).unwrap().definition().name.as_str(), "a");
}

#[test]
fn j9_an_unsupported_transport_is_named_with_those_there_are() {
    let (factory, ..) = scripted();
    let expected = FactoryError::UnsupportedTransport {
        given: "carrier pigeon".into(),
        supported: ["http", "sse", "stdio"].map(String::from).into(),
    };
    assert_eq!(factory.create("carrier pigeon", json!({})).unwrap_err(), expected);
    assert_eq!(factory.check_config("carrier pigeon", json!({})).unwrap_err(), expected);
    assert!(!factory.validate_config("carrier pigeon", json!({})));
    assert_eq!(expected.to_string(), r#"there is no transport "carrier pigeon"; there is: http, sse, stdio"#);
}

#[test]
fn j9_every_invalid_field_is_named_with_its_reason() {
    let (factory, cluster, _) = scripted();
    for (transport, key, value, field, reason) in [
        ("http", "url", json!("ftp://a"), "url", "must be an absolute"),
        ("http", "url", json!("http://10.0.0.7/mcp"), "url", "plain http"),
        ("http", "url", json!("https://user:secret@a"), "url", "must not hold a user name"),
        ("http", "name", json!("a b"), "name", "a server name holds"),
        ("http", "transport", json!("stdio"), "transport", "must be left out or be \"http\""),
        ("http", "priority", json!(101), "priority", "must be 1 to 100"),
        ("http", "priority", json!("high"), "priority", "must be a whole number"),
        ("http", "critical", json!(1), "critical", "must be true or false"),
        ("http", "timeout_ms", json!(0), "timeout_ms", "must be 1 to"),
        ("http", "max_retries", json!(10), "max_retries", "must be 0 to 9"),
        ("http", "retry_delay_ms", json!(-1), "retry_delay_ms", "must be a whole number"),
        ("http", "health_path", json!("health"), "health_path", "must be a URL path"),
        ("http", "probe", json!("smell"), "probe", "must be one of `auto`"),
        ("http", "protocol", json!("old"), "protocol", "must be one of `auto`"),
        ("http", "tools", json!([""]), "tools.0", "must not be empty"),
        ("http", "headers", json!({"a b": "c"}), "headers.a b", "is no name"),
        ("http", "headers", json!({"X": 1}), "headers.X", "must be a string"),
        ("http", "group", json!("http"), "group", "must not be the name of a server"),
        ("http", "command", json!("x"), "", "has both `command` and `url`"),
        ("http", "colour", json!("red"), "colour", "unknown key"),
        ("sse", "open_method", json!("PUT"), "open_method", "must be one of `get`"),
        ("stdio", "command", json!(""), "command", "must not be empty"),
        ("stdio", "env", json!({"LD_PRELOAD": "x"}), "env.LD_PRELOAD", "foreign code"),
        ("stdio", "args", json!("-v"), "args", "must be a list"),
    ] {
        let config = ClientConfig::from(minimal(transport)).with(key, value);
        let wrong = factory.check_config(transport, config.clone()).unwrap();
        assert!(
            !wrong.is_empty() && !factory.validate_config(transport, config.clone()),
            "{transport} {key}"
        );
        let error = factory.create(transport, config).unwrap_err();
        let FactoryError::InvalidConfiguration { field: named, reason: why } = error else {
            panic!("{error}")
        };
        assert_eq!(named, field, "{transport} {key}: {why}");
        assert!(why.contains(reason) && !why.contains("secret"), "{transport} {key}: {why}");
    }
    let several = json!({"url": "ftp://a", "priority": 0});
    let wrong: Vec<_> =
        factory.check_config("http", several).unwrap().into_iter().map(|field| field.path).collect();
    assert_eq!(wrong, [["url"], ["priority"]]);
    for nothing in [json!({}), json!([]), json!(null), json!("x")] {
        assert!(!factory.validate_config("http", nothing.clone()), "{nothing}");
    }
    assert!(
        factory.validate_config("http", minimal("http"))
            && factory.validate_config("stdio", minimal("stdio"))
    );
    assert_eq!(cluster.traffic(), [], "validation has no effects");
}

#[test]
fn j9_defaults_lie_under_explicit_keys() {
    let (factory, ..) = scripted();
    let factory = factory
        .with_defaults(json!({"timeout_ms": 1000, "priority": 7, "description": "all"}))
        .with_transport_defaults("http", json!({"timeout_ms": 2000, "headers": {"X-A": "1"}}));
    let http = factory.create("http", minimal("http")).unwrap();
    let definition = http.definition();
    assert_eq!((definition.request_timeout.as_millis(), definition.priority), (2000, 7));
    let explicit =
        ClientConfig::from(minimal("http")).with("priority", 9).with("headers", json!({"X-B": "2"}));
    let http = factory.create("http", explicit).unwrap();
    assert_eq!(http.definition().priority, 9);
    let headers: Vec<_> =
        http.definition().endpoint.http().unwrap().headers.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(headers, ["X-A", "X-B"]);
    let stdio = factory.create("stdio", minimal("stdio")).unwrap();
    assert_eq!(stdio.definition().request_timeout.as_millis(), 1000, "others have the common ones");
}

#[tokio::test(start_paused = true)]
async fn j9_a_transport_of_ones_own_is_made_like_the_others() {
    let (factory, ..) = scripted();
    let factory = factory.register_transport("echo", |config: &ClientConfig| {
        if let Some(unknown) = config.get("volume") {
            let reason = format!("there is no volume {unknown}");
            return Err(vec![InvalidField { path: vec!["volume".into()], reason }]);
        }
        let connector = FnTransport::new(|_, _| Ok(json!({"content": [{"type": "text", "text": "hello"}]})));
        Ok(Blueprint { definition: http("echo"), connector: Arc::new(connector) })
    });
    assert_eq!(factory.supported_transports(), ["echo", "http", "sse", "stdio"]);
    let client = factory.create("echo", json!({})).unwrap();
    client.connect().await;
    let said = client.call_tool("say", &json!({})).await.unwrap();
    assert_eq!(said.content[0].as_text(), Some("hello"));
    let error = factory.create("echo", json!({"volume": 11})).unwrap_err();
    assert_eq!(error.to_string(), "`volume`: there is no volume 11");
}

#[test]
fn j9_a_batch_keeps_the_order_of_its_input() {
    let (factory, ..) = scripted();
    let config = |name: &str| ClientConfig::from(minimal("http")).with("name", name);
    let made = factory.create_all([
        ("http", config("b")),
        ("http", config("a").with("priority", 0)),
        ("pigeon", config("c")),
        ("http", config("a")),
    ]);
    let names: Vec<_> = made
        .iter()
        .map(|client| client.as_ref().map(|client| client.definition().name.to_string()).ok())
        .collect();
    assert_eq!(names, [Some("b".into()), None, None, Some("a".into())]);
    assert!(matches!(made[1], Err(FactoryError::InvalidConfiguration { .. })));
    assert!(matches!(made[2], Err(FactoryError::UnsupportedTransport { .. })));
}

#[test]
fn j9_hooks_are_called_before_and_after() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (factory, ..) = scripted();
    let (before, after) = (seen.clone(), seen.clone());
    let factory = factory
        .with_defaults(json!({"priority": 3}))
        .before_create(move |transport, config| {
            before.lock().unwrap().push(format!("before {transport} {:?}", config.get("priority")));
            config.set("description", "hooked");
        })
        .after_create(move |transport, created: Result<&McpClient, &FactoryError>| {
            let outcome = match created {
                Ok(client) => client.definition().description.clone().unwrap(),
                Err(error) => error.to_string(),
            };
            after.lock().unwrap().push(format!("after {transport}: {outcome}"));
        });
    factory.create("http", minimal("http")).unwrap();
    assert!(factory.validate_config("http", minimal("http")), "which is no creation");
    factory.create("http", json!({"url": 1})).unwrap_err();
    factory.create("pigeon", json!({})).unwrap_err();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..2], ["before http Some(Number(3))", "after http: hooked"]);
    assert!(
        seen[2].starts_with("before http") && seen[3].starts_with("after http: `url`: must be"),
        "{seen:?}"
    );
    assert_eq!(seen[4..], [r#"after pigeon: there is no transport "pigeon"; there is: http, sse, stdio"#]);
}

#[tokio::test(start_paused = true)]
async fn j9_a_connection_can_be_tested() {
    let (factory, cluster, clock) = scripted();
    let config = json!({"url": "https://p.example/mcp", "protocol": "legacy"});
    let tested = factory.test_connection("http", config.clone()).await.unwrap();
    assert!(tested.success());
    assert_eq!((cluster.opened("p"), cluster.closed("p")), (1, 1));

    cluster.script("p", "initialize", vec![Action::HttpStatus(401); 3]);
    let world = World { clock, cluster, ..World::new(http("unused")) };
    let again = factory.clone();
    let (tested, waits) =
        world.drive(async move { again.test_connection("http", config).await.unwrap() }).await;
    assert!(tested.error_text().unwrap().starts_with("http status 401"), "{tested:?}");
    assert_eq!((waits.len(), world.clock.next_wake()), (2, None), "nothing goes on in the background");
    assert!(factory.test_connection("http", json!({})).await.is_err());
}

#[tokio::test]
async fn a_factory_of_its_own_reaches_real_servers_or_says_why_not() {
    let factory = ClientFactory::new(ClientOptions::default()).unwrap();
    let client = factory.create("stdio", json!({"command": "/there/is/no/such/program"})).unwrap();
    let mut events = client.events();
    let connecting = client.clone();
    let connecting = tokio::spawn(async move { connecting.connect().await });
    // The first attempt has failed when the second one is waited for; that is enough.
    assert!(events.next().await.is_some());
    client.disconnect().await;
    assert!(!connecting.await.unwrap().success());
}
