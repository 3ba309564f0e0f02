//! The audit: what is found when it is tampered with, what is told, what comes back.

use crate::strategies::sibling;
use crate::world::{json, schema_of};
use dwcp_conflict::audit::promised::{Kept, Promised};
use dwcp_conflict::audit::trial::dry_run;
use dwcp_conflict::audit::{
    Audit, Chain, DAY, Head, LOSERS_MIN, NoRoom, NoUndo, NotRecorded, Retention, Settlement, Tampered,
    TooShort,
};
use dwcp_conflict::policy::Version;
use dwcp_conflict::queue::Choice;
use dwcp_conflict::{Base, Class, Place, Pointer, Policy, Question, Queue, Schema, Sibling, Value, Writer};
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};

const NOW: u64 = 1_795_332_005_000;

fn schema() -> Schema {
    schema_of(
        r#"{"schema":"vm","version":1,"fields":{"cpu":{"kind":"atomic","owner":"operator"},"tags":"set","power":"atomic","note":"atomic"}}"#,
    )
}

fn policy(version: u32, rules: &str) -> Policy {
    let text = format!(
        r#"{{"policy":"p","version":{version},"activates":0,"rule":[{rules}{{"name":"rest","use":"last-writer"}}]}}"#
    );
    Policy::read(&json(&text)).unwrap()
}

fn usual() -> Policy {
    policy(
        7,
        r#"{"name":"owners","class":"intent","use":{"strategy":"priority","by":"role","order":["operator"]}},
           {"name":"power","path":"/power","use":{"strategy":"manual","deadline":"1h","default":"rollback"}},
           {"name":"sets","path":"/tags","use":{"strategy":"semantic","otherwise":"last-writer"}},"#,
    )
}

/// A conflict at a field, settled and recorded.
fn settle(
    audit: &mut Audit,
    policy: &Policy,
    field: &str,
    class: Class,
    siblings: &[&str],
    base: Option<&str>,
    at: u64,
) -> Result<Head, NotRecorded> {
    let s = schema();
    let place = Place::new("vm", "web-1", Pointer::root().join(field));
    let siblings: Vec<Sibling> = siblings.iter().map(|t| sibling(t)).collect();
    let base = base.map(json);
    let q = Question {
        place: &place,
        class,
        field: s.field(&place.pointer),
        base: Base::known(base.as_ref()),
        siblings: &siblings,
    };
    let answer = policy.settle(&q);
    audit.record(&Settlement::new(&q, &answer, policy.version(), Hlc::at(at)))
}

