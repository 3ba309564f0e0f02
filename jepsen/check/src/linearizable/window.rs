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
//! | drop an observation | it never changed anything |
//! | an operation that returned need not happen | as above |
//! | drop an optional operation that makes a value nobody wants | it helped nobody |
//!
//! # Order of work
//! Windows around the return at which the search was stuck, four times as long each time,
//! until one is refused; then the earliest end, the latest start (both by bisection: a
//! longer window of a refused one is refused), then single operations. What is left is
//! proved by [`prove`]: every configuration remembered whole, no hashing, and of the
//! reductions of the search only the two that look at nothing but the present state.

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

/// Entries that one trial of a cut may look at.
const STEPS_A_TRIAL: u64 = 20_000_000;

struct Cutter<'a, M: Machine> {
    machine: &'a M,
    spans: &'a [Span],
    /// All returns, sorted.
    returns: Vec<u64>,
    search: &'a mut Search,
    states: usize,
}

/// The smallest refused window found, given that the whole is refused and that the search
/// was last stuck at the return `stuck`.
pub(crate) fn minimise<M: Machine>(
    machine: &M,
    spans: &[Span],
    stuck: u64,
    search: &mut Search,
    states: usize,
) -> Window<M::State> {
    let mut returns: Vec<u64> = spans.iter().map(|span| span.ret).collect();
    returns.retain(|ret| *ret != NEVER);
    returns.sort_unstable();
    let mut cutter = Cutter {
        machine,
        spans,
        returns,
        search,
        states,
    };
    let Some((first, last)) = cutter.locate(stuck) else {
        return cutter.cut(0, cutter.returns.len() - 1);
    };
    let (first, last) = cutter.tighten(first, last);
    let mut window = cutter.cut(first, last);
    if window.spans.len() <= REFINE_AT_MOST {
        cutter.refine(&mut window);
    }
    window
}

impl<M: Machine> Cutter<'_, M> {
    /// The window from the call of span `first` to the return `last` (both by rank).
    fn cut(&self, first: usize, last: usize) -> Window<M::State> {
        let end = self.returns[last];
        let unknown = self.machine.unknown().filter(|_| first > 0);
        let from_beginning = unknown.is_none();
        let begin = if from_beginning {
            0
        } else {
            self.spans[first].call
        };
        let mut spans = Vec::new();
        for span in self.spans.iter().take_while(|span| span.call <= end) {
            if span.ret < begin {
                continue;
            }
            let open = span.call < begin || span.ret > end;
            let ret = if open { NEVER } else { span.ret };
            spans.push(Span { ret, ..*span });
        }
        Window {
            spans,
            start: unknown.unwrap_or_else(|| self.machine.initial()),
            from_beginning,
        }
    }

    fn refused(&mut self, window: &Window<M::State>) -> bool {
        let mut fuel = Fuel {
            steps: STEPS_A_TRIAL,
            states: self.states,
        };
        let start = window.start.clone();
        let found = self
            .search
            .run(self.machine, &window.spans, start, &mut fuel);
        matches!(found, Found::None { .. })
    }

    /// A refused window around `stuck`, by doubling its reach; `None` if only the whole
    /// is known to be refused.
    fn locate(&mut self, stuck: u64) -> Option<(usize, usize)> {
        let at = self.returns.partition_point(|ret| *ret < stuck);
        let call = self.spans.partition_point(|span| span.call < stuck);
        let mut reach = 16;
        loop {
            let first = call.saturating_sub(reach);
            let last = (at + reach).min(self.returns.len() - 1);
            let whole = first == 0 && last == self.returns.len() - 1;
            let window = self.cut(first, last);
            if self.refused(&window) {
                return Some((first, last));
            }
            if whole {
                return None;
            }
            reach *= 4;
        }
    }

    /// The earliest end, then the latest start.
    fn tighten(&mut self, first: usize, last: usize) -> (usize, usize) {
        let (mut low, mut last) = (0, last);
        while low < last {
            let middle = low + (last - low) / 2;
            let window = self.cut(first, middle);
            if self.refused(&window) {
                last = middle;
            } else {
                low = middle + 1;
            }
        }
        if self.machine.unknown().is_none() {
            return (0, last);
        }
        // Where even a start one operation later is accepted, the beginning itself
        // carries the contradiction; the bisection then ends at `first`.
        let (mut first, mut high) = (first, self.spans.len());
        while first + 1 < high {
            let middle = first + (high - first) / 2;
            let window = self.cut(middle, last);
            if self.refused(&window) {
                first = middle;
            } else {
                high = middle;
            }
        }
        (first, last)
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
        if self.machine.observes(span.op as usize) {
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
/// shared are only the machine, and the arguments that an enabled observation can go
/// first and that an optional operation without effect can be left out.
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
                Some(after) if after == state && machine.observes(op) => {
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
    Proof::None {
        blocked: farthest.1,
        states: farthest.2.into_iter().collect(),
    }
}
