//! Checkpoints: what was there comes back, from whichever node, and nothing that it goes over is lost.

use crate::documents::{file, json, shown, three, three_with_life, who};
use crate::secs;
use crate::world::World;
use dwcp_conflict::Value;
use dwcp_eventual::Refusal;
use dwcp_eventual::documents::ask::{Answer, At, Back, Change, Name, Question, Rolled, Taken, Which};
use std::collections::BTreeMap;

impl World {
    fn put(&mut self, n: usize, key: &str, document: &str) {
        self.altered(n, key, Change::Put(file(document).into())).expect("it is written");
    }
    fn alter(&mut self, n: usize, key: &str, at: &str, to: &str) {
        self.altered(n, key, Change::Patch(vec![(at.into(), Some(file(to).into()))])).expect("it is written");
    }
    fn altered(&mut self, n: usize, key: &str, change: Change) -> Result<(), Refusal> {
        let (kind, key, by) = ("vm".into(), key.into(), who("operator"));
        self.about(n, Question::Write { kind, key, by, change }).map(drop)
    }
    fn checkpoint(&mut self, n: usize, name: &str, kinds: &[&str], days: u32) -> Result<Taken, Refusal> {
        let kinds = kinds.iter().map(|k| (*k).to_string()).collect();
        let asked = Question::Checkpoint { name: name.into(), kinds, days, by: who("operator") };
        match self.about(n, asked)? {
            Answer::Taken(taken) => Ok(taken),
            other => panic!("{other:?}"),
        }
    }
    fn checkpoints(&mut self, n: usize) -> (Vec<Taken>, Vec<Rolled>) {
        match self.about(n, Question::Checkpoints) {
            Ok(Answer::Checkpoints(taken, rolled)) => (taken, rolled),
            other => panic!("{other:?}"),
        }
    }
    fn part_back(
        &mut self,
        n: usize,
        name: &str,
        which: &Which,
        dry: bool,
        after: Option<(Name, (u16, u64))>,
    ) -> Result<Back, Refusal> {
        let (name, which, by) = (name.to_string(), which.clone(), who("operator"));
        match self.about(n, Question::Rollback { name, which, dry, after, by })? {
            Answer::Back(back) => Ok(back),
            other => panic!("{other:?}"),
        }
    }
    /// All of the way: documents and fields, the writes that were told, and what was made since.
    fn back(&mut self, n: usize, name: &str, which: &Which, dry: bool) -> Result<Back, Refusal> {
        let mut all = Back::default();
        let mut after = None;
        loop {
            let part = self.part_back(n, name, which, dry, after)?;
            all.writes.extend(part.writes);
            all.since.extend(part.since);
            all.wrote = (all.wrote.0 + part.wrote.0, all.wrote.1 + part.wrote.1);
            all.id = part.id;
            match part.next {
                None => return Ok(all),
                Some(next) => after = Some((next, part.id.unwrap_or_default())),
            }
        }
    }
    /// All documents as a node shows them.
    fn view(&mut self, n: usize) -> BTreeMap<String, String> {
        let (mut out, mut after) = (BTreeMap::new(), None);
        loop {
            let Ok(Answer::Keys(keys, next)) = self.about(n, Question::List { kind: "vm".into(), after })
            else {
                panic!("it is listed")
            };
            for key in keys {
                let asked = Question::Read { kind: "vm".into(), key: key.clone() };
                let Ok(Answer::Document(Some((document, _)))) = self.about(n, asked) else {
                    panic!("it is there")
                };
                out.insert(key, shown(&document));
            }
            after = next;
            if after.is_none() {
                return out;
            }
        }
    }
    fn one_view(&mut self) -> BTreeMap<String, String> {
        let first = self.view(0);
        for n in 1..3 {
            assert_eq!(self.view(n), first, "node {n}");
        }
        first
    }
    fn told(&mut self, n: usize, key: &str) -> (String, Vec<String>) {
        let asked = Question::Explain { kind: "vm".into(), key: key.into(), pointer: None };
        match self.about(n, asked) {
            Ok(Answer::Explained(text, records)) => (text, records.into_iter().map(|r| r.conflict).collect()),
            other => panic!("{other:?}"),
        }
    }
}

