//! Documents that are no more, fields that are no more, and how many there may be.

use crate::documents::{file, json, shown, three, who};
use crate::secs;
use crate::world::World;
use dwcp_conflict::Value;
use dwcp_eventual::Refusal;
use dwcp_eventual::documents::ask::{Answer, Change, Open, Question};

const WITH_LIFE: &str = r#"{"schema":"host","version":1,"lifecycle":"/life","fields":{
    "cpu":"atomic","note":"text","labels":{"kind":"map","of":"atomic"},"life":{"kind":"atomic","type":"text"}}}"#;

/// As `three`, with hosts that have a lifecycle.
fn with_life() -> World {
    let mut w = three();
    w.decide("schema/host/1", file(WITH_LIFE));
    w.run(secs(2));
    w
}

impl World {
    fn change(&mut self, n: usize, kind: &str, key: &str, change: Change) -> Result<u32, Refusal> {
        let (kind, key, by) = (kind.to_string(), key.to_string(), who("operator"));
        match self.about(n, Question::Write { kind, key, by, change })? {
            Answer::Written(n) => Ok(n),
            other => panic!("{other:?}"),
        }
    }
    fn set(&mut self, n: usize, kind: &str, key: &str, at: &str, to: &str) -> Result<u32, Refusal> {
        let value = (to != "-").then(|| file(to).into());
        self.change(n, kind, key, Change::Patch(vec![(at.into(), value)]))
    }
    fn shows(&mut self, n: usize, kind: &str, key: &str) -> String {
        match self.about(n, Question::Read { kind: kind.into(), key: key.into() }) {
            Ok(Answer::Document(document)) => document.map_or("nothing".into(), |(d, _)| shown(&d)),
            other => panic!("{other:?}"),
        }
    }
    /// What every node shows.
    fn all_show(&mut self, kind: &str, key: &str) -> String {
        let first = self.shows(0, kind, key);
        for n in 1..3 {
            assert_eq!(self.shows(n, kind, key), first, "node {n}");
        }
        first
    }
    /// The names of fields that lie in a node's space.
    fn names(&self, n: usize, kind: &str, key: &str) -> usize {
        self.node(n).space().fields(&[kind.into(), key.into()], None, 99_999).len()
    }
    fn page(&mut self, kind: &str, after: Option<String>) -> (Vec<String>, Option<String>) {
        match self.about(0, Question::List { kind: kind.into(), after }) {
            Ok(Answer::Keys(keys, next)) => (keys, next),
            other => panic!("{other:?}"),
        }
    }
}

/// `{"<word>0": 0, …}`
fn labels(word: &str, n: usize) -> Change {
    let all = (0..n).map(|i| (format!("{word}{i}").as_str().into(), json(&i.to_string())));
    Change::Patch(vec![("/labels".into(), Some(Value::map(all).to_bytes().into()))])
}

#[test]
fn a_list_goes_on_over_keys_that_are_no_more() {
    let mut w = three();
    for i in 0..1_005 {
        w.set(0, "vm", &format!("k{i:04}"), "/cpu", "1").expect("it is written");
    }
    for i in 0..1_002 {
        w.change(0, "vm", &format!("k{i:04}"), Change::Delete).expect("it is written");
    }
    assert_eq!(
        w.page("vm", None),
        (vec![], Some("k0999".into())),
        "a page without a document is not the last"
    );
    let rest = ["k1002", "k1003", "k1004"].map(String::from).to_vec();
    assert_eq!(w.page("vm", Some("k0999".into())), (rest.clone(), None));
    // And in time nothing is left to go over.
    w.run(secs(200));
    assert_eq!(w.page("vm", None), (rest, None));
}

