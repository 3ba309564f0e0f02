//! Texts and lists: what each side changed, replayed side by side in a sequence of [`dwcp_crdt::rga`].
//!
//! The base is typed by nobody; each side makes its edits (the shortest that lead from the base to it) on a copy of its own, under
//! the names of a replica of its own; then all edits come together. So concurrent insertions at one place stand one after the other, whole, and
//! what any side deleted is gone. An edit that several sides made alike is one edit.
//!
//! Sides are put in order of their contents first: which replica a side is decides only which of two insertions at one place comes first.
//!
//! **Rejected.** diff3: neither idempotent nor stable (Khanna, Kunal, Pierce, *A formal investigation of diff3*, 2007).

use super::difference::{Cut, cuts};
use crate::strategy::transform::{Patch, ServerLog};
use crate::value::Value;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_crdt::rga::{Content, Item, List, Op, Rga, SPANS_MAX, Text};
use dwcp_crdt::{Dot, ReplicaIndex};

/// Texts over a base; nothing if they are longer than a sequence may be.
pub(crate) fn text<'s>(base: &str, sides: impl Iterator<Item = &'s str>) -> Option<String> {
    let sides: BTreeSet<&str> = sides.collect();
    let sides: Vec<Edits<String>> = sides.into_iter().map(|side| word_edits(base, side)).collect();
    let mut all = Text::new();
    type_base(&mut all, base)?;
    Some(together(all, sides)?.content())
}

/// Words, and between them single characters.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match rest.find(|c: char| !c.is_alphanumeric()) {
            Some(0) => first.len_utf8(),
            Some(n) => n,
            None => rest.len(),
        };
        let (word, behind) = rest.split_at(len);
        out.push(word);
        rest = behind;
    }
    out
}

/// What changed, by words; where one word became another, by characters. Letters alone would find likenesses between words
/// that have nothing to do with each other, and two sides would knit new ones of them.
fn word_edits(base: &str, side: &str) -> Edits<String> {
    let (old, new) = (words(base), words(side));
    // Where each word begins, in characters.
    let mut begins = Vec::with_capacity(old.len() + 1);
    begins.push(0);
    for word in &old {
        begins.push(begins[begins.len() - 1] + word.chars().count());
    }
    let mut out = Vec::new();
    for cut in cuts(&old, &new) {
        let at = begins[cut.from];
        if cut.count == 1 && cut.put.len() == 1 {
            let before: Vec<char> = old[cut.from].chars().collect();
            let after: Vec<char> = new[cut.put.start].chars().collect();
            let put = |c: Cut| (at + c.from, c.count, after[c.put].iter().collect());
            out.extend(cuts(&before, &after).into_iter().map(put));
        } else {
            out.push((at, begins[cut.from + cut.count] - at, new[cut.put].concat()));
        }
    }
    out
}

/// Lists over a base; nothing if they are longer than a sequence may be.
pub(crate) fn list<'s>(base: &'s [Value], sides: impl Iterator<Item = &'s [Value]>) -> Option<Vec<Value>> {
    let mut numbers = Numbers::default();
    let old: Vec<u32> = base.iter().map(|v| numbers.of(v)).collect();
    let sides: BTreeSet<&[Value]> = sides.collect();
    let sides: Vec<Edits<Vec<Item>>> = sides.into_iter().map(|side| numbers.edits(&old, side)).collect();
    let mut all = List::new();
    type_base(&mut all, &items(&old))?;
    Some(together(all, sides)?.content().iter().map(|item| numbers.value(item)).collect())
}

/// Texts over a base, in the order given: the edits of each, replayed one after the other. Nothing if they are too many for a log.
pub(crate) fn replay_text<'s>(base: &str, sides: impl Iterator<Item = &'s str>) -> Option<String> {
    replay::<String>(base, sides.map(|side| word_edits(base, side)))
}

/// Lists over a base, in the order given.
pub(crate) fn replay_list<'s>(
    base: &'s [Value],
    sides: impl Iterator<Item = &'s [Value]>,
) -> Option<Vec<Value>> {
    let mut numbers = Numbers::default();
    let old: Vec<u32> = base.iter().map(|v| numbers.of(v)).collect();
    let sides: Vec<Edits<Vec<Item>>> = sides.map(|side| numbers.edits(&old, side)).collect();
    let merged = replay::<Vec<Item>>(&items(&old), sides.into_iter())?;
    Some(merged.iter().map(|item| numbers.value(item)).collect())
}

fn replay<C: Content>(base: &C::Slice, sides: impl Iterator<Item = Edits<C>>) -> Option<C> {
    let mut log = ServerLog::new(base).ok()?;
    let mut made = Made(BTreeMap::new());
    for edit in sides.flatten() {
        if made.add(&edit) {
            let (at, erase, insert) = edit;
            log.submit(0, &Patch { at, erase, insert }).ok()?;
        }
    }
    Some(log.content())
}