fn told(writes: &[(At, Option<bytes::Bytes>, Option<bytes::Bytes>)]) -> Vec<String> {
    let word = |v: &Option<bytes::Bytes>| v.as_ref().map_or("nothing".into(), |v| shown(v));
    let told = |(at, is, to): &(At, _, _)| format!("{} {}: {} -> {}", at.key, at.pointer, word(is), word(to));
    writes.iter().map(told).collect()
}

fn keys(all: &[&str]) -> Which {
    Which { keys: all.iter().map(|k| (*k).to_string()).collect(), ..Which::default() }
}

const CREATED: Which = Which { kinds: Vec::new(), keys: Vec::new(), created: true };

#[test]
fn what_was_there_comes_back_from_any_node_and_what_it_goes_over_is_on_record() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2,"labels":{"team":"red"},"notes":"runs the shop"}"#);
    w.put(0, "b", r#"{"cpu":4}"#);
    w.put(0, "same", r#"{"cpu":1}"#);
    w.run(secs(3));
    let then = w.one_view();
    let taken = w.checkpoint(0, "before", &[], 30).expect("it is taken");
    assert_eq!((taken.kinds.clone(), taken.open, taken.policy), (vec![("vm".into(), 1, 3)], 0, Some(1)));
    w.run(secs(3));
    // Who took it is gone with its disk: the others have it.
    w.wipe(0);
    w.alter(1, "a", "/cpu", "16");
    w.alter(1, "a", "/labels", r#"{"team":"blue","x":1}"#);
    w.altered(1, "b", Change::Delete).expect("it is written");
    w.put(1, "c", r#"{"cpu":9}"#);
    w.run(secs(3));
    let before = w.view(2);
    let dry = w.back(2, "before", &Which::default(), true).expect("it is told");
    let want = [
        "a /cpu: 16 -> 2",
        r#"a /labels/team: "blue" -> "red""#,
        "a /labels/x: 1 -> nothing",
        "b /cpu: nothing -> 4",
    ];
    assert_eq!(told(&dry.writes), want);
    assert_eq!((dry.wrote, dry.since.len(), dry.id), ((2, 4), 1, None));
    assert_eq!((w.view(2), w.checkpoints(2).1.len()), (before, 0), "nothing was written");

    let back = w.back(2, "before", &Which::default(), false).expect("it goes back");
    assert_eq!((told(&back.writes), back.wrote), (want.map(String::from).to_vec(), (2, 4)));
    assert_eq!(back.since, [("vm".to_string(), "c".to_string())]);
    w.boot(0);
    w.run(secs(60));
    let mut now = then.clone();
    now.insert("c".into(), r#"{"cpu":9}"#.into());
    assert_eq!(w.one_view(), now, "what was made since stays");
    let rolled = w.checkpoints(1).1;
    assert_eq!((rolled.len(), rolled[0].wrote, rolled[0].done), (1, (2, 4), true));
    for n in 0..3 {
        let (text, _) = w.told(n, "a");
        let who = "operator 1 (operator) rolled back to the checkpoint before at 2023-";
        assert!(text.contains(who) && text.contains(": 2 stands."), "{text}");
        assert!(text.contains("wrote 16 at") && text.contains("Did not prevail"), "{text}");
    }
    assert_eq!(w.back(0, "before", &Which::default(), false).expect("it is asked").wrote, (0, 0));
    assert_eq!(w.checkpoints(0).1.len(), 1, "where there was nothing to do nothing is noted");
    // A rollback is undone as anything else.
    let (_, conflicts) = w.told(0, "a");
    for conflict in conflicts {
        let undo = Question::Undo { conflict, which: None, force: false, by: who("operator") };
        w.about(0, undo).expect("it comes back");
    }
    w.run(secs(3));
    let undone = r#"{"cpu":16,"labels":{"team":"blue","x":1},"notes":"runs the shop"}"#;
    assert_eq!(w.one_view()["a"], undone);
    // By key; and with what was made since.
    assert_eq!(w.back(1, "before", &keys(&["b"]), false).expect("it is asked").wrote, (0, 0));
    assert_eq!(w.back(1, "before", &keys(&["a"]), false).expect("it goes back").wrote, (1, 3));
    assert_eq!(w.back(1, "before", &CREATED, false).expect("it goes back").wrote, (1, 1));
    w.run(secs(3));
    assert_eq!(w.one_view(), then);
    // What is deleted is known nowhere.
    w.about(2, Question::Forget { name: "before".into() }).expect("it goes");
    w.run(secs(3));
    for n in 0..3 {
        let refused = w.back(n, "before", &CREATED, true).unwrap_err().to_string();
        assert!(refused.starts_with("no checkpoint \"before\" is known here"), "{refused}");
        let space = w.node(n).space();
        assert!(space.fields(&[b"\0piece".to_vec()], None, 9).is_empty(), "node {n}");
    }
}

#[test]
fn what_others_write_beside_a_rollback_stands_beside_it_and_the_policy_decides() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2,"power":"on"}"#);
    w.run(secs(3));
    w.checkpoint(0, "before", &[], 30).expect("it is taken");
    w.alter(0, "a", "/cpu", "4");
    w.run(secs(3));
    w.cut(2, true);
    w.back(0, "before", &Which::default(), false).expect("it goes back");
    w.run(secs(1));
    let change = Change::Patch(vec![("/cpu".into(), Some(file("8").into()))]);
    let (kind, key) = ("vm".to_string(), "a".to_string());
    w.about(2, Question::Write { kind, key, by: who("autoscaler"), change }).expect("it is written");
    w.run(secs(5));
    w.cut(2, false);
    w.run(secs(10));
    assert_eq!(w.one_view()["a"], r#"{"cpu":2,"power":"on"}"#, "the operator's rank decides, not the clock");
    let (text, _) = w.told(1, "a");
    assert!(text.contains("autoscaler 1 (autoscaler, eu) wrote 8") && text.contains("wrote 4"), "{text}");
}

/// Documents enough for several parts.
fn many(w: &mut World, cpu: u64) {
    for i in 0..600 {
        w.put(0, &format!("k{i:03}"), &format!(r#"{{"cpu":{cpu},"notes":"machine {i}"}}"#));
    }
    w.run(secs(3));
}

#[test]
fn a_rollback_that_breaks_off_is_told_and_gone_on_with() {
    let mut w = three();
    many(&mut w, 2);
    let then = w.view(0);
    w.checkpoint(0, "before", &["vm"], 30).expect("it is taken");
    many(&mut w, 4);
    let part = w.part_back(0, "before", &Which::default(), false, None).expect("a part");
    assert_eq!((part.wrote, part.writes.len()), ((256, 256), 256));
    assert_eq!(part.next, Some(("vm".into(), "k255".into())));
    w.crash(0);
    w.boot(0);
    w.run(secs(10));
    w.all_serve();
    let rolled = w.checkpoints(2).1;
    assert_eq!((rolled[0].wrote, rolled[0].done), ((256, 256), false), "it is told");
    let half = w.one_view();
    assert_eq!(half.iter().filter(|(k, v)| then[*k] == **v).count(), 256, "and true");
    // Whoever goes on, where and whoever that is, ends it.
    let rest = w.back(1, "before", &Which::default(), false).expect("it goes on");
    assert_eq!((rest.wrote, rest.id), ((344, 344), part.id));
    w.run(secs(3));
    let rolled = w.checkpoints(0).1;
    assert_eq!((rolled.len(), rolled[0].wrote, rolled[0].done), (1, (600, 600), true));
    assert_eq!(w.one_view(), then);
    let refused =
        w.part_back(1, "before", &CREATED, false, Some((("vm".into(), "k1".into()), (0, 77)))).unwrap_err();
    assert!(refused.to_string().contains("the rollback r0:77 is not known at this node yet"), "{refused}");
}

#[test]
fn power_that_goes_while_it_is_written_leaves_what_the_note_says() {
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..12 {
        let mut w = three();
        w.dice(at);
        for i in 0..40 {
            w.put(0, &format!("k{i:02}"), r#"{"cpu":2}"#);
        }
        w.checkpoint(0, "before", &[], 30).expect("it is taken");
        for i in 0..40 {
            w.alter(0, &format!("k{i:02}"), "/cpu", "4");
        }
        w.run(secs(3));
        let (name, which, by) = ("before".to_string(), Which::default(), who("operator"));
        w.ask_documents(0, Question::Rollback { name, which, dry: false, after: None, by });
        w.run(dwcp_env::Duration::micros(400 * at));
        w.crash(0);
        w.boot(0);
        w.run(secs(20));
        w.all_serve();
        let back = w.one_view().values().filter(|v| **v == r#"{"cpu":2}"#).count() as u64;
        let noted = w.checkpoints(1).1.first().map_or((0, 0), |r| r.wrote);
        assert_eq!(noted, (back, back), "after {} µs", 400 * at);
        seen.insert(back);
    }
    assert_eq!(seen, [0, 40].into(), "what fits one transaction is there or is not, and both came about");
}

#[test]
fn two_of_one_name_from_two_sides_of_a_cut_are_two() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2}"#);
    w.run(secs(3));
    w.cut(2, true);
    w.checkpoint(0, "before", &[], 30).expect("it is taken");
    w.alter(2, "a", "/cpu", "3");
    let theirs = w.checkpoint(2, "before", &[], 30).expect("it is taken");
    w.cut(2, false);
    w.run(secs(10));
    assert_eq!(w.checkpoints(1).0.len(), 2);
    let refused = w.back(1, "before", &CREATED, true).unwrap_err().to_string();
    assert!(refused.starts_with("before was taken on two sides of a cut: say before@r"), "{refused}");
    let refused = w.about(1, Question::Forget { name: "before".into() }).unwrap_err().to_string();
    assert!(refused.contains("two sides of a cut"), "{refused}");
    let name = format!("before@r{}:{}", theirs.id.0, theirs.id.1);
    w.alter(1, "a", "/cpu", "5");
    w.back(1, &name, &CREATED, false).expect("it goes back");
    w.run(secs(3));
    assert_eq!(w.one_view()["a"], r#"{"cpu":3}"#);
    w.about(1, Question::Forget { name }).expect("it goes");
    w.run(secs(3));
    w.back(1, "before", &CREATED, false).expect("one is left");
    w.run(secs(3));
    assert_eq!(w.one_view()["a"], r#"{"cpu":2}"#);
}

#[test]
fn what_can_t_be_kept_or_brought_back_is_refused_with_the_reason() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2,"labels":{"x":1}}"#);
    let taken = |w: &mut World, name: &str, kinds: &[&str], days| {
        w.checkpoint(0, name, kinds, days).unwrap_err().to_string()
    };
    assert!(taken(&mut w, "", &[], 30).contains("1 to 256 bytes"));
    assert!(taken(&mut w, "a@b", &[], 30).contains("behind @ there is an id"));
    assert!(taken(&mut w, "x", &["host"], 30).contains("no schema of kind \"host\""));
    assert!(taken(&mut w, "x", &[], 0).contains("kept for 1 to 366"));
    w.checkpoint(0, "before", &[], 30).expect("it is taken");
    assert!(taken(&mut w, "before", &[], 30).contains("there is a checkpoint before already"));
    let back =
        |w: &mut World, name: &str, which: &Which| w.back(0, name, which, true).unwrap_err().to_string();
    assert!(back(&mut w, "befor", &CREATED).contains("there is before"));
    let which = Which { kinds: vec!["host".into()], ..Which::default() };
    assert_eq!(back(&mut w, "before", &which), "before is not about \"host\": it holds vm");
    assert_eq!(back(&mut w, "before", &keys(&["z"])), "there is no \"z\" in before, and none here");
    // The schema has changed since: nothing is written of anything.
    w.put(0, "b", r#"{"cpu":3}"#);
    w.checkpoint(0, "two", &[], 30).expect("it is taken");
    w.alter(0, "a", "/labels/x", "2");
    w.alter(0, "b", "/cpu", "4");
    let schema = r#"{"schema":"vm","version":2,"fields":{"cpu":{"kind":"atomic","type":"int"}}}"#;
    w.decide("schema/vm/2", file(schema));
    w.run(secs(2));
    let told = back(&mut w, "two", &Which::default());
    assert!(
        told.contains(
            "the schema has changed since two was taken: vm a: the document: unknown field `labels`"
        ),
        "{told}"
    );
    w.back(0, "two", &keys(&["b"]), false).expect("what fits goes back");
    w.run(secs(2));
    assert_eq!(w.view(0)["b"], r#"{"cpu":3}"#);
}

#[test]
fn there_is_room_for_so_many_and_so_much_and_it_is_said() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2}"#);
    for i in 0..64 {
        w.checkpoint(0, &format!("c{i}"), &[], 30).expect("there is room");
    }
    let refused = w.checkpoint(0, "more", &[], 30).unwrap_err().to_string();
    assert_eq!(refused, "one checkpoint more: a number of 65 is over the limit of 64");
    w.about(0, Question::Forget { name: "c7".into() }).expect("it goes");
    let notes = |n: usize| format!(r#"{{"notes":"{}"}}"#, "x".repeat(n));
    for i in 0..9 {
        w.put(0, &format!("l{i}"), &notes(760 * 1_024));
    }
    w.run(secs(2));
    assert_eq!(w.checkpoint(0, "large", &[], 30).expect("there is room").bytes >> 20, 6);
    w.run(secs(2));
    for n in 0..3 {
        let dry = w.back(n, "large", &CREATED, true).expect("all pieces are there");
        assert_eq!(dry.wrote, (0, 0), "node {n}");
    }
    w.put(0, "m", &notes(800 * 1_024));
    let refused = w.checkpoint(0, "x", &[], 30).unwrap_err().to_string();
    assert!(refused.contains("one checkpoint more"), "{refused}");
    w.about(0, Question::Forget { name: "c8".into() }).expect("it goes");
    let refused = w.checkpoint(0, "x", &[], 30).unwrap_err().to_string();
    assert!(refused.starts_with("vm m has 8") && refused.contains("of 786432 at most"), "{refused}");
    w.put(0, "m", &notes(700 * 1_024));
    w.put(0, "n", &notes(700 * 1_024));
    w.put(0, "o", &notes(700 * 1_024));
    let refused = w.checkpoint(0, "x", &[], 30).unwrap_err().to_string();
    assert!(refused.contains("8388608 bytes at most"), "{refused}");
}

#[test]
fn its_time_ends_and_so_does_that_of_what_was_never_finished() {
    let mut w = three();
    w.put(0, "a", r#"{"cpu":2}"#);
    w.checkpoint(0, "short", &[], 2).expect("it is taken");
    w.checkpoint(1, "long", &[], 60).expect("it is taken");
    w.alter(0, "a", "/cpu", "4");
    w.back(0, "short", &CREATED, false).expect("it goes back");
    w.run(secs(100));
    w.days_go_by(1);
    w.run(secs(100));
    assert_eq!(w.checkpoints(2).0.len(), 2);
    w.days_go_by(2);
    w.run(secs(100));
    let left: Vec<String> = w.checkpoints(2).0.into_iter().map(|t| t.name).collect();
    assert_eq!((left, w.checkpoints(2).1.len()), (vec!["long".to_string()], 1));
    assert_eq!(w.node(2).space().fields(&[b"\0piece".to_vec()], None, 9).len(), 1);
    // Who took it is gone for good.
    w.crash(1);
    w.run(secs(1_300));
    w.days_go_by(61);
    w.run(secs(1_300));
    assert_eq!(w.checkpoints(2), (Vec::new(), Vec::new()));
    assert!(w.node(0).space().fields(&[b"\0piece".to_vec()], None, 9).is_empty());
}

/// Whatever was written, cut and crashed before: after a rollback beside which nobody writes, all show what was there.
#[test]
fn after_a_rollback_beside_which_nobody_writes_each_view_is_the_checkpoints() {
    for seed in 0..24_u64 {
        let mut w = if seed % 2 == 0 { three() } else { three_with_life() };
        w.dice(seed);
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let mut below = |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % n) as usize
        };
        let mut storm = |w: &mut World, steps: usize| {
            let mut cut = false;
            for _ in 0..steps {
                let (n, key) = (below(3), format!("k{}", below(8)));
                let field = |at: &str, to: String| Change::Patch(vec![(at.into(), Some(file(&to).into()))]);
                let whole = format!(r#"{{"cpu":{},"labels":{{"a":1}}}}"#, below(9));
                let change = match below(11) {
                    0 => Change::Delete,
                    1 | 2 => Change::Put(file(&whole).into()),
                    3 => field("/power", r#""on""#.into()),
                    4 => field("/restarts", below(9).to_string()),
                    5 => field("/labels", format!(r#"{{"l{}":{}}}"#, below(3), below(9))),
                    6 => field("/addresses", format!("[{}]", below(5))),
                    7 => {
                        cut = !cut;
                        w.cut(2, cut);
                        continue;
                    }
                    // Where there is no such field it is refused.
                    8 => field("/life", r#""wanted""#.into()),
                    9 => {
                        w.crash(n);
                        w.boot(n);
                        w.run(secs(5));
                        continue;
                    }
                    _ => {
                        w.run(secs(2));
                        continue;
                    }
                };
                // A node that has just begun may refuse.
                let _refused = w.altered(n, &key, change);
            }
            w.cut(2, false);
            w.run(secs(60));
            w.all_serve();
        };
        storm(&mut w, 30);
        let (then, taker) = (w.one_view(), seed as usize % 3);
        w.checkpoint(taker, "before", &[], 30).expect("it is taken");
        w.run(secs(2));
        storm(&mut w, 30);
        w.back((taker + 1) % 3, "before", &CREATED, false).expect("it goes back");
        w.run(secs(10));
        assert_eq!(w.one_view(), then, "seed {seed}");
        w.all_equal();
    }
}

/// An edit says of a word at the lifecycle that all have seen that it is over; a way back says what it was.
#[test]
fn the_word_that_a_document_was_there_by_comes_back_with_its_fields() {
    let mut w = three_with_life();
    w.put(0, "a", r#"{"cpu":2,"life":"wanted"}"#);
    w.run(secs(60));
    let then = w.one_view();
    assert_eq!(then["a"], r#"{"cpu":2,"life":"wanted"}"#);
    w.checkpoint(0, "before", &[], 30).expect("it is taken");
    w.alter(1, "a", "/cpu", "16");
    w.run(secs(3));
    assert_eq!(w.one_view()["a"], r#"{"cpu":16,"life":"present"}"#);
    w.alter(1, "a", "/life", r#""wanted""#);
    w.run(secs(60));
    // Only its processors are not what they were.
    let back = w.back(2, "before", &Which::default(), false).expect("it goes back");
    assert_eq!((told(&back.writes), back.wrote), (vec!["a /cpu: 16 -> 2".to_string()], (1, 1)));
    w.run(secs(3));
    assert_eq!(w.one_view(), then);
}

#[test]
fn several_records_at_once_are_a_chain() {
    let mut w = three();
    let long = |word: &str| json(&format!(r#"{{"why":"{}"}}"#, word.repeat(40)));
    let labels = |word: &str| {
        let all = (0..50).map(|i| (std::sync::Arc::from(format!("l{i}").as_str()), long(word)));
        Change::Patch(vec![("/labels".into(), Some(Value::map(all).to_bytes().into()))])
    };
    w.altered(0, "a", labels("then ")).expect("it is written");
    w.checkpoint(0, "before", &[], 30).expect("it is taken");
    w.altered(0, "a", labels("since ")).expect("it is written");
    w.back(0, "before", &CREATED, false).expect("it goes back");
    w.run(secs(3));
    for n in 0..3 {
        w.crash(n);
        w.boot(n);
        w.run(secs(5));
    }
    for n in 0..3 {
        let Ok(Answer::Rules { faults, chains, .. }) = w.about(n, Question::Rules) else {
            panic!("it answers")
        };
        assert_eq!((faults, chains.len(), chains[0].1), (Vec::new(), 1, 50), "node {n}");
        assert_eq!(w.node(n).writes_on_record().len(), 50, "with their long values");
    }
}
