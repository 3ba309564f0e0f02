//! Merges told one by one, and what is found between objects.

use crate::world::{admitted, json, schema_of};
use dwcp_conflict::reference::{Broken, Name, examine, unique};
use dwcp_conflict::{Document, Pointer, Schema, Side, merge};
use dwcp_crdt::{Dot, ReplicaIndex};
use std::collections::BTreeMap;

const VM: &str = r#"{"schema":"vm","version":1,
  "types":{"disk":{"kind":"record","fields":{"name":{"kind":"atomic","type":"text","required":true},"gib":"max","tags":"set"}}},
  "fields":{
    "cpu":{"kind":"atomic","type":"int","owner":"operator"},
    "memory":"atomic",
    "labels":{"kind":"map","of":"atomic"},
    "disks":{"kind":"keyed-list","key":"name","of":"disk"},
    "restarts":{"kind":"counter","min":0,"max":100},
    "boot":"ordered-list",
    "notes":"text",
    "parent":{"kind":"reference","to":"vm","tree":true},
    "host":{"kind":"reference","to":"host"}}}"#;

fn told(s: &Schema, base: &str, sides: &[&str]) -> String {
    let doc = |text: &str| (!text.is_empty()).then(|| admitted(s, json(text)));
    let docs: Vec<Option<Document>> = sides.iter().map(|t| doc(t)).collect();
    let sides: Vec<Side<'_>> = docs
        .iter()
        .zip(1..)
        .map(|(d, n)| Side {
            dot: Dot::new(ReplicaIndex(n), 1),
            role: if n == 1 { "operator" } else { "autoscaler" },
            document: d.as_ref(),
        })
        .collect();
    let m = merge(s, doc(base).as_ref(), &sides).expect("merges");
    let mut out = m.document.map_or("deleted".into(), |d| d.value().to_string());
    for c in m.clashes {
        out += &format!(" | {} {}: {}", c.class, c.at, c.what.words());
    }
    out
}