/// Elements go by numbers: equal values by equal ones.
#[derive(Default)]
struct Numbers<'s> {
    numbers: BTreeMap<&'s Value, u32>,
    values: Vec<&'s Value>,
}

impl<'s> Numbers<'s> {
    fn of(&mut self, v: &'s Value) -> u32 {
        *self.numbers.entry(v).or_insert_with(|| {
            self.values.push(v);
            self.values.len() as u32 - 1
        })
    }
    fn value(&self, item: &Item) -> Value {
        let mut n = [0; 4];
        n.copy_from_slice(item);
        self.values[u32::from_le_bytes(n) as usize].clone()
    }
    fn edits(&mut self, old: &[u32], side: &'s [Value]) -> Edits<Vec<Item>> {
        let new: Vec<u32> = side.iter().map(|v| self.of(v)).collect();
        let put = |c: Cut| (c.from, c.count, items(&new[c.put]));
        cuts(old, &new).into_iter().map(put).collect()
    }
}

fn items(numbers: &[u32]) -> Vec<Item> {
    numbers.iter().map(|n| Item::from(&n.to_le_bytes()[..])).collect()
}

/// Edits that were made, to know those that come again.
struct Made<C>(BTreeMap<(usize, usize), Vec<C>>);

impl<C: Content> Made<C> {
    /// Takes an edit; whether it is new.
    fn add(&mut self, (from, count, content): &(usize, usize, C)) -> bool {
        let there = self.0.entry((*from, *count)).or_default();
        let new = !there.contains(content);
        if new {
            there.push(content.clone());
        }
        new
    }
}

/// Edits at positions of the base, ascending: from where, how many go, what comes.
type Edits<C> = Vec<(usize, usize, C)>;

fn type_base<C: Content>(all: &mut Rga<C>, base: &C::Slice) -> Option<()> {
    if C::count(base) > 0 {
        all.insert(Dot::new(ReplicaIndex(0), 1), 0, base).ok()?;
    }
    Some(())
}

fn together<C: Content>(base: Rga<C>, sides: Vec<Edits<C>>) -> Option<Rga<C>> {
    let mut all = base.clone();
    let mut made = Made(BTreeMap::new());
    for (i, edits) in sides.into_iter().enumerate() {
        let replica = ReplicaIndex(u16::try_from(i + 1).ok()?);
        let mut own = base.clone();
        let mut deletions = 0;
        // From the end: positions before an edit stay what they were in the base.
        for edit in edits.into_iter().rev() {
            if !made.add(&edit) {
                continue;
            }
            let (from, count, content) = &edit;
            let mut ops = Vec::with_capacity(2);
            if C::count(content.as_slice()) > 0 {
                // Behind what goes: what others put before it stays before what comes in its place.
                let first = own.next(replica);
                let hang = own.insert(first, from + count, content.as_slice()).ok()?;
                ops.push(Op::Insert { first, hang, content: content.clone() });
            }
            let mut left = *count;
            while left > 0 {
                // One operation says so many spans at most; an element is one span at most.
                let some = left.min(SPANS_MAX);
                deletions += 1;
                let by = Dot::new(replica, deletions);
                let spans = own.delete(by, *from..from + some).ok()?;
                ops.push(Op::Delete { by, spans });
                left -= some;
            }
            for op in ops {
                all.apply(&op).ok()?;
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_keeps_what_it_said() {
        for (base, sides, want) in [
            ("", &["a", "b"][..], "ab"),
            ("the cat", &["the black cat", "the cat sat"], "the black cat sat"),
            ("the cat", &["the dog", "the cat"], "the dog"),
            ("one two three", &["one three", "one two four"], "one four"),
            ("x", &["", "xy"], "y"),
            ("the cat sat", &["the dog sat", "the big cat sat"], "the big dog sat"),
            ("tpyo here", &["typo here", "typo here!"], "typo here!"),
            ("ääß", &["äöß", "ääß€"], "äöß€"),
        ] {
            assert_eq!(text(base, sides.iter().copied()).unwrap(), want, "{base} {sides:?}");
            assert_eq!(
                text(base, sides.iter().rev().copied()).unwrap(),
                want,
                "{base} {sides:?}, turned round"
            );
        }
    }

    #[test]
    fn lists_too() {
        let list_of = |s: &str| -> Vec<Value> { s.split_whitespace().map(Value::from).collect() };
        for (base, a, b, want) in [
            ("disk net", "disk net usb", "net disk", "net usb disk"),
            ("a b c", "a c", "a b c d", "a c d"),
            ("", "a", "a", "a"),
        ] {
            let (base, a, b) = (list_of(base), list_of(a), list_of(b));
            assert_eq!(list(&base, [&a[..], &b[..]].into_iter()).unwrap(), list_of(want));
        }
    }
}
