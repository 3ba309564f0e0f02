//! Questions to people: what they may answer, and what happens if they don't.

use crate::strategies::sibling;
use crate::world::{json, schema_of};
use dwcp_conflict::queue::{Choice, Closed, NoAnswer, Put, Unseen};
use dwcp_conflict::{Base, Class, ConflictId, Place, Pointer, Queue, Schema, Ticket, Value, Writer};
use dwcp_crdt::edit::Change;
use dwcp_crdt::space::Config;
use dwcp_crdt::{Dot, ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;

fn schema() -> Schema {
    schema_of(r#"{"schema":"vm","version":1,"fields":{"cpu":{"kind":"atomic","type":"int"}}}"#)
}

fn ticket(key: &str, deadline: u64) -> Ticket {
    let sides = vec![sibling("r1@5 a/b=3"), sibling("r2@6 a/b=4")];
    Ticket {
        id: ConflictId::of(sides.iter().map(|s| s.dot)),
        place: Place::new("vm", key, Pointer::root().join("cpu")),
        class: Class::Value,
        base: Base::Known(Value::Int(2)),
        sides,
        suggestion: Some(Value::Int(4)),
        default: Some(Value::Int(3)),
        deadline,
    }
}

#[test]
fn a_person_chooses_and_what_is_written_saw_all_sides() {
    let (s, ana) = (schema(), Writer::new("ana", "operator", "eu"));
    let t = ticket("a", 100);
    let side = t.sides[1].dot;
    for (choice, want) in [
        (Choice::Side(side), Some(4)),
        (Choice::Base, Some(2)),
        (Choice::Suggestion, Some(4)),
        (Choice::Default, Some(3)),
        (Choice::Value(Some(Value::Int(8))), Some(8)),
        (Choice::Value(None), None),
    ] {
        let mut q = Queue::new(4);
        assert_eq!(q.put(t.clone()), Put::Open);
        assert_eq!(q.put(t.clone()), Put::Known);
        let bad = q.answer(&s, t.id, &t.place, &Choice::Value(Some(json(r#""x""#))), &ana).unwrap_err();
        assert_eq!(bad.to_string(), "/cpu: a text in a field of kind atomic; write a whole number");
        let stranger = sibling("r7@1 a/b=1").dot;
        assert_eq!(
            q.answer(&s, t.id, &t.place, &Choice::Side(stranger), &ana),
            Err(NoAnswer::Side(stranger))
        );
        let closed = q.answer(&s, t.id, &t.place, &choice, &ana).unwrap();
        assert_eq!(closed.write.value, want.map(Value::Int));
        assert_eq!(closed.write.supersedes, [t.sides[0].dot, t.sides[1].dot]);
        assert_eq!(closed.by.as_ref().map(|w| &*w.name), Some("ana"));
        assert_eq!(q.answer(&s, t.id, &t.place, &choice, &ana), Err(NoAnswer::Unknown(t.id)), "answered");
    }
}

#[test]
fn who_does_not_answer_gets_the_default_and_so_does_one_too_many() {
    let mut q = Queue::new(2);
    q.put(ticket("a", 100));
    q.put(ticket("b", 200));
    assert_eq!(q.next_due(), Some(100));
    let Put::Full(closed) = q.put(ticket("c", 50)) else { panic!("there was room") };
    let Closed { write, by: None, .. } = *closed else { panic!("nobody decided") };
    assert_eq!(write.value, Some(Value::Int(3)));
    let late = q.due(100);
    assert_eq!(
        late.iter().map(|c| (&*c.ticket.place.key, c.write.value.clone())).collect::<Vec<_>>(),
        [("a", Some(Value::Int(3)))]
    );
    // One sibling more is another question at the same place.
    let mut more = ticket("b", 300);
    more.sides.push(sibling("r3@7 a/b=9"));
    more.id = ConflictId::of(more.sides.iter().map(|s| s.dot));
    assert_eq!(q.put(more.clone()), Put::Open);
    assert_eq!(q.open().map(|t| t.id).collect::<Vec<_>>(), [more.id]);
    assert!(q.withdraw(&more.place).is_some() && q.next_due().is_none());
}

/// The write that settles goes through a space like any other: siblings there, one value after.
#[test]
fn a_settlement_is_a_write_in_a_space() {
    let roster = Roster::founding((0..2).map(NodeId));
    let mut spaces: Vec<Space> = (0..2)
        .map(|r| {
            let mut s = Space::new(Config::new([1; 32]), roster.clone(), ReplicaIndex(r));
            s.open();
            s
        })
        .collect();
    let t = ticket("a", 100);
    let at = t.place.address();
    let mut batches = Vec::new();
    for (space, n) in spaces.iter_mut().zip([3, 4]) {
        let edit = dwcp_crdt::Edit::new(at.clone(), Change::Write(Value::Int(n).to_bytes()));
        batches.extend(space.transact(1_000, &[edit]).unwrap());
    }
    for space in &mut spaces {
        let me = space.me();
        for b in batches.iter().filter(|b| b.replica() != me) {
            space.receive(b, 1_000).unwrap();
        }
        assert_eq!(space.siblings(&at).len(), 2);
    }
    let write = dwcp_conflict::Write {
        place: t.place.clone(),
        value: Some(Value::Int(8)),
        supersedes: spaces[0].siblings(&at).iter().map(|s| s.dot).collect(),
    };
    let live: Vec<Dot> = spaces[0].siblings(&at).iter().map(|s| s.dot).collect();
    let blind = dwcp_conflict::Write { supersedes: live[..1].to_vec(), ..write.clone() };
    assert_eq!(
        blind.edit(live.clone()),
        Err(Unseen(live[1])),
        "who has not seen a side does not write over it"
    );
    let batch = spaces[0].transact(2_000, &[write.edit(live).unwrap()]).unwrap().unwrap();
    spaces[1].receive(&batch, 2_000).unwrap();
    for space in &spaces {
        let all = space.siblings(&at);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].value, Value::Int(8).to_bytes());
    }
}