fn some_audit() -> Audit {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    let mut put = |field, class, siblings: &[&str], base| {
        settle(&mut a, &p, field, class, siblings, base, NOW).map(drop).unwrap()
    };
    put("cpu", Class::Intent, &["r1@5 operator/eu=4", "r2@9 autoscaler/us=8"], Some("2"));
    put("tags", Class::Value, &[r#"r1@5 operator/eu=["a"]"#, r#"r2@9 host/us=["b"]"#], Some("[]"));
    put("power", Class::Value, &[r#"r1@5 operator/eu="off""#, "r2@9 host/us=-"], Some(r#""on""#));
    let long = format!("r2@9 host/us=\"{}\"", "long ".repeat(40));
    put("note", Class::Invariant, &[&long, r#"r3@12 host/us="short""#], None);
    a
}

#[test]
fn every_altered_byte_is_found() {
    let a = some_audit();
    let (bytes, head) = (a.chain().to_bytes(), a.chain().head());
    assert_eq!(&Chain::from_bytes(&bytes, Some(&head)).unwrap(), a.chain());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(Chain::from_bytes(&bad, None).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn records_that_are_gone_moved_or_cut_off_are_found() {
    // The same chain, one record shorter and shorter: what each adds.
    let mut prefixes = Vec::new();
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    prefixes.push(a.chain().to_bytes());
    let mut heads = vec![a.chain().head()];
    for n in 0..5 {
        let siblings = [&*format!("r1@{n} a/eu=4"), "r2@9 b/us=8"];
        heads.push(settle(&mut a, &p, "note", Class::Value, &siblings, None, NOW).unwrap());
        prefixes.push(a.chain().to_bytes());
    }
    let empty = prefixes[0].clone();
    let entries: Vec<Vec<u8>> = prefixes.windows(2).map(|w| w[1][w[0].len()..].to_vec()).collect();
    let chain = |order: &[usize]| {
        let mut out = empty.clone();
        *out.last_mut().unwrap() = order.len() as u8;
        order.iter().for_each(|i| out.extend_from_slice(&entries[*i]));
        Chain::from_bytes(&out, Some(&heads[5])).map(drop)
    };
    assert_eq!(chain(&[0, 1, 2, 3, 4]), Ok(()));
    assert_eq!(chain(&[1, 2, 3, 4]), Err(Tampered::Record(1)));
    assert_eq!(chain(&[0, 1, 3, 4]), Err(Tampered::Record(3)));
    assert_eq!(chain(&[0, 2, 1, 3, 4]), Err(Tampered::Record(2)));
    assert_eq!(chain(&[0, 1, 1, 2, 3, 4]), Err(Tampered::Record(3)));
    assert_eq!(chain(&[0, 1, 2]), Err(Tampered::Head { found: 3, promised: 5 }));
    // A whole other chain, sound in itself.
    let mut other = Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20);
    for n in 0..5 {
        settle(&mut other, &p, "note", Class::Value, &[&format!("r1@{n} a/eu=5"), "r2@9 b/us=8"], None, NOW)
            .unwrap();
    }
    let e = Chain::from_bytes(&other.chain().to_bytes(), Some(&heads[5])).unwrap_err();
    assert_eq!(e, Tampered::Head { found: 5, promised: 5 });
    assert!(heads.iter().all(|h| a.chain().verify(Some(h)).is_ok()), "each head ever promised is met");
}

#[test]
fn a_person_is_told_what_happened() {
    let a = some_audit();
    let text = a.explain("vm", "web-1", None);
    let want = "\
vm web-1/cpu: 2 writes did not see each other, and not all of their writers own the field (C2 intent, conflict IDA).
  Before: 2.
  autoscaler r2 (autoscaler, us) wrote 8 at 1970-01-01 00:00:09 UTC as r2:10.
  operator r1 (operator, eu) wrote 4 at 1970-01-01 00:00:05 UTC as r1:6.
  Policy version 7, rule 1 (priority): 4 stands, because its writer ranks number 1.
  Did not prevail: r2:10 by autoscaler r2; kept until 2026-12-22 07:20:05 UTC, `undo IDA` brings it back.
vm web-1/tags: 2 writes did not see each other (C1 value, conflict IDB).
  Before: [].
  host r2 (host, us) wrote [\"b\"] at 1970-01-01 00:00:09 UTC as r2:10.
  operator r1 (operator, eu) wrote [\"a\"] at 1970-01-01 00:00:05 UTC as r1:6.
  Policy version 7, rule 3 (semantic): [\"a\",\"b\"] stands, because the field's kind joins the changes.
vm web-1/power: 2 writes did not see each other (C1 value, conflict IDB).
  Before: \"on\".
  host r2 (host, us) wrote nothing (deleted) at 1970-01-01 00:00:09 UTC as r2:10.
  operator r1 (operator, eu) wrote \"off\" at 1970-01-01 00:00:05 UTC as r1:6.
  Policy version 7, rule 2 asks a person until 2026-11-22 08:20:05 UTC: until then \"on\" stands.
  Did not prevail: r2:10 by host r2, r1:6 by operator r1; kept until 2026-12-22 07:20:05 UTC, `undo IDB` brings it back.
vm web-1/note: 2 writes together break what must always hold (C4 invariant, conflict IDC).
  Before: nothing.
  host r3 (host, us) wrote \"short\" at 1970-01-01 00:00:12 UTC as r3:13.
  host r2 (host, us) wrote \"long long long long long long long long long long long long… at 1970-01-01 00:00:09 UTC as r2:10.
  Policy version 7, rule 4 (last-writer): nothing (deleted) stands, because a clock does not decide what must not be, so the value before all of them was restored.
  Did not prevail: r3:13 by host r3, r2:10 by host r2; kept until 2026-12-22 07:20:05 UTC, `undo IDC` brings it back.
";
    let ids: Vec<String> = a.chain().records().map(|(_, r)| format!("{:.6}", r.id)).collect();
    let want = want.replace("IDA", &ids[0]).replace("IDB", &ids[1]).replace("IDC", &ids[3]);
    assert_eq!(text, want);
    assert_eq!(a.named(&ids[0]), [a.chain().get(1).unwrap().id]);
    assert_eq!(a.named("").len(), 2);
    assert_eq!(a.explain("vm", "db-1", None), "vm db-1: no conflict is on record here.\n");
}

#[test]
fn what_lost_comes_back_as_a_new_write_for_thirty_days() {
    let mut a = some_audit();
    let records: Vec<_> = a.chain().records().map(|(_, r)| r).collect();
    let (dot, place) =
        (|r, s| Dot::new(ReplicaIndex(r), s), |f: &str| Place::new("vm", "web-1", Pointer::root().join(f)));
    let writes = a.undo(records[0].id, None).unwrap();
    assert_eq!(
        writes.len(),
        2,
        "the same two writes met at three places, at one they were joined: {writes:?}"
    );
    let cpu = writes.iter().find(|w| w.place == place("cpu")).unwrap();
    assert_eq!((&cpu.value, &cpu.supersedes[..]), (&Some(Value::Int(8)), &[dot(1, 6), dot(2, 10)][..]));
    assert_eq!(a.undo(records[0].id, Some(dot(9, 9))), Err(NoUndo::Dot(dot(9, 9))));
    let note = a.undo(records[3].id, Some(dot(2, 10))).unwrap();
    assert_eq!(
        note[0].value,
        Some(Value::from(&*"long ".repeat(40))),
        "long values are kept beside the chain"
    );
    assert_eq!(a.losers().filter(Result::is_err).count(), 0);
    assert_eq!(a.losers().count(), 5);

    a.expire(NOW + LOSERS_MIN - 1);
    assert_eq!(a.losers().filter(Result::is_ok).count(), 5, "until the last moment");
    let head = a.chain().head();
    a.expire(NOW + LOSERS_MIN);
    assert_eq!(a.undo(records[0].id, None), Err(NoUndo::Unknown(records[0].id)));
    // A year for what must never have been; what lost there is gone.
    assert_eq!(a.undo(records[3].id, Some(dot(2, 10))), Err(NoUndo::Gone(place("note"))));
    a.chain().verify(Some(&head)).expect("a chain that forgot still verifies");
    let again = Chain::from_bytes(&a.chain().to_bytes(), Some(&head)).unwrap();
    assert_eq!((again.head(), again.records().count()), (head, 1));
    a.expire(NOW + 365 * DAY);
    assert_eq!((a.chain().records().count(), a.chain().head()), (0, head));
    settle(&mut a, &usual(), "cpu", Class::Value, &["r1@5 a/eu=4", "r2@9 b/us=8"], None, NOW).unwrap();
    a.chain().verify(Some(&head)).unwrap();
}

/// Records in the middle whose time is over leave their hashes; altering those is found too.
#[test]
fn a_chain_with_expired_records_is_guarded_as_well() {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    for class in [Class::Invariant, Class::Value, Class::Structure, Class::Invariant] {
        settle(&mut a, &p, "note", class, &["r1@5 a/eu=4", "r2@9 b/us=8"], None, NOW).unwrap();
    }
    a.expire(NOW + LOSERS_MIN);
    assert_eq!(a.chain().records().map(|(n, _)| n).collect::<Vec<_>>(), [1, 4]);
    let bytes = a.chain().to_bytes();
    assert_eq!(&Chain::from_bytes(&bytes, None).unwrap(), a.chain());
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Chain::from_bytes(&bad, None).is_err(), "byte {at}");
    }
}

#[test]
fn without_room_nothing_is_settled() {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 250), usual());
    let long = |n: u64| format!("r2@{n} host/us=\"{}\"", "x".repeat(100 + n as usize));
    settle(&mut a, &p, "note", Class::Value, &[&long(1), &long(2)], None, NOW).unwrap();
    let head = a.chain().head();
    let full = settle(&mut a, &p, "note", Class::Value, &[&long(1), &long(9)], None, NOW).unwrap_err();
    assert_eq!(
        full,
        NotRecorded::NoRoom(NoRoom { needed: 111, left: 250 - 103 - 104, most: 250 }),
        "what is kept already needs no room"
    );
    assert_eq!(a.chain().head(), head);
    a.expire(NOW + LOSERS_MIN);
    settle(&mut a, &p, "note", Class::Value, &[&long(1), &long(9)], None, NOW).unwrap();
}

/// A value that loses twice is kept until both have had their thirty days.
#[test]
fn what_loses_again_is_kept_anew() {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    let long = format!("r2@9 host/us=\"{}\"", "x".repeat(100));
    for (other, at) in [("r1@10 a/eu=1", NOW), ("r1@11 a/eu=2", NOW + DAY)] {
        settle(&mut a, &p, "note", Class::Value, &[&long, other], None, at).unwrap();
    }
    let later = a.chain().get(2).unwrap().id;
    a.expire(NOW + LOSERS_MIN);
    assert!(a.undo(later, None).is_ok());
    a.expire(NOW + LOSERS_MIN + DAY);
    assert_eq!(a.undo(later, None), Err(NoUndo::Unknown(later)));
}

#[test]
fn a_retention_that_loses_too_early_is_refused() {
    assert_eq!(Retention::new([LOSERS_MIN; 5], LOSERS_MIN - 1), Err(TooShort::Losers(LOSERS_MIN - 1)));
    assert_eq!(Retention::of_days(29), Err(TooShort::Losers(29 * DAY)));
    assert_eq!(Retention::of_days(30), Ok(Retention::default()));
    assert_eq!(Retention::of_days(400).map(|r| r.of(Class::Invariant)), Ok(400 * DAY));
    let mut records = [2 * LOSERS_MIN; 5];
    records[2] = LOSERS_MIN;
    assert_eq!(
        Retention::new(records, 2 * LOSERS_MIN),
        Err(TooShort::Records(Class::Structure, 2 * LOSERS_MIN))
    );
}

#[test]
fn a_persons_decision_is_a_record_of_its_own() {
    let (mut a, p, s) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual(), schema());
    let place = Place::new("vm", "web-1", Pointer::root().join("power"));
    let siblings = [sibling(r#"r1@5 operator/eu="off""#), sibling(r#"r2@9 host/us="paused""#)];
    let base = Value::from("on");
    let q = Question {
        place: &place,
        class: Class::Value,
        field: s.field(&place.pointer),
        base: Base::Known(&base),
        siblings: &siblings,
    };
    let answer = p.settle(&q);
    a.record(&Settlement::new(&q, &answer, 7, Hlc::at(NOW))).unwrap();
    let mut queue = Queue::new(9);
    let ticket = answer.ticket(&q, NOW).unwrap();
    let id = ticket.id;
    queue.put(ticket);
    let ana = Writer::new("ana", "operator", "eu");
    let closed = queue.answer(&s, id, &place, &Choice::Side(siblings[0].dot), &ana).unwrap();
    let settlement = Settlement {
        decision: Some(&closed),
        output: Some(Dot::new(ReplicaIndex(3), 1)),
        ..Settlement::new(&q, &answer, 7, Hlc::at(NOW + 1))
    };
    a.record(&settlement).unwrap();
    let text = a.explain("vm", "web-1", Some(&place.pointer));
    assert!(
        text.contains("asks a person until") && text.contains("ana (operator) decided: \"off\" stands."),
        "{text}"
    );
    let back = a.undo(id, None).unwrap();
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].value, Some(Value::from("paused")));
    assert!(back[0].supersedes.contains(&Dot::new(ReplicaIndex(3), 1)), "it has seen what was decided");
}

#[test]
fn a_policy_is_tried_before_it_counts() {
    let a = some_audit();
    let s = schema();
    let field = |place: &Place| s.field(&place.pointer);
    let same = dry_run(&a, &usual(), field);
    assert_eq!((same.same, same.otherwise.len(), &same.by_rule[..]), (4, 0, &[1, 1, 1, 1][..]));
    let other = policy(
        8,
        r#"{"name":"hosts","kind":"vm","path":"/power","use":{"strategy":"priority","by":"role","order":["operator"]}},"#,
    );
    let trial = dry_run(&a, &other, field);
    let told: Vec<String> = trial
        .otherwise
        .iter()
        .map(|o| {
            let show = |v: &Option<Value>| v.as_ref().map_or("-".into(), ToString::to_string);
            format!(
                "{}: {} by {}, would be {} by {}",
                o.place,
                show(&o.was),
                o.by.1,
                show(&o.would),
                o.would_by.1
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "vm web-1/cpu: 4 by priority, would be 8 by last-writer",
            r#"vm web-1/tags: ["a","b"] by semantic, would be ["b"] by last-writer"#,
            r#"vm web-1/power: "on" by manual, would be "off" by priority"#,
        ]
    );
    assert_eq!((trial.same, &trial.by_rule[..]), (1, &[1, 3][..]));
}

#[test]
fn a_record_of_two_writes_is_about_two_hundred_bytes() {
    let a = some_audit();
    let (bytes, records) = a.chain().size();
    assert!((150..=256).contains(&(bytes / records)), "{} bytes", bytes / records);
}

/// Hashes in place of records, or a beginning further on: sound in itself, and yet something is gone that should be there.
#[test]
fn what_went_before_its_time_is_missed() {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    let r = Retention::default();
    let mut heads = vec![a.chain().head()];
    for class in [Class::Invariant, Class::Value, Class::Structure, Class::Value] {
        heads.push(settle(&mut a, &p, "note", class, &["r1@5 a/eu=4", "r2@9 b/us=8"], None, NOW).unwrap());
    }
    assert_eq!(a.chain().verify_kept(NOW + 1, &r), Ok(()));
    let mut early = a.clone();
    early.expire(NOW + LOSERS_MIN);
    let read = |a: &Audit, promised| Chain::from_bytes(&a.chain().to_bytes(), promised);
    let hashes = read(&early, Some(&heads[4])).expect("sound in itself");
    assert_eq!(hashes.verify_kept(NOW + LOSERS_MIN - 1, &r), Err(Tampered::Early(2)));
    assert_eq!(hashes.verify_kept(NOW + LOSERS_MIN, &r), Ok(()), "in time");
    // All of it forgotten, and one record more.
    let mut forged = a.clone();
    forged.expire(NOW + 365 * DAY);
    settle(&mut forged, &p, "note", Class::Value, &["r1@6 a/eu=4", "r2@9 b/us=8"], None, NOW + DAY).unwrap();
    assert_eq!(read(&forged, None).unwrap().verify_kept(NOW + DAY, &r), Err(Tampered::Early(4)));
    assert_eq!(read(&forged, None).unwrap().verify_kept(NOW + 366 * DAY, &r), Ok(()));
    assert_eq!(read(&forged, Some(&heads[2])), Err(Tampered::Older { before: 4, promised: 2 }));
    assert!(read(&forged, Some(&heads[4])).is_ok(), "a promise of the last that is gone is met");
    // The time of what is gone can't be set back: its check is made of it.
    let bytes = forged.chain().to_bytes();
    for at in 7..7 + 32 + 9 + 32 {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Chain::from_bytes(&bad, None).is_err(), "byte {at}");
    }
}

/// After a restart: the chain and the values are read back, and what lost comes back as before. Others' records are taken in one by one.
#[test]
fn an_audit_is_made_again_of_what_was_kept() {
    let a = some_audit();
    let id = a.chain().get(4).unwrap().id;
    let own = (ReplicaIndex(3), Retention::default(), 1 << 20);
    let chain = || Chain::from_bytes(&a.chain().to_bytes(), Some(&a.chain().head())).unwrap();
    let again = Audit::restore(own, [chain()], a.kept().cloned(), NOW).unwrap();
    assert_eq!(again.chain(), a.chain());
    assert_eq!(again.explain("vm", "web-1", None), a.explain("vm", "web-1", None));
    assert_eq!(again.undo(id, None), a.undo(id, None));
    assert_eq!(again.kept().count(), 1);
    // Without the values they are missed, not invented; and may come later.
    let mut poor = Audit::restore(own, [chain()], [], NOW).unwrap();
    let long = Dot::new(ReplicaIndex(2), 10);
    assert!(matches!(poor.undo(id, Some(long)), Err(NoUndo::Gone(_))));
    assert!(a.kept().cloned().all(|v| poor.keep(v)));
    assert!(!poor.keep("nobody asked".into()));
    assert_eq!(poor.undo(id, Some(long)), a.undo(id, Some(long)));

    let mut other = Audit::new(ReplicaIndex(4), Retention::default(), 1 << 20);
    let entry = |n| a.chain().entry_bytes(n).unwrap();
    assert_eq!(
        other.take_in(ReplicaIndex(3), 2, &entry(2)),
        Err(Tampered::Order { found: 2, next: 1 }),
        "in order only"
    );
    assert_eq!(other.take_in(ReplicaIndex(3), 1, &entry(2)), Err(Tampered::Record(1)), "another's place");
    for n in 1..=4 {
        let mut bad = entry(n);
        bad[20] ^= 4;
        assert!(other.take_in(ReplicaIndex(3), n, &bad).is_err());
        assert!(other.take_in(ReplicaIndex(3), n, &entry(n)).unwrap().is_some());
    }
    a.kept().cloned().for_each(|v| assert!(other.keep(v)));
    assert_eq!(other.explain("vm", "web-1", None), a.explain("vm", "web-1", None));
    assert_eq!(other.undo(id, None), a.undo(id, None));
    let own = settle(
        &mut other,
        &usual(),
        "cpu",
        Class::Intent,
        &["r1@5 operator/eu=4", "r2@9 autoscaler/us=8"],
        None,
        NOW + 1,
    );
    assert_eq!(own.unwrap().sequence, 1);
    assert_eq!(
        other.of_conflict(a.chain().get(1).unwrap().id).count(),
        4,
        "three of the other's, and its own"
    );
}

/// In a document one value stands: what was to be kept beside it, what a policy wanted deleted and must be there, and the lesser of two
/// in a record with a maximum are lost, and come back.
#[test]
fn what_a_document_does_not_hold_is_lost_and_comes_back() {
    let s = schema_of(
        r#"{"schema":"vm","version":1,"types":{"state":{"kind":"record","fields":{"epoch":"max","n":"counter"}}},
            "fields":{"name":{"kind":"atomic","required":true},"label":"atomic","state":"state"}}"#,
    );
    let p = policy(
        1,
        r#"{"name":"labels","path":"/label","use":"multi-value"},
           {"name":"names","path":"/name","use":"rollback"},
           {"name":"states","path":"/state","use":{"strategy":"semantic","otherwise":"last-writer"}},"#,
    );
    let doc = |text: &str| s.admit(&json(text)).unwrap();
    let (ana, bot) = (sibling("r1@5 operator/eu=-"), sibling("r2@6 autoscaler/eu=-"));
    let told = |base: Option<&str>, a: &str, b: &str| {
        let (a, b) = (doc(a), doc(b));
        let versions =
            [Version { made: &ana, document: Some(&a) }, Version { made: &bot, document: Some(&b) }];
        let base = base.map(doc);
        let (merged, resolved) = p.merge(&s, &"k".into(), base.as_ref(), &versions).unwrap();
        let mut audit = Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20);
        for r in &resolved {
            audit.record(&Settlement::of_merge(r, 1, Hlc::at(NOW))).unwrap();
        }
        let losers: Vec<String> = audit
            .losers()
            .map(|l| l.unwrap())
            .map(|l| format!("{} {}", l.dot, l.value.map_or("-".into(), |v| v.to_string())))
            .collect();
        (merged.document.unwrap().value().to_string(), losers.join(" "))
    };
    assert_eq!(
        told(Some(r#"{"name":"w","label":0}"#), r#"{"name":"w","label":1}"#, r#"{"name":"w","label":2}"#),
        (r#"{"label":0,"name":"w"}"#.into(), "r2:7 2 r1:6 1".into()),
        "neither label is in the document"
    );
    assert_eq!(
        told(None, r#"{"name":"u"}"#, r#"{"name":"v"}"#),
        (r#"{"name":"v"}"#.into(), "r1:6 \"u\"".into()),
        "there was no name: it can't be deleted"
    );
    // At one place, as a node sees it: a record with a maximum inside.
    let place = Place::new("vm", "k", Pointer::root().join("state"));
    let siblings = [sibling(r#"r1@5 a/eu={"epoch":3,"n":1}"#), sibling(r#"r2@6 b/us={"epoch":4,"n":1}"#)];
    let q = Question {
        place: &place,
        class: Class::Value,
        field: s.field(&place.pointer),
        base: Base::Nothing,
        siblings: &siblings,
    };
    let answer = p.settle(&q);
    assert_eq!(answer.settled.outcome.shown().unwrap().to_string(), r#"{"epoch":4,"n":2}"#);
    let mut audit = Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20);
    audit.record(&Settlement::new(&q, &answer, 1, Hlc::at(NOW))).unwrap();
    let back = audit.undo(q.id(), Some(siblings[0].dot)).unwrap();
    assert_eq!(back[0].value, siblings[0].value);
}

/// What is written is held to what readers take.
#[test]
fn a_record_that_nobody_could_read_is_not_written() {
    let (mut a, p) = (Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20), usual());
    let all: Vec<String> = (0..300).map(|n| format!("r1@{n} a/eu={n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let head = a.chain().head();
    let large = settle(&mut a, &p, "note", Class::Value, &all, None, NOW).unwrap_err();
    assert!(matches!(large, NotRecorded::Large { inputs: 300, .. }), "{large}");
    let name = "x".repeat(6_000);
    let long: Vec<String> = (0..200).map(|n| format!("r1@{n} {name}/eu={n}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    assert!(matches!(
        settle(&mut a, &p, "note", Class::Value, &long, None, NOW),
        Err(NotRecorded::Large { .. })
    ));
    assert_eq!(a.chain().head(), head);
}

/// A chain that somebody makes anew verifies by itself; what was promised of it tells between which records it is another.
#[test]
fn a_chain_that_was_made_anew_contradicts_what_was_promised() {
    let p = usual();
    let make = |altered: Option<u64>, n: u64| {
        let mut a = Audit::new(ReplicaIndex(3), Retention::default(), 1 << 20);
        let mut promised = Promised::default();
        for i in 0..n {
            let at = NOW + i * 1_000 + u64::from(altered == Some(i));
            settle(&mut a, &p, "note", Class::Value, &["r1@5 a/eu=4", "r2@9 b/us=8"], None, at).unwrap();
            if i % 3 == 2 {
                promised.add(a.chain().head(), at);
            }
        }
        (Chain::from_bytes(&a.chain().to_bytes(), None).unwrap(), promised)
    };
    let (chain, promised) = make(None, 12);
    assert_eq!(promised.against(&chain), Kept::Whole(12));
    assert_eq!(Promised::from_bytes(&promised.to_bytes()).as_ref(), Ok(&promised));
    for altered in 0..12 {
        let (other, _) = make(Some(altered), 12);
        other.verify(None).expect("by itself it is whole");
        let after = altered / 3 * 3;
        assert_eq!(
            promised.against(&other),
            Kept::Differs { after, upto: after + 3 },
            "record {}",
            altered + 1
        );
    }
    let (cut, _) = make(None, 10);
    assert_eq!(promised.against(&cut), Kept::Short { found: 10, promised: 12 });
    let bytes = promised.to_bytes();
    (0..bytes.len()).for_each(|n| assert!(Promised::from_bytes(&bytes[..n]).is_err(), "{n}"));
    // Not more often than each minute, nor of a chain that has not grown.
    let (head, at) = promised.last().unwrap();
    let next = Head { sequence: head.sequence + 1, ..head };
    assert!(promised.is_due(next, at + 60_000) && !promised.is_due(next, at + 59_999));
    assert!(!promised.is_due(head, at + 900_000) && promised.is_due(next, at - 60_000));
}
