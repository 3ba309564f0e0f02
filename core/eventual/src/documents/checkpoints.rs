//! Checkpoints: what this node shows at a moment, kept under a name in the space itself.
//!
//! **Promise.** A checkpoint that was answered is there after any restart and after the loss of the node that took it, on whichever side of a cut its writes have come to.
//! It holds what one node showed in one step: no write is half in it.
//!
//! **Where it lies.** In the space, as the audit does: a whole copy of the documents in pieces, and behind them, as the last write, a note that names each piece by
//! its hash ([`taken`](dwcp_conflict::checkpoint::taken)). A note is there with all its pieces, for operations of one replica come in order; pieces without a
//! note are the rest of a taking that broke off, and go after a day.
//!
//! | rejected | because |
//! |---|---|
//! | a version vector | the operations that would lead back to it are trimmed as soon as all have them |
//! | a file with the node | it goes with the node, and the others could only hope to be told |
//! | the strong keyspace | a side of a cut without a quorum could take none; and it is no place for megabytes |
//! | pieces that checkpoints share | whoever deletes one would have to know on both sides of a cut who needs them |
//! | the persistent tree kept along with the space | it would hold every document twice in memory for the sake of a question that is asked once a week |
//!
//! **Two of one name.** A name that is taken is refused; on two sides of a cut it can be taken twice. Then both are there, told apart by their ids (`before@r1:17`).
//!
//! **Kept until** a day that its maker chooses. Whoever took it lets go of it by its own clock, as of its records ([`super::past`]); for a member
//! that left the first node that lives does.
//!
//! **Limits.** [`POINTS_MAX`] checkpoints and [`ALL_MAX`] bytes in all, as this node sees it: two sides of a cut may be above that together, then no more are taken.
//! 8 MiB each. Places at which writes stand beside each other are counted; of those the view is kept, not the siblings.

use super::ask;
use super::serve::{Asked, pair, person, word, wrong};
use super::view::{keys, schema_of};
use super::{Documents, PIECE, POINT, ROLLED, met};
use crate::refusal::Refusal;
use crate::replica::{Eventual, millis};
use dwcp_conflict::audit::DAY;
use dwcp_conflict::checkpoint::taken::{Held, Pack, Taken};
use dwcp_conflict::reference::Name;
use dwcp_conflict::{Value, Writer};
use dwcp_crdt::{Address, Change, Dot, Edit, Hlc, Kind, ReplicaIndex, Standing};
use dwcp_env::{Duration, Now};
use dwcp_wal::Lsn;
use std::sync::Arc;

/// Checkpoints that there may be.
pub(super) const POINTS_MAX: usize = 64;
/// Bytes of all of them.
pub(super) const ALL_MAX: u64 = 64 << 20;
/// Days that one may be kept.
const DAYS_MAX: u32 = 366;
/// Between looks at what is over.
const LOOK_EVERY: Duration = Duration::secs(60);
/// Registers that go at once.
const AT_ONCE: usize = 4_096;

/// A write's name as a name in the space.
pub(super) fn id_bytes(id: Dot) -> Vec<u8> {
    [&id.replica().0.to_be_bytes()[..], &id.sequence().to_be_bytes()[..]].concat()
}

pub(super) fn id_of(bytes: &[u8]) -> Option<Dot> {
    let (replica, sequence) = bytes.split_first_chunk::<2>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(Dot::new(ReplicaIndex(u16::from_be_bytes(*replica)), sequence))
}

fn note_address(name: &str, id: Dot) -> Address {
    Address { names: [POINT.to_vec(), name.as_bytes().to_vec(), id_bytes(id)].into(), kind: Kind::Mv }
}

fn piece_address(id: Dot, nth: usize) -> Address {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX);
    Address { names: [PIECE.to_vec(), id_bytes(id), nth.to_be_bytes().to_vec()].into(), kind: Kind::Mv }
}