#[test]
fn each_kind_of_field_joins_as_it_says() {
    let s = schema_of(VM);
    for (base, sides, want) in [
        (r#"{"cpu":2}"#, &[r#"{"cpu":4}"#, r#"{"cpu":2,"memory":8}"#][..], r#"{"cpu":4,"memory":8}"#),
        (
            r#"{"cpu":2}"#,
            &[r#"{"cpu":4}"#, r#"{"cpu":8}"#],
            r#"{"cpu":2} | C2 intent /cpu: changed differently"#,
        ),
        (
            r#"{"memory":2}"#,
            &[r#"{"memory":4}"#, r#"{"memory":8}"#],
            r#"{"memory":2} | C1 value /memory: changed differently"#,
        ),
        (
            r#"{"memory":2}"#,
            &["{}", r#"{"memory":8}"#],
            r#"{"memory":8} | C3 structure /memory: deleted by one, changed by another"#,
        ),
        (r#"{"memory":2}"#, &["{}", "{}"], "{}"),
        (r#"{"memory":2}"#, &["", r#"{"memory":2}"#], "deleted"),
        (
            r#"{"memory":2}"#,
            &["", r#"{"memory":3}"#],
            r#"{"memory":3} | C3 structure : deleted by one, changed by another"#,
        ),
        (
            r#"{"labels":{"a":1}}"#,
            &[r#"{"labels":{"a":1,"b":2}}"#, r#"{"labels":{"c":3}}"#],
            r#"{"labels":{"b":2,"c":3}}"#,
        ),
        (
            r#"{"labels":{"a/b":1}}"#,
            &[r#"{"labels":{"a/b":2}}"#, r#"{"labels":{"a/b":3}}"#],
            r#"{"labels":{"a/b":1}} | C1 value /labels/a~1b: changed differently"#,
        ),
        (
            "",
            &[r#"{"memory":1}"#, r#"{"memory":2,"cpu":1}"#],
            r#"{"cpu":1,"memory":2} | C1 value /memory: changed differently"#,
        ),
        (
            r#"{"disks":[{"name":"a","gib":5}]}"#,
            &[
                r#"{"disks":[{"name":"a","gib":7,"tags":["x"]}]}"#,
                r#"{"disks":[{"name":"b"},{"name":"a","gib":6,"tags":["y"]}]}"#,
            ],
            r#"{"disks":[{"gib":7,"name":"a","tags":["x","y"]},{"name":"b"}]}"#,
        ),
        (
            r#"{"disks":[{"name":"b"},{"name":"c","gib":1}]}"#,
            &[r#"{"disks":[{"name":"b"}]}"#, r#"{"disks":[{"name":"a"},{"name":"b"},{"name":"c","gib":2}]}"#],
            r#"{"disks":[{"name":"a"},{"name":"b"},{"gib":2,"name":"c"}]} | C3 structure /disks/2: deleted by one, changed by another"#,
        ),
        (
            r#"{"restarts":5}"#,
            &[r#"{"restarts":6}"#, r#"{"restarts":6}"#, r#"{"restarts":4}"#],
            r#"{"restarts":6}"#,
        ),
        (
            r#"{"restarts":60}"#,
            &[r#"{"restarts":90}"#, r#"{"restarts":80}"#],
            r#"{"restarts":60} | C4 invariant /restarts: together beyond the counter's range"#,
        ),
        (
            r#"{"boot":["disk","net"]}"#,
            &[r#"{"boot":["net"]}"#, r#"{"boot":["disk","net","usb"]}"#],
            r#"{"boot":["net","usb"]}"#,
        ),
        (
            r#"{"notes":"runs the shop"}"#,
            &[r#"{"notes":"runs the web shop"}"#, r#"{"notes":"runs the shop; ask Ana"}"#],
            r#"{"notes":"runs the web shop; ask Ana"}"#,
        ),
        (
            r#"{"host":"h1"}"#,
            &[r#"{"host":"h2"}"#, r#"{"host":"h3"}"#],
            r#"{"host":"h1"} | C1 value /host: changed differently"#,
        ),
    ] {
        assert_eq!(told(&s, base, sides), want, "\n{base}\n{sides:?}");
    }
}

#[test]
fn counters_beyond_sixty_four_bits_clash() {
    let s = schema_of(r#"{"schema":"c","version":1,"fields":{"n":"counter"}}"#);
    let max = format!(r#"{{"n":{}}}"#, i64::MAX);
    assert_eq!(
        told(&s, r#"{"n":0}"#, &[&max, r#"{"n":1}"#]),
        r#"{"n":0} | C4 invariant /n: together beyond the counter's range"#
    );
}

fn objects<'a>(docs: &'a [(&str, Document)]) -> BTreeMap<Name, &'a dwcp_conflict::Value> {
    docs.iter().map(|(key, d)| (("vm".into(), (*key).into()), d.value())).collect()
}

#[test]
fn references_that_lead_nowhere_or_back_are_found() {
    let s = schema_of(VM);
    let vm = |text: &str| admitted(&s, json(text));
    let docs = [
        ("a", vm(r#"{"parent":"c"}"#)),
        ("b", vm(r#"{"parent":"a"}"#)),
        ("c", vm(r#"{"parent":"b"}"#)),
        ("d", vm(r#"{"parent":"a","host":"h9"}"#)),
        ("e", vm(r#"{"parent":"e"}"#)),
    ];
    let found = examine(&objects(&docs), |kind| (kind == "vm").then_some(&s));
    let at = |text| Pointer::parse(text).unwrap();
    let name = |key: &str| -> Name { ("vm".into(), key.into()) };
    assert_eq!(
        found,
        [
            Broken::Dangling { from: name("d"), at: at("/host"), to: ("host".into(), "h9".into()) },
            Broken::Circle { through: vec![name("a"), name("c"), name("b")], at: at("/parent") },
            Broken::Circle { through: vec![name("e")], at: at("/parent") },
        ]
    );
}

#[test]
fn a_name_of_two_is_found() {
    let s = schema_of(VM);
    let vm = |text: &str| admitted(&s, json(text));
    let docs =
        [("a", vm(r#"{"notes":"web"}"#)), ("b", vm(r#"{"notes":"db"}"#)), ("c", vm(r#"{"notes":"web"}"#))];
    let at = Pointer::parse("/notes").unwrap();
    let found = unique(&objects(&docs), "vm", &at);
    let holders = vec![("vm".into(), "a".into()), ("vm".into(), "c".into())];
    assert_eq!(found, [Broken::Name { at, name: "web".into(), holders }]);
}
