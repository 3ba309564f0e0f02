//! The eight strategies, one by one.

use crate::world::{json, schema_of};
use dwcp_conflict::strategy::{By, Case, Ordered};
use dwcp_conflict::{Base, Class, Outcome, Pointer, Sibling, Strategy, Value, Writer};
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};

/// `r1@5 operator/eu=3`: replica, second, role and region, value; `-` deletes.
pub(crate) fn sibling(text: &str) -> Sibling {
    let (head, value) = text.split_once('=').expect("a value");
    let (id, who) = head.split_once(' ').expect("a writer");
    let (replica, at) = id[1..].split_once('@').expect("a time");
    let (role, region) = who.split_once('/').expect("a region");
    let replica = ReplicaIndex(replica.parse().expect("a replica"));
    let seconds: u64 = at.parse().expect("seconds");
    Sibling {
        dot: Dot::new(replica, seconds + 1),
        hlc: Hlc::at(seconds * 1_000),
        writer: Writer::new(&format!("{role} {replica}"), role, region),
        value: (value != "-").then(|| json(value)),
    }
}

const FIELDS: &str = r#"{"schema":"s","version":1,"fields":{"any":"atomic","set":"set","text":"text","list":"ordered-list","n":{"kind":"counter","max":9},"many":"counter","top":"max"}}"#;

fn told(strategy: &Strategy, field: &str, base: Option<&str>, siblings: &[&str]) -> String {
    told_of(Class::Value, strategy, field, base, siblings)
}

/// `?` stands for a base that is not known.
fn told_of(class: Class, strategy: &Strategy, field: &str, base: Option<&str>, siblings: &[&str]) -> String {
    let s = schema_of(FIELDS);
    let field = s.field(&Pointer::root().join(field));
    let base = if base == Some("?") { Base::Unknown } else { Base::known(base.map(json)) };
    let mut siblings: Vec<Sibling> = siblings.iter().map(|t| sibling(t)).collect();
    let ask = |siblings: &[Sibling]| {
        let siblings = Ordered::new(siblings);
        strategy.settle(&Case { siblings: &siblings, base: base.as_ref(), field, class })
    };
    let settled = ask(&siblings);
    for _ in 0..siblings.len() {
        siblings.rotate_left(1);
        assert_eq!(ask(&siblings), settled, "turned");
        siblings.reverse();
        assert_eq!(ask(&siblings), settled, "reversed");
    }
    let show = |v: &Option<Value>| v.as_ref().map_or("-".to_string(), ToString::to_string);
    let outcome = match &settled.outcome {
        Outcome::One(v) => show(v),
        Outcome::Many(all) => all.iter().map(show).collect::<Vec<_>>().join(" | "),
        Outcome::Asked { default, suggestion, within } => {
            format!("asked: {} for {}s, suggested {}", show(default), within / 1000, show(suggestion))
        }
    };
    format!("{outcome}: {}", settled.reason)
}

fn other(s: Strategy) -> Box<Strategy> {
    Box::new(s)
}

/// A strategy, the field it is asked about, the base, the siblings, what it says.
type Row<'t> = (Strategy, &'t str, Option<&'t str>, &'t [&'t str], &'t str);

