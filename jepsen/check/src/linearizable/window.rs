//! From "no order exists" to the few operations that show it, and the exact proof.
//!
//! The search refuses a whole partition, perhaps a million operations. People need the
//! five that contradict each other, and a verdict must not rest on a hash.
//!
//! # What may be taken away
//! Each step weakens the problem: whoever could order the whole could order the rest. So
//! if the rest has no order, neither has the whole.
//!
//! | step | why it only weakens |
//! |---|---|
//! | drop everything called after an instant | it can be cut off the end of any order |
//! | an operation open at that instant need not return | its order is still allowed, and more |
//! | drop everything that returned before an instant, start from the *unknown* state | the unknown state allows what the dropped ones led to |
//! | an operation open at that first instant need not happen | it may have happened before |
//! | drop a passive operation | by its definition |
//! | an operation that returned need not happen | as above |
//! | drop an optional operation that makes a value nobody wants | it helped nobody |
//!
//! # Order of work
//! Windows around the return at which the search was stuck, four times as long each time;
//! then short windows all over the history (the cause often lies far from where the
//! search noticed: reduction (b) of the search looks ahead); then longer and longer ones
//! up to the whole. In the first that is refused: the earliest end, the latest start (both
//! by bisection: what contains a refused window is refused), then single operations. What
//! is left is proved by [`prove`]: every configuration remembered whole, no hashing, and of
//! the reductions of the search only the two that look at nothing but the present state.
//!
//! The same short windows rescue the search: a history of a million operations with one
//! stale read is refused by two of them, while the search would first try every order of
//! everything before.

use super::machine::Machine;
use super::search::{Found, Fuel, NEVER, Search, Span, is_idle};
use std::collections::BTreeSet;

/// Operations that contradict each other.
#[derive(Debug)]
pub(crate) struct Window<S> {
    /// Sorted by call; `ret` is [`NEVER`] for what may or may not have happened.
    pub(crate) spans: Vec<Span>,
    pub(crate) start: S,
    /// Whether `start` is the object's true beginning.
    pub(crate) from_beginning: bool,
}

/// Single operations are tried away only in windows of at most this many.
const REFINE_AT_MOST: usize = 256;

/// Entries that one trial may look at, for windows of up to a thousand operations and per
/// thousand beyond. A trial that ends here counts as accepted: the window stays larger.
const STEPS_A_TRIAL: u64 = 500_000;

/// Entries that all trials together may look at, about a tenth of a second; a hundred
/// more for each operation.
const STEPS_IN_ALL: u64 = 20_000_000;

/// Operations on each side of where the search was stuck, at first and at most before
/// short windows all over are tried.
const REACH: std::ops::Range<usize> = 16..2_048;

/// Lengths of the short windows; each starts half a length after the one before.
const LENGTHS: [usize; 3] = [64, 512, 4_096];

struct Cutter<'a, M: Machine> {
    machine: &'a M,
    base: Vec<Span>,
    /// Whether `base` starts from the object's true beginning.
    from_beginning: bool,
    /// All returns of `base`, sorted.
    returns: Vec<u64>,
    search: &'a mut Search,
    states: usize,
    steps: u64,
}

/// The smallest refused window found in `spans`; the search was last stuck at the return
/// `stuck`. `None` if none is found in time, unless the whole is `refused`: then at worst
/// the whole.
pub(crate) fn minimise<M: Machine>(
    machine: &M,
    spans: &[Span],
    (stuck, refused): (u64, bool),
    search: &mut Search,
    states: usize,
) -> Option<Window<M::State>> {
    let mut cutter = Cutter {
        machine,
        base: Vec::new(),
        from_beginning: true,
        returns: Vec::new(),
        search,
        states,
        steps: STEPS_IN_ALL + 100 * spans.len() as u64,
    };
    cutter.rebase(spans.to_vec(), true);
    let near = cutter.around(stuck, REACH.start, REACH.end);
    let short = near.or_else(|| LENGTHS.iter().find_map(|length| cutter.scan(*length)));
    let found = match short {
        None if refused => cutter.around(stuck, REACH.end, usize::MAX),
        short => short,
    };
    let Some(found) = found else {
        return refused.then(|| cutter.cut(0, cutter.returns.len() - 1));
    };
    cutter.rebase(found.spans, found.from_beginning);
    let mut window = cutter.tighten();
    if window.spans.len() <= REFINE_AT_MOST {
        cutter.refine(&mut window);
    }
    Some(window)
}

