//! Where names were found last: guesses for the searches that come next.
//!
//! A client's command looks its key up to read it, to check its edit, to make its operation and to apply it: four searches for one name.
//! A batch's operations are looked up together before the first of them is applied ([`super::apply`]). So where a name was found is
//! written down here, and the next search for it looks there first.
//!
//! **A guess is never believed.** A place is taken only if the entries on both sides of it say that the name belongs there
//! ([`Table::is_place`](super::table::Table::is_place)). So nothing has to be forgotten when a table changes, a stale guess costs two looks, and what
//! is found is the same with and without guesses: they are no part of the state, and a clone begins without any.
//!
//! **Rejected.** Handing places from call to call: any change between two calls makes them stale, and each signature on the way would have
//! to say so. A number of changes in each table, to tell a stale place by: an insertion elsewhere in the table makes all of them stale.

use super::leaf::Name;
use super::table::Pos;
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many: some for each of the names that are looked up together ([`super::AT_ONCE`]), so that few fall on another's.
const SPOTS: usize = 1024;
const NONE: u64 = u64::MAX;
/// Leaves that can be written down.
const LEAF_MAX: usize = 1 << 24;

const _: () =
    assert!(SPOTS >= 16 * super::AT_ONCE && SPOTS.is_power_of_two() && super::leaf::SLOTS_MAX < 1 << 8);

/// Guesses, each in the place that its name and container draw: container (32 bits), leaf (24), slot (8).
pub(super) struct Spots(Box<[AtomicU64; SPOTS]>);

impl Spots {
    fn of(&self, container: u32, name: &Name<'_>) -> &AtomicU64 {
        // Names of one kind begin alike: their ends tell them apart.
        let end = name.bytes.last_chunk().map_or(0, |raw| u64::from_le_bytes(*raw));
        let mixed =
            (end ^ name.head.rotate_left(29) ^ u64::from(container)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The topmost bits depend on all bytes.
        &self.0[(mixed >> (u64::BITS - SPOTS.ilog2())) as usize]
    }
    /// Where the name may be.
    #[inline]
    pub(super) fn guess(&self, container: u32, name: &Name<'_>) -> Option<Pos> {
        // Relaxed: it is one word, and what it says is checked.
        let spot = self.of(container, name).load(Ordering::Relaxed);
        let (leaf, slot) = ((spot >> 8) as usize % LEAF_MAX, spot as usize % (1 << 8));
        (spot != NONE && spot >> 32 == u64::from(container)).then_some(Pos { leaf, slot })
    }
    /// Writes down where it is.
    #[inline]
    pub(super) fn note(&self, container: u32, name: &Name<'_>, at: Pos) {
        if at.leaf < LEAF_MAX && at.slot < 1 << 8 {
            let spot = u64::from(container) << 32 | (at.leaf as u64) << 8 | at.slot as u64;
            self.of(container, name).store(spot, Ordering::Relaxed);
        }
    }
}

impl Default for Spots {
    fn default() -> Self {
        Self(Box::new([const { AtomicU64::new(NONE) }; SPOTS]))
    }
}
impl Clone for Spots {
    fn clone(&self) -> Self {
        Self::default()
    }
}
impl fmt::Debug for Spots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;

    #[test]
    fn names_that_differ_at_their_ends_draw_different_places() {
        let spots = Spots::default();
        let place = |n: u64| {
            let name = format!("element:{n:012}");
            core::ptr::from_ref(spots.of(7, &Name::new(name.as_bytes()))) as usize
        };
        // As many as are looked up together: what two of them share is lost to one.
        let drawn = |from: u64| (0..64).map(|i| place(from * 997 + i)).collect::<BTreeSet<_>>().len();
        let least = (0..100).map(drawn).min();
        assert!(least >= Some(52), "{least:?} places for 64 names");
    }
}
