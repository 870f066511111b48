use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn owner(text: &str) -> ServerName {
    text.parse().unwrap()
}

/// What every exposed name must be, whatever it stands for.
fn fits_every_client(exposed: &str) -> bool {
    (1..=MAX_LEN).contains(&exposed.len()) && exposed.chars().all(is_common)
}

#[test]
fn common_names_are_readable() {
    for (server, name, expected) in [
        ("github", "create_issue", "github__create_issue"),
        ("a", "", "a__"),
        ("a", "_b", "a___b"),
        ("a-b", "__", "a-b____"),
        ("a", "b__c", "a__b__c"),
        ("A", "b", "A__b"),
    ] {
        let exposed = exposed(&owner(server), name);
        assert_eq!(&*exposed, expected);
        assert_eq!(owner_of(&exposed), Some((server, name)), "{exposed}");
    }
}

/// The digests are those of `printf owner__name | sha256sum`: a name must not change between releases.
#[test]
fn other_names_are_shortened() {
    for (server, name, expected) in [
        ("a", "b c", "a__b-c--91b6d95b23084377327720a9"),
        ("a.b", "c", "a-b__c--44b440f74f860756183eae36"),
        ("a", "größe", "a__gr--e--b91d134b1e9f5c4acf968800"),
        ("a", &*"x".repeat(62), "a__xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx--963534d8de40ace172d39131"),
        (&*"o".repeat(64), "x", "oooooooooooooooooooooooooooooooooooooo--3c23494259453dfc630bcffc"),
        ("a", "b--0123456789abcdef01234567", "a__b--0123456789abcdef01234567--621eb04bbb4d07aca978e3dd"),
    ] {
        let exposed = exposed(&owner(server), name);
        assert_eq!(&*exposed, expected);
        assert!(fits_every_client(&exposed), "{exposed}");
        assert_eq!(owner_of(&exposed), None, "{exposed}");
    }
}

#[test]
fn the_longest_name_left_alone_has_64_bytes() {
    for (len, left_alone) in [(60, true), (61, true), (62, false)] {
        let name = "x".repeat(len);
        assert_eq!(*exposed(&owner("a"), &name) == *format!("a__{name}"), left_alone, "{len}");
    }
}

#[test]
fn what_belongs_to_nobody_is_told() {
    for exposed in ["", "a", "a_b", "tool", "a--0123456789abcdef01234567", "a__b--0123456789abcdef01234567"] {
        assert_eq!(owner_of(exposed), None, "{exposed:?}");
    }
    assert!(owner_of("a__b--0123456789ABCDEF01234567").is_some(), "not what a digest looks like");
}

/// A million different pairs, as close to each other as the rules allow: separators at every place, one letter in
/// two cases, both sides of the limit, characters that shorten to the same one, and names that look shortened.
#[test]
fn a_million_pairs_share_no_name() {
    let owners = ["a", "A", "a_a", "a.a", "a-", &*"a".repeat(37), "a_", "a__a"];
    let owners: Vec<ServerName> = owners.iter().filter_map(|text| text.parse().ok()).collect();
    assert_eq!(owners.len(), 6, "all but the last two are names");
    let pieces = ["_", "-", "a", "A", ".", " ", "é", "e\u{301}", "\u{1f600}", "\0", &*"z".repeat(28)];
    let mut names = vec![String::new()];
    let mut newest = 0;
    for _ in 0..5 {
        let longer: Vec<_> =
            names[newest..].iter().flat_map(|name| pieces.map(|piece| format!("{name}{piece}"))).collect();
        newest = names.len();
        names.extend(longer);
    }

    let mut seen: HashMap<Box<str>, (usize, usize)> = HashMap::new();
    for (at, owner) in owners.iter().enumerate() {
        for (number, name) in names.iter().enumerate() {
            let first = exposed(owner, name);
            assert!(fits_every_client(&first), "{first}");
            if let Some(read) = owner_of(&first) {
                assert_eq!(read, (owner.as_str(), &**name));
            }
            let before = seen.insert(first, (at, number));
            assert_eq!(before, None, "{owner} {name:?}");
        }
    }
    assert!(seen.len() >= 1_000_000, "{}", seen.len());

    // What a server would have to call a tool so that it is taken for one that is shortened is shortened itself.
    let shortened = seen.keys().filter(|exposed| is_shortened(exposed)).take(100_000);
    let imitations = shortened.filter_map(|exposed| {
        let (server, name) = exposed.split_once(SEPARATOR)?;
        Some((exposed, super::exposed(&server.parse().ok()?, name)))
    });
    let mut tried = 0;
    for (original, imitation) in imitations {
        tried += 1;
        assert!(is_shortened(&imitation) && !seen.contains_key(&imitation), "{original} {imitation}");
    }
    assert!(tried > 10_000, "{tried}");
}

fn a_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-b_.-]{0,8}", "\\PC{0,70}", "[a-zA-Z0-9_-]{50,70}", "[a-b_-]{0,4}--[0-9a-f]{24}"]
}

proptest! {
    #[test]
    fn different_pairs_have_different_names(
        owners in ["[a-b][a-b._-]{0,6}", "[a-b][a-b._-]{0,6}"],
        names in [a_name(), a_name()],
    ) {
        let [Ok(first), Ok(second)] = owners.map(|text| text.parse::<ServerName>()) else { return Ok(()) };
        let (left, right) = (exposed(&first, &names[0]), exposed(&second, &names[1]));
        prop_assert!(fits_every_client(&left));
        prop_assert_eq!(left == right, first == second && names[0] == names[1]);
        if let Some(read) = owner_of(&left) {
            prop_assert_eq!(read, (first.as_str(), &*names[0]));
        }
    }
}
