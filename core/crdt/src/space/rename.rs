//! What operations are called after evictions.
//!
//! **Model.** An operation that an eviction cut off is made anew by its maker, under another dot ([`super::salvage`]). Operations of
//! others that name it — removals, increments of the counter that it made — keep the old name for ever: they lie in logs and on disks.
//! So names are read through the roster ([`Roster::renamed`](crate::Roster::renamed)): when an operation is applied, when what
//! it names is remembered as still to come, and when a counter's shares are compared. State then is a function of the operations
//! received *and* the roster. What is shown is not: entries keep the names that they came with, and no sum changes.
//!
//! **Invariant.** An operation that is made anew is admitted only by a roster that says so ([`Begins`](crate::Begins)). By then what is
//! remembered of it goes by its new name, so that it finds its removal wherever it comes.
//!
//! As long as nobody was evicted, nothing of this costs anything.

use super::Space;
use super::pending::{Cleared, Upto};
use super::tree;
use crate::dot::Dot;
use crate::op::{Action, Dots, Op};
use crate::rga::Span;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use dwcp_env::NodeId;

impl Space {
    /// What a dot is called now.
    pub(super) fn named_now(&self, dot: Dot) -> Dot {
        if self.renames && self.roster.cuts_off(dot) { self.roster.renamed(dot, None) } else { dot }
    }
    /// The counter that a share belongs to.
    pub(super) fn instance(&self, body: &[u8]) -> Option<Dot> {
        tree::instance(body).map(|dot| self.named_now(dot))
    }
    /// What an operation supersedes; of a counter's shares, which.
    pub(super) fn in_names_of_now<'o>(&self, op: &'o Op<'o>) -> Cow<'o, Op<'o>> {
        let old = |d: &Dot| self.roster.cuts_off(*d);
        let names_old = |op: &Op<'_>| {
            op.supersedes.as_slice().iter().any(old)
                || match &op.action {
                    Action::Count { instance, .. } | Action::Escrow { instance, .. } => old(instance),
                    Action::Clear(Some(upto)) => upto.iter().any(|(r, s)| old(&Dot::new(r, s))),
                    _ => false,
                }
        };
        if self.renames && names_old(op) { Cow::Owned(self.renamed(op, None)) } else { Cow::Borrowed(op) }
    }
    /// The same operation with what it names by today's names; `by` is the node whose it is, if that is this one.
    pub(super) fn renamed<'o>(&self, op: &Op<'o>, by: Option<NodeId>) -> Op<'o> {
        let now = |d: Dot| self.roster.renamed(d, by);
        let action = match &op.action {
            Action::Count { instance, plus, minus } => {
                Action::Count { instance: now(*instance), plus: *plus, minus: *minus }
            }
            Action::Escrow { instance, granted, spent, transfers } => Action::Escrow {
                instance: now(*instance),
                granted: *granted,
                spent: *spent,
                transfers: transfers.clone(),
            },
            Action::Clear(Some(upto)) => Action::Clear(Some(self.roster.renamed_version(upto, by))),
            other => other.clone(),
        };
        let supersedes = op.supersedes.as_slice().iter().map(|d| now(*d)).collect();
        Op { supersedes: Dots::new(supersedes), action, ..op.clone() }
    }
    /// The elements that go, by today's names.
    pub(super) fn rename_spans(&self, spans: &mut Vec<Span>) {
        let last = |s: &Span| Dot::new(s.first.replica(), s.first.sequence() + u64::from(s.len) - 1);
        if !self.renames || !spans.iter().any(|s| self.roster.cuts_off(last(s))) {
            return;
        }
        let now = spans.iter().flat_map(Span::names).map(|d| self.named_now(d).bits());
        let mut names: Vec<u64> = now.collect();
        names.sort_unstable();
        names.dedup();
        *spans = super::splice::spans(&names);
    }
    /// What is remembered as removed before it came goes by the names of a roster that has just come.
    pub(super) fn rename_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let before = core::mem::take(&mut self.pending);
        let (dots, clears) = before.all();
        for dot in dots {
            let now = self.named_now(dot);
            debug_assert!(now == dot || !self.vv.contains(now), "{now} came before the roster that names it");
            self.pending.add(now, &self.roster);
        }
        for clear in clears {
            let upto = Upto(self.roster.renamed_version(&clear.upto.0, None));
            self.pending.add_clear(Cleared { upto, ..clear.clone() }, &self.vv, &self.roster);
        }
    }
}
