//! A delta cut into parts that can be sent one by one.

use super::content::Content;
use super::delta::{CHAIN_BYTES, Chain, Delta, Stretch, push_interval};
use super::order::Origin;
use super::tree::ROOT;
use crate::dot::Dot;
use alloc::vec;
use alloc::vec::Vec;

impl<C: Content> Delta<C> {
    /// Cuts it into parts of about `limit` bytes each; a part holds one element at least. Joined in order
    /// they are the whole: a part holds nothing that hangs on a later part, and a replica's names grow.
    #[must_use]
    pub fn split(&self, limit: usize) -> Vec<Self> {
        if self.size() <= limit {
            return Vec::from([self.clone()]);
        }
        let stretches = self.stretches();
        let mut parts = Vec::new();
        let mut part = Part::new(self);
        let mut sent = vec![false; self.parked.len()];
        for chain in self.causal_order() {
            let chain = self.chains[chain];
            // What waits goes before the younger names of its replica: those that are said to be seen cover it.
            let mut at = self.parked.partition_point(|(first, ..)| *first < chain.first >> 48 << 48);
            while self.parked.get(at).is_some_and(|(first, ..)| *first < chain.first) {
                if !core::mem::replace(&mut sent[at], true) {
                    part.park(&self.parked[at]);
                }
                at += 1;
            }
            let from = stretches.partition_point(|s| s.first < chain.first);
            for stretch in stretches[from..].iter().take_while(|s| s.first < chain.end) {
                let mut rest = *stretch;
                while rest.first < rest.end {
                    if part.bytes >= limit {
                        let full = core::mem::replace(&mut part, Part::new(self));
                        parts.push(full.close());
                    }
                    part.take(chain, &mut rest, limit);
                }
            }
        }
        for (parked, _) in self.parked.iter().zip(&sent).filter(|(_, sent)| !**sent) {
            part.park(parked);
        }
        let mut last = part.close();
        last.seen = self.seen.clone();
        last.doomed.clone_from(&self.doomed);
        parts.push(last);
        parts
    }

    /// The chains such that each comes after the one it hangs on and after the older ones of its replica.
    /// (What hangs on something that is not here comes as early as its replica's order lets it.)
    fn causal_order(&self) -> Vec<usize> {
        let mut queues: Vec<(usize, usize)> = Vec::new();
        for (at, chain) in self.chains.iter().enumerate() {
            match queues.last_mut() {
                Some((from, to)) if self.chains[*from].first >> 48 == chain.first >> 48 => *to = at + 1,
                _ => queues.push((at, at + 1)),
            }
        }
        let mut out = Vec::with_capacity(self.chains.len());
        let mut done = vec![false; self.chains.len()];
        let mut moved = true;
        while moved {
            moved = false;
            for (from, to) in &mut queues {
                while from < to {
                    let origin = self.chains[*from].origin.name;
                    let holder = if origin == ROOT { None } else { self.chain_of(origin) };
                    if holder.is_some_and(|h| !done[h]) {
                        break;
                    }
                    done[*from] = true;
                    out.push(*from);
                    *from += 1;
                    moved = true;
                }
            }
        }
        debug_assert_eq!(out.len(), self.chains.len(), "origins are older than what hangs on them");
        out
    }
}

/// A part that is being filled, in causal order.
struct Part<C> {
    delta: Delta<C>,
    /// Live elements, by the name of the first.
    pieces: Vec<(u64, C)>,
    bytes: usize,
}

impl<C: Content> Part<C> {
    fn new(whole: &Delta<C>) -> Self {
        // Each part must hold back purging as long as the whole would.
        let delta = Delta { deleted: whole.deleted.clone(), ..Delta::empty() };
        Self { delta, pieces: Vec::new(), bytes: 0 }
    }

    fn park(&mut self, parked: &(u64, Origin, C)) {
        let n = C::count(parked.2.as_slice()) as u64;
        let last = Dot::from_bits(parked.0 + n - 1);
        self.delta.seen.raise(last.replica(), last.sequence());
        self.bytes += CHAIN_BYTES + C::weight(parked.2.as_slice());
        self.delta.parked.push(parked.clone());
    }

    /// Takes from the front of a stretch of `chain` what there is room for.
    fn take(&mut self, chain: Chain, rest: &mut Stretch<'_, C::Slice>, limit: usize) {
        let first = rest.first;
        let mut n = rest.end - first;
        self.bytes += 2;
        if !rest.dead {
            // By the average weight: elements are alike more often than not.
            let weight = C::weight(rest.slice).max(1) as u64;
            let room = limit.saturating_sub(self.bytes) as u64;
            n = (n.saturating_mul(room) / weight).clamp(1, n);
            let (piece, more) = C::cut(rest.slice, n as usize);
            rest.slice = more;
            self.bytes += C::weight(piece);
            let mut owned = C::default();
            owned.push(piece);
            self.pieces.push((first, owned));
        }
        let end = first + n;
        if rest.dead {
            push_interval(&mut self.delta.dead, first, end);
        }
        match self.delta.chains.last_mut() {
            Some(last) if last.end == first && first != chain.first => last.end = end,
            _ => {
                let inside = Origin { name: first - 1, left: false };
                let origin = if first == chain.first { chain.origin } else { inside };
                self.delta.chains.push(Chain { first, end, origin });
                self.bytes += CHAIN_BYTES;
            }
        }
        rest.first = end;
        let last = Dot::from_bits(end - 1);
        self.delta.seen.raise(last.replica(), last.sequence());
    }

    /// Puts all into the order of names.
    fn close(mut self) -> Delta<C> {
        self.delta.chains.sort_unstable_by_key(|c| c.first);
        self.delta.parked.sort_unstable_by_key(|(first, ..)| *first);
        self.pieces.sort_unstable_by_key(|(first, _)| *first);
        for (_, piece) in &self.pieces {
            self.delta.content.push(piece.as_slice());
        }
        let mut dead = core::mem::take(&mut self.delta.dead);
        dead.sort_unstable();
        for (first, end) in dead {
            push_interval(&mut self.delta.dead, first, end);
        }
        self.delta
    }
}