impl<M: Machine> Cutter<'_, M> {
    fn rebase(&mut self, base: Vec<Span>, from_beginning: bool) {
        self.returns.clear();
        self.returns.extend(base.iter().map(|span| span.ret));
        self.returns.retain(|ret| *ret != NEVER);
        self.returns.sort_unstable();
        self.base = base;
        self.from_beginning = from_beginning;
    }

    /// The window from the call of span `first` to the return `last` (both by rank).
    fn cut(&self, first: usize, last: usize) -> Window<M::State> {
        let cut = first > 0 && self.machine.unknown().is_some();
        let begin = if cut { self.base[first].call } else { 0 };
        let open = self.base.iter();
        self.window(open, begin, self.returns[last], self.from_beginning && !cut)
    }

    /// The operations of `from` (sorted by call) between two instants.
    fn window<'s>(
        &self,
        from: impl Iterator<Item = &'s Span>,
        begin: u64,
        end: u64,
        from_beginning: bool,
    ) -> Window<M::State> {
        let mut spans = Vec::new();
        for span in from.take_while(|span| span.call <= end) {
            if span.ret < begin {
                continue;
            }
            let open = span.call < begin || span.ret > end;
            let ret = if open { NEVER } else { span.ret };
            spans.push(Span { ret, ..*span });
        }
        let start = self.machine.unknown().filter(|_| !from_beginning);
        Window { spans, start: start.unwrap_or_else(|| self.machine.initial()), from_beginning }
    }

    fn refused(&mut self, window: &Window<M::State>) -> bool {
        let size = window.spans.len() as u64 / 1_000 + 1;
        let steps = self.steps.min(STEPS_A_TRIAL * size);
        let mut fuel = Fuel { steps, states: self.states };
        let start = window.start.clone();
        let found = self.search.run(self.machine, &window.spans, start, &mut fuel);
        self.steps -= steps - fuel.steps;
        matches!(found, Found::None { .. })
    }

    /// A refused window around `stuck` that reaches from `reach` operations to fewer than
    /// `most` on each side.
    fn around(&mut self, stuck: u64, mut reach: usize, most: usize) -> Option<Window<M::State>> {
        let at = self.returns.partition_point(|ret| *ret < stuck);
        let call = self.base.partition_point(|span| span.call < stuck);
        while reach < most {
            let first = call.saturating_sub(reach);
            let last = (at.saturating_add(reach)).min(self.returns.len() - 1);
            let window = self.cut(first, last);
            if self.refused(&window) {
                return Some(window);
            }
            if first == 0 && last == self.returns.len() - 1 {
                return None;
            }
            reach = reach.saturating_mul(4);
        }
        None
    }

    /// The first refused window of `length` operations anywhere.
    fn scan(&mut self, length: usize) -> Option<Window<M::State>> {
        self.machine.unknown()?;
        let mut open: Vec<Span> = Vec::new();
        let mut first = 0;
        while first < self.base.len() && self.steps > 0 {
            let begin = self.base[first].call;
            let until = (first + length).min(self.base.len());
            let end = self.base[until - 1].call;
            open.retain(|span| span.ret >= begin);
            let inside = open.iter().chain(&self.base[first..until]);
            let window = self.window(inside, begin, end, false);
            if self.refused(&window) {
                return Some(window);
            }
            let next = (first + length / 2).min(self.base.len());
            open.extend_from_slice(&self.base[first..next]);
            first = next;
        }
        None
    }

    /// The earliest end of the base, then its latest start.
    fn tighten(&mut self) -> Window<M::State> {
        let (mut low, mut last) = (0, self.returns.len() - 1);
        while low < last {
            let middle = low + (last - low) / 2;
            let window = self.cut(0, middle);
            if self.refused(&window) {
                last = middle;
            } else {
                low = middle + 1;
            }
        }
        if self.machine.unknown().is_none() {
            return self.cut(0, last);
        }
        // Where even a start one operation later is accepted, the beginning itself
        // carries the contradiction; the bisection then ends at 0.
        let (mut first, mut high) = (0, self.base.len());
        while first + 1 < high {
            let middle = first + (high - first) / 2;
            let window = self.cut(middle, last);
            if self.refused(&window) {
                first = middle;
            } else {
                high = middle;
            }
        }
        self.cut(first, last)
    }

    /// Tries each operation away, and each obligation, until nothing more goes.
    fn refine(&mut self, window: &mut Window<M::State>) {
        loop {
            let before = window.spans.clone();
            for span in before.iter().rev() {
                self.lighten(window, *span);
            }
            let kept: Vec<Span> = window
                .spans
                .iter()
                .copied()
                .filter(|span| !is_idle(self.machine, &window.spans, *span))
                .collect();
            window.spans = kept;
            if window.spans == before {
                return;
            }
        }
    }

    fn lighten(&mut self, window: &mut Window<M::State>, span: Span) {
        let Some(at) = window.spans.iter().position(|other| *other == span) else {
            return;
        };
        let whole = window.spans.clone();
        if self.machine.passive(span.op as usize) {
            window.spans.remove(at);
        } else if span.ret != NEVER {
            window.spans[at].ret = NEVER;
        } else {
            return;
        }
        if !self.refused(window) {
            window.spans = whole;
        }
    }
}

