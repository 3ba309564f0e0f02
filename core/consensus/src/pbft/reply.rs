//! The rule by which a client believes: f + 1 equal replies from different members (`dwcp kv … --agree` counts by it).
//!
//! One of f + 1 is correct, and a correct one answers what was decided. Each member counts once for
//! a question: a second reply of another content is a lie and is dropped. Replies are authenticated by the
//! link they come over; digests are compared, and the body of any that agrees is the answer.

use crate::quorum::NodeSet;
use alloc::vec::Vec;

/// Replies to one question.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Replies {
    members: usize,
    enough: usize,
    heard: NodeSet,
    said: Vec<([u8; 32], NodeSet)>,
}

impl Replies {
    /// None yet, of a group of this many members.
    #[must_use]
    pub const fn of(members: usize) -> Self {
        Self::needing(members, members.saturating_sub(1) / 3 + 1)
    }

    /// The same where so many must be alike.
    #[must_use]
    pub const fn needing(members: usize, enough: usize) -> Self {
        Self { members, enough, heard: NodeSet::EMPTY, said: Vec::new() }
    }

    /// Takes a reply from the member at `place`; says the digest that may be believed, if there is one now.
    pub fn hear(&mut self, place: usize, digest: [u8; 32]) -> Option<[u8; 32]> {
        if place < self.members && self.heard.insert(place) {
            match self.said.iter_mut().find(|(d, _)| *d == digest) {
                Some((_, who)) => {
                    who.insert(place);
                }
                None => self.said.push((digest, NodeSet::one(place))),
            }
        }
        self.believed()
    }

    /// What enough said alike.
    #[must_use]
    pub fn believed(&self) -> Option<[u8; 32]> {
        self.said.iter().find(|(_, who)| who.len() >= self.enough).map(|(d, _)| *d)
    }

    /// Whether no answer can be believed any more, whatever the others say: ask again.
    #[must_use]
    pub fn hopeless(&self) -> bool {
        let left = self.members - self.heard.len();
        let most = self.said.iter().map(|(_, who)| who.len()).max().unwrap_or(0);
        most + left < self.enough
    }
}
