//! Documents written on both sides of a cut: one value everywhere afterwards, told why, and what lost comes back.

use crate::secs;
use crate::world::World;
use dwcp_conflict::Value;
use dwcp_crdt::code::Reader;
use dwcp_crdt::{Address, Kind};
use dwcp_eventual::documents::ask::{Answer, At, Change, Choice, Open, Person, Question};
use dwcp_eventual::{Command, Refusal};

const SCHEMA: &str = r#"{"schema":"vm","version":1,"fields":{
    "cpu":{"kind":"atomic","type":"int","owner":"operator"},"power":"atomic","notes":"text",
    "restarts":"counter","labels":{"kind":"map","of":"atomic"},"addresses":"set"}}"#;
const POLICY: &str = r#"{"policy":"fleet","version":1,"activates":0,"rule":[
    {"name":"owners first","class":"intent","use":{"strategy":"priority","by":"role","order":["operator"]}},
    {"name":"power","path":"/power","use":{"strategy":"manual","deadline":"1h","default":"rollback"}},
    {"name":"the rest","use":{"strategy":"semantic","otherwise":"last-writer"}}]}"#;

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
pub(crate) fn file(text: &str) -> Vec<u8> {
    json(text).to_bytes()
}
pub(crate) fn shown(bytes: &[u8]) -> String {
    Value::decode(&mut Reader::new(bytes)).expect("a value").to_string()
}
pub(crate) fn who(role: &str) -> Person {
    Person { name: format!("{role} 1"), role: role.into(), region: "eu".into() }
}

