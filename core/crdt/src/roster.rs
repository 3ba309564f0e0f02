//! Who takes part in a space, decided by consensus and told to the space.
//!
//! A place in the roster is a [`ReplicaIndex`] and stands for one *incarnation* of one node. It is
//! given once. A node takes a new one when it cannot be sure to know every operation it ever sent:
//! an empty disk, a restored backup, a forked image.
//!
//! | standing | writes accepted | holds the log | holds tombstones | meaning |
//! |---|---|---|---|---|
//! | [`Active`](Standing::Active) | yes | yes | yes | takes part |
//! | [`Lagging`](Standing::Lagging) | yes | no | yes | silent for long (default 1 h): served from a snapshot when it returns |
//! | [`Closing`](Standing::Closing) | nothing new | no | yes | an eviction is being decided: everyone reports how far it has come |
//! | [`Evicted`](Standing::Evicted) | up to `last` | no | no | gone for good (default 24 h); its clock stands at `last` |
//! | [`Awaited`](Standing::Awaited) | nothing | no | no | the next place of a node that was evicted, given with the eviction and not taken yet |
//!
//! `Closing` exists because an eviction must name the last operation that counts, and that is the
//! most any survivor holds *on its disk*: between the question and the answer nobody may take more, and nobody may
//! report what a crash could take back. A clock
//! entry that every survivor has at `last` never moves again. What an evicted node wrote and nobody
//! received, it writes anew under its next incarnation (`Space::write_anew`).
//!
//! `Awaited` exists for names. An operation that was cut off has its next name from the moment of the eviction on ([`Roster::renamed`]), although
//! nobody knows when its maker returns. So whoever was evicted with it and returns first can say what it removed of it. A node that
//! returns and is not sure of what it made ([`Roster::admit`]) does not take that place: what is made there would
//! go by names that mean something else.
//!
//! If the only holder of an evicted member's operations is lost in its turn, they are lost: the eviction of the second
//! names the last of the first anew, lower. No survivor holds more, or it would have said so.
//!
//! **Invariant 1.** The epoch rises with every change, places never change their owner, standings only move
//! down the table or back from `Lagging` to `Active` (`Closing` too, if the eviction is called off), and from `Awaited` to `Active` or its end.
//! Rejected: pruning clocks by age or size (Riak, `riak_core` #613: siblings that circulate for ever), by
//! gossip (Akka #21647, akka.net #4200: totals that come back).

use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::version::VersionVector;
use alloc::vec::Vec;
use dwcp_env::NodeId;
use thiserror::Error;

/// Set in a standing's byte: [`Begins`].
const UNDECIDED: u8 = 0x40;
const BEYOND: u8 = 0x80;

/// How a replica takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It takes part.
    Active,
    /// It has been silent for long; the log is no longer kept for it.
    Lagging,
    /// Its eviction is being decided.
    Closing,
    /// It is gone.
    Evicted {
        /// The number of its last operation that counts.
        last: u64,
        /// Who inherits what it held in bounded counters.
        heir: Option<ReplicaIndex>,
    },
    /// Its node was evicted and has not come back.
    Awaited,
}

/// What the first operations of a place are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begins {
    /// New ones.
    Anew,
    /// Those of the node's place before it that its eviction cuts off, which is still to be decided. Until then it makes none.
    Undecided,
    /// Those of the node's place before it beyond this number.
    Beyond(u64),
}

/// One place of the roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which of its lives, from 1.
    pub incarnation: u64,
    /// What its first operations are.
    pub begins: Begins,
    /// How it takes part.
    pub standing: Standing,
}

impl Member {
    /// Whether operations of it may still come that are not known to any survivor.
    #[must_use]
    pub const fn takes_part(&self) -> bool {
        !matches!(self.standing, Standing::Evicted { .. } | Standing::Awaited)
    }
}

/// All places of a space, by index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// Rises with every change.
    pub epoch: u64,
    members: Vec<Member>,
}

