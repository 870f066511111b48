use super::*;

#[test]
fn names_become_valid_and_stay_recognisable() {
    let long = "x".repeat(70);
    for (original, expected) in [
        ("My Server", "My-Server"),
        ("github.com/user/repo", "github.com-user-repo"),
        ("@scope/name", "scope-name"),
        ("a__b", "a_b"),
        ("a_", "a"),
        ("a - b", "a-b"),
        (" . x!", "x"),
        ("日本", ""),
        (&long, &long[..64]),
    ] {
        let name = resembling(original);
        assert_eq!(name, expected, "{original}");
        assert!(name.is_empty() || name.parse::<ServerName>().is_ok(), "{original}");
        assert!(distinguished(&name, original).parse::<ServerName>().is_ok(), "{original}");
    }
}

#[test]
fn clashing_names_are_told_apart() {
    let entry = |key: &str| Entry { key: key.into(), key_at: 0, node: Node { at: 0, value: Value::Null } };
    let mut servers = ["a b", "a-b", "a/b", "日本", "中国", "connect"].map(entry);
    rename(&mut servers, "mcpServers", &mut Vec::new());
    let names: Vec<&str> = servers.iter().map(|server| &*server.key).collect();
    assert_eq!(
        names,
        [
            "a-b-e63f991904833892",
            "a-b",
            "a-b-e620c3190468cf61",
            "server-121d7e35a6d3ce91",
            "server-4c9c9999d742718f",
            "connect-54cb3aded715c1b9"
        ]
    );
}