impl World {
    fn patch(&mut self, n: usize, role: &str, fields: &[(&str, &str)]) {
        let fields =
            fields.iter().map(|(at, v)| ((*at).to_string(), (*v != "-").then(|| file(v).into()))).collect();
        let (kind, key) = ("vm".to_string(), "web-1".to_string());
        let change = Change::Patch(fields);
        self.about(n, Question::Write { kind, key, by: who(role), change }).expect("it is written");
    }
    fn read(&mut self, n: usize) -> (String, Vec<Open>) {
        match self.about(n, Question::Read { kind: "vm".into(), key: "web-1".into() }) {
            Ok(Answer::Document(Some((document, open)))) => (shown(&document), open),
            other => panic!("{other:?}"),
        }
    }
    fn everywhere(&mut self) -> String {
        let first = self.read(0).0;
        for n in 1..3 {
            assert_eq!(self.read(n).0, first, "node {n}");
        }
        first
    }
    fn explain(&mut self, n: usize) -> String {
        let asked = Question::Explain { kind: "vm".into(), key: "web-1".into(), pointer: None };
        match self.about(n, asked) {
            Ok(Answer::Explained(text, _)) => text,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn three() -> World {
    three_under(SCHEMA)
}

/// The same, where a field says whether there is a machine.
pub(crate) fn three_with_life() -> World {
    let fields = r#""lifecycle":"/life","fields":{"life":{"kind":"atomic","type":"text"},"#;
    three_under(&SCHEMA.replace(r#""fields":{"#, fields))
}

fn three_under(schema: &str) -> World {
    let rules = [("schema/vm/1", file(schema)), ("policy/1", file(POLICY))];
    let mut w = World::documents(&[0, 0, 1], &rules);
    w.run(secs(15));
    w.all_serve();
    w
}

#[test]
fn both_sides_of_a_cut_come_to_one_value_that_can_be_explained_and_undone() {
    let mut w = three();
    w.patch(
        0,
        "operator",
        &[("/cpu", "2"), ("/restarts", "1"), ("/notes", r#""runs the shop""#), ("/labels", r#"{"a":1}"#)],
    );
    w.run(secs(3));
    w.cut(2, true);
    w.patch(
        0,
        "operator",
        &[("/cpu", "4"), ("/restarts", "2"), ("/notes", r#""runs the web shop""#), ("/labels/b", "2")],
    );
    w.run(secs(1));
    w.patch(
        2,
        "autoscaler",
        &[("/cpu", "8"), ("/restarts", "3"), ("/notes", r#""runs the shop; ask Ana""#), ("/labels/c", "3")],
    );
    w.run(secs(5));
    w.cut(2, false);
    w.run(secs(10));
    w.all_equal();
    let want = r#"{"cpu":4,"labels":{"a":1,"b":2,"c":3},"notes":"runs the web shop; ask Ana","restarts":4}"#;
    assert_eq!(w.everywhere(), want);
    for n in 0..3 {
        assert!(w.read(n).1.is_empty(), "nothing stands beside anything any more");
        let told = w.explain(n);
        assert!(told.contains("autoscaler 1 (autoscaler, eu) wrote 8"), "{told}");
        assert!(told.contains("rule 1 (priority): 4 stands, because its writer ranks number 1"), "{told}");
    }
    assert_eq!(w.explain(1), w.explain(2), "each node tells the same");
    // What lost comes back, at any node, and everywhere.
    let asked = Question::Explain { kind: "vm".into(), key: "web-1".into(), pointer: Some("/cpu".into()) };
    let Ok(Answer::Explained(_, records)) = w.about(2, asked) else { panic!("it is explained") };
    let conflict = records[0].conflict[..12].to_string();
    let undo = |force| Question::Undo { conflict: conflict.clone(), which: None, force, by: who("operator") };
    w.about(2, undo(false)).expect("it comes back");
    w.run(secs(5));
    assert!(w.everywhere().starts_with(r#"{"cpu":8,"#));
    // Over what somebody wrote since, only if that is wanted.
    w.patch(1, "operator", &[("/cpu", "6")]);
    w.run(secs(2));
    let refused = w.about(0, undo(false)).unwrap_err();
    assert!(refused.to_string().contains("was written there meanwhile"), "{refused}");
    w.about(0, undo(true)).expect("it is forced");
    w.run(secs(2));
    w.everywhere();
}

#[test]
fn a_question_is_put_once_answered_once_and_its_default_stands_meanwhile() {
    let mut w = three();
    w.patch(0, "operator", &[("/power", r#""on""#)]);
    w.run(secs(3));
    w.cut(2, true);
    w.patch(0, "operator", &[("/power", r#""off""#)]);
    w.patch(2, "operator", &[("/power", r#""paused""#)]);
    // Longer than the deadline: nobody could be asked.
    w.run(secs(4_000));
    w.cut(2, false);
    w.run(secs(20));
    assert_eq!(w.everywhere(), r#"{"power":"on"}"#, "the default: what was there before");
    let open = w.read(1).1;
    assert_eq!((open.len(), &*open[0].waits), (1, "a person is asked"));
    let until = open[0].asked.as_ref().and_then(|a| a.1).expect("a deadline");
    assert!(until > w.wall_ms() + 3_500_000, "an hour from when it was put");
    // An answer to what was asked before another wrote is refused.
    let at = At { kind: "vm".into(), key: "web-1".into(), pointer: "/power".into() };
    let answer = |conflict: &str, choice| Question::Answer {
        at: at.clone(),
        conflict: conflict.into(),
        choice,
        by: who("operator"),
    };
    let refused = w.about(1, answer("0123456789", Choice::Default)).unwrap_err();
    assert!(refused.to_string().contains("no open conflict"), "{refused}");
    let (r, s) = open[0].sides[0].dot;
    w.about(1, answer(&open[0].conflict[..8], Choice::Side(r, s))).expect("it is taken");
    w.run(secs(5));
    let chosen = open[0].sides[0].value.as_ref().map(|v| shown(v)).expect("a value");
    assert_eq!(w.everywhere(), format!(r#"{{"power":{chosen}}}"#));
    let told = w.explain(0);
    assert!(
        told.contains("asks a person until") && told.contains("operator 1 (operator) decided:"),
        "{told}"
    );
    assert!(w.read(0).1.is_empty());
}

#[test]
fn when_nobody_answers_the_default_stands_for_good() {
    let mut w = three();
    w.patch(0, "operator", &[("/power", r#""on""#)]);
    w.run(secs(3));
    w.cut(2, true);
    w.patch(0, "operator", &[("/power", r#""off""#)]);
    w.patch(2, "operator", &[("/power", r#""paused""#)]);
    w.cut(2, false);
    w.run(secs(30));
    assert_eq!(w.read(0).1.len(), 1);
    w.run(secs(3_700));
    assert_eq!((w.everywhere(), w.read(0).1.len()), (r#"{"power":"on"}"#.into(), 0));
}

/// The audit lies in the space: after a crash, and on a node that lost its disk, it is there again.
#[test]
fn the_audit_outlives_crashes_and_lost_disks() {
    let mut w = three();
    w.patch(0, "operator", &[("/cpu", "2")]);
    w.run(secs(2));
    w.cut(2, true);
    w.patch(0, "operator", &[("/cpu", "4")]);
    w.patch(2, "autoscaler", &[("/cpu", "8")]);
    w.cut(2, false);
    w.run(secs(10));
    let told = w.explain(0);
    assert!(told.contains("4 stands"), "{told}");
    for n in 0..3 {
        w.crash(n);
        w.boot(n);
        w.run(secs(5));
    }
    w.wipe(1);
    w.boot(1);
    w.run(secs(60));
    w.all_serve();
    for n in 0..3 {
        assert_eq!(w.explain(n), told, "node {n}");
    }
    // And it goes on from where it was.
    w.cut(2, true);
    w.patch(0, "operator", &[("/cpu", "5")]);
    w.patch(2, "autoscaler", &[("/cpu", "9")]);
    w.cut(2, false);
    w.run(secs(10));
    let more = w.explain(1);
    assert!(more.starts_with(&told) && more.len() > told.len(), "{more}");
    let Ok(Answer::Rules { faults, chains, .. }) = w.about(1, Question::Rules) else { panic!("it answers") };
    assert_eq!((faults, chains.len()), (Vec::new(), 1), "one node settled all");
}

/// Registers of the audit in a node's space: bytes of records, and long values.
fn audited(w: &World, n: usize) -> (Vec<usize>, usize) {
    let space = w.node(n).space();
    let mut records = Vec::new();
    for of in space.fields(&[b"\0audit".to_vec()], None, 9) {
        for number in space.fields(&[b"\0audit".to_vec(), of.name.clone()], None, 99) {
            let at =
                Address { names: [b"\0audit".to_vec(), of.name.clone(), number.name].into(), kind: Kind::Mv };
            records.extend(space.siblings(&at).iter().map(|s| s.value.len()));
        }
    }
    (records, space.fields(&[b"\0value".to_vec()], None, 99).len())
}

#[test]
fn after_thirty_days_records_leave_their_stubs_and_say_so() {
    let mut w = three();
    let long = |word: &str| format!(r#"{{"why":"{}"}}"#, word.repeat(40));
    let fight = |w: &mut World, word: &str| {
        w.cut(2, true);
        w.patch(0, "operator", &[("/labels", &long(word))]);
        w.patch(2, "autoscaler", &[("/labels", &long(&format!("not {word}")))]);
        w.cut(2, false);
        w.run(secs(20));
    };
    fight(&mut w, "theirs ");
    let asked = Question::Explain { kind: "vm".into(), key: "web-1".into(), pointer: None };
    let Ok(Answer::Explained(_, records)) = w.about(2, asked) else { panic!("it is explained") };
    let conflict = records[0].conflict[..12].to_string();
    let undo =
        || Question::Undo { conflict: conflict.clone(), which: None, force: true, by: who("operator") };
    let kept = audited(&w, 1);
    assert!(kept.0.len() == 1 && kept.0[0] > 200 && kept.1 == 2, "{kept:?}");

    w.days_go_by(29);
    w.run(secs(700));
    assert_eq!(audited(&w, 1), kept, "until then nothing goes");
    w.days_go_by(2);
    w.run(secs(1_300));
    w.all_equal();
    let says = "no conflict is on record here. 1 record up to 2023-11-14 22:1";
    for n in 0..3 {
        let (records, values) = audited(&w, n);
        assert!(records.len() == 1 && records[0] < 120 && values == 0, "node {n}: {records:?} {values}");
        let told = w.explain(n);
        assert!(told.contains(says) && told.contains("is over: they are kept for 30 days"), "{told}");
        let refused = w.about(n, undo()).unwrap_err().to_string();
        assert!(refused.contains("is on record here") && refused.contains("is over"), "{refused}");
    }
    // The chain goes on from there, also on nodes that make it again of the space.
    for n in 0..3 {
        w.crash(n);
        w.boot(n);
        w.run(secs(5));
    }
    w.all_serve();
    fight(&mut w, "mine ");
    for n in 0..3 {
        let Ok(Answer::Rules { faults, chains, .. }) = w.about(n, Question::Rules) else {
            panic!("it answers")
        };
        assert_eq!((faults, chains.len(), chains[0].1), (Vec::new(), 1, 2), "node {n}");
        assert_eq!(audited(&w, n).1, 3, "both sides, and what was there before");
    }
}

/// Who is gone for good lets go of nothing: the first node that lives does it.
#[test]
fn what_a_member_that_left_recorded_goes_as_well() {
    let mut w = three();
    w.patch(0, "operator", &[("/cpu", "2")]);
    w.cut(2, true);
    w.patch(0, "operator", &[("/cpu", "4")]);
    w.patch(2, "autoscaler", &[("/cpu", "8")]);
    w.cut(2, false);
    w.run(secs(20));
    assert_eq!(audited(&w, 1).0.len(), 1);
    w.crash(0);
    // Longer than a silent member is waited for.
    w.run(secs(1_300));
    w.days_go_by(31);
    w.run(secs(1_300));
    for n in 1..3 {
        let (records, _) = audited(&w, n);
        assert!(records.len() == 1 && records[0] < 120, "node {n}: {records:?}");
    }
}

/// Both sides of a cut have both writes already, and each settles them: that is one resolution.
#[test]
fn settled_on_both_sides_of_a_cut_it_is_one() {
    let mut w = three();
    w.patch(0, "operator", &[("/restarts", "10")]);
    w.run(secs(3));
    // The node that settles is cut off as soon as all have both.
    w.sever(0, 1, true);
    w.sever(0, 2, true);
    w.patch(1, "operator", &[("/restarts", "11")]);
    w.patch(2, "operator", &[("/restarts", "11")]);
    w.sever(0, 1, false);
    w.sever(0, 2, false);
    w.run(dwcp_env::Duration::millis(300));
    w.sever(0, 1, true);
    w.sever(0, 2, true);
    w.run(secs(30));
    w.sever(0, 1, false);
    w.sever(0, 2, false);
    w.run(secs(20));
    assert_eq!(w.everywhere(), r#"{"restarts":12}"#);
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let mut w = three();
    let write = |kind: &str, key: &str, change| Question::Write {
        kind: kind.into(),
        key: key.into(),
        by: who("operator"),
        change,
    };
    let patch = |at: &str, v: &str| Change::Patch(vec![(at.into(), Some(file(v).into()))]);
    for (question, want) in [
        (write("host", "a", Change::Delete), "no schema of kind \"host\" is known here; there is vm"),
        (write("vm", "", Change::Delete), "the key \"\": 1 to 256 bytes"),
        (
            write("vm", "a", patch("/cpu", r#""x""#)),
            "/cpu: a text in a field of kind atomic; write a whole number",
        ),
        (write("vm", "a", patch("/gpu", "1")), "/gpu: a vm has no such field"),
        (write("vm", "a", patch("cpu", "1")), "a JSON pointer begins with `/`"),
        (write("vm", "a", Change::Put(file(r#"{"cpu":1,"gpu":2}"#).into())), "unknown field `gpu`"),
        (write("vm", "a", Change::Put(vec![9, 9].into())), "a value that is none"),
        (Question::Conflict("zz".into()), "give six digits"),
        (Question::Conflict("012345".into()), "no conflict 012345 is on record here"),
        (Question::DryRun(file("{}").into()), "`policy` is missing"),
    ] {
        let refused = w.about(0, question).unwrap_err();
        assert!(refused.to_string().contains(want), "{refused}");
    }
    assert_eq!(w.about(0, Question::Read { kind: "vm".into(), key: "a".into() }), Ok(Answer::Document(None)));
    let redis = w.refused(0, Command::Get { key: "a".into() });
    assert!(matches!(redis, Refusal::Argument(why) if why.contains("holds documents")));
    // Rules that can't be read are told, and those before them count.
    w.decide("policy/2", file(r#"{"policy":"fleet","version":2,"activates":9,"rule":[]}"#));
    w.run(secs(1));
    let Ok(Answer::Rules { faults, policies, .. }) = w.about(0, Question::Rules) else {
        panic!("it answers")
    };
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("policy/2: /rule: 0 rules"), "{faults:?}");
    assert_eq!(policies.iter().map(|p| (p.version, p.active)).collect::<Vec<_>>(), [(1, true)]);
}