/// What the exact search answers.
#[derive(Debug)]
pub(crate) enum Proof<S> {
    /// There is an order after all.
    Order,
    /// There is none; the farthest that any order comes is the return of `blocked` (an
    /// index of the window), in one of `states`.
    None { blocked: usize, states: Vec<S> },
    /// Too large to try everything.
    TooLarge,
}

/// Configurations that the exact proof may remember.
const PROOF_AT_MOST: usize = 400_000;

/// Searches a small window without hashing. Written apart from the search that it checks;
/// shared are only the machine, and the arguments that a passive operation without
/// effect can go first and that an optional operation without effect can be left out.
pub(crate) fn prove<M: Machine>(machine: &M, window: &Window<M::State>) -> Proof<M::State> {
    let spans = &window.spans;
    let none = vec![0_u64; spans.len().div_ceil(64)];
    let mut seen = BTreeSet::new();
    let mut todo = vec![(none, window.start.clone())];
    let mut farthest = (0, 0, BTreeSet::new());
    while let Some((done, state)) = todo.pop() {
        let left = (0..spans.len()).filter(|at| done[at / 64] >> (at % 64) & 1 == 0);
        let returned = left.clone().filter(|at| spans[*at].ret != NEVER);
        let Some(first) = returned.min_by_key(|at| spans[*at].ret) else {
            return Proof::Order;
        };
        let limit = spans[first].ret;
        let mut next = Vec::new();
        for at in left.filter(|at| spans[*at].call <= limit) {
            let (op, optional) = (spans[at].op as usize, spans[at].ret == NEVER);
            match machine.step(op, &state) {
                None => {}
                Some(after) if after == state && optional => {}
                Some(after) if after == state && machine.passive(op) => {
                    next = vec![(at, after)];
                    break;
                }
                Some(after) => next.push((at, after)),
            }
        }
        if limit >= farthest.0 && next.iter().all(|(at, _)| *at != first) {
            if limit > farthest.0 {
                farthest = (limit, first, BTreeSet::new());
            }
            farthest.2.insert(state);
        }
        for (at, after) in next {
            let mut with = done.clone();
            with[at / 64] |= 1 << (at % 64);
            let new = (with, after);
            if !seen.contains(&new) {
                seen.insert(new.clone());
                todo.push(new);
            }
        }
        if seen.len() > PROOF_AT_MOST {
            return Proof::TooLarge;
        }
    }
    Proof::None { blocked: farthest.1, states: farthest.2.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizable::machine::{Cell, CellOp, Need};

    /// Who overlaps an edge of the window need not have happened inside it.
    #[test]
    fn a_cut_weakens() {
        let write = CellOp { need: Need::Any, make: 0 };
        let machine = Cell::new(vec![write; 5], 1, Vec::new());
        let times = [(0, 5), (3, 8), (6, 9), (7, NEVER), (10, 12), (13, 14)];
        let span = |(op, (call, ret)): (usize, (u64, u64))| Span { op: op as u32, call, ret };
        let mut cutter = Cutter {
            machine: &machine,
            base: Vec::new(),
            from_beginning: true,
            returns: Vec::new(),
            search: &mut Search::new(),
            states: 10,
            steps: 10,
        };
        cutter.rebase(times.into_iter().enumerate().map(span).collect(), true);
        let show = |window: Window<u32>| {
            let pair = |span: &Span| (span.op, (span.ret != NEVER).then_some(span.ret));
            let spans: Vec<_> = window.spans.iter().map(pair).collect();
            (spans, window.from_beginning)
        };
        let from_call_6_to_return_9 = show(cutter.cut(2, 2));
        let expected = vec![(1, None), (2, Some(9)), (3, None)];
        assert_eq!(from_call_6_to_return_9, (expected, false));
        let all_to_return_8 = show(cutter.cut(0, 1));
        let expected = vec![(0, Some(5)), (1, Some(8)), (2, None), (3, None)];
        assert_eq!(all_to_return_8, (expected, true));
    }
}
