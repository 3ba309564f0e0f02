//! The search: Wing and Gong's, with Lowe's memory, over a doubly linked list.
//!
//! Calls and returns lie in one list in the order of time. An operation can be next in
//! the order sought if its call lies before the first return still in the list. Taking it
//! lifts its call and return out; when every operation that returned has been lifted, an
//! order is found. When the first return is reached and nothing can be taken, the last
//! choice is undone.
//!
//! # Reductions
//! (a) A passive operation that is enabled and changes nothing now is taken at once, and
//!     no alternative to it is tried: an order that takes it later is valid without it,
//!     and hence with it here. A *write of the current value* is not passive in general:
//!     somebody may need it later.
//! (b) A value that an operation still to come needs, and that no operation still to come
//!     makes, is never overwritten. "To come" counts all that are not yet lifted, in
//!     progress or not; only those that returned can need.
//! (c) An operation that never returned is never obliged to happen. If it would change
//!     nothing now it is not taken; if it makes a value that nobody needs, returned or
//!     not, it is left out of the list (where the machine says that this is sound).
//!
//! # Invariants
//! 1. `needed[v]` and `makers[v]` count the operations in the list, at every step.
//! 2. `set` is the exclusive or of the marks of the operations lifted, at every step.
//! 3. Undoing puts entries back in the reverse order of lifting, so that the list before
//!    and after is the same, entry by entry.

use super::machine::Machine;
use super::visited::{Visited, scatter};

/// When an operation that never returned returns.
pub(crate) const NEVER: u64 = u64::MAX;

/// One operation of a problem: the machine's number for it, and when it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) op: u32,
    pub(crate) call: u64,
    pub(crate) ret: u64,
}

/// What may still be spent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fuel {
    /// Entries looked at.
    pub(crate) steps: u64,
    /// Configurations remembered at one time.
    pub(crate) states: usize,
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    Steps,
    States,
}

/// The answer of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Order,
    /// None; the latest return that no order tried could pass.
    None {
        stuck: u64,
    },
    Spent {
        why: Spent,
        stuck: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    next: u32,
    prev: u32,
    /// The span, doubled; odd for its return.
    tag: u32,
    /// A call's return; 0 if there is none.
    mate: u32,
}

const HEAD: u32 = 0;
/// The tag of the end of the list: a return, of nobody.
const END: u32 = u32::MAX;

struct Frame<S> {
    entry: u32,
    /// The state before, where there was a choice.
    before: Option<S>,
}

/// Buffers that live from one problem to the next.
#[derive(Debug)]
pub(crate) struct Search {
    entries: Vec<Entry>,
    /// Per value: operations in the list that returned and need it.
    needed: Vec<u32>,
    /// Per value: operations in the list that make it.
    makers: Vec<u32>,
    /// Per value: whether any operation at all, returned or not, needs it.
    wanted: Vec<bool>,
    returns: Vec<(u64, u32)>,
    /// Where each span's call lies in `entries`; 0 if left out.
    places: Vec<u32>,
    visited: Visited,
}

