//! Checkpoints: taken at once, and the way back as writes.

use crate::world::{Source, document, schema};
use dwcp_conflict::checkpoint::{Objects, rollback};
use dwcp_conflict::reference::Name;
use dwcp_conflict::schema::FieldKind;
use dwcp_conflict::{Document, Pointer, Schema, Value};
use proptest::prelude::*;

/// Whether what lies below a field are places of their own.
fn splits(schema: &Schema, at: &Pointer) -> bool {
    schema.field(at).is_some_and(|f| matches!(f.kind, FieldKind::Record(_) | FieldKind::Map(_)))
}

/// Carries a write out on the objects.
fn apply(objects: &mut Objects, schema: &Schema, write: &dwcp_conflict::Write) {
    let name: Name = (write.place.kind.clone(), write.place.key.clone());
    let next = if write.place.pointer == Pointer::root() {
        write.value.clone()
    } else {
        let had: &Value = objects.get(&name).expect("a field of an object");
        Some(had.with(&write.place.pointer, write.value.clone()).expect("a way"))
    };
    match next {
        Some(v) => {
            let valid = schema.admit(&v).expect("what was valid is valid again");
            drop(objects.insert(name, valid.value().clone()));
        }
        None => drop(objects.remove(&name)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_checkpoint_is_restored_by_writes_that_touch_what_changed_only(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut from = Source(&bytes);
        let s = schema(&mut from);
        let mut now = Objects::new();
        let name = |n: usize| -> Name { ("thing".into(), format!("k{n}").into()) };
        for n in 0..6 {
            now.insert(name(n), document(&s, None, &mut from).value().clone());
        }
        let then = now.clone();
        for _ in 0..from.below(8) {
            let n = name(from.below(8));
            if from.below(4) == 0 {
                now.remove(&n);
            } else {
                let was: Option<Document> = now.get(&n).map(|v| s.admit(v).expect("it was valid"));
                now.insert(n, document(&s, was.as_ref(), &mut from).value().clone());
            }
        }
        let writes = rollback(&now, &then, |_, at| splits(&s, at));
        for w in &writes {
            let name = (w.place.kind.clone(), w.place.key.clone());
            let at = |o: &Objects| o.get(&name).and_then(|d| d.at(&w.place.pointer)).cloned();
            prop_assert_ne!(at(&now), at(&then), "a write that changes nothing: {:?}", w);
            prop_assert_eq!(&w.value, &at(&then));
            let mut above = w.place.pointer.as_str();
            while let Some((parent, _)) = above.rsplit_once('/') {
                prop_assert!(splits(&s, &Pointer::parse(parent).unwrap()), "{} lies in what is written as a whole", w.place);
                above = parent;
            }
        }
        // A record's required fields may come one by one: all writes of an object at once.
        for n in 0..8 {
            let own: Vec<_> = writes.iter().filter(|w| *w.place.key == *name(n).1).collect();
            let mut value: Option<Value> = now.get(&name(n)).cloned();
            for w in own {
                value = match &value {
                    Some(v) if w.place.pointer != Pointer::root() => v.with(&w.place.pointer, w.value.clone()),
                    _ => w.value.clone(),
                };
            }
            prop_assert_eq!(value.as_ref(), then.get(&name(n)));
        }
    }
}

#[test]
fn one_field_back() {
    let s = crate::world::schema_of(
        r#"{"schema":"vm","version":1,"fields":{"cpu":"atomic","boot":"atomic","labels":{"kind":"map","of":"atomic"}}}"#,
    );
    let doc = |text: &str| s.admit(&crate::world::json(text)).unwrap().value().clone();
    let mut now = Objects::new();
    now.insert(
        ("vm".into(), "a".into()),
        doc(r#"{"cpu":2,"boot":{"from":"disk","wait":1},"labels":{"x":1}}"#),
    );
    let then = now.clone();
    now.insert(
        ("vm".into(), "a".into()),
        doc(r#"{"cpu":2,"boot":{"from":"disk","wait":2},"labels":{"x":2,"y/z":3}}"#),
    );
    now.insert(("vm".into(), "b".into()), doc("{}"));
    let writes = rollback(&now, &then, |_, at| splits(&s, at));
    let told: Vec<String> = writes
        .iter()
        .map(|w| format!("{} = {:?}", w.place, w.value.as_ref().map(ToString::to_string)))
        .collect();
    let boot = r#"vm a/boot = Some("{\"from\":\"disk\",\"wait\":1}")"#;
    assert_eq!(told, [boot, r#"vm a/labels/x = Some("1")"#, "vm a/labels/y~1z = None", "vm b = None"]);
    writes.iter().for_each(|w| apply(&mut now, &s, w));
    assert!(now.iter().eq(then.iter()));
}
