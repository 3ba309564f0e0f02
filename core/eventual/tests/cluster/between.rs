//! References between documents that are deleted, or that lead in a circle; names that two have.

use crate::documents::{file, three, who};
use crate::secs;
use crate::world::World;
use dwcp_eventual::documents::ask::{Answer, At, Change, Open, Question};

const HOST: &str = r#"{"schema":"host","version":1,"lifecycle":"/life","fields":{"cores":"atomic","life":{"kind":"atomic","type":"text"}}}"#;
const SITE: &str = r#"{"schema":"site","version":1,"fields":{
    "host":{"kind":"reference","to":"host"},"in":{"kind":"reference","to":"site","tree":true},"name":"atomic"}}"#;

/// Sites that are on hosts and in each other.
fn sites() -> World {
    let mut w = three();
    w.decide("schema/host/1", file(HOST));
    w.decide("schema/site/1", file(SITE));
    w.run(secs(2));
    w
}

impl World {
    fn let_be(&mut self, n: usize, kind: &str, key: &str, document: &str) {
        let (kind, key, by) = (kind.to_string(), key.to_string(), who("operator"));
        let change = if document == "-" { Change::Delete } else { Change::Put(file(document).into()) };
        self.about(n, Question::Write { kind, key, by, change }).expect("it is written");
    }
    fn in_document(&mut self, n: usize, key: &str) -> Vec<Open> {
        match self.about(n, Question::Read { kind: "site".into(), key: key.into() }) {
            Ok(Answer::Document(Some((_, open)))) => open,
            other => panic!("{other:?}"),
        }
    }
    fn in_list(&mut self, n: usize) -> Vec<Open> {
        match self.in_page(n, None) {
            (all, None) => all,
            other => panic!("{other:?}"),
        }
    }
    fn in_page(&mut self, n: usize, after: Option<At>) -> (Vec<Open>, Option<At>) {
        match self.about(n, Question::Conflicts { after }) {
            Ok(Answer::Conflicts(all, next)) => (all, next),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reference_to_what_was_deleted_on_the_other_side_is_kept_and_marked_alike_everywhere() {
    let mut w = sites();
    w.let_be(0, "host", "h", r#"{"cores":8}"#);
    w.let_be(0, "site", "a", r#"{"name":"here"}"#);
    w.run(secs(3));
    w.cut(2, true);
    w.let_be(0, "host", "h", "-");
    w.let_be(2, "site", "a", r#"{"name":"here","host":"h"}"#);
    w.run(secs(3));
    assert!(w.in_document(2, "a").is_empty(), "there it leads to a host");
    w.cut(2, false);
    w.run(secs(10));
    let first = w.in_document(0, "a");
    assert_eq!((first.len(), &*first[0].at.pointer, &*first[0].class), (1, "/host", "structure"));
    assert!(
        first[0].waits.starts_with("it refers to host h, which is not there: it is kept"),
        "{}",
        first[0].waits
    );
    for n in 0..3 {
        assert_eq!(w.in_document(n, "a"), first, "node {n}: by one name, too");
        assert_eq!(w.in_list(n), first, "node {n}");
        let asked = Question::Explain { kind: "site".into(), key: "a".into(), pointer: None };
        let Ok(Answer::Explained(text, _)) = w.about(n, asked) else { panic!("it is explained") };
        assert!(text.contains("site a/host: it refers to host h, which is not there"), "{text}");
    }
    // What it leads to is there again.
    w.let_be(1, "host", "h", r#"{"cores":4}"#);
    w.run(secs(5));
    for n in 0..3 {
        assert!(w.in_document(n, "a").is_empty() && w.in_list(n).is_empty(), "node {n}");
    }
}

#[test]
fn a_circle_that_both_sides_of_a_cut_closed_is_told_at_its_least() {
    let mut w = sites();
    w.let_be(0, "site", "a", r#"{"name":"a"}"#);
    w.let_be(0, "site", "b", r#"{"name":"b"}"#);
    w.run(secs(3));
    w.cut(2, true);
    w.let_be(0, "site", "a", r#"{"name":"a","in":"b"}"#);
    w.let_be(2, "site", "b", r#"{"name":"b","in":"a"}"#);
    w.cut(2, false);
    w.run(secs(10));
    for n in 0..3 {
        let told = w.in_document(n, "a");
        assert_eq!(told.len(), 1, "node {n}");
        let why = "site a, site b refer to each other in a circle: this reference is the one to be cut";
        assert_eq!((&*told[0].waits, &*told[0].at.pointer), (why, "/in"));
        assert!(w.in_document(n, "b").is_empty());
        assert_eq!(w.in_list(n), told);
    }
    w.let_be(2, "site", "a", r#"{"name":"a"}"#);
    w.run(secs(5));
    assert!(w.in_list(0).is_empty() && w.in_document(1, "a").is_empty());
}

#[test]
fn more_than_one_round_takes_in_is_found_in_the_next() {
    let mut w = sites();
    for i in 0..600 {
        w.let_be(0, "site", &format!("s{i:03}"), r#"{"host":"none"}"#);
    }
    w.run(secs(10));
    assert_eq!(w.in_list(1).len(), 600);
    let pages = |after| Question::Conflicts { after };
    let after = w.in_list(1)[598].at.clone();
    let Ok(Answer::Conflicts(rest, None)) = w.about(1, pages(Some(after))) else { panic!("it is listed") };
    assert_eq!(rest.len(), 1);
}

const RACK: &str = r#"{"schema":"rack","version":1,"unique":["/name","/spot/row"],"fields":{
    "name":"atomic","note":"text","spot":{"kind":"record","fields":{"row":"atomic"}}}}"#;

#[test]
fn a_name_that_both_sides_of_a_cut_gave_is_the_firsts_by_key_and_the_other_is_told_everywhere() {
    let mut w = three();
    w.decide("schema/rack/1", file(RACK));
    w.run(secs(2));
    w.let_be(0, "rack", "a", r#"{"name":"north","spot":{"row":1}}"#);
    w.let_be(0, "rack", "b", r#"{"name":"south","spot":{"row":2}}"#);
    w.let_be(0, "rack", "nameless", r#"{"note":"has neither"}"#);
    w.let_be(0, "rack", "so too", r#"{"note":"has neither"}"#);
    w.run(secs(3));
    assert!(w.in_list(0).is_empty());
    w.cut(2, true);
    w.let_be(0, "rack", "c", r#"{"name":"west","spot":{"row":3}}"#);
    w.let_be(2, "rack", "d", r#"{"name":"west","spot":{"row":3}}"#);
    w.let_be(2, "rack", "b", r#"{"name":"north","spot":{"row":2}}"#);
    w.run(secs(3));
    // That side has seen `a`: what it writes is told there at once.
    assert_eq!(w.in_list(2).len(), 1);
    w.cut(2, false);
    w.run(secs(10));
    let first = w.in_list(0);
    let told: Vec<_> = first.iter().map(|o| (&*o.at.key, &*o.at.pointer, &*o.class, &*o.waits)).collect();
    let why = |name: &str, who: &str| {
        format!("{name} is the name of rack {who}, which has it by the order of keys: give another here")
    };
    let (north, west, row) = (why("\"north\"", "a"), why("\"west\"", "c"), why("3", "c"));
    let want = [
        ("b", "/name", "structure", &*north),
        ("d", "/name", "structure", &*west),
        ("d", "/spot/row", "structure", &*row),
    ];
    assert_eq!(told, want);
    for n in 0..3 {
        assert_eq!(w.in_list(n), first, "node {n}: by one name, too");
        let asked = Question::Explain { kind: "rack".into(), key: "d".into(), pointer: None };
        let Ok(Answer::Explained(text, _)) = w.about(n, asked) else { panic!("it is explained") };
        assert!(text.contains(&format!("rack d/name: {west} (C3 structure).")), "{text}");
    }
    // One gives another name, the other's namesake goes.
    w.let_be(1, "rack", "b", r#"{"name":"south","spot":{"row":2}}"#);
    w.let_be(1, "rack", "c", "-");
    w.run(secs(5));
    for n in 0..3 {
        assert!(w.in_list(n).is_empty(), "node {n}: {:?}", w.in_list(n));
    }
}

/// As many as there may be of one name: each is told, and none costs more for it.
#[test]
fn a_name_of_thousands_is_the_firsts() {
    let mut w = three();
    w.decide("schema/rack/1", file(RACK));
    w.run(secs(2));
    for i in 0..2_000 {
        w.let_be(0, "rack", &format!("r{i:04}"), r#"{"name":"rack"}"#);
    }
    w.run(secs(20));
    let first = w.in_page(1, None);
    assert_eq!(first.0[0].at.key, "r0001", "all but the first");
    let last = w.in_page(1, first.0.last().map(|o| o.at.clone()));
    assert_eq!(first.0.len() + last.0.len(), 1_999);
    // The first gives it up: it is the next one's.
    w.let_be(2, "rack", "r0000", r#"{"name":"another"}"#);
    w.run(secs(20));
    assert_eq!(w.in_page(1, None).0[0].at.key, "r0002");
}
