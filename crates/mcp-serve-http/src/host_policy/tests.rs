use super::*;

fn check(policy: &HostPolicy, target: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    policy.check(&target.parse().unwrap(), &headers)
}

#[test]
fn only_the_listed_hosts_pass() {
    let any_port = HostPolicy::loopback();
    let on_port = HostPolicy::loopback().on_port(8300).allow_host("Gateway.example.com:443").unwrap();
    for (host, on_any, on_8300) in [
        ("localhost", true, false),
        ("localhost:8300", true, true),
        ("LOCALHOST:8300", true, true),
        ("127.0.0.1:8300", true, true),
        ("[::1]:8300", true, true),
        ("[0:0:0:0:0:0:0:1]:8300", true, true),
        ("localhost:80", true, false),
        ("localhost:8301", true, false),
        ("gateway.example.com:443", false, true),
        ("gateway.example.com:8300", false, false),
        ("gateway.example.com", false, false),
        ("evil.example", false, false),
        ("evil.example:8300", false, false),
        ("localhost.evil.example:8300", false, false),
        ("evil.example.localhost:8300", false, false),
        ("notlocalhost:8300", false, false),
        ("localhost.:8300", false, false),
        ("127.0.0.1.evil.example:8300", false, false),
        ("127.0.0.2:8300", false, false),
        ("127.1:8300", false, false),
        ("2130706433:8300", false, false),
        ("0x7f.0.0.1:8300", false, false),
        ("0177.0.0.1:8300", false, false),
        ("0.0.0.0:8300", false, false),
        ("[::ffff:127.0.0.1]:8300", false, false),
        ("[::]:8300", false, false),
        ("::1", false, false),
        ("localhost@evil.example:8300", false, false),
        ("evil.example#localhost:8300", false, false),
        ("localhost/?:8300", false, false),
        ("localhost:8300, evil.example", false, false),
        ("localhost:", false, false),
        ("localhost:0x206c", false, false),
        ("http://localhost:8300", false, false),
        ("", false, false),
    ] {
        for (policy, passes) in [(&any_port, on_any), (&on_port, on_8300)] {
            let expected = if passes { Ok(()) } else { Err(Refusal::Host) };
            assert_eq!(check(policy, "/mcp", &[("host", host)]), expected, "{host:?} with {policy:?}");
        }
    }
}

#[test]
fn the_host_is_named_exactly_once_and_the_target_agrees() {
    let policy = HostPolicy::loopback();
    for (target, fields, expected) in [
        ("/", vec![], Err(Refusal::Host)),
        ("/", vec![("host", "localhost"), ("host", "localhost")], Err(Refusal::Host)),
        ("/", vec![("host", "localhost"), ("host", "evil.example")], Err(Refusal::Host)),
        ("/", vec![("host", "localh\u{f6}st")], Err(Refusal::Host)),
        ("http://localhost:80/", vec![("host", "localhost:80")], Ok(())),
        ("http://evil.example/", vec![("host", "localhost")], Err(Refusal::Host)),
        ("http://localhost/", vec![("host", "evil.example")], Err(Refusal::Host)),
    ] {
        assert_eq!(check(&policy, target, &fields), expected, "{target} {fields:?}");
    }
}

#[test]
fn only_the_listed_origins_pass() {
    let any_port = HostPolicy::loopback();
    let on_port = HostPolicy::loopback().on_port(8300).allow_origin("https://app.example.com").unwrap();
    for (origin, on_any, on_8300) in [
        ("http://localhost:8300", true, true),
        ("https://localhost:8300", true, true),
        ("http://127.0.0.1:8300", true, true),
        ("http://[::1]:8300", true, true),
        ("http://localhost:5173", true, false),
        ("http://localhost", true, false),
        ("https://app.example.com", false, true),
        ("https://app.example.com:443", false, true),
        ("http://app.example.com", false, false),
        ("https://app.example.com:8300", false, false),
        ("https://app.example.com.evil.example", false, false),
        ("http://evil.example", false, false),
        ("http://localhost.evil.example:8300", false, false),
        ("http://localhost:8300.evil.example", false, false),
        ("http://localhost:8300/", false, false),
        ("http://localhost:8300 http://evil.example", false, false),
        ("http://user@localhost:8300", false, false),
        ("HTTP://localhost:8300", false, false),
        ("file://localhost", false, false),
        ("chrome-extension://abcdefgh", false, false),
        ("localhost:8300", false, false),
        ("null", false, false),
        ("", false, false),
    ] {
        for (policy, passes) in [(&any_port, on_any), (&on_port, on_8300)] {
            let expected = if passes { Ok(()) } else { Err(Refusal::Origin) };
            let fields = [("host", "localhost:8300"), ("origin", origin)];
            assert_eq!(check(policy, "/mcp", &fields), expected, "{origin:?} with {policy:?}");
        }
    }
}

#[test]
fn an_origin_is_optional_but_single() {
    let policy = HostPolicy::loopback();
    let host = ("host", "localhost");
    let good = ("origin", "http://localhost");
    assert_eq!(check(&policy, "/", &[host]), Ok(()));
    assert_eq!(check(&policy, "/", &[host, good, good]), Err(Refusal::Origin));
}

#[test]
fn entries_are_checked_when_they_are_added() {
    assert!(HostPolicy::loopback().allow_host("http://gateway").is_err());
    assert!(HostPolicy::loopback().allow_origin("gateway").is_err());
    assert!(HostPolicy::loopback().allow_origin("null").is_err());
}
