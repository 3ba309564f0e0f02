//! Versions of a document that have no history: merged for who asks, and written over a base.

use crate::documents::{file, shown, three, who};
use crate::secs;
use crate::world::World;
use dwcp_eventual::Refusal;
use dwcp_eventual::documents::ask::{Answer, Change, Joined, Question, Version};

const BASE: &str = r#"{"cpu":2,"labels":{"a":1},"notes":"runs the shop","restarts":3}"#;

impl World {
    fn join(&mut self, base: Option<&str>, sides: &[Option<&str>]) -> Result<Joined, Refusal> {
        let version = |s: &Option<&str>| Version { role: String::new(), document: s.map(|s| file(s).into()) };
        let sides = sides.iter().map(version).collect();
        let base = base.map(|b| file(b).into());
        match self.about(1, Question::Merge { kind: "vm".into(), base, sides })? {
            Answer::Joined(joined) => Ok(joined),
            other => panic!("{other:?}"),
        }
    }
    fn over(&mut self, base: &str, document: &str) -> Result<u32, Refusal> {
        let change = Change::Merge { base: file(base).into(), document: file(document).into() };
        let (kind, key, by) = ("vm".into(), "k".into(), who("operator"));
        match self.about(1, Question::Write { kind, key, by, change })? {
            Answer::Written(n) => Ok(n),
            other => panic!("{other:?}"),
        }
    }
    fn k(&mut self) -> String {
        match self.about(1, Question::Read { kind: "vm".into(), key: "k".into() }) {
            Ok(Answer::Document(document)) => document.map_or("nothing".into(), |(d, _)| shown(&d)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn versions_are_merged_by_the_schema_and_told_where_they_clash() {
    let mut w = three();
    let mine = r#"{"cpu":4,"labels":{"a":1,"b":2},"notes":"runs the web shop","restarts":4}"#;
    let theirs = r#"{"cpu":2,"labels":{},"notes":"runs the shop; ask Ana","restarts":5}"#;
    let joined = w.join(Some(BASE), &[Some(mine), Some(theirs)]).expect("they merge");
    let want = r#"{"cpu":4,"labels":{"b":2},"notes":"runs the web shop; ask Ana","restarts":6}"#;
    assert_eq!(joined.document.as_deref().map(shown).as_deref(), Some(want));
    assert_eq!((joined.clashes.len(), joined.all), (0, 0));

    let joined =
        w.join(Some(BASE), &[Some(mine), Some(&BASE.replace("\"cpu\":2", "\"cpu\":8"))]).expect("they merge");
    let clash = &joined.clashes[0];
    assert_eq!((joined.all, &*clash.at, &*clash.why), (1, "/cpu", "changed differently"));
    let sides: Vec<(u64, String)> =
        clash.sides.iter().map(|(n, v)| (*n, v.as_deref().map(shown).unwrap_or_default())).collect();
    assert_eq!(sides, [(1, "4".to_string()), (2, "8".to_string())]);
    assert_eq!(clash.stands.as_deref().map(shown).as_deref(), Some("2"), "what was there");
    // One that is unchanged says nothing: the document goes.
    assert_eq!(w.join(Some(BASE), &[Some(BASE), None]).expect("they merge").document, None);

    for (base, sides, want) in [
        (Some(BASE), vec![Some(mine)], "1 sides: give 2 to 16"),
        (Some(r#"{"gpu":1}"#), vec![Some(mine), None], "the base: "),
        (None, vec![Some(mine), Some(r#"{"cpu":"x"}"#)], "side 2: /cpu: a text in a field of kind atomic"),
    ] {
        let refused = w.join(base, &sides).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }
}

#[test]
fn who_writes_over_a_base_keeps_what_others_changed_since() {
    let mut w = three();
    let put = |document: &str| {
        let change = Change::Put(file(document).into());
        Question::Write { kind: "vm".into(), key: "k".into(), by: who("autoscaler"), change }
    };
    w.about(0, put(BASE)).expect("it is written");
    w.about(0, put(r#"{"cpu":2,"labels":{"a":1,"z":9},"notes":"runs the shop","restarts":5}"#))
        .expect("it is written");
    w.run(secs(3));
    let mine = r#"{"cpu":4,"labels":{"b":2},"notes":"runs the web shop","restarts":4}"#;
    assert_eq!(w.over(BASE, mine), Ok(5), "cpu, two labels, notes, restarts");
    let both = r#"{"cpu":4,"labels":{"b":2,"z":9},"notes":"runs the web shop","restarts":6}"#;
    assert_eq!(w.k(), both);
    // Over what contradicts it nothing is written.
    let refused = w.over(BASE, &BASE.replace("\"cpu\":2", "\"cpu\":3")).unwrap_err().to_string();
    let why = "nothing was written, for others changed it since the base: /cpu was changed differently: it was 2, is 4 now and 3 in yours";
    assert!(refused.starts_with(why), "{refused}");
    assert_eq!(w.k(), both);
    // Deleted meanwhile, and not touched: it stays deleted.
    let gone =
        Question::Write { kind: "vm".into(), key: "k".into(), by: who("operator"), change: Change::Delete };
    w.about(1, gone).expect("it is deleted");
    assert_eq!(w.over(both, both), Ok(0));
    assert_eq!(w.k(), "nothing");
    let refused = w.over(both, mine).unwrap_err().to_string();
    assert!(refused.contains("deleted"), "{refused}");
}