/// A name, and perhaps an id behind it.
fn parsed(text: &str) -> (&str, Option<Dot>) {
    let id = |id: &str| {
        let (replica, sequence) = id.strip_prefix('r')?.split_once(':')?;
        Some(Dot::new(ReplicaIndex(replica.parse().ok()?), sequence.parse().ok()?))
    };
    match text.rsplit_once('@') {
        Some((name, rest)) if id(rest).is_some() => (name, id(rest)),
        _ => (text, None),
    }
}

impl Eventual {
    /// What is shown now is kept under a name.
    pub(super) fn take_checkpoint(
        &mut self,
        now: Now,
        documents: &Documents,
        name: &str,
        kinds: &[String],
        days: u32,
        by: &Writer,
    ) -> Asked {
        word("the checkpoint's name", name)?;
        if name.contains('@') {
            return wrong(format!("the checkpoint's name {name:?}: behind @ there is an id; leave it out"));
        }
        if !(1..=DAYS_MAX).contains(&days) {
            return wrong(format!("{days} days: a checkpoint is kept for 1 to {DAYS_MAX}"));
        }
        let known = self.notes();
        if let Some(there) = known.iter().find(|t| *t.name == *name) {
            return wrong(format!(
                "there is a checkpoint {name} already, of {}: delete it, or take another name",
                dwcp_conflict::audit::date(there.at.millis())
            ));
        }
        if known.len() >= POINTS_MAX {
            let what = "one checkpoint more: a number".to_string();
            return Err(Refusal::TooLarge { what, size: known.len() as u64 + 1, limit: POINTS_MAX as u64 });
        }
        self.check_room()?;
        let (taken, pieces) = self.taken(now, documents, (name, kinds), days, by)?;
        let all = known.iter().map(Taken::bytes).sum::<u64>() + taken.bytes();
        if all > ALL_MAX {
            let what = "all checkpoints with this one: a number of bytes".to_string();
            return Err(Refusal::TooLarge { what, size: all, limit: ALL_MAX });
        }
        let ms = millis(now);
        let writes = pieces.into_iter().enumerate().map(|(n, bytes)| (piece_address(taken.id, n), bytes));
        // The note comes last: where it is, all of it is.
        for (at, bytes) in writes.chain([(note_address(name, taken.id), taken.to_bytes())]) {
            let edit = Edit::new(at, Change::Write(bytes));
            self.space.make(ms, &[edit]).map_err(|r| self.refusal(r))?;
            self.unsynced_any = Some(Lsn(u64::MAX));
        }
        self.probe.reachable("documents.checkpoint");
        Ok((ask::Answer::Taken(told(&taken)), true))
    }

    /// What a checkpoint of now holds.
    fn taken(
        &self,
        now: Now,
        documents: &Documents,
        (name, kinds): (&str, &[String]),
        days: u32,
        by: &Writer,
    ) -> Result<(Taken, Vec<Vec<u8>>), Refusal> {
        let ms = millis(now);
        kinds.iter().try_for_each(|k| schema_of(documents, k).map(drop))?;
        let chosen = |k: &&Arc<str>| kinds.is_empty() || kinds.iter().any(|c| **c == ***k);
        let mut pack = Pack::new();
        let (mut held, mut open) = (Vec::new(), 0);
        for kind in documents.schemas.keys().filter(chosen) {
            let mut objects = 0;
            self.each_shown(documents, kind, ms, |key, value| {
                let name: Name = (kind.clone(), key.into());
                pack.push(&name, &value).map_err(|e| Refusal::Argument(e.to_string()))?;
                objects += 1;
                Ok(())
            })?;
            open += documents.open_of(kind).filter(|p| met(&self.space, p).2.siblings.len() > 1).count();
            held.push(Held { kind: kind.clone(), schema: documents.schemas[kind].schema.version(), objects });
        }
        if held.is_empty() {
            return wrong("there is no kind of documents yet: apply a schema with `dwcp schema apply`");
        }
        let (pieces, bytes) = pack.finish();
        let policy = documents.active(ms).map(|p| p.version());
        let (id, until) = (self.next_own(), ms + u64::from(days) * DAY);
        let (at, by, open) = (Hlc::at(ms), by.clone(), open as u64);
        Ok((Taken { name: name.into(), id, at, until, by, policy, open, kinds: held, pieces }, bytes))
    }

