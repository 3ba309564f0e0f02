//! Policies: what is refused, that the tree finds what trying in order finds, that nobody can make one that differs between replicas.

use crate::strategies::sibling;
use crate::world::{json, schema_of};
use dwcp_conflict::policy::proof::{Law, prove};
use dwcp_conflict::policy::{AHEAD_MAX, NotActive, NotNext, SKIP_MAX, Version, Versions};
use dwcp_conflict::strategy::Named;
use dwcp_conflict::{Base, Class, Place, Pointer, Policy, Question, Sibling, Value};
use proptest::prelude::*;
use std::sync::Arc;

const LAST: &str = r#"{"name":"rest","use":"last-writer"}"#;

fn policy_of(version: u32, activates: u64, rules: &str) -> Policy {
    read(version, activates, rules).unwrap_or_else(|e| panic!("{e}"))
}

fn read(version: u32, activates: u64, rules: &str) -> Result<Policy, String> {
    let text = format!(r#"{{"policy":"p","version":{version},"activates":{activates},"rule":[{rules}]}}"#);
    Policy::read(&json(&text)).map_err(|e| e.to_string())
}

#[test]
fn bad_policies() {
    let one = |rule: &str| format!("{rule},{LAST}");
    let with = |conditions: &str| one(&format!(r#"{{"name":"r",{conditions},"use":"last-writer"}}"#));
    let using = |strategy: &str| one(&format!(r#"{{"name":"r","kind":"vm","use":{strategy}}}"#));
    let many =
        format!("{}{LAST}", format!("{},", r#"{"name":"r","kind":"vm","use":"rollback"}"#).repeat(256));
    for (rules, want) in [
        (String::new(), "/rule: 0 rules; write 1 to 256, the last without conditions"),
        (many, "/rule: 257 rules; write 1 to 256, the last without conditions"),
        (
            r#"{"name":"r","kind":"vm","use":"rollback"}"#.into(),
            "/rule/0: the last rule, `r`, has conditions: not every conflict is settled; add a rule behind it with `name` and `use` only",
        ),
        (
            format!("{LAST},{}", LAST.replace("rest", "b")),
            "/rule/0: rule 0, `rest`, matches everything: those behind it are never reached; move it to the end, or give it conditions",
        ),
        (
            one(r#"{"name":"rest","kind":"vm","use":"rollback"}"#),
            "/rule/1: two rules are called `rest`; records name rules: rename one",
        ),
        (
            one(
                r#"{"name":"r","kind":"vm","path":"/a/**","use":"rollback"},{"name":"s","kind":"vm","path":"/a/*/c","class":["value","intent"],"use":"rollback"}"#,
            ),
            "/rule/1: rule 1, `s`, is never reached: rule 0, `r`, matches all that it does; move it before that one, or remove it",
        ),
        (
            one(
                r#"{"name":"r","class":"value","use":"rollback"},{"name":"q","class":"intent","use":"rollback"},{"name":"s","kind":"vm","class":["value","intent"],"use":"rollback"}"#,
            ),
            "/rule/2: rule 2, `s`, is never reached: rule 1, `q`, matches all that it does; move it before that one, or remove it",
        ),
        (
            one(
                r#"{"name":"r","where":{"within":"1h"},"use":"rollback"},{"name":"s","where":{"within":"5m","deletion":true},"use":"rollback"}"#,
            ),
            "/rule/1: rule 1, `s`, is never reached: rule 0, `r`, matches all that it does; move it before that one, or remove it",
        ),
        (one(r#"{"kind":"vm","use":"rollback"}"#), "/rule/0: `name` is missing; add `name`"),
        (one(r#"{"name":"r","kind":"vm"}"#), "/rule/0: `use` is missing; add `use`"),
        (
            one(r#"{"name":"r","kind":"vm","when":1,"use":"rollback"}"#),
            "/rule/0: unknown key `when`; known here: name, kind, path, class, role, region, wrote, where, use",
        ),
        (with(r#""kind":[]"#), "/rule/0/kind: an empty list; name one at least, or leave the key out"),
        (
            with(r#""path":"status""#),
            "/rule/0/path: `status` is no path; a JSON pointer begins with `/`, as in `/spec/cpu`; the whole document is the empty text",
        ),
        (
            with(r#""path":"/a/**/b""#),
            "/rule/0/path: `**` before the end of a path; it stands for any rest: write it last",
        ),
        (
            with(r#""path":"/a/b*""#),
            "/rule/0/path: `b*` in a path; `*` stands for a whole name, `**` for any rest",
        ),
        (
            with(r#""class":"c1""#),
            "/rule/0/class: `c1` is no class; write value, intent, structure, invariant or version",
        ),
        (with(r#""where":{}"#), "/rule/0/where: no condition; write one, or leave `where` out"),
        (
            with(r#""where":{"now":1}"#),
            "/rule/0/where: unknown key `now`; known here: deletion, agree, at-most, within, writers, from",
        ),
        (
            with(r#""where":{"within":"5 minutes"}"#),
            "/rule/0/where/within: `5 minutes` is no length of time; write one such as 90s, 30m, 24h or 30d",
        ),
        (
            with(r#""where":{"writers":"some"}"#),
            "/rule/0/where/writers: `some` is unknown here; write one or many",
        ),
        (
            with(r#""class":"invariant""#),
            "/rule/0/use: last-writer for conflicts of class invariant; what must not be is not mended by a clock: use manual with default = \"rollback\", priority, or rollback",
        ),
        (
            using(r#""random""#),
            "/rule/0/use: `random` is unknown here; write last-writer, multi-value, transform, semantic, rollback, manual, priority or vote",
        ),
        (
            using(r#""vote""#),
            "/rule/0/use: vote needs more than its name; write a map with strategy = \"vote\" and quorum, otherwise",
        ),
        (
            using(r#"{"strategy":"last-writer","by":"clock"}"#),
            "/rule/0/use: unknown key `by`; known here: strategy",
        ),
        (using(r#"{"strategy":"semantic"}"#), "/rule/0/use: `otherwise` is missing; add `otherwise`"),
        (
            using(r#"{"strategy":"multi-value","cap":17}"#),
            "/rule/0/use/cap: 17 is out of range; 2 to 16 are allowed",
        ),
        (
            using(r#"{"strategy":"priority","by":"age","order":["x"]}"#),
            "/rule/0/use/by: `age` is unknown here; write role, region or value",
        ),
        (
            using(r#"{"strategy":"priority","by":"role","order":["x","x"]}"#),
            "/rule/0/use/order/1: `x` is listed twice; keep one",
        ),
        (
            using(r#"{"strategy":"manual","deadline":"31d","default":"rollback"}"#),
            "/rule/0/use/deadline: a deadline out of range; write 1ms to 30d: what did not prevail is kept for 30 days at least",
        ),
        (
            using(r#"{"strategy":"manual","deadline":"1h","default":"multi-value"}"#),
            "/rule/0/use/default: multi-value as a default; name a strategy with one outcome: if nobody answers it counts",
        ),
        (
            using(
                r#"{"strategy":"semantic","otherwise":{"strategy":"transform","otherwise":{"strategy":"semantic","otherwise":"rollback"}}}"#,
            ),
            "/rule/0/use/otherwise/otherwise/otherwise: strategies handed on too often; name one that decides by itself, such as last-writer",
        ),
    ] {
        assert_eq!(read(1, 1, &rules).expect_err(&rules), want, "\n{rules}");
    }
}

/// Strategies that can't be written down, because the grammar has no word for them: the proof is what would see them.
#[test]
fn a_policy_that_differs_between_replicas_is_caught() {
    let p = policy_of(
        1,
        1,
        &format!(
            r#"{{"name":"r","kind":"vm","use":{{"strategy":"priority","by":"role","order":["boss"]}}}},{LAST}"#
        ),
    );
    prove(p.rules(), |q| p.settle(q)).expect("the real one is sound");
    let first_come = |q: &Question<'_>| {
        let mut a = p.settle(q);
        a.settled.outcome = dwcp_conflict::Outcome::One(q.siblings[0].value.clone());
        a
    };
    assert_eq!(prove(p.rules(), first_come).unwrap_err().law, Law::Permutation);
    let calls = std::cell::Cell::new(0);
    let random = |q: &Question<'_>| {
        calls.set(calls.get() + 1);
        let mut a = p.settle(q);
        a.settled.outcome = dwcp_conflict::Outcome::One(Some(Value::Int(calls.get())));
        a
    };
    assert_eq!(prove(p.rules(), random).unwrap_err().law, Law::Repeatable);
    let counting = |q: &Question<'_>| {
        let mut a = p.settle(q);
        a.settled.outcome = dwcp_conflict::Outcome::One(Some(Value::Int(q.siblings.len() as i64)));
        a
    };
    assert_eq!(prove(p.rules(), counting).unwrap_err().law, Law::Duplicate);
    let adding = |q: &Question<'_>| {
        let mut a = p.settle(q);
        let n = |s: &Sibling| if let Some(Value::Int(n)) = s.value { n } else { 1 };
        let mut seen: Vec<&Sibling> = q.siblings.iter().collect();
        seen.sort_by_key(|s| s.dot);
        seen.dedup_by_key(|s| s.dot);
        a.settled.outcome =
            dwcp_conflict::Outcome::One(Some(Value::Int(1 + seen.into_iter().map(n).sum::<i64>())));
        a
    };
    let broken = prove(p.rules(), adding).unwrap_err();
    assert_eq!(broken.law, Law::Idempotent);
    assert!(
        broken
            .to_string()
            .starts_with("replicas would differ: its answer, once written, is answered differently")
    );
}

fn words(n: u8, all: &[&str]) -> Option<String> {
    let some: Vec<String> =
        all.iter().enumerate().filter(|(i, _)| n & 1 << i != 0).map(|(_, w)| format!("{w:?}")).collect();
    (!some.is_empty()).then(|| format!("[{}]", some.join(",")))
}

/// A rule of a few bytes.
fn rule(i: usize, b: &[u8; 6]) -> String {
    let mut out = format!(r#"{{"name":"r{i}""#);
    let mut put = |key: &str, v: Option<String>| out.extend(v.map(|v| format!(r#","{key}":{v}"#)));
    put("kind", words(b[0] & 3, &["vm", "host"]));
    let path = ["/a", "/a/*", "/a/**", "/*/b", "/*", "/a/b", "/**", "/*/*", "/b/**"][usize::from(b[1] % 9)];
    put("path", (b[1] < 200).then(|| format!("{path:?}")));
    put("class", words(b[2] & 15, &["value", "intent", "structure", "version"]));
    put("role", words(b[3] & 3, &["boss", "guest"]));
    let together =
        ["\"deletion\":true", "\"agree\":false", "\"at-most\":2", "\"within\":\"3s\"", "\"from\":\"many\""];
    put("where", (b[4] < 100).then(|| format!("{{{}}}", together[usize::from(b[4] % 5)])));
    let strategies = [
        "\"rollback\"",
        "\"last-writer\"",
        "{\"strategy\":\"priority\",\"by\":\"role\",\"order\":[\"boss\"]}",
    ];
    put("use", Some(strategies[usize::from(b[5] % 3)].into()));
    out + "}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_tree_finds_what_trying_in_order_finds(
        bytes in prop::collection::vec(any::<[u8; 6]>(), 0..12),
        questions in prop::collection::vec((0usize..3, 0usize..8, 0usize..5, prop::collection::vec((0u8..4, 0u8..6, 0u8..2, 0u8..3), 1..4)), 12),
    ) {
        let mut rules: Vec<String> = bytes.iter().enumerate().map(|(i, b)| rule(i, b)).collect();
        rules.push(LAST.into());
        // Those that can't be reached are refused; all others must be reachable by somebody, so leave out what is refused.
        let Ok(policy) = read(1, 1, &rules.join(",")) else { return Ok(()) };
        for (kind, path, class, siblings) in questions {
            let pointer = Pointer::parse(["", "/a", "/b", "/a/b", "/a/c", "/c/b", "/a/b/c", "/b/a/x"][path]).unwrap();
            let place = Place::new(["vm", "host", "region"][kind], "k", pointer.clone());
            let siblings: Vec<Sibling> = siblings.iter().enumerate().map(|(i, (at, v, who, region))| {
                let value = if *v == 0 { "-".to_string() } else { (v % 3).to_string() };
                sibling(&format!("r{i}@{at} {}/{}={value}", ["boss", "guest"][usize::from(*who)], ["eu", "us", "ap"][usize::from(*region)]))
            }).collect();
            let q = Question { place: &place, class: Class::ALL[class], field: None, base: Base::Nothing, siblings: &siblings };
            let want = policy.rules().iter().position(|r| by_definition(r, &q)).unwrap();
            prop_assert_eq!(usize::from(policy.settle(&q).rule), want, "{:?} {}", rules, place);
        }
    }
}

/// Whether a rule matches, without the tree.
fn by_definition(rule: &dwcp_conflict::policy::Rule, q: &Question<'_>) -> bool {
    let w = &rule.when;
    let path = w.path.as_ref().is_none_or(|p| {
        let p = p.to_string();
        let want: Vec<&str> = p.split('/').skip(1).collect();
        let have: Vec<String> = q.place.pointer.segments().map(|s| s.into_owned()).collect();
        let deep = want.last() == Some(&"**");
        let fixed = &want[..want.len() - usize::from(deep)];
        (if deep { have.len() >= fixed.len() } else { have.len() == fixed.len() })
            && fixed.iter().zip(&have).all(|(w, h)| *w == "*" || w == h)
    });
    let some = |words: &Option<Vec<Arc<str>>>, of: fn(&Sibling) -> &Arc<str>| {
        words.as_ref().is_none_or(|w| q.siblings.iter().any(|s| w.contains(of(s))))
    };
    let t = &w.together;
    let times: Vec<u64> = q.siblings.iter().map(|s| s.hlc.millis()).collect();
    let values: std::collections::BTreeSet<_> = q.siblings.iter().map(|s| &s.value).collect();
    let regions: std::collections::BTreeSet<_> = q.siblings.iter().map(|s| &s.writer.region).collect();
    w.kinds.as_ref().is_none_or(|k| k.contains(&q.place.kind))
        && path
        && w.has_class(q.class)
        && some(&w.roles, |s| &s.writer.role)
        && t.deletion.is_none_or(|d| d == values.contains(&None))
        && t.agree.is_none_or(|a| a == (values.len() == 1))
        && t.at_most.is_none_or(|n| q.siblings.len() <= usize::from(n))
        && t.within.is_none_or(|n| times.iter().max().unwrap() - times.iter().min().unwrap() <= n)
        && t.from.is_none_or(|_| regions.len() > 1)
}

#[test]
fn a_node_refuses_to_settle_under_a_policy_that_is_not_in_force() {
    let mut v = Versions::default();
    let siblings = [sibling("r1@5 a/b=3"), sibling("r2@6 a/b=4")];
    let place = Place::new("vm", "k", Pointer::root());
    let q = Question {
        place: &place,
        class: Class::Value,
        field: None,
        base: Base::Known(&Value::Null),
        siblings: &siblings,
    };
    assert_eq!(v.settle(1, 0, &q), Err(NotActive::None { epoch: 0 }));
    v.add(policy_of(1, 0, LAST), 0).unwrap();
    v.add(policy_of(2, 10, r#"{"name":"rest","use":"rollback"}"#), 5).unwrap();
    assert_eq!(v.settle(1, 9, &q).unwrap().strategy, Named::LastWriter);
    assert_eq!(v.settle(2, 9, &q), Err(NotActive::Other { asked: 2, active: 1, epoch: 9 }));
    assert_eq!(v.settle(2, 10, &q).unwrap().strategy, Named::Rollback);
    assert_eq!(v.settle(1, 10, &q), Err(NotActive::Other { asked: 1, active: 2, epoch: 10 }));
    assert_eq!(
        v.add(policy_of(2, 30, LAST), 11),
        Err(NotNext::Version { version: 2, last: 2 }),
        "other rules"
    );
    assert_eq!(v.add(policy_of(3, 11, LAST), 11), Err(NotNext::Epoch { activates: 11, after: 11 }));
    assert_eq!(v.add(policy_of(2, 10, r#"{"name":"rest","use":"rollback"}"#), 99), Ok(()), "the same again");
    v.forget(10);
    assert_eq!(v.settle(1, 9, &q), Err(NotActive::None { epoch: 9 }));
}

/// What could never be followed, nor taken back.
#[test]
fn a_policy_that_none_could_follow_may_not_be_proposed() {
    const NOW: u64 = 1_763_848_000;
    let mut v = Versions::default();
    let proposed = |v: &Versions, version, activates| v.follows(&policy_of(version, activates, LAST), NOW);
    let refused = |v: &Versions, version, activates| proposed(v, version, activates).unwrap_err().to_string();
    assert_eq!(proposed(&v, SKIP_MAX, 0), Ok(()), "the first may count from long ago");
    assert_eq!(proposed(&v, SKIP_MAX + 1, 0), Err(NotNext::Skips { version: SKIP_MAX + 1, last: 0 }));
    assert_eq!(proposed(&v, 1, NOW + AHEAD_MAX), Ok(()));
    let far = NOW + AHEAD_MAX + 1;
    assert_eq!(proposed(&v, 1, far), Err(NotNext::Ahead { activates: far, epoch: NOW }));
    let millis = refused(&v, 1, (NOW + 5) * 1_000);
    assert!(millis.ends_with("(these look like milliseconds: in seconds they are 1763848005)"), "{millis}");
    let never = refused(&v, 1, u64::MAX >> 1);
    assert!(never.ends_with("a second since 1970; give one within 30 days"), "{never}");
    v.add(policy_of(7, 5, LAST), 0).unwrap();
    assert!(refused(&v, u32::MAX, NOW + 5).ends_with("give it version 8"));
    assert_eq!(proposed(&v, 7 + SKIP_MAX, NOW + 5), Ok(()));
    assert_eq!(proposed(&v, 6, NOW + 5), Err(NotNext::Version { version: 6, last: 7 }));
    assert_eq!(proposed(&v, 8, NOW), Err(NotNext::Epoch { activates: NOW, after: NOW }));
    // What was decided is decided.
    assert_eq!(v.add(policy_of(u32::MAX, far, LAST), 0), Ok(()));
}

#[test]
fn a_merge_settles_its_clashes_by_policy() {
    let s = schema_of(
        r#"{"schema":"vm","version":1,"fields":{
        "cpu":{"kind":"atomic","owner":"operator"},"note":"text","power":"atomic","name":{"kind":"atomic","required":true}}}"#,
    );
    let p = policy_of(
        1,
        1,
        r#"
        {"name":"owners","class":"intent","use":{"strategy":"priority","by":"role","order":["operator"]}},
        {"name":"power","path":"/power","use":{"strategy":"manual","deadline":"1h","default":"rollback"}},
        {"name":"names","path":"/name","use":"multi-value"},
        {"name":"rest","use":"last-writer"}"#,
    );
    let doc = |text: &str| s.admit(&json(text)).unwrap();
    let base = doc(r#"{"name":"w","cpu":2,"power":"on","note":"x"}"#);
    let (a, b) = (
        doc(r#"{"name":"u","cpu":4,"power":"off"}"#),
        doc(r#"{"name":"v","cpu":8,"power":"paused","note":"x y"}"#),
    );
    let (ana, bot) = (sibling("r1@5 operator/eu=-"), sibling("r2@6 autoscaler/eu=-"));
    let versions = [Version { made: &ana, document: Some(&a) }, Version { made: &bot, document: Some(&b) }];
    let (merged, resolved) = p.merge(&s, &"k".into(), Some(&base), &versions).unwrap();
    assert_eq!(
        merged.document.unwrap().value().to_string(),
        r#"{"cpu":4,"name":"w","note":"x y","power":"on"}"#
    );
    let told: Vec<String> = resolved
        .iter()
        .map(|r| {
            format!(
                "{} {} by {} ({}): {}",
                r.place,
                r.class,
                r.answer.strategy,
                p.rules()[usize::from(r.answer.rule)].name,
                r.answer.settled.reason
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "vm k/cpu C2 intent by priority (owners): its writer ranks number 1",
            "vm k/name C1 value by multi-value (names): all values are kept",
            "vm k/note C3 structure by last-writer (rest): it was written last",
            "vm k/power C1 value by manual (power): a person is asked",
        ]
    );
}
