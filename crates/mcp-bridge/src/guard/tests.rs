use std::slice::from_ref;

use mcp_protocol::Limits;
use proptest::prelude::*;

use super::*;

fn server(name: &str) -> ServerName {
    name.parse().unwrap()
}

fn json(text: impl Into<String>) -> RawJson {
    RawJson::parse(text.into(), &Limits::default()).unwrap()
}

fn tool(name: &str, description: &str) -> RawJson {
    json(format!(r#"{{"name":"{name}","description":"{description}","inputSchema":{{}}}}"#))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn digest(tool: &RawJson) -> Digest {
    identify(tool).unwrap().1
}

fn changed(tool: &RawJson, fresh: bool) -> Verdict {
    Verdict::Changed { digest: digest(tool), fresh }
}

/// Through its text, as after a restart.
fn restarted(guard: &Guard) -> Guard {
    let text = serde_json::to_string(&guard.to_saved()).unwrap();
    let restarted = Guard::from_saved(serde_json::from_str(&text).unwrap()).unwrap();
    assert!(restarted.histories().eq(guard.histories()));
    restarted
}

#[test]
fn a_change_stays_one_until_it_is_approved() {
    let (s, old, new) = (server("s"), tool("t", "adds"), tool("t", "adds and tells"));
    let mut guard = Guard::default();
    assert!(!guard.is_approved(&s, "t"));
    assert_eq!(guard.look(&s, from_ref(&old), at(1)), [Verdict::New]);
    assert_eq!(guard.look(&s, from_ref(&old), at(2)), [Verdict::Same]);
    assert!(guard.is_approved(&s, "t"));
    assert_eq!(guard.look(&s, from_ref(&new), at(3)), [changed(&new, true)]);
    // Neither another look nor a restart approves it.
    for round in 4..8 {
        guard = restarted(&guard);
        assert_eq!(guard.look(&s, from_ref(&new), at(round)), [changed(&new, false)]);
        assert!(!guard.is_approved(&s, "t"));
    }
    let changes: Vec<_> = guard.changes().collect();
    let [(_, "t", history)] = changes[..] else { panic!("{changes:?}") };
    assert_eq!(history.approved(), digest(&old));
    assert_eq!(history.current(), Version { digest: digest(&new), since: at(3) });
    assert_eq!(history.earlier().collect::<Vec<_>>(), [Version { digest: digest(&old), since: at(1) }]);

    guard.approve(&s, "t", digest(&new)).unwrap();
    assert!(restarted(&guard).is_approved(&s, "t"));
    assert_eq!(guard.look(&s, &[new], at(9)), [Verdict::Same]);
    assert_eq!(guard.look(&s, from_ref(&old), at(10)), [changed(&old, true)]);
    assert_eq!(guard.changes().count(), 1);
}

#[test]
fn what_disappears_is_remembered() {
    let (s, old, new) = (server("s"), tool("t", "adds"), tool("t", "tells"));
    let mut guard = Guard::default();
    guard.look(&s, &[old.clone(), tool("u", "")], at(1));
    assert_eq!(guard.look(&s, &[], at(2)), []);
    assert_eq!(restarted(&guard).look(&s, from_ref(&new), at(3)), [changed(&new, true)]);
    assert_eq!(guard.look(&s, &[old, tool("u", "")], at(4)), [Verdict::Same, Verdict::Same]);
}

#[test]
fn what_goes_back_to_what_was_approved_is_approved() {
    let (s, old, new) = (server("s"), tool("t", "adds"), tool("t", "tells"));
    let mut guard = Guard::default();
    guard.look(&s, from_ref(&old), at(1));
    guard.look(&s, from_ref(&new), at(2));
    assert_eq!(guard.look(&s, &[old], at(3)), [Verdict::Same]);
    assert_eq!(guard.changes().count(), 0);
    let history = guard.history(&s, "t").unwrap();
    assert_eq!(history.earlier().map(|version| version.since).collect::<Vec<_>>(), [at(1), at(2)]);
    assert_eq!(guard.look(&s, from_ref(&new), at(4)), [changed(&new, true)], "worth another report");
}

#[test]
fn only_what_was_looked_at_is_approved() {
    let (s, old, shown, worse) = (server("s"), tool("t", "1"), tool("t", "2"), tool("t", "3"));
    let mut guard = Guard::default();
    for (second, now) in [&old, &shown, &worse].into_iter().enumerate() {
        guard.look(&s, from_ref(now), at(second as i64));
    }
    let revision = guard.revision();
    for (owner, name, digest) in [
        ("s", "t", digest(&shown)),
        ("s", "t", digest(&old)),
        ("s", "u", digest(&worse)),
        ("r", "t", digest(&worse)),
    ] {
        let error = guard.approve(&server(owner), name, digest).unwrap_err();
        assert_eq!(error, NotCurrent { server: server(owner), tool: name.into() });
    }
    assert_eq!((guard.revision(), guard.is_approved(&s, "t")), (revision, false));
    guard.approve(&s, "t", digest(&worse)).unwrap();
    assert!(guard.is_approved(&s, "t"));
}

#[test]
fn every_defining_member_counts_and_nothing_else() {
    let whole = r#"{"name":"t","title":"T","description":"d","inputSchema":{"a":1},"outputSchema":{},"annotations":{},"icons":[],"execution":{},"_meta":{}}"#;
    let reordered = r#" {"_meta":{ },"execution":{},"icons":[ ],"annotations":{},"outputSchema":{},"x":[1],
        "inputSchema":{ "a" : 1 },"description":"d","title":"T","n\u0061me":"t"}"#;
    assert_eq!(digest(&json(whole)), digest(&json(reordered)));
    for (from, to) in [
        (r#""name":"t""#, r#""name":"T""#),
        (r#""title":"T""#, r#""title":"t""#),
        (r#""title":"T","#, ""),
        (r#""description":"d""#, r#""description":"d ""#),
        (r#"{"a":1}"#, r#"{"a":1.0}"#),
        (r#""outputSchema":{}"#, r#""outputSchema":{"a":1}"#),
        (r#""annotations":{}"#, r#""annotations":{"readOnlyHint":true}"#),
        (r#""icons":[]"#, r#""icons":[{}]"#),
        (r#""execution":{}"#, r#""execution":{"taskSupport":"required"}"#),
        (r#""_meta":{}"#, r#""_meta":{"a":1}"#),
    ] {
        let other = whole.replacen(from, to, 1);
        assert_ne!(other, whole, "{from}");
        assert_ne!(digest(&json(other)), digest(&json(whole)), "{from}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_not_judged() {
    let mut guard = Guard::default();
    let long = |len| tool(&"n".repeat(len), "");
    let tools = [
        json("[]"),
        json("{}"),
        json(r#"{"name":1}"#),
        json(r#"{"name":"a","description":"good","description":"bad"}"#),
        long(MAX_NAME + 1),
        long(MAX_NAME),
    ];
    let verdicts = guard.look(&server("s"), &tools, at(1));
    assert_eq!(verdicts[..5], [Verdict::Unjudged; 5]);
    assert_eq!(verdicts[5..], [Verdict::New]);
    assert!(!Verdict::Unjudged.is_approved());
}

#[test]
fn of_two_tools_with_one_name_the_first_counts() {
    let (s, one, other) = (server("s"), tool("t", "1"), tool("t", "2"));
    let mut guard = Guard::default();
    let both = [one.clone(), other.clone()];
    assert_eq!(guard.look(&s, &both, at(1)), [Verdict::New, changed(&other, false)]);
    let revision = guard.revision();
    assert_eq!(guard.look(&s, &both, at(2)), [Verdict::Same, changed(&other, false)]);
    assert_eq!((guard.changes().count(), guard.revision()), (0, revision));
    assert_eq!(guard.look(&s, &[other.clone(), one], at(3)), [changed(&other, true), Verdict::Same]);
    assert_eq!(guard.changes().count(), 1);
}

#[test]
fn servers_do_not_meet_and_can_be_forgotten() {
    let (a, b) = (server("a"), server("b"));
    let mut guard = Guard::default();
    guard.look(&a, &[tool("t", "1")], at(1));
    assert_eq!(guard.look(&b, &[tool("t", "2")], at(1)), [Verdict::New]);
    guard.forget(&a);
    let revision = guard.revision();
    guard.forget(&a);
    assert_eq!(guard.revision(), revision);
    assert!(!guard.is_approved(&a, "t") && guard.is_approved(&b, "t"));
    assert_eq!(guard.look(&a, &[tool("t", "3")], at(2)), [Verdict::New]);
}

#[test]
fn tools_and_versions_are_bounded() {
    let s = server("s");
    let mut guard = Guard::default();
    let mut tools: Vec<_> = (0..=MAX_TOOLS).map(|number| tool(&number.to_string(), "")).collect();
    let verdicts = guard.look(&s, &tools, at(0));
    assert!(verdicts[..MAX_TOOLS].iter().all(|verdict| *verdict == Verdict::New));
    assert_eq!(verdicts[MAX_TOOLS..], [Verdict::Unjudged]);
    // A flood makes nobody forget what was there before.
    tools[0] = tool("0", "changed");
    assert_eq!(guard.look(&s, &tools[..1], at(1)), [changed(&tools[0], true)]);
    assert_eq!(guard.look(&server("r"), &tools[..1], at(1)), [Verdict::New]);

    for second in 2..40 {
        guard.look(&s, &[tool("0", &second.to_string())], at(second));
    }
    let history = guard.history(&s, "0").unwrap();
    assert_eq!(
        history.earlier().map(|version| version.since).collect::<Vec<_>>(),
        (24..39).map(at).collect::<Vec<_>>()
    );
    assert_eq!(history.current().since, at(39));
    assert_eq!(history.approved(), digest(&tool("0", "")), "remembered, though its version is not");
    assert_eq!(guard.look(&s, &[tool("0", "")], at(40)), [Verdict::Same]);
    restarted(&guard);
}

#[test]
fn what_no_guard_saved_is_refused() {
    let digest = "0".repeat(64);
    let version = format!(r#"{{"digest":"{digest}","since_us":1}}"#);
    let saved = |server: &str, tool: &str, approved: &str, versions: &[&str]| {
        let text = format!(
            r#"{{"{server}":{{"{tool}":{{"approved":"{approved}","versions":[{}]}}}}}}"#,
            versions.join(",")
        );
        Guard::from_saved(serde_json::from_str(&text).unwrap()).map_err(|error| error.to_string())
    };
    assert!(saved("s", "t", &digest, &[&version]).is_ok());
    assert!(saved("s", "t", &digest, &[&*version; 16]).is_ok());
    let versions = |found| format!(r#"of tool "t" of s {found} versions are remembered, not 1 to 16"#);
    let bad_version = version.replace("00", "0x");
    for (result, error) in [
        (saved("s_", "t", &digest, &[&version]), r#"server "s_" in what is remembered of tools"#.to_owned()),
        (saved("s", "t", &digest, &[]), versions(0)),
        (saved("s", "t", &digest, &[&*version; 17]), versions(17)),
        (saved("s", "t", "0", &[&version]), r#"a digest of tool "t" of s in what is remembered"#.to_owned()),
        (
            saved("s", "t", &digest, &[&bad_version]),
            r#"a digest of tool "t" of s in what is remembered"#.to_owned(),
        ),
        (
            saved("s", &"t".repeat(1025), &digest, &[&version]),
            "a tool of s is remembered by a name of more than 1024 bytes".to_owned(),
        ),
    ] {
        assert_eq!(result, Err(error));
    }
}

/// One thing that happens to a guard.
#[derive(Debug, Clone)]
enum Step {
    /// A look at a list: per tool its shape, if it is there.
    Look([Option<u8>; 3]),
    /// An approval of a tool in one shape.
    Approve(usize, u8),
    Restart,
}

fn a_step() -> impl Strategy<Value = Step> {
    let shape = || proptest::option::weighted(0.7, 0..3u8);
    prop_oneof![
        4 => [shape(), shape(), shape()].prop_map(Step::Look),
        1 => (0..3usize, 0..3u8).prop_map(|(tool, shape)| Step::Approve(tool, shape)),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Against the rule itself: what was seen first is approved, then whatever was approved while it was current.
    #[test]
    fn nothing_approves_but_first_sight_and_approval(steps in proptest::collection::vec(a_step(), 0..60)) {
        let s = server("s");
        let tool = |number: usize, shape: u8| tool(&format!("t{number}"), &shape.to_string());
        let mut guard = Guard::default();
        // Per tool the approved and the current shape.
        let mut model: [Option<(u8, u8)>; 3] = [None; 3];
        for (second, step) in (0i64..).zip(steps) {
            let (revision, saved) = (guard.revision(), guard.to_saved());
            match step {
                Step::Look(shapes) => {
                    let listed: Vec<_> =
                        shapes.iter().enumerate().filter_map(|(number, shape)| Some((number, (*shape)?))).collect();
                    let tools: Vec<_> = listed.iter().map(|&(number, shape)| tool(number, shape)).collect();
                    let verdicts = guard.look(&s, &tools, at(second));
                    prop_assert_eq!(verdicts.len(), listed.len());
                    for ((number, shape), verdict) in listed.into_iter().zip(verdicts) {
                        let expected = match model[number] {
                            None => Verdict::New,
                            Some((approved, _)) if approved == shape => Verdict::Same,
                            Some((_, current)) => changed(&tool(number, shape), current != shape),
                        };
                        prop_assert_eq!(verdict, expected);
                        let (approved, _) = model[number].unwrap_or((shape, shape));
                        model[number] = Some((approved, shape));
                    }
                }
                Step::Approve(number, shape) => {
                    let current = model[number].is_some_and(|(_, current)| current == shape);
                    let done = guard.approve(&s, &format!("t{number}"), digest(&tool(number, shape)));
                    prop_assert_eq!(done.is_ok(), current);
                    if current {
                        model[number] = Some((shape, shape));
                    }
                }
                Step::Restart => guard = Guard { revision, ..restarted(&guard) },
            }
            prop_assert_eq!(guard.revision() == revision, guard.to_saved() == saved);
            for (number, known) in model.iter().enumerate() {
                let approved = known.is_some_and(|(approved, current)| approved == current);
                prop_assert_eq!(guard.is_approved(&s, &format!("t{number}")), approved);
            }
            let changes = model.iter().flatten().filter(|(approved, current)| approved != current).count();
            prop_assert_eq!(guard.changes().count(), changes);
        }
    }
}