#[test]
fn a_document_has_so_many_fields_and_says_so() {
    let mut w = three();
    w.change(0, "vm", "a", labels("x", 4_000)).expect("as many as there may be");
    let more: Vec<(String, _)> = (0..97).map(|i| (format!("/labels/y{i}"), Some(file("1").into()))).collect();
    let refused = w.change(0, "vm", "a", Change::Patch(more.clone())).unwrap_err().to_string();
    assert_eq!(refused, "vm a with this write: a number of fields of 4097 is over the limit of 4096");
    w.change(0, "vm", "a", Change::Patch(more[..96].to_vec())).expect("one less");
    w.set(0, "vm", "a", "/labels/x7", "8").expect("a field there is can be changed");
    // What is more after a cut is shown whole, can be made less, and not more.
    w.cut(2, true);
    w.change(0, "vm", "b", labels("x", 2_500)).expect("it is written");
    let others: Vec<(String, _)> =
        (0..2_500).map(|i| (format!("/labels/y{i}"), Some(file("1").into()))).collect();
    w.change(2, "vm", "b", Change::Patch(others)).expect("it is written");
    w.cut(2, false);
    w.run(secs(20));
    let all = w.all_show("vm", "b");
    assert_eq!(json(&all).get("labels").expect("labels").fields().len(), 5_000);
    assert!(w.set(1, "vm", "b", "/labels/z", "1").is_err());
    w.set(1, "vm", "b", "/labels/y9", "2").expect("a field there is can be changed");
    w.change(1, "vm", "b", labels("x", 9)).expect("all but nine go");
    w.set(1, "vm", "b", "/labels/z", "1").expect("there is room again");
}

