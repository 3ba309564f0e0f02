//! Who owns a keyspace, since where, and who is to own it next.

use crate::engine::Position;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{RegionId, wire};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Epochs of one era. A switch a minute reaches them in eleven days of nothing else; an era then ends by a planned move.
pub const EPOCHS: u32 = 1 << 14;
/// Eras of one keyspace: an epoch's number has 24 bits in a position's term.
pub const ERAS_MAX: u32 = 1 << 10;
/// Cuts that are remembered. Who was away for longer is brought a whole state.
pub const CUTS_MAX: usize = 16;

/// The first epoch of an era.
#[must_use]
pub const fn first_epoch(era: u32) -> u32 {
    era.saturating_mul(EPOCHS)
}

/// The era of an epoch.
#[must_use]
pub const fn era_of(epoch: u32) -> u32 {
    epoch / EPOCHS
}

/// Where an era began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// The era that began here.
    pub era: u32,
    /// Who owned the keyspace before.
    pub from: RegionId,
    /// The last position of the era before that counts.
    pub at: Position,
    /// The store's revision there.
    pub revision: i64,
    /// Whether the old home had said that this was all.
    pub planned: bool,
    /// The furthest index that the old home was heard to have applied: what lies between is known to be lost.
    pub heard: u64,
    /// The first epoch, as its members take it (`dwcp_chain::Spec`).
    pub spec: Bytes,
}

/// A change of owners under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Who is to own it.
    pub to: RegionId,
    /// Whether the home hands over all it has first.
    pub planned: bool,
}

/// Who owns a keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deed {
    /// Which owner this is, from 0.
    pub era: u32,
    /// The home region.
    pub owner: RegionId,
    /// The last cuts, oldest first.
    pub cuts: Vec<Cut>,
    /// Who wants it.
    pub next: Option<Move>,
}

/// What a state is to the owner's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lineage {
    /// A prefix of it, as far as this deed tells.
    Prefix,
    /// It holds what lies behind this cut, and took another way there; `None`: nobody remembers where.
    Beyond(Option<Position>),
}

/// Why a keyspace is not moved.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MoveError {
    /// It is there.
    #[error("that region is its home already")]
    Home,
    /// The numbers have run out.
    #[error(
        "the keyspace has been moved {ERAS_MAX} times: its epochs have no more numbers; copy it to a new one"
    )]
    Eras,
}