/// A roster that can't follow the one in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RosterFault {
    /// Its epoch is not later.
    #[error("roster epoch {theirs} does not follow {ours}")]
    Epoch {
        /// The one in force.
        ours: u64,
        /// The one offered.
        theirs: u64,
    },
    /// A place is missing or has another owner.
    #[error("place {0} of the roster changed its owner: places are given once")]
    Owner(ReplicaIndex),
    /// An evicted replica can't return under its old place.
    #[error("{0} was evicted: a returning node takes a new incarnation")]
    Returned(ReplicaIndex),
}

impl Roster {
    /// The first roster: these nodes, each in its first life.
    #[must_use]
    pub fn founding(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let member = |node| Member { node, incarnation: 1, begins: Begins::Anew, standing: Standing::Active };
        Self { epoch: 1, members: nodes.into_iter().map(member).collect() }
    }
    /// The same with a place for a new life of `node`, and that place; nothing if all 65,536 were given: then
    /// only a new space has room. For one that can't be sure to know all that it made before; a place where it was awaited ends.
    #[must_use]
    pub fn admit(&self, node: NodeId) -> Option<(Self, ReplicaIndex)> {
        let mut next = self.clone();
        for m in next.members.iter_mut().filter(|m| m.node == node && m.standing == Standing::Awaited) {
            m.standing = Standing::Evicted { last: 0, heir: None };
        }
        let place = next.give(node, Begins::Anew, Standing::Active)?;
        next.epoch += 1;
        Some((next, place))
    }
    /// The same with `node` at the place where it is awaited, or at a new one. For one that knows all that it made before.
    #[must_use]
    pub fn readmit(&self, node: NodeId) -> Option<(Self, ReplicaIndex)> {
        let mut next = self.clone();
        let awaited = self.iter().find(|(_, m)| m.node == node && m.standing == Standing::Awaited);
        let place = match awaited {
            Some((place, _)) => {
                next.members[usize::from(place.0)].standing = Standing::Active;
                place
            }
            None => next.give(node, self.after_last(node), Standing::Active)?,
        };
        next.epoch += 1;
        Some((next, place))
    }
    fn after_last(&self, node: NodeId) -> Begins {
        match self.members.iter().rfind(|m| m.node == node).map(|m| m.standing) {
            None => Begins::Anew,
            Some(Standing::Evicted { last, .. }) => Begins::Beyond(last),
            Some(_) => Begins::Undecided,
        }
    }
    fn give(&mut self, node: NodeId, begins: Begins, standing: Standing) -> Option<ReplicaIndex> {
        let index = u16::try_from(self.members.len()).ok()?;
        let lives = self.members.iter().filter(|m| m.node == node).count() as u64;
        self.members.push(Member { node, incarnation: lives + 1, begins, standing });
        Some(ReplicaIndex(index))
    }
    /// The same with `replica` in another standing. Of one that is evicted the node is awaited at another place, if there is room and
    /// it has none.
    #[must_use]
    pub fn with(&self, replica: ReplicaIndex, standing: Standing) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        let Some(m) = next.members.get_mut(usize::from(replica.0)) else { return next };
        m.standing = standing;
        let (node, later) = (m.node, usize::from(replica.0) + 1);
        if let Standing::Evicted { last, .. } = standing {
            match next.members[later..].iter_mut().find(|m| m.node == node) {
                Some(m) if m.begins == Begins::Undecided => m.begins = Begins::Beyond(last),
                Some(_) => {}
                None => drop(next.give(node, Begins::Beyond(last), Standing::Awaited)),
            }
        }
        next
    }
    /// Whether `next` may come after this one.
    ///
    /// # Errors
    /// Says why it may not.
    pub fn check_next(&self, next: &Self) -> Result<(), RosterFault> {
        if next.epoch <= self.epoch {
            return Err(RosterFault::Epoch { ours: self.epoch, theirs: next.epoch });
        }
        for (i, old) in self.members.iter().enumerate() {
            let index = ReplicaIndex(i as u16);
            let Some(new) = next.members.get(i) else { return Err(RosterFault::Owner(index)) };
            let begins = new.begins == old.begins || old.begins == Begins::Undecided;
            if (new.node, new.incarnation) != (old.node, old.incarnation) || !begins {
                return Err(RosterFault::Owner(index));
            }
            // Rosters in between may not have come here: from awaited on, everything may have happened.
            let awaited = |m: &Member| m.standing == Standing::Awaited;
            if awaited(new) && !awaited(old) {
                return Err(RosterFault::Returned(index));
            }
            if let Standing::Evicted { last: before, heir: old_heir } = old.standing {
                let lowered = matches!(new.standing, Standing::Evicted { last, heir } if last <= before && heir == old_heir);
                if !lowered {
                    return Err(RosterFault::Returned(index));
                }
            }
        }
        Ok(())
    }
    /// The place's member.
    #[must_use]
    pub fn get(&self, replica: ReplicaIndex) -> Option<&Member> {
        self.members.get(usize::from(replica.0))
    }
    /// The number of the last operation of `replica` that may be applied; zero for a stranger, and for a place at which none was made yet.
    #[must_use]
    pub fn last(&self, replica: ReplicaIndex) -> u64 {
        match self.get(replica) {
            None
            | Some(Member { standing: Standing::Awaited, .. } | Member { begins: Begins::Undecided, .. }) => {
                0
            }
            Some(Member { standing: Standing::Evicted { last, .. }, .. }) => *last,
            Some(_) => SEQUENCE_MAX,
        }
    }
    /// Whether an operation with this dot may be applied at all.
    #[must_use]
    pub fn admits(&self, dot: Dot) -> bool {
        dot.sequence() <= self.last(dot.replica())
    }
    /// Whether an eviction has cut this operation off: nobody will ever have it.
    #[must_use]
    pub fn cuts_off(&self, dot: Dot) -> bool {
        let standing = self.get(dot.replica()).map(|m| m.standing);
        matches!(standing, Some(Standing::Evicted { last, .. }) if dot.sequence() > last)
    }
    /// The name that an operation beyond an eviction's cut has at its node's next place, if that goes on with what was before: number
    /// `cut + n` of an ended place is made anew as number `n` of the next (`Space::write_anew`). `by`, whoever asks, is always sure
    /// of its own.
    fn renamed_once(&self, dot: Dot, by: Option<NodeId>) -> Option<Dot> {
        let of = self.get(dot.replica())?;
        let (at, next) = self.next_place_of(dot.replica())?;
        let cut = match (next.begins, of.standing) {
            (Begins::Beyond(cut), _) => cut,
            (Begins::Anew, Standing::Evicted { last, .. }) if by == Some(of.node) => last,
            _ => return None,
        };
        let beyond = dot.sequence().checked_sub(cut).filter(|n| *n > 0)?;
        Some(Dot::new(at, beyond))
    }
    fn next_place_of(&self, replica: ReplicaIndex) -> Option<(ReplicaIndex, &Member)> {
        let of = self.get(replica)?;
        let (at, later) = (replica.0 + 1, self.members.get(usize::from(replica.0) + 1..)?);
        let found = later.iter().enumerate().find(|(_, m)| m.node == of.node)?;
        Some((ReplicaIndex(at + found.0 as u16), found.1))
    }
    /// The place that a node has after this one.
    #[must_use]
    pub fn next_place(&self, replica: ReplicaIndex) -> Option<&Member> {
        self.next_place_of(replica).map(|(_, m)| m)
    }
    /// Whether any operation has another name than it had.
    #[must_use]
    pub fn renames(&self) -> bool {
        self.members.iter().any(|m| matches!(m.begins, Begins::Beyond(_)))
    }
    /// What a dot is called now; `by` is the node that asks.
    #[must_use]
    pub fn renamed(&self, mut dot: Dot, by: Option<NodeId>) -> Dot {
        while let Some(next) = self.renamed_once(dot, by) {
            dot = next;
        }
        dot
    }
    /// What a version knows, in today's names: of ended places what counts, and of their next ones what was made anew of the rest.
    #[must_use]
    pub fn renamed_version(&self, version: &VersionVector, by: Option<NodeId>) -> VersionVector {
        let mut out = VersionVector::new();
        for (r, sequence) in version.iter() {
            let mut dot = Dot::new(r, sequence);
            while let Some(next) = self.renamed_once(dot, by) {
                out.raise(dot.replica(), dot.sequence() - next.sequence());
                dot = next;
            }
            out.raise(dot.replica(), dot.sequence());
        }
        out
    }
    /// All places with their members.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaIndex, &Member)> {
        self.members.iter().enumerate().map(|(i, m)| (ReplicaIndex(i as u16), m))
    }
    /// Those for whom the log is kept.
    pub fn kept_for(&self) -> impl Iterator<Item = ReplicaIndex> + '_ {
        self.iter().filter(|(_, m)| m.standing == Standing::Active).map(|(i, _)| i)
    }
    /// Those whose operations may still name what was deleted.
    pub fn not_evicted(&self) -> impl Iterator<Item = ReplicaIndex> + '_ {
        self.iter().filter(|(_, m)| m.takes_part()).map(|(i, _)| i)
    }
    /// How many places were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.epoch);
        out.varint(self.members.len() as u64);
        for m in &self.members {
            out.varint(m.node.0);
            out.varint(m.incarnation);
            let begins = match m.begins {
                Begins::Anew => 0,
                Begins::Undecided => UNDECIDED,
                Begins::Beyond(_) => BEYOND,
            };
            match m.standing {
                Standing::Active => out.byte(begins),
                Standing::Lagging => out.byte(1 | begins),
                Standing::Closing => out.byte(2 | begins),
                Standing::Awaited => out.byte(5 | begins),
                Standing::Evicted { last, heir: None } => {
                    out.byte(3 | begins);
                    out.varint(last);
                }
                Standing::Evicted { last, heir: Some(heir) } => {
                    out.byte(4 | begins);
                    out.varint(last);
                    out.varint(u64::from(heir.0));
                }
            }
            if let Begins::Beyond(cut) = m.begins {
                out.varint(cut);
            }
        }
    }
    /// Reads what [`Roster::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no roster.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let epoch = from.varint()?;
        let n = from.count(usize::from(u16::MAX) + 1)?;
        let mut members = Vec::with_capacity(n);
        for _ in 0..n {
            let node = NodeId(from.varint()?);
            let incarnation = from.varint()?;
            let byte = from.byte()?;
            let standing = match byte & !(UNDECIDED | BEYOND) {
                0 => Standing::Active,
                1 => Standing::Lagging,
                2 => Standing::Closing,
                tag @ (3 | 4) => {
                    let last = sequence(from)?;
                    let heir = if tag == 4 { Some(from.varint()?) } else { None };
                    if heir.is_some_and(|h| h >= n as u64) {
                        return Err(from.malformed("an heir without a place"));
                    }
                    Standing::Evicted { last, heir: heir.map(|h| ReplicaIndex(h as u16)) }
                }
                5 => Standing::Awaited,
                _ => return Err(from.malformed("an unknown standing")),
            };
            let begins = match byte & (UNDECIDED | BEYOND) {
                0 => Begins::Anew,
                UNDECIDED => Begins::Undecided,
                BEYOND => Begins::Beyond(sequence(from)?),
                _ => return Err(from.malformed("an unknown beginning")),
            };
            members.push(Member { node, incarnation, begins, standing });
        }
        Ok(Self { epoch, members })
    }
}