impl Search {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            needed: Vec::new(),
            makers: Vec::new(),
            wanted: Vec::new(),
            returns: Vec::new(),
            places: Vec::new(),
            visited: Visited::new(),
        }
    }

    /// Looks for an order of `spans`, which are sorted by `call`, from `start`.
    pub(crate) fn run<M: Machine>(
        &mut self,
        machine: &M,
        spans: &[Span],
        start: M::State,
        fuel: &mut Fuel,
    ) -> Found {
        debug_assert!(spans.is_sorted_by_key(|span| span.call));
        self.count(machine, spans);
        let required = self.link(machine, spans);
        self.visited.reset(fuel.states, spans.len());
        Walk {
            machine,
            spans,
            search: self,
            frames: Vec::with_capacity(spans.len()),
            state: start,
            set: 0,
            required,
            stuck: 0,
        }
        .walk(fuel)
    }

    fn count<M: Machine>(&mut self, machine: &M, spans: &[Span]) {
        self.needed.clear();
        self.needed.resize(machine.values(), 0);
        self.makers.clear();
        self.makers.resize(machine.values(), 0);
        self.wanted.clear();
        self.wanted.resize(machine.values(), false);
        for span in spans {
            if let Some(v) = machine.needs(span.op as usize) {
                self.wanted[v as usize] = true;
                self.needed[v as usize] += u32::from(span.ret != NEVER);
            }
            if let Some(v) = machine.makes(span.op as usize) {
                self.makers[v as usize] += 1;
            }
        }
    }

    /// Builds the list, without what can be left out, and counts what must happen.
    fn link<M: Machine>(&mut self, machine: &M, spans: &[Span]) -> usize {
        self.returns.clear();
        for (at, span) in spans.iter().enumerate().filter(|(_, s)| s.ret != NEVER) {
            self.returns.push((span.ret, at as u32));
        }
        self.returns.sort_unstable();
        let blank = Entry { next: 0, prev: 0, tag: END, mate: 0 };
        self.entries.clear();
        self.entries.push(blank);
        self.places.clear();
        self.places.resize(spans.len(), 0);
        let mut returns = self.returns.iter().peekable();
        for (at, span) in spans.iter().enumerate() {
            while let Some(&(_, of)) = returns.next_if(|(ret, _)| *ret < span.call) {
                Self::place_return(&mut self.entries, &self.places, of);
            }
            if span.ret == NEVER && is_void(machine, &self.wanted, span.op as usize) {
                if let Some(v) = machine.makes(span.op as usize) {
                    self.makers[v as usize] -= 1;
                }
                continue;
            }
            self.places[at] = self.entries.len() as u32;
            self.entries.push(Entry { tag: (at as u32) << 1, ..blank });
        }
        for &(_, of) in returns {
            Self::place_return(&mut self.entries, &self.places, of);
        }
        self.entries.push(blank);
        let last = self.entries.len() as u32 - 1;
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let at = at as u32;
            entry.next = (at + 1).min(last);
            entry.prev = at.saturating_sub(1);
        }
        self.returns.len()
    }

    fn place_return(entries: &mut Vec<Entry>, places: &[u32], of: u32) {
        let call = places[of as usize];
        assert_ne!(call, 0, "an operation returns before its call");
        let mate = entries.len() as u32;
        entries[call as usize].mate = mate;
        entries.push(Entry { next: 0, prev: 0, tag: of << 1 | 1, mate: 0 });
    }

    #[inline]
    fn unlink(&mut self, at: u32) {
        let Entry { next, prev, .. } = self.entries[at as usize];
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
    }

    #[inline]
    fn relink(&mut self, at: u32) {
        let Entry { next, prev, .. } = self.entries[at as usize];
        self.entries[prev as usize].next = at;
        self.entries[next as usize].prev = at;
    }
}

/// Whether an operation that never returned cannot matter.
fn is_void<M: Machine>(machine: &M, wanted: &[bool], op: usize) -> bool {
    if machine.passive(op) {
        return true;
    }
    machine.idle_writes_are_passive() && machine.makes(op).is_some_and(|v| !wanted[v as usize])
}

/// Whether `span` of `spans` can be left out of a report on them, being optional and
/// without use to the others.
pub(crate) fn is_idle<M: Machine>(machine: &M, spans: &[Span], span: Span) -> bool {
    if span.ret != NEVER {
        return false;
    }
    let wants = |other: &Span, v| *other != span && machine.needs(other.op as usize) == Some(v);
    let wanted = |v| spans.iter().any(|other| wants(other, v));
    machine.passive(span.op as usize)
        || machine.idle_writes_are_passive() && machine.makes(span.op as usize).is_some_and(|v| !wanted(v))
}

struct Walk<'s, M: Machine> {
    machine: &'s M,
    spans: &'s [Span],
    search: &'s mut Search,
    frames: Vec<Frame<M::State>>,
    state: M::State,
    set: u128,
    required: usize,
    stuck: u64,
}

