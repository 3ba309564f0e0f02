//! One place of the order: who said what about it.

use super::crypto::Digest;
use super::message::Claim;
use crate::quorum::NodeSet;
use alloc::vec::Vec;

/// Votes on one question, one a member.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Votes(Vec<(Digest, NodeSet)>);

/// What became of a vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    New,
    Again,
    /// The member has voted otherwise before.
    Otherwise,
}

impl Votes {
    pub(super) fn add(&mut self, place: usize, digest: Digest) -> Counted {
        if super::planted::is(super::Bug::DigestUncompared) {
            let at = self.0.first().map_or(digest, |(d, _)| *d);
            return self.count(place, at);
        }
        match self.0.iter().find(|(_, who)| who.has(place)) {
            Some((d, _)) if *d == digest => Counted::Again,
            Some(_) => Counted::Otherwise,
            None => self.count(place, digest),
        }
    }

    fn count(&mut self, place: usize, digest: Digest) -> Counted {
        match self.0.iter_mut().find(|(d, _)| *d == digest) {
            Some((_, who)) => {
                who.insert(place);
            }
            None => self.0.push((digest, NodeSet::one(place))),
        }
        Counted::New
    }

    /// Who voted for this.
    pub(super) fn of(&self, digest: Digest) -> NodeSet {
        self.0.iter().find(|(d, _)| *d == digest).map_or(NodeSet::EMPTY, |(_, who)| *who)
    }

    /// What was voted for, with by whom.
    pub(super) fn all(&self) -> impl Iterator<Item = (Digest, NodeSet)> {
        self.0.iter().copied()
    }
}

/// One place of the order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Slot {
    // Of the current view only; `renew` forgets them.
    /// What this member took note of.
    pub(super) noted: Option<Digest>,
    /// Whether a quorum did, for the same.
    pub(super) prepared: bool,
    pub(super) prepares: Votes,
    pub(super) commits: Votes,
    // Of all views.
    /// What it prepared last, and in which view.
    pub(super) last_prepared: Option<(u64, Digest)>,
    /// Each digest it took note of, with the last view; by view.
    pub(super) ever_noted: Vec<(u64, Digest)>,
    /// Who says this was decided.
    pub(super) decisions: Votes,
    pub(super) decided: Option<Digest>,
}

impl Slot {
    /// Forgets what belongs to a view that is over.
    pub(super) fn renew(&mut self) {
        self.noted = None;
        self.prepared = false;
        self.prepares = Votes::default();
        self.commits = Votes::default();
    }

    /// Whether this member took note of it, in any view.
    pub(super) fn has_noted(&self, digest: Digest) -> bool {
        self.ever_noted.iter().any(|(_, d)| *d == digest)
    }

    pub(super) fn note(&mut self, view: u64, digest: Digest) {
        self.noted = Some(digest);
        self.ever_noted.retain(|(_, d)| *d != digest);
        self.ever_noted.push((view, digest));
    }

    pub(super) fn claims(&self, seq: u64) -> impl Iterator<Item = Claim> + '_ {
        self.ever_noted.iter().map(move |(view, digest)| Claim { seq, view: *view, digest: *digest })
    }
}