fn sequence(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    let sequence = from.varint()?;
    if sequence > SEQUENCE_MAX { Err(from.malformed("a sequence beyond 48 bits")) } else { Ok(sequence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_once_and_the_dead_stay_dead() {
        let first = Roster::founding([NodeId(1), NodeId(2)]);
        let (second, place) = first.admit(NodeId(1)).unwrap();
        assert_eq!((place, second.get(place).unwrap().incarnation), (ReplicaIndex(2), 2));
        assert_eq!(first.check_next(&second), Ok(()));
        assert!(matches!(second.check_next(&first), Err(RosterFault::Epoch { .. })));
        let gone = second.with(ReplicaIndex(0), Standing::Evicted { last: 7, heir: Some(ReplicaIndex(1)) });
        assert!(gone.admits(Dot::new(ReplicaIndex(0), 7)) && !gone.admits(Dot::new(ReplicaIndex(0), 8)));
        assert!(!gone.admits(Dot::new(ReplicaIndex(9), 1)), "a stranger");
        let back = gone.with(ReplicaIndex(0), Standing::Active);
        assert_eq!(gone.check_next(&back), Err(RosterFault::Returned(ReplicaIndex(0))));
        let heir = Some(ReplicaIndex(1));
        let lower = gone.with(ReplicaIndex(0), Standing::Evicted { last: 3, heir });
        let higher = gone.with(ReplicaIndex(0), Standing::Evicted { last: 9, heir });
        assert_eq!(gone.check_next(&lower), Ok(()));
        assert_eq!(gone.check_next(&higher), Err(RosterFault::Returned(ReplicaIndex(0))));
        let stolen = Roster { epoch: 99, ..Roster::founding([NodeId(5), NodeId(2), NodeId(1)]) };
        assert_eq!(second.check_next(&stolen), Err(RosterFault::Owner(ReplicaIndex(0))));

        let mut w = Writer::new();
        gone.encode(&mut w);
        assert_eq!(Roster::decode(&mut Reader::new(w.as_slice())), Ok(gone));
    }

    #[test]
    fn a_full_roster_admits_nobody() {
        let full = Roster::founding((1..=65_536).map(NodeId));
        assert_eq!(full.admit(NodeId(1)), None);
        let gone = full.with(ReplicaIndex(0), Standing::Evicted { last: 7, heir: None });
        assert_eq!((gone.len(), gone.readmit(NodeId(1))), (65_536, None));
    }

    #[test]
    fn what_is_cut_off_has_its_next_name_before_its_maker_returns() {
        let (n1, n2) = (NodeId(1), NodeId(2));
        let cut = Dot::new(ReplicaIndex(1), 12);
        let gone =
            Roster::founding([n1, n2]).with(ReplicaIndex(1), Standing::Evicted { last: 7, heir: None });
        let anew = Dot::new(ReplicaIndex(2), 5);
        assert_eq!((gone.renamed(cut, None), gone.admits(anew)), (anew, false), "awaited");
        assert_eq!(gone.not_evicted().collect::<Vec<_>>(), [ReplicaIndex(0)]);
        let (back, place) = gone.readmit(n2).unwrap();
        assert_eq!(
            (place, back.renamed(cut, None), back.admits(anew)),
            (ReplicaIndex(2), anew, true),
            "it is back"
        );
        assert_eq!(
            (gone.check_next(&back), back.check_next(&Roster { epoch: 99, ..gone.clone() })),
            (Ok(()), Err(RosterFault::Returned(place)))
        );
        // Its node came back under a place that is closed for it: until that is decided it has no names to give.
        let (second, place) = Roster::founding([n1, n2]).readmit(n2).unwrap();
        let first = Dot::new(place, 1);
        assert!(!second.admits(first));
        let decided = second.with(ReplicaIndex(1), Standing::Evicted { last: 7, heir: None });
        assert_eq!((decided.renamed(cut, None), decided.admits(first)), (Dot::new(place, 5), true));
        assert_eq!(second.check_next(&decided), Ok(()));
        // What was numbered stays so, whatever else is lost.
        let lower = decided.with(ReplicaIndex(1), Standing::Evicted { last: 3, heir: None });
        assert_eq!(lower.renamed(cut, None), Dot::new(place, 5));
        // One that knows no more what it made writes under names that mean nothing else.
        let (lost, place) = gone.admit(n2).unwrap();
        assert_eq!((place, lost.renamed(cut, None), gone.check_next(&lost)), (ReplicaIndex(3), anew, Ok(())));
        assert_eq!(
            lost.renamed(cut, Some(n2)),
            Dot::new(ReplicaIndex(3), 5),
            "save for what it still has itself"
        );
        let again = back.with(ReplicaIndex(2), Standing::Evicted { last: 2, heir: None });
        let lags = Roster { epoch: 50, ..back.with(ReplicaIndex(2), Standing::Lagging) };
        assert_eq!((gone.check_next(&again), gone.check_next(&lags)), (Ok(()), Ok(())), "some were missed");
        assert_eq!(again.renamed(cut, None), Dot::new(ReplicaIndex(3), 3));

        let mut w = Writer::new();
        again.encode(&mut w);
        assert_eq!(Roster::decode(&mut Reader::new(w.as_slice())), Ok(again));
    }
}