impl Deed {
    /// Of a keyspace that was never moved.
    #[must_use]
    pub const fn first(owner: RegionId) -> Self {
        Self { era: 0, owner, cuts: Vec::new(), next: None }
    }
    /// The bytes that are kept.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::encode(self).into()
    }
    /// From bytes; `None` if they are none, or say what can't be.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let deed: Self = wire::decode(bytes).ok()?;
        let rising = deed.cuts.windows(2).all(|w| w[0].era < w[1].era);
        let known = deed.cuts.last().map_or(deed.era == 0, |c| c.era == deed.era);
        let sound = rising && known && deed.cuts.len() <= CUTS_MAX && deed.era < ERAS_MAX;
        (sound && deed.next.is_none_or(|n| n.to != deed.owner)).then_some(deed)
    }
    /// With the wish of a region to own it; one that was there before is over.
    ///
    /// # Errors
    /// Why it can't be moved.
    pub fn wanted(&self, to: RegionId, planned: bool) -> Result<Self, MoveError> {
        if to == self.owner {
            return Err(MoveError::Home);
        }
        if self.era + 1 >= ERAS_MAX {
            return Err(MoveError::Eras);
        }
        Ok(Self { next: Some(Move { to, planned }), ..self.clone() })
    }
    /// Without any wish.
    #[must_use]
    pub fn abandoned(&self) -> Self {
        Self { next: None, ..self.clone() }
    }
    /// Of the next owner.
    #[must_use]
    pub fn cut(&self, owner: RegionId, cut: Cut) -> Self {
        let mut cuts = self.cuts.clone();
        let era = cut.era;
        cuts.push(cut);
        let extra = cuts.len().saturating_sub(CUTS_MAX);
        cuts.drain(..extra);
        Self { era, owner, cuts, next: None }
    }
    /// Where the owner's era began; `None`: with nothing.
    #[must_use]
    pub fn began(&self) -> Option<&Cut> {
        self.cuts.last().filter(|c| c.era == self.era)
    }
    /// Whether only this owner and this era may answer: no move is under way.
    #[must_use]
    pub fn is_reign_of(&self, owner: RegionId, era: u32) -> bool {
        self.owner == owner && self.era == era && self.next.is_none()
    }
    /// What a state of this era that ends at this index is to the owner's order.
    ///
    /// A prefix of an era up to its end is a prefix of the next one, and that one's end lies further on.
    #[must_use]
    pub fn lineage(&self, era: u32, index: u64) -> Lineage {
        if era >= self.era {
            return Lineage::Prefix;
        }
        match self.cuts.iter().find(|c| c.era == era + 1) {
            Some(cut) if index <= cut.at.index => Lineage::Prefix,
            Some(cut) => Lineage::Beyond(Some(cut.at)),
            None => Lineage::Beyond(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const EU: RegionId = RegionId(0);
    const US: RegionId = RegionId(1);

    fn cut(era: u32, index: u64) -> Cut {
        let at = Position { term: 3, index };
        Cut { era, from: EU, at, revision: 7, planned: false, heard: index + 2, spec: Bytes::new() }
    }

    #[test]
    fn a_state_is_a_prefix_up_to_the_cut_of_its_own_era() {
        let deed = Deed::first(EU).cut(US, cut(1, 8)).cut(EU, cut(2, 20));
        for (era, index, found) in [
            (0, 0, Lineage::Prefix),
            (0, 8, Lineage::Prefix),
            (0, 9, Lineage::Beyond(Some(Position { term: 3, index: 8 }))),
            (1, 20, Lineage::Prefix),
            (1, 21, Lineage::Beyond(Some(Position { term: 3, index: 20 }))),
            (2, 900, Lineage::Prefix),
            (3, 900, Lineage::Prefix),
        ] {
            assert_eq!(deed.lineage(era, index), found, "era {era} up to {index}");
        }
    }

    #[test]
    fn cuts_are_forgotten_from_the_oldest_and_what_is_forgotten_is_no_prefix() {
        let mut deed = Deed::first(EU);
        for era in 1..=CUTS_MAX as u32 + 2 {
            let to = if era % 2 == 1 { US } else { EU };
            deed = deed.cut(to, cut(era, u64::from(era) * 10));
        }
        assert_eq!(deed.cuts.len(), CUTS_MAX);
        assert_eq!(deed.lineage(0, 1), Lineage::Beyond(None));
        assert_eq!(deed.lineage(2, 30), Lineage::Prefix);
        assert_eq!(Deed::decode(&deed.encode()), Some(deed));
    }

    #[test]
    fn what_can_not_be_is_no_deed() {
        let deed = Deed::first(EU);
        assert_eq!(Deed::decode(&deed.encode()), Some(deed.clone()));
        let odd = Deed { next: Some(Move { to: EU, planned: true }), ..deed.clone() };
        let early = Deed { era: 1, ..deed.clone() };
        let disorder = Deed { era: 1, cuts: vec![cut(2, 9), cut(1, 3)], ..deed.clone() };
        for bad in [odd.encode(), early.encode(), disorder.encode(), Bytes::from_static(b"\xff\xff")] {
            assert_eq!(Deed::decode(&bad), None);
        }
        assert_eq!(deed.wanted(EU, true), Err(MoveError::Home));
        let wanted = deed.wanted(US, false).unwrap();
        assert!(deed.is_reign_of(EU, 0) && !wanted.is_reign_of(EU, 0), "a wish ends the fence");
        assert!(wanted.abandoned().is_reign_of(EU, 0));
    }

    #[test]
    fn epochs_of_two_eras_have_no_number_in_common() {
        assert_eq!((era_of(0), era_of(EPOCHS - 1), era_of(EPOCHS)), (0, 0, 1));
        assert!(first_epoch(ERAS_MAX - 1).saturating_add(EPOCHS) <= 1 << 24, "a term has room for it");
    }
}