#[test]
fn names_of_fields_that_are_no_more_count_nothing() {
    let mut w = three();
    for word in ["a", "b", "c"] {
        w.change(0, "vm", "k", labels(word, 3_000)).expect("it is written");
        w.run(secs(3));
        w.set(1, "vm", "k", "/labels", "-").expect("it is written");
    }
    assert!(w.names(0, "vm", "k") > 3_000);
    w.set(0, "vm", "k", "/cpu", "1").expect("it is written");
    // Nothing goes while somebody who may write is not heard.
    w.cut(2, true);
    w.run(secs(3));
    w.set(0, "vm", "k", "/labels/late", "1").expect("it is written");
    w.run(secs(1));
    w.set(0, "vm", "k", "/labels/late", "-").expect("it is written");
    w.run(secs(400));
    let left = w.names(0, "vm", "k");
    assert!(left >= 2, "the last deletion waits for the third: {left}");
    w.cut(2, false);
    w.run(secs(400));
    w.all_equal();
    for n in 0..3 {
        assert_eq!(w.names(n, "vm", "k"), 1, "node {n}");
    }
    assert_eq!(w.all_show("vm", "k"), r#"{"cpu":1}"#);
}

const WHOLE: &str = r#"{"cpu":2,"labels":{"team":"red"},"note":"runs the shop"}"#;

/// A host that all have, and a third node that is cut off.
fn cut_off() -> World {
    let mut w = with_life();
    w.change(0, "host", "h", Change::Put(file(WHOLE).into())).expect("it is written");
    w.run(secs(5));
    w.cut(2, true);
    w
}

#[test]
fn an_edit_that_prevails_over_a_deletion_finds_the_document_whole() {
    let mut w = cut_off();
    assert_eq!(w.change(0, "host", "h", Change::Delete), Ok(1));
    assert_eq!(w.all_but_two(), ["nothing", "nothing"]);
    assert_eq!(w.page("host", None), (vec![], None));
    w.run(secs(5));
    w.set(2, "host", "h", "/cpu", "8").expect("it is written");
    w.run(secs(40));
    w.cut(2, false);
    w.run(secs(60));
    let whole = r#"{"cpu":8,"labels":{"team":"red"},"life":"present","note":"runs the shop"}"#;
    assert_eq!(w.all_show("host", "h"), whole);
    assert_eq!(w.page("host", None).0, ["h"]);
}

#[test]
fn a_deletion_that_prevails_is_undone_with_all_that_was_there() {
    let mut w = cut_off();
    w.set(2, "host", "h", "/cpu", "8").expect("it is written");
    w.run(secs(5));
    w.change(0, "host", "h", Change::Delete).expect("it is written");
    w.run(secs(5));
    w.cut(2, false);
    w.run(secs(120));
    assert_eq!(w.all_show("host", "h"), "nothing");
    assert_eq!(w.page("host", None), (vec![], None));
    let refused = w.set(1, "host", "h", "/cpu", "9").unwrap_err().to_string();
    assert!(refused.starts_with("host h was deleted: put it anew as a whole"), "{refused}");
    let asked = Question::Explain { kind: "host".into(), key: "h".into(), pointer: Some("/life".into()) };
    let Ok(Answer::Explained(_, records)) = w.about(1, asked) else { panic!("it is explained") };
    assert_eq!(records.len(), 1, "one conflict, at one place");
    let conflict = records[0].conflict.clone();
    let undo = Question::Undo { conflict, which: None, force: false, by: who("operator") };
    w.about(1, undo).expect("it comes back");
    w.run(secs(20));
    let whole = r#"{"cpu":8,"labels":{"team":"red"},"life":"present","note":"runs the shop"}"#;
    assert_eq!(w.all_show("host", "h"), whole);
}

#[test]
fn what_was_deleted_beside_nothing_goes_when_all_know() {
    let mut w = cut_off();
    w.change(0, "host", "h", Change::Delete).expect("it is written");
    w.run(secs(200));
    assert_eq!(w.names(0, "host", "h"), 4, "the third may be writing");
    // Whoever changes their mind has it back.
    w.set(1, "host", "h", "/life", r#""present""#).expect("it is written");
    let whole = r#"{"cpu":2,"labels":{"team":"red"},"life":"present","note":"runs the shop"}"#;
    assert_eq!(w.shows(1, "host", "h"), whole);
    w.change(1, "host", "h", Change::Delete).expect("it is written");
    assert_eq!(w.change(1, "host", "h", Change::Delete), Ok(0), "there is nothing to delete");
    w.cut(2, false);
    w.run(secs(200));
    for n in 0..3 {
        assert_eq!(w.names(n, "host", "h"), 0, "node {n}");
    }
    w.change(2, "host", "h", Change::Put(file(r#"{"cpu":1}"#).into())).expect("it is made anew");
    w.run(secs(5));
    assert_eq!(w.all_show("host", "h"), r#"{"cpu":1,"life":"present"}"#);
    // Unset it can't be; and what holds already what it is to hold is not written again.
    assert!(w.set(0, "host", "h", "/life", "-").is_err());
    assert_eq!(w.set(0, "host", "h", "/cpu", "1"), Ok(0));
    // A word that was written against a deletion stays for as long as one may be under way.
    w.cut(2, true);
    w.set(0, "host", "h", "/life", r#""wanted""#).expect("it is written");
    w.set(0, "host", "h", "/cpu", "3").expect("it is written");
    assert_eq!(w.shows(0, "host", "h"), r#"{"cpu":3,"life":"wanted"}"#);
    w.cut(2, false);
    w.run(secs(30));
    w.set(0, "host", "h", "/cpu", "4").expect("it is written");
    assert_eq!(w.shows(0, "host", "h"), r#"{"cpu":4,"life":"present"}"#);
}

impl World {
    fn all_but_two(&mut self) -> [String; 2] {
        self.run(secs(2));
        [self.shows(0, "host", "h"), self.shows(1, "host", "h")]
    }
    fn conflicts(
        &mut self,
        after: Option<dwcp_eventual::documents::ask::At>,
    ) -> (Vec<Open>, Option<dwcp_eventual::documents::ask::At>) {
        match self.about(1, Question::Conflicts { after }) {
            Ok(Answer::Conflicts(all, next)) => (all, next),
            other => panic!("{other:?}"),
        }
    }
}

/// More questions than one look takes in: each has its turn, and what lies behind them too.
#[test]
fn many_open_questions_keep_nothing_waiting_and_are_listed_by_the_page() {
    let mut w = three();
    let put = |w: &mut World, n, i: usize, word: &str| {
        w.set(n, "vm", &format!("k{i:04}"), "/power", &format!("\"{word}\"")).expect("it is written");
    };
    w.cut(2, true);
    for i in 0..1_100 {
        put(&mut w, 0, i, "on");
        put(&mut w, 2, i, "off");
    }
    w.set(0, "vm", "zz", "/cpu", "1").expect("it is written");
    w.set(2, "vm", "zz", "/cpu", "2").expect("it is written");
    w.cut(2, false);
    w.run(secs(30));
    let (first, next) = w.conflicts(None);
    assert_eq!(first.len(), 1_000);
    assert!(first.iter().all(|o| o.waits == "a person is asked"));
    let last = next.expect("there are more");
    assert_eq!(last, first[999].at);
    let (rest, next) = w.conflicts(Some(last.clone()));
    assert_eq!(
        (rest.len(), next),
        (24, None),
        "1024 questions are open at once, defaults count for the others"
    );
    assert!(rest[0].at > last);
    let figures = w.node(0).status(w.calendar()).documents.expect("it holds documents");
    assert_eq!((figures.open, figures.asked, figures.unsettled, figures.broken_chains), (1_024, 1_024, 0, 0));
    assert_eq!(figures.records, 1_024 + 76 + 1);
}