impl<M: Machine> Walk<'_, M> {
    fn walk(mut self, fuel: &mut Fuel) -> Found {
        let mut from = self.take_passive(fuel);
        loop {
            if self.required == 0 {
                return Found::Order;
            }
            match self.choose(from, fuel) {
                Err(why) => {
                    let stuck = self.stuck;
                    return Found::Spent { why, stuck };
                }
                Ok(Some((entry, after))) => {
                    let before = Some(std::mem::replace(&mut self.state, after));
                    self.lift(entry);
                    self.frames.push(Frame { entry, before });
                    from = self.take_passive(fuel);
                }
                Ok(None) => match self.undo() {
                    Some(entry) => from = self.search.entries[entry as usize].next,
                    None => return Found::None { stuck: self.stuck },
                },
            }
        }
    }

    /// The span of a call; `None` for a return or the end.
    #[inline]
    fn call(&self, entry: u32) -> Option<usize> {
        let tag = self.search.entries[entry as usize].tag;
        (tag & 1 == 0).then_some((tag >> 1) as usize)
    }

    /// Reduction (a): one pass suffices, since none of these changes the state. A return
    /// reached belongs to an operation that the pass has already looked at.
    fn take_passive(&mut self, fuel: &mut Fuel) -> u32 {
        let mut at = self.search.entries[HEAD as usize].next;
        let mut looked = 0;
        while let Some(span) = self.call(at) {
            looked += 1;
            let op = self.spans[span].op as usize;
            let next = self.search.entries[at as usize].next;
            let same =
                self.machine.passive(op) && self.machine.step(op, &self.state).as_ref() == Some(&self.state);
            if same {
                let prev = self.search.entries[at as usize].prev;
                self.lift(at);
                let before = None;
                self.frames.push(Frame { entry: at, before });
                at = self.search.entries[prev as usize].next;
            } else {
                at = next;
            }
        }
        fuel.steps = fuel.steps.saturating_sub(looked);
        self.search.entries[HEAD as usize].next
    }

    /// The next operation to try at or after `from`, with the state that it leaves.
    fn choose(&mut self, from: u32, fuel: &mut Fuel) -> Result<Option<(u32, M::State)>, Spent> {
        let mut at = from;
        let mut looked = 0;
        let leaving = self.machine.value(&self.state);
        let chosen = loop {
            let Some(span) = self.call(at) else {
                break None;
            };
            looked += 1;
            if let Some(after) = self.allowed(self.spans[span], leaving) {
                let key = self.set ^ scatter(span as u64) ^ self.machine.fingerprint(&after);
                match self.search.visited.insert(key) {
                    Err(_) => return Err(Spent::States),
                    Ok(true) => break Some((at, after)),
                    Ok(false) => {}
                }
            }
            at = self.search.entries[at as usize].next;
        };
        if chosen.is_none() {
            let tag = self.search.entries[at as usize].tag;
            assert_ne!(tag, END, "something must happen, yet no return is left");
            self.stuck = self.stuck.max(self.spans[(tag >> 1) as usize].ret);
        }
        fuel.steps = fuel.steps.checked_sub(looked).ok_or(Spent::Steps)?;
        Ok(chosen)
    }

    /// The state after `span`, unless it is impossible, pointless (c) or hopeless (b).
    #[inline]
    fn allowed(&self, span: Span, leaving: Option<u32>) -> Option<M::State> {
        let op = span.op as usize;
        let after = self.machine.step(op, &self.state)?;
        if after == self.state {
            return (span.ret != NEVER).then_some(after);
        }
        if let Some(v) = leaving {
            let own = u32::from(span.ret != NEVER && self.machine.needs(op) == Some(v));
            let needed = self.search.needed[v as usize] - own;
            if needed > 0 && self.search.makers[v as usize] == 0 {
                return None;
            }
        }
        Some(after)
    }

    #[inline]
    fn lift(&mut self, entry: u32) {
        let Entry { tag, mate, .. } = self.search.entries[entry as usize];
        self.search.unlink(entry);
        if mate != 0 {
            self.search.unlink(mate);
        }
        self.tally(tag >> 1, |count| *count -= 1, mate != 0);
        if mate != 0 {
            self.required -= 1;
        }
    }

    #[inline]
    fn tally(&mut self, span: u32, change: impl Fn(&mut u32), returned: bool) {
        self.set ^= scatter(u64::from(span));
        let op = self.spans[span as usize].op as usize;
        if let Some(v) = self.machine.needs(op).filter(|_| returned) {
            change(&mut self.search.needed[v as usize]);
        }
        if let Some(v) = self.machine.makes(op) {
            change(&mut self.search.makers[v as usize]);
        }
    }

    /// Takes back everything down to the last choice, and that choice; answers its entry.
    fn undo(&mut self) -> Option<u32> {
        loop {
            let Frame { entry, before } = self.frames.pop()?;
            let Entry { tag, mate, .. } = self.search.entries[entry as usize];
            if mate != 0 {
                self.search.relink(mate);
                self.required += 1;
            }
            self.search.relink(entry);
            self.tally(tag >> 1, |count| *count += 1, mate != 0);
            if let Some(before) = before {
                self.state = before;
                return Some(entry);
            }
        }
    }
}
