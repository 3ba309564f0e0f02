//! Names where nothing is any more leave the space, and so do documents that are no more.
//!
//! **Promise.** Whatever names a document's fields have had, those that hold something count; a deletion is forgotten only when nothing can meet it any more.
//!
//! **Model.** A deletion is a write: it stays in its register, beside which another may stand. Once it is *stable* (every member that may write has it, and
//! nothing that was made without it is under way) nothing will stand beside it, and if it lies there alone its register goes, as an operation of the
//! first node that lives. Who writes there meanwhile has seen the deletion; what they write stays.
//!
//! | what lies alone | goes |
//! |---|---|
//! | a stable deletion | its register |
//! | a stable `deleted` at a lifecycle, over fields that are all stable | all registers of the document; not while the audit has a record of that place, for then it can be undone and the document has to come back as it was |
//!
//! **Invariants.** 1. Nothing goes that somebody can still write beside. 2. Nothing goes that an undo would bring back. 3. A register goes only with what this
//! node saw in it.
//!
//! **Limits.** 256 places a look, a look in ten seconds.
//!
//! **Rejected**: a deadline on deletions: a cut may last longer. Removing at once: a write on the other side of a cut would then stand without a word of
//! the deletion.

use super::view::places_of;
use super::write::is_deleted;
use super::{Documents, met};
use crate::api::WRITE_MAX;
use crate::replica::{Eventual, millis};
use dwcp_conflict::Place;
use dwcp_conflict::lineage::Meeting;
use dwcp_crdt::{Change, Dot, Edit, VersionVector};
use dwcp_env::{Duration, Now};
use dwcp_wal::Lsn;
use std::ops::Bound;

/// Places that are looked at, or go, at once.
const AT_ONCE: usize = 256;
/// Between looks.
const LOOK_EVERY: Duration = Duration::secs(10);

impl Eventual {
    /// Lets go of what is no more, if it is time.
    pub(super) fn sweep(&mut self, now: Now, documents: &mut Documents) {
        if now.mono < documents.next_sweep || !self.may_write() {
            return;
        }
        documents.next_sweep = now.mono + LOOK_EVERY;
        let from = documents.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let places: Vec<Place> =
            documents.fallen.range((from, Bound::Unbounded)).take(AT_ONCE).cloned().collect();
        documents.swept = places.last().filter(|_| places.len() == AT_ONCE).cloned();
        let (first, stable) = (self.is_first(), self.space.stable());
        let mut edits: Vec<Edit> = Vec::new();
        for place in places {
            let (dots, _, meeting) = met(&self.space, &place);
            let life = documents.is_lifecycle(&place);
            // What lies beside another comes back here when it is settled.
            if !documents.fell(&place, &meeting) {
                documents.fallen.remove(&place);
            } else if first && edits.len() < AT_ONCE && all_in(&stable, &dots) {
                let with = if life { self.whole(documents, &place, &stable) } else { Some(vec![place]) };
                edits.extend(with.into_iter().flatten().map(|p| Edit::new(p.address(), Change::Delete)));
            }
        }
        if edits.is_empty() || self.space.weigh(&edits, WRITE_MAX) > WRITE_MAX {
            return;
        }
        // Refused, it is tried in the next look.
        if self.space.make(millis(now), &edits).is_ok() {
            self.unsynced_any = Some(Lsn(u64::MAX));
            self.probe.reachable("documents.swept");
        }
    }

    /// All places of a document that is no more, if nothing is beside them and nobody can have it back.
    fn whole(&self, documents: &Documents, life: &Place, stable: &VersionVector) -> Option<Vec<Place>> {
        let mut records = documents.audit.of_object(&life.kind, &life.key);
        if records.any(|r| r.place == *life) {
            return None;
        }
        let all = places_of(&self.space, &life.kind, &life.key);
        let quiet = |p: &Place| all_in(stable, &met(&self.space, p).0);
        all.iter().all(quiet).then_some(all)
    }
}

fn all_in(stable: &VersionVector, dots: &[Dot]) -> bool {
    dots.iter().all(|d| stable.contains(*d))
}

impl Documents {
    /// Whether there is nothing at a place any more, or no document by its lifecycle, with nothing beside that.
    pub(super) fn fell(&self, place: &Place, meeting: &Meeting) -> bool {
        match &meeting.siblings[..] {
            [one] if self.is_lifecycle(place) => is_deleted(one.value.as_ref()),
            [one] => one.value.is_none(),
            _ => false,
        }
    }
    /// Whether a place says if there is a document.
    pub(super) fn is_lifecycle(&self, place: &Place) -> bool {
        let schema = self.schemas.get(&place.kind);
        schema.is_some_and(|k| k.schema.lifecycle() == Some(&place.pointer))
    }
}
