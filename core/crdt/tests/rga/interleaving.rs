//! What one replica typed in a row stays in a row. (Weidner and Kleppmann, *The Art of the Fugue*, figures 1 to 5.)

use dwcp_crdt::rga::{Op, Text};
use dwcp_crdt::{Dot, ReplicaIndex};

struct Typist {
    replica: ReplicaIndex,
    text: Text,
    ops: Vec<Op<String>>,
}

impl Typist {
    fn new(replica: u16, text: &Text) -> Self {
        Self { replica: ReplicaIndex(replica), text: text.clone(), ops: Vec::new() }
    }
    fn insert(&mut self, at: usize, content: &str) {
        let first = self.text.next(self.replica);
        let hang = self.text.insert(first, at, content).expect("a place in the text");
        self.ops.push(Op::Insert { first, hang, content: content.to_owned() });
    }
    fn delete(&mut self, at: usize, n: usize) {
        let by = Dot::new(self.replica, self.ops.len() as u64 + 1);
        let spans = self.text.delete(by, at..at + n).expect("a place in the text");
        self.ops.push(Op::Delete { by, spans });
    }
    /// Character by character, each after the one before.
    fn forward(&mut self, at: usize, content: &str) {
        for (k, c) in content.chars().enumerate() {
            self.insert(at + k, c.encode_utf8(&mut [0; 4]));
        }
    }
    /// Character by character, each before the one before.
    fn backward(&mut self, at: usize, content: &str) {
        for c in content.chars().rev() {
            self.insert(at, c.encode_utf8(&mut [0; 4]));
        }
    }
}

fn base(content: &str) -> Text {
    let mut base = Typist::new(0, &Text::new());
    if !content.is_empty() {
        base.insert(0, content);
    }
    base.text
}

/// What all read after each received the others' operations, in every order of senders.
fn merged(typists: &[&Typist]) -> String {
    let mut all = Vec::new();
    for t in typists {
        for turn in 0..typists.len() {
            let mut text = t.text.clone();
            for k in 0..typists.len() {
                let other = typists[(turn + k) % typists.len()];
                if other.replica != t.replica {
                    for op in &other.ops {
                        text.apply(op).expect("a sound operation");
                    }
                }
            }
            all.push(text.content());
        }
    }
    assert!(all.iter().all(|text| *text == all[0]), "they differ: {all:?}");
    all.swap_remove(0)
}

#[test]
fn forward_insertions_do_not_interleave() {
    let text = base("[]");
    let (mut a, mut b) = (Typist::new(1, &text), Typist::new(2, &text));
    a.forward(1, "eggs");
    b.forward(1, "milk");
    assert_eq!(merged(&[&a, &b]), "[eggsmilk]");
}

#[test]
fn backward_insertions_do_not_interleave() {
    let text = base("[]");
    let (mut a, mut b, mut c) = (Typist::new(1, &text), Typist::new(2, &text), Typist::new(3, &text));
    a.backward(1, "eggs");
    b.backward(1, "milk");
    c.forward(1, "flour");
    assert_eq!(merged(&[&a, &b, &c]), "[eggsmilkflour]");
}

#[test]
fn insertions_at_the_ends_do_not_interleave() {
    let text = base("");
    let (mut a, mut b) = (Typist::new(1, &text), Typist::new(2, &text));
    a.backward(0, "eggs");
    b.forward(0, "milk");
    a.forward(4, "!?");
    b.backward(0, "?!");
    assert_eq!(merged(&[&a, &b]), "eggs!??!milk");
}

#[test]
fn ties_go_to_the_smaller_replica_on_both_sides() {
    let text = base("xy");
    let (mut a, mut b, mut c) = (Typist::new(1, &text), Typist::new(2, &text), Typist::new(3, &text));
    for (t, what) in [(&mut c, "3"), (&mut a, "1"), (&mut b, "2")] {
        t.insert(1, what); // left children of y
        t.insert(3, what); // right children of y
        t.insert(0, what); // left children of x
    }
    assert_eq!(merged(&[&a, &b, &c]), "123x123y123");
}

#[test]
fn typing_over_what_another_deletes_stays_together() {
    let text = base("[old]");
    let (mut a, mut b) = (Typist::new(1, &text), Typist::new(2, &text));
    a.delete(1, 3);
    a.forward(1, "new");
    b.delete(1, 3);
    b.backward(1, "own");
    let both = merged(&[&a, &b]);
    assert!(both == "[newown]" || both == "[ownnew]", "{both}");
}

/// From the trace `friendsforever`: the comma stands where the dot stood, not behind what another typed after it.
#[test]
fn who_replaces_a_character_keeps_its_place() {
    let text = base("in the 90s.");
    let (mut a, mut b) = (Typist::new(2, &text), Typist::new(1, &text));
    a.delete(10, 1);
    a.forward(10, ", huh?");
    b.forward(11, " The whole");
    assert_eq!(merged(&[&a, &b]), "in the 90s, huh? The whole");
}

#[test]
fn a_third_finds_its_place_inside_what_two_typed() {
    let text = base("[]");
    let (mut a, mut b) = (Typist::new(1, &text), Typist::new(2, &text));
    a.forward(1, "eggs");
    b.backward(1, "milk");
    let mut c = Typist::new(3, &b.text);
    c.forward(3, "--");
    c.backward(3, "++");
    assert_eq!(merged(&[&a, &b, &c]).replace("eggs", ""), "[mi++--lk]");
}
