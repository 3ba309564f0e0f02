//! Bad input: what was wrong, where, and what would be right. The words are part of the promise.

use crate::world::{admitted, json, schema_of};
use dwcp_conflict::{Policy, Schema, Side, Value, merge};
use dwcp_crdt::{Dot, ReplicaIndex};
use std::sync::Arc;

#[test]
fn bad_schemas() {
    let field = |f: &str| format!(r#"{{"schema":"s","version":1,"fields":{{"f":{f}}}}}"#);
    let types = |t: &str| format!(r#"{{"schema":"s","version":1,"types":{t},"fields":{{"f":"atomic"}}}}"#);
    let life = |at: &str| {
        format!(
            r#"{{"schema":"s","version":1,"lifecycle":"{at}","fields":{{"m":{{"kind":"map","of":"atomic"}},"n":"counter","r":{{"kind":"atomic","required":true}}}}}}"#
        )
    };
    let names = |all: &str| {
        format!(
            r#"{{"schema":"s","version":1,"lifecycle":"/life","unique":{all},"fields":{{"name":"atomic","life":"atomic","s":"set"}}}}"#
        )
    };
    let mut deep = "\"atomic\"".to_string();
    for _ in 0..16 {
        deep = format!(r#"{{"kind":"map","of":{deep}}}"#);
    }
    // Types that double sixteen times over.
    let mut doubling = r#""t0":{"kind":"record","fields":{"a":"atomic"}}"#.to_string();
    for i in 1..13 {
        let below = i - 1;
        doubling += &format!(r#","t{i}":{{"kind":"record","fields":{{"a":"t{below}","b":"t{below}"}}}}"#);
    }
    for (text, want) in [
        ("3".into(), "the document: a whole number where a map is due; write a map"),
        (r#"{"schema":"s"}"#.into(), "the document: `version` is missing; add `version`"),
        (
            r#"{"schema":"s","version":0,"fields":{}}"#.into(),
            "/version: 0 is out of range; 1 to 4294967295 are allowed",
        ),
        (
            r#"{"schema":"s","version":1,"fields":{}}"#.into(),
            "/fields: a record without fields; name one at least",
        ),
        (
            r#"{"schema":"s","version":1,"feilds":{}}"#.into(),
            "the document: unknown key `feilds`; known here: schema, version, types, fields, owner, lifecycle, unique",
        ),
        (
            life("life"),
            "/lifecycle: `life` is no place; a JSON pointer begins with `/`, as in `/spec/cpu`; the whole document is the empty text",
        ),
        (
            life("/gone"),
            "/lifecycle: `/gone` is no field of every document; name one of `fields`, or of a record in it, as \"/lifecycle\"",
        ),
        (
            life("/m/x"),
            "/lifecycle: `/m/x` is no field of every document; name one of `fields`, or of a record in it, as \"/lifecycle\"",
        ),
        (names(r#""/name""#), "/unique: a text where a list is due; write a list"),
        (
            names(r#"["/nick"]"#),
            "/unique/0: `/nick` is no field of every document; name one of `fields`, or of a record in it, as \"/name\"",
        ),
        (
            names(r#"["/s"]"#),
            "/unique/0: `/s` is a set: what several write there is joined; name an atomic field",
        ),
        (names(r#"["/name","/name"]"#), "the document: `/name` stands twice in `unique`; name each once"),
        (names(r#"["/name","/life"]"#), "the document: `/life` is the lifecycle; leave it out of `unique`"),
        (life("/m"), "/lifecycle: `/m` can't hold a word; name an atomic field of texts"),
        (life("/n"), "/lifecycle: `/n` can't hold a word; name an atomic field of texts"),
        (
            life("/r"),
            "/lifecycle: `/r` is required; leave `required` out: who says nothing there says `present`",
        ),
        (field("7"), "/fields/f: a whole number where a field is due; name a kind"),
        (
            field(r#""blob""#),
            "/fields/f: `blob` is neither a kind nor a type; write atomic, record, map, keyed-list, set, counter, max, min, text, ordered-list or reference",
        ),
        (
            field(r#""map""#),
            "/fields/f: `map` needs more than its name; write a map with `kind` = `map` and what it holds",
        ),
        (
            field(r#"{"kind":"blob"}"#),
            "/fields/f/kind: `blob` is no kind; write atomic, record, map, keyed-list, set, counter, max, min, text, ordered-list or reference",
        ),
        (
            field(r#"{"kind":"atomic","typ":"int"}"#),
            "/fields/f: unknown key `typ`; known here: kind, required, owner, type",
        ),
        (
            field(r#"{"kind":"atomic","type":"float"}"#),
            "/fields/f/type: `float` is unknown here; write any, bool, int, number or text",
        ),
        (
            field(r#"{"kind":"max","type":"number"}"#),
            "/fields/f: the greatest of whole and other numbers is not defined here; use type `int`",
        ),
        (
            field(r#"{"kind":"counter","min":5,"max":1}"#),
            "/fields/f/max: 1 is out of range; 5 to 9223372036854775807 are allowed",
        ),
        (field(r#"{"kind":"reference"}"#), "/fields/f: `to` is missing; add `to`"),
        (
            field(r#"{"kind":"keyed-list","key":"k","of":"atomic"}"#),
            "/fields/f/of: the elements of a keyed list are records; name a type that is one, or use a set",
        ),
        (
            field(r#"{"kind":"keyed-list","key":"x","of":{"kind":"record","fields":{"k":"atomic"}}}"#),
            "/fields/f/key: the record has no field `x`; write k",
        ),
        (
            field(r#"{"kind":"keyed-list","key":"k","of":{"kind":"record","fields":{"k":"atomic"}}}"#),
            "/fields/f/key: `k` can't be a merge key; make the field atomic or a reference, with `required` = true",
        ),
        (
            field(
                r#"{"kind":"keyed-list","key":["k","k"],"of":{"kind":"record","fields":{"k":{"kind":"atomic","required":true}}}}"#,
            ),
            "/fields/f/key/1: `k` is listed twice; keep one",
        ),
        (
            types(r#"{"a":{"kind":"map","of":"b"},"b":{"kind":"map","of":"a"}}"#),
            "/types/b/of: a type that contains itself: a → b → a; refer to another object instead",
        ),
        (
            types(r#"{"set":{"kind":"text"}}"#),
            "/types/set: a type with the name of a kind, `set`; give it another name",
        ),
        (
            field(&deep),
            "/fields/f/of/of/of/of/of/of/of/of/of/of/of/of/of/of/of/of: more than 16 levels; flatten the object",
        ),
        (types(&format!("{{{doubling}}}")), "more than 4096 fields; split the object, or use a map"),
    ] {
        let e = Schema::read(&json(&text)).expect_err(&text).to_string();
        assert!(e == want || want.starts_with("more than") && e.ends_with(want), "\n{text}\n{e}\n{want}");
    }
}

const S: &str = r#"{"schema":"s","version":1,"fields":{
  "n":{"kind":"counter","max":9},"t":"text","b":{"kind":"atomic","type":"bool"},"s":{"kind":"set","type":"int"},
  "l":{"kind":"ordered-list","type":"text"},"r":{"kind":"reference","to":"host"},"m":{"kind":"map","of":{"kind":"atomic","type":"int"}},
  "k":{"kind":"keyed-list","key":["a","b"],"of":{"kind":"record","fields":{"a":{"kind":"atomic","required":true},"b":{"kind":"atomic","required":true}}}}}}"#;

#[test]
fn documents_that_do_not_fit() {
    let s = schema_of(S);
    for (text, want) in [
        ("[]", "the document: a list in a field of kind record; write a map"),
        (r#"{"x":1}"#, "the document: unknown field `x`; write b, k, l, m, n, r, s or t"),
        (r#"{"n":10}"#, "/n: 10 is out of range; -9223372036854775808 to 9 are allowed"),
        (r#"{"n":1.5}"#, "/n: a number in a field of kind counter; write a whole number"),
        (r#"{"t":1}"#, "/t: a whole number in a field of kind text; write a text"),
        (r#"{"b":1}"#, "/b: a whole number in a field of kind atomic; write true or false"),
        (r#"{"s":[1,"x"]}"#, "/s/1: a text in a field of kind set; write a whole number"),
        (r#"{"s":[3,1,3]}"#, "/s: 3 is in the set twice; keep one"),
        (r#"{"l":["a",null]}"#, "/l/1: null in a field of kind ordered-list; write a text"),
        (r#"{"r":""}"#, "/r: a text in a field of kind reference; write the key of a host"),
        (r#"{"m":{"a/b":"x"}}"#, "/m/a~1b: a text in a field of kind atomic; write a whole number"),
        (r#"{"k":[{"a":1}]}"#, "/k/0: `b` is missing; add `b`"),
        (
            r#"{"k":[{"a":1,"b":"x"},{"a":2,"b":"x"},{"a":1,"b":"x"}]}"#,
            r#"/k: two elements with the merge key 1, "x"; keep one, or give them different keys"#,
        ),
    ] {
        assert_eq!(s.admit(&json(text)).expect_err(text).to_string(), want);
    }
    let large = Value::map([("t".into(), Value::from("x".repeat(10_000_001).as_str()))]);
    assert_eq!(
        s.admit(&large).unwrap_err().to_string(),
        "the document: the document has 10000010 bytes, 10000000 are allowed: keep large contents elsewhere and refer to them; nothing of it was taken"
    );
}

#[test]
fn sides_that_can_not_be_merged() {
    let (s, mut other) = (schema_of(S), json(S));
    other = other.with(&dwcp_conflict::Pointer::parse("/version").unwrap(), Some(Value::Int(2))).unwrap();
    let newer = Schema::read(&other).unwrap();
    let (a, b, c) =
        (admitted(&s, json(r#"{"n":1}"#)), admitted(&s, json(r#"{"n":2}"#)), admitted(&newer, json("{}")));
    let side = |n, d| Side { dot: Dot::new(ReplicaIndex(n), 1), role: "x", document: Some(d) };
    let error = |sides: &[Side<'_>]| merge(&s, Some(&a), sides).unwrap_err().to_string();
    assert_eq!(
        error(&[side(1, &a), side(2, &c)]),
        "side 1 is a s of version 2, the schema in force is s 1: convert it first, or park it"
    );
    assert_eq!(error(&[]), "0 sides, 1 to 16 can be merged at once: merge some of them first");
    assert_eq!(
        error(&[side(1, &a), side(1, &b)]),
        "r1:1 names two different versions: its replica reused a dot and must take a new incarnation"
    );
    // Two halves of 6 MB each fit; together they don't.
    let half = |c: &str| admitted(&s, Value::map([("t".into(), Value::from(c.repeat(6_000_000).as_str()))]));
    let (x, y) = (half("x"), half("y"));
    let e = merge(&s, None, &[side(1, &x), side(2, &y)]).unwrap_err().to_string();
    assert!(e.starts_with("the document has 12000"), "{e}");
}

/// Files that would cost much more than their length: each is refused on a small stack, with its reason. (The list of names took hours.)
#[test]
fn files_that_are_made_to_be_dear_are_refused_at_once() {
    let policy = |rule: Value| {
        let last = json(r#"{"name":"rest","use":"rollback"}"#);
        let file = Value::map([
            ("policy".into(), "p".into()),
            ("version".into(), Value::Int(1)),
            ("activates".into(), Value::Int(0)),
            ("rule".into(), Value::from(vec![rule, last])),
        ]);
        Policy::read(&file).expect_err("refused").to_string()
    };
    let rule = |key: &str, v: Value| {
        Value::map([("name".into(), "r".into()), ("use".into(), "rollback".into()), (key.into(), v)])
    };
    let names: Vec<Value> = (0..400_000).map(|n| Value::from(&*format!("n{n}"))).collect();
    let names = Value::from(names);
    let mut aliases: Vec<(Arc<str>, Value)> = vec![("t0".into(), "atomic".into())];
    aliases.extend((1..50_000).map(|n| (format!("t{n}").into(), Value::from(&*format!("t{}", n - 1)))));
    let schema = |types: Value| {
        let file = Value::map([
            ("schema".into(), "s".into()),
            ("version".into(), Value::Int(1)),
            ("types".into(), types),
            ("fields".into(), json(r#"{"f":"t49999"}"#)),
        ]);
        Schema::read(&file).expect_err("refused").to_string()
    };
    let few: Vec<(Arc<str>, Value)> = aliases.iter().take(60).cloned().collect();
    let told = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(move || {
            vec![
                policy(rule("path", Value::from(&*"/a".repeat(200_000)))),
                policy(rule("path", Value::from(&*"/a".repeat(40)))),
                policy(rule("kind", names.clone())),
                policy(rule("role", names)),
                policy(rule("name", Value::from(&*"x".repeat(300)))),
                schema(Value::map(aliases)),
                schema(Value::map(few)),
            ]
        })
        .unwrap()
        .join()
        .expect("no end of the stack");
    let want = [
        "/rule/0/path: a text of 400000 bytes; 256 are allowed",
        "/rule/0/path: a path of 40 names; 16 are allowed",
        "/rule/0/kind: 400000 names; 64 are allowed",
        "/rule/0/role: 400000 names; 64 are allowed",
        "/rule/0/name: a text of 300 bytes; 256 are allowed",
        "/types: 50000 types; 256 are allowed",
        "/types/t15: more than 16 levels; flatten the object",
    ];
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told[..6], want[..6]);
    assert!(told[6].ends_with("more than 16 levels; flatten the object"), "{}", told[6]);
}