#[test]
fn each_strategy_settles_as_it_says() {
    use Strategy as S;
    let last = || other(S::LastWriter);
    let two = ["r1@5 operator/eu=3", "r2@9 autoscaler/us=4"];
    let by_role =
        S::Priority { by: By::Role, order: vec!["operator".into(), "autoscaler".into()], ties: None };
    let by_region = S::Priority { by: By::Region, order: vec!["ap".into()], ties: None };
    let by_value = || S::Priority { by: By::Value, order: vec!["kept".into(), "gone".into()], ties: None };
    let (rank, ask) = (vec!["operator".into()], |default| S::Manual {
        deadline: 9_000,
        default,
        suggest: last(),
        wrote: None,
    });
    let then_value = S::Priority { by: By::Role, order: rank.clone(), ties: Some(other(by_value())) };
    let then_ask =
        S::Priority { by: By::Role, order: rank.clone(), ties: Some(other(ask(other(by_value())))) };
    let ask_of = S::Manual {
        deadline: 9_000,
        default: other(by_value()),
        suggest: last(),
        wrote: Some(vec!["gone".into(), "kept".into()]),
    };
    let then_ask_of = S::Priority { by: By::Role, order: rank, ties: Some(other(ask_of)) };
    let vote = || S::Vote { quorum: 2, otherwise: last() };
    let table: &[Row<'_>] = &[
        (S::LastWriter, "any", None, &two, "4: it was written last"),
        (S::LastWriter, "any", None, &["r1@5 a/b=3", "r2@5 a/b=4"], "4: it was written last"),
        (S::LastWriter, "any", None, &["r1@5 a/b=3", "r2@6 a/b=-"], "-: it was written last"),
        (S::LastWriter, "any", None, &["r1@5 a/b=3"], "3: nothing else was written"),
        (
            S::MultiValue { cap: 3 },
            "any",
            None,
            &["r1@5 a/b=3", "r2@6 a/b=4", "r3@7 a/b=3"],
            "3 | 4: all values are kept",
        ),
        (
            S::MultiValue { cap: 2 },
            "any",
            None,
            &["r1@5 a/b=3", "r2@6 a/b=4", "r3@7 a/b=5"],
            "asked: 5 for 86400s, suggested 5: there were more values than may be kept, so a person is asked",
        ),
        (S::Rollback, "any", Some("1"), &two, "1: the value before all of them was restored"),
        (S::Rollback, "any", None, &two, "-: the value before all of them was restored"),
        (by_role.clone(), "any", None, &two, "3: its writer ranks number 1"),
        (
            by_role.clone(),
            "any",
            None,
            &["r1@5 guest/b=3", "r2@4 guest/b=4"],
            "3: several of the first rank wrote different things, so it was written last",
        ),
        (by_role, "any", None, &["r1@5 guest/b=3", "r2@4 guest/b=3"], "3: its writer ranks number 3"),
        (
            by_region,
            "any",
            None,
            &two,
            "4: several of the first rank wrote different things, so it was written last",
        ),
        (
            by_value(),
            "any",
            None,
            &["r1@5 a/b=\"gone\"", "r2@9 a/b=\"here\""],
            "\"gone\": its text ranks number 2",
        ),
        (
            by_value(),
            "any",
            None,
            &["r1@5 a/b=-", "r2@4 a/b=7"],
            "-: several of the first rank wrote different things, so it was written last",
        ),
        (
            then_value.clone(),
            "any",
            None,
            &["r1@9 guest/b=\"kept\"", "r2@5 operator/b=\"gone\"", "r3@6 operator/b=\"here\""],
            "\"gone\": several of the first rank wrote different things, so its text ranks number 2",
        ),
        (
            then_value,
            "any",
            None,
            &["r1@9 guest/b=\"kept\"", "r2@5 operator/b=1"],
            "1: its writer ranks number 1",
        ),
        (
            then_ask.clone(),
            "any",
            None,
            &["r1@9 operator/b=\"kept\"", "r2@5 operator/b=\"gone\""],
            "asked: \"kept\" for 9s, suggested \"kept\": several of the first rank wrote different things, so a person is asked",
        ),
        // Those of the first rank agree: nobody is asked; but equal counts are several.
        (
            then_ask.clone(),
            "any",
            None,
            &["r1@9 operator/b=\"gone\"", "r2@5 operator/b=\"gone\"", "r3@6 guest/b=\"kept\""],
            "\"gone\": its writer ranks number 1",
        ),
        (
            then_ask.clone(),
            "n",
            Some("1"),
            &["r1@9 operator/b=2", "r2@5 operator/b=2"],
            "asked: 2 for 9s, suggested 2: a person is asked",
        ),
        // Asked only where both words are of the first rank.
        (
            then_ask_of.clone(),
            "any",
            None,
            &["r1@9 operator/b=\"gone\"", "r2@5 operator/b=\"here\"", "r3@6 guest/b=\"kept\""],
            "\"gone\": several of the first rank wrote different things, so its text ranks number 2",
        ),
        (
            then_ask_of,
            "any",
            None,
            &["r1@9 operator/b=\"gone\"", "r2@5 operator/b=\"kept\"", "r3@6 guest/b=\"here\""],
            "asked: \"kept\" for 9s, suggested \"gone\": several of the first rank wrote different things, so a person is asked",
        ),
        (
            then_ask,
            "any",
            None,
            &["r1@9 guest/b=\"kept\"", "r2@5 operator/b=2"],
            "2: its writer ranks number 1",
        ),
        (vote(), "any", None, &["r1@5 a/b=3", "r2@6 a/b=4", "r3@4 a/b=3"], "3: 2 of 3 replicas wrote it"),
        (vote(), "any", None, &two, "4: no value had a quorum, so it was written last"),
        // A replica votes once, by what it wrote last.
        (
            vote(),
            "any",
            None,
            &["r1@5 a/b=3", "r1@6 a/b=3", "r2@4 a/b=4"],
            "3: no value had a quorum, so it was written last",
        ),
        (
            S::Semantic { otherwise: last() },
            "set",
            Some("[1,2]"),
            &["r1@5 a/b=[1,2,3]", "r2@6 a/b=[2]"],
            "[2,3]: the field's kind joins the changes",
        ),
        (
            S::Semantic { otherwise: last() },
            "n",
            Some("1"),
            &["r1@5 a/b=2", "r2@6 a/b=3"],
            "4: the field's kind joins the changes",
        ),
        (
            S::Semantic { otherwise: last() },
            "n",
            Some("6"),
            &["r1@5 a/b=9", "r2@6 a/b=8"],
            "8: the field's kind can't join these values, so it was written last",
        ),
        (
            S::Semantic { otherwise: last() },
            "any",
            Some("1"),
            &two,
            "4: the field's kind can't join these values, so it was written last",
        ),
        // Who writes what was there before means it.
        (
            S::Semantic { otherwise: last() },
            "any",
            Some("4"),
            &["r1@9 a/b=4", "r2@5 a/b=3"],
            "4: the field's kind can't join these values, so it was written last",
        ),
        (
            S::Semantic { otherwise: last() },
            "gone",
            Some("1"),
            &two,
            "4: the field's kind can't join these values, so it was written last",
        ),
        (
            S::Transform { otherwise: last() },
            "text",
            Some(r#""the cat""#),
            &[r#"r1@5 a/b="the dog""#, r#"r2@6 a/b="see the cat""#],
            r#""see the dog": all edits were replayed one after the other"#,
        ),
        (
            S::Transform { otherwise: last() },
            "list",
            Some("[1,2,3]"),
            &["r1@5 a/b=[1,3]", "r2@6 a/b=[1,2,3,4]"],
            "[1,3,4]: all edits were replayed one after the other",
        ),
        (
            S::Transform { otherwise: last() },
            "any",
            None,
            &two,
            "4: not all are texts or lists, so it was written last",
        ),
        (
            S::Manual { deadline: 60_000, default: other(S::Rollback), suggest: last(), wrote: None },
            "any",
            Some("1"),
            &two,
            "asked: 1 for 60s, suggested 4: a person is asked",
        ),
    ];
    for (strategy, field, base, siblings, want) in table {
        assert_eq!(told(strategy, field, *base, siblings), *want, "{strategy:?} {siblings:?}");
    }
}

/// What is not known is no ground for a decision: what needs a base hands on, the same on every node.
#[test]
fn without_a_base_nobody_guesses() {
    use Strategy as S;
    let last = || other(S::LastWriter);
    let semantic = || S::Semantic { otherwise: last() };
    let two = ["r1@5 a/b=3", "r2@9 a/b=4"];
    let table: &[Row<'_>] = &[
        (semantic(), "n", Some("?"), &two, "4: what was there before is not known, so it was written last"),
        (
            semantic(),
            "n",
            Some("?"),
            &["r1@5 a/b=3", "r2@9 a/b=3"],
            "3: what was there before is not known, so it was written last",
        ),
        (
            semantic(),
            "set",
            Some("?"),
            &["r1@5 a/b=[1]", "r2@9 a/b=[2]"],
            "[2]: what was there before is not known, so it was written last",
        ),
        (
            semantic(),
            "set",
            Some("?"),
            &["r1@5 a/b=[1]", "r2@9 a/b=[1]"],
            "[1]: the field's kind joins the changes",
        ),
        (semantic(), "top", Some("?"), &two, "4: the field's kind joins the changes"),
        (
            S::Transform { otherwise: last() },
            "text",
            Some("?"),
            &[r#"r1@5 a/b="x""#, r#"r2@9 a/b="y""#],
            r#""y": what was there before is not known, so it was written last"#,
        ),
        (
            S::Rollback,
            "any",
            Some("?"),
            &["r1@5 a/b=4", "r2@9 a/b=3"],
            "4: what was there before is not known, so it is the greatest in canonical order",
        ),
        (
            S::Rollback,
            "any",
            Some("?"),
            &["r1@5 a/b=4", "r2@9 a/b=-"],
            "4: what was there before is not known, so it is the greatest in canonical order",
        ),
    ];
    for (strategy, field, base, siblings, want) in table {
        assert_eq!(told(strategy, field, *base, siblings), *want, "{strategy:?} {siblings:?}");
    }
}

/// What must not be is never decided by a clock, however last-writer was come to.
#[test]
fn no_clock_decides_what_must_not_be() {
    use Strategy as S;
    let last = || other(S::LastWriter);
    let of = |s: &S, base, siblings: &[&str]| told_of(Class::Invariant, s, "any", base, siblings);
    let two = ["r1@5 a/b=4", "r2@9 a/b=3"];
    assert_eq!(
        of(&S::LastWriter, Some("1"), &two),
        "1: a clock does not decide what must not be, so the value before all of them was restored"
    );
    let semantic = S::Semantic { otherwise: last() };
    assert!(of(&semantic, Some("1"), &two).starts_with("1: "), "handed on");
    let by = S::Priority { by: By::Role, order: vec!["a".into()], ties: None };
    assert_eq!(
        of(&by, None, &two),
        "4: several of the first rank wrote different things, so it is the greatest in canonical order",
        "of equals the greatest, not the latest"
    );
    let three = ["r1@5 a/b=4", "r2@9 a/b=3", "r3@7 a/b=2"];
    assert_eq!(
        of(&S::MultiValue { cap: 2 }, Some("1"), &three),
        "asked: 1 for 86400s, suggested 1: there were more values than may be kept, so a person is asked"
    );
    let vote = S::Vote { quorum: 1, otherwise: last() };
    assert_eq!(of(&vote, None, &two), "4: 1 of 2 replicas wrote it");
}

/// Of counters there may be more siblings than a merge takes sides: all count.
#[test]
fn many_counters_add_up() {
    let s = Strategy::Semantic { otherwise: Box::new(Strategy::LastWriter) };
    let all: Vec<String> = (1..=40).map(|r| format!("r{r}@5 a/b=1")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(told(&s, "many", Some("0"), &all), "40: the field's kind joins the changes");
    let max: Vec<String> = (1..=40).map(|r| format!("r{r}@5 a/b={r}")).collect();
    let max: Vec<&str> = max.iter().map(String::as_str).collect();
    assert_eq!(told(&s, "top", Some("0"), &max), "40: the field's kind joins the changes");
}

/// Two texts of 6 MB each, side by side, are no document.
#[test]
fn what_is_larger_than_a_document_is_not_joined() {
    let s = Strategy::Transform { otherwise: Box::new(Strategy::LastWriter) };
    let [a, b] = ["x", "y"].map(|c| format!("r{}@5 a/b=\"{}\"", u8::from(c == "y") + 1, c.repeat(6_000_000)));
    let text = told(&s, "text", None, &[&a, &b]);
    assert!(text.ends_with("together they are larger than a document may be, so it was written last"));
}

/// Who wrote the same in a lower rank, and later, lends a resolution no name: else the other side of a cut would meet it without the rank
/// of who meant it.
#[test]
fn a_resolution_is_in_the_name_of_the_first_rank() {
    let ties = other(Strategy::Priority { by: By::Value, order: vec!["kept".into()], ties: None });
    for ties in [None, Some(ties)] {
        let order = vec!["oncall".into(), "operator".into()];
        let strategy = Strategy::Priority { by: By::Role, order, ties };
        let all = [
            "r1@5 oncall/eu=\"kept\"",
            "r2@9 operator/us=\"kept\"",
            "r3@4 oncall/eu=\"kept\"",
            "r4@7 operator/us=2",
        ];
        let all: Vec<Sibling> = all.map(sibling).to_vec();
        let siblings = Ordered::new(&all);
        let settled = strategy.settle(&Case {
            siblings: &siblings,
            base: Base::Unknown,
            field: None,
            class: Class::Value,
        });
        assert_eq!(settled.author, Some(all[0].dot));
        assert_eq!(settled.prevails.len(), 3, "nobody has lost whose value stands");
    }
}

/// Where a merge settles a tie nobody of the first rank has lost: what they wrote is in it.
#[test]
fn a_tie_that_is_merged_is_lost_by_none_of_the_equals() {
    let s = schema_of(FIELDS);
    let ties = Some(other(Strategy::Semantic { otherwise: other(Strategy::LastWriter) }));
    let strategy = Strategy::Priority { by: By::Role, order: vec!["operator".into()], ties };
    let all = ["r1@5 operator/eu=3", "r2@9 operator/us=4", "r3@7 guest/eu=9"].map(sibling);
    let siblings = Ordered::new(&all);
    let settled = strategy.settle(&Case {
        siblings: &siblings,
        base: Base::known(Some(json("1"))).as_ref(),
        field: s.field(&Pointer::root().join("many")),
        class: Class::Value,
    });
    assert_eq!(settled.outcome, Outcome::One(Some(json("6"))));
    let lost: Vec<Dot> = all.iter().map(|s| s.dot).filter(|d| !settled.prevails.contains(d)).collect();
    assert_eq!(lost, [all[2].dot]);
}