    /// Goes through the documents of a kind as they are shown, in order.
    fn each_shown(
        &self,
        documents: &Documents,
        kind: &str,
        ms: u64,
        mut each: impl FnMut(&str, Value) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut after: Option<String> = None;
        loop {
            let (found, next) = keys(&self.space, kind, after.as_deref());
            for key in found {
                if let Some(value) = documents.document(&self.space, kind, &key, ms) {
                    each(&key, value)?;
                }
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The notes of all checkpoints. What can't be read is passed over: no replica of ours wrote it.
    pub(super) fn notes(&self) -> Vec<Taken> {
        let mut out = Vec::new();
        for name in self.space.fields(&[POINT.to_vec()], None, AT_ONCE) {
            for id in self.space.fields(&[POINT.to_vec(), name.name.clone()], None, AT_ONCE) {
                let at =
                    Address { names: [POINT.to_vec(), name.name.clone(), id.name].into(), kind: Kind::Mv };
                out.extend(self.space.siblings(&at).first().and_then(|s| Taken::from_bytes(&s.value).ok()));
            }
        }
        out.sort_by_key(|t| core::cmp::Reverse((t.at, t.id)));
        out
    }

    /// The checkpoint that somebody names.
    pub(super) fn named_checkpoint(&self, text: &str) -> Result<Taken, Refusal> {
        let (name, id) = parsed(text);
        let all = self.notes();
        let mut found = all.iter().filter(|t| *t.name == *name && id.is_none_or(|id| t.id == id));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(a), Some(b)) => wrong(format!(
                "{name} was taken on two sides of a cut: say {name}@{} (by {}, {}) or {name}@{} (by {}, {})",
                a.id,
                a.by.name,
                dwcp_conflict::audit::date(a.at.millis()),
                b.id,
                b.by.name,
                dwcp_conflict::audit::date(b.at.millis()),
            )),
            _ => {
                let mut known: Vec<&str> = all.iter().map(|t| &*t.name).collect();
                known.dedup();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                wrong(format!(
                    "no checkpoint {text:?} is known here: it was deleted, its time is over, or it has not come yet; there is {known}"
                ))
            }
        }
    }

    /// The bytes of a piece.
    pub(super) fn piece(&self, taken: &Taken, nth: usize) -> Result<Vec<(Name, Value)>, Refusal> {
        let lies = self.space.siblings(&piece_address(taken.id, nth));
        let read = lies.first().map(|s| taken.open(nth, &s.value));
        read.unwrap_or(Err(dwcp_conflict::checkpoint::taken::Altered(nth + 1)))
            .or_else(|e| wrong(format!("{}: {e}", taken.name)))
    }

    /// Checkpoints, and who went back to one.
    pub(super) fn checkpoints(&self) -> ask::Answer {
        let mut rolled: Vec<ask::Rolled> = self.rolled().iter().map(|(_, r)| r.told()).collect();
        rolled.sort_by_key(|r| core::cmp::Reverse((r.begun_ms, r.id)));
        ask::Answer::Checkpoints(self.notes().iter().map(told).collect(), rolled)
    }

    /// A checkpoint is to be no more.
    pub(super) fn forget_checkpoint(&mut self, now: Now, name: &str) -> Asked {
        let taken = self.named_checkpoint(name)?;
        self.check_room()?;
        let made = self.let_go_of_checkpoint(millis(now), &taken)?;
        Ok((ask::Answer::Written(1), made))
    }

    fn let_go_of_checkpoint(&mut self, ms: u64, taken: &Taken) -> Result<bool, Refusal> {
        let gone = |at| Edit::new(at, Change::Delete);
        let mut edits: Vec<Edit> =
            (0..taken.pieces.len()).map(|n| gone(piece_address(taken.id, n))).collect();
        edits.push(gone(note_address(&taken.name, taken.id)));
        let made = self.space.make(ms, &edits).map_err(|r| self.refusal(r))?;
        self.unsynced_any = Some(Lsn(u64::MAX));
        Ok(made)
    }

    /// Lets go of checkpoints whose time is over, of what is left of those that were never finished, and of the notes of old rollbacks, if it is time.
    pub(super) fn forget_checkpoints(&mut self, now: Now, documents: &mut Documents) {
        if now.mono < documents.next_points || !self.may_write() {
            return;
        }
        documents.next_points = now.mono + LOOK_EVERY;
        let (ms, first) = (millis(now), self.is_first());
        let Some(me) = self.identity.map(|i| i.replica) else { return };
        let active = |of: ReplicaIndex| {
            let member = self.space.roster().get(of);
            member.is_some_and(|m| matches!(m.standing, Standing::Active))
        };
        let mine = |id: Dot| id.replica() == me || first && !active(id.replica());
        let over: Vec<Taken> = self.notes().into_iter().filter(|t| t.until <= ms && mine(t.id)).collect();
        let mut edits = self.orphans(ms, mine);
        let kept = documents.retention.of_losers();
        let old = self.rolled().into_iter().filter(|(id, r)| mine(*id) && r.at.saturating_add(kept) <= ms);
        edits.extend(old.map(|(id, _)| Edit::new(super::rollback::address(id), Change::Delete)));
        // Refused, it is tried in the next look.
        if !edits.is_empty() && self.space.make(ms, &edits).is_ok() {
            self.unsynced_any = Some(Lsn(u64::MAX));
        }
        for taken in over {
            if self.let_go_of_checkpoint(ms, &taken).is_ok() {
                self.probe.reachable("documents.checkpoint_over");
            }
        }
    }

    /// Pieces whose note has not come in a day: it was never made.
    fn orphans(&self, ms: u64, mine: impl Fn(Dot) -> bool) -> Vec<Edit> {
        let noted: Vec<Dot> = self.notes().iter().map(|t| t.id).collect();
        let mut out = Vec::new();
        for id in self.space.fields(&[PIECE.to_vec()], None, AT_ONCE) {
            let Some(dot) = id_of(&id.name).filter(|d| mine(*d) && !noted.contains(d)) else { continue };
            let pieces = self.space.fields(&[PIECE.to_vec(), id.name], None, AT_ONCE);
            let addresses = (0..pieces.len()).map(|n| piece_address(dot, n));
            let old = |at: &Address| {
                self.space.siblings(at).iter().all(|s| s.hlc.millis().saturating_add(DAY) <= ms)
            };
            out.extend(addresses.filter(old).map(|at| Edit::new(at, Change::Delete)));
        }
        out
    }

    /// The ways back that are noted.
    pub(super) fn rolled(&self) -> Vec<(Dot, super::rollback::Rolled)> {
        let all = self.space.fields(&[ROLLED.to_vec()], None, AT_ONCE).into_iter();
        all.filter_map(|f| Some((id_of(&f.name)?, self.rolled_of(id_of(&f.name)?)?))).collect()
    }
}

impl Documents {
    /// Places of a kind where something stood beside something when it was looked last.
    fn open_of(&self, kind: &str) -> impl Iterator<Item = &dwcp_conflict::Place> {
        let from = dwcp_conflict::Place::new(kind, "", dwcp_conflict::Pointer::root());
        self.open.range(from..).take_while(move |p| *p.kind == *kind)
    }
}

fn told(t: &Taken) -> ask::Taken {
    ask::Taken {
        name: t.name.to_string(),
        id: pair(t.id),
        at_ms: t.at.millis(),
        until_ms: t.until,
        by: person(&t.by),
        policy: t.policy,
        open: t.open,
        kinds: t.kinds.iter().map(|k| (k.kind.to_string(), k.schema, k.objects)).collect(),
        bytes: t.bytes(),
    }
}
