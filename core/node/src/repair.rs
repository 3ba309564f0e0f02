//! What was lost to the disk is fetched from peers, exactly; until then the group stands still here.
//!
//! **Why.** A log entry that rots after it was acknowledged must not be forgotten: its acknowledgement was counted
//! in a quorum. Cutting the log there and voting on is how data that was safe gets lost
//! (Alagappan et al., *Protocol-Aware Recovery*, FAST 2018). So a damaged group neither votes nor
//! acknowledges before it is whole.
//!
//! | lost | made good by | safe because |
//! |---|---|---|
//! | entries of known (term, index) | the same entry from any peer | Log Matching: term and index name one entry for ever; its checksum is compared too |
//! | entries of unknown term | a peer's checkpoint that reaches the last index our log ever had | all we acknowledged that was decided is inside |
//! | the state's file | a peer's checkpoint that reaches our log's beginning | the log goes on from it |
//! | the vote, or records nobody can name | nothing: the operator removes this node and joins a new one | it may have promised what it can't remember |
//!
//! **Model.** One [`Repair`] per damaged group. First the checkpoint, if one is needed, piece by piece from one
//! peer (another if it falls silent); then the entries still missing. Then the log is written anew where it
//! was damaged, and when that is durable the engine starts.
//!
//! **Rejected**: serving reads meanwhile (state may be behind without knowing), repairing in the background under a
//! running engine (the engine may send the hole to a follower).

use crate::hybrid::Part;
use crate::node::{Node, Out};
use crate::peer::{About, PeerMessage, peer_body};
use crate::serve::{NodeJob, piece_of};
use bytes::Bytes;
use dwcp_chain::{ChainRecord, Found, covers};
use dwcp_consensus::{Checkpointed, Piece, Position, StateMachine as _};
use dwcp_env::{Duration, Event, GroupId, Instant, JobResult, Lane, NodeId, Now, PeerFault, Send};
use dwcp_wal::{GroupLog, LogEntry, Lsn, Record, Wal};
use std::collections::BTreeMap;
use std::fmt;

/// How long a peer may be silent before another is asked.
const SILENCE: Duration = Duration::millis(500);
/// How often the next piece is asked of a peer that has begun, before another begins anew.
const ASKED_MAX: u32 = 4;
/// Pieces read at once for peers and clients; who asks for more asks again.
const JOBS_MAX: usize = 32;
/// Entries asked for at once.
const ASKED_AT_ONCE: usize = 64;

/// An entry that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Missing {
    pub(crate) term: u64,
    pub(crate) crc: Option<u32>,
}

/// A checkpoint that is needed, and how much of it has come.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// It must cover what lay here: see [`covers`].
    pub(crate) at_least: Position,
    /// From whom, which, and where the next piece begins.
    receiving: Option<(NodeId, Checkpointed, Option<Bytes>)>,
    /// A job writes the last piece, or swaps the whole in.
    busy: bool,
    /// How often the next piece was asked for.
    asked: u32,
}

impl Fetch {
    pub(crate) const fn reaching(at_least: Position) -> Self {
        Self { at_least, receiving: None, busy: false, asked: 0 }
    }
}

/// Which epoch's log is repaired: positions of the log are the epoch's own, those that peers are told the chain's.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) slot: GroupId,
    pub(crate) record: ChainRecord,
    /// All else the log holds of the group.
    pub(crate) found: Found,
}

/// The repair of one group.
#[derive(Debug)]
pub(crate) struct Repair {
    place: Place,
    /// A checkpoint of a later epoch was installed: this log is over.
    left: bool,
    pub(crate) log: GroupLog,
    pub(crate) fetch: Option<Fetch>,
    pub(crate) missing: BTreeMap<u64, Missing>,
    found: BTreeMap<u64, LogEntry>,
    peers: Vec<NodeId>,
    turn: usize,
    ask_at: Instant,
    /// What lies in the log behind this index was never decided: it is cut off on the disk too.
    cut_after: Option<u64>,
    /// Present once all is found: the engine starts when this is durable.
    written: Option<Lsn>,
}

/// A piece on its way to a peer.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) checkpoint: Checkpointed,
    pub(crate) cursor: Bytes,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this node is repairing the group from its peers: {}", self.lost())
    }
}

impl Repair {
    pub(crate) fn new(
        place: Place,
        log: GroupLog,
        fetch: Option<Fetch>,
        missing: BTreeMap<u64, Missing>,
        peers: Vec<NodeId>,
    ) -> Self {
        Self {
            place,
            left: false,
            log,
            fetch,
            missing,
            found: BTreeMap::new(),
            peers,
            turn: 0,
            ask_at: Instant::ZERO,
            cut_after: None,
            written: None,
        }
    }

    /// Cuts off on the disk what was found to have been never decided. Whatever is appended later lies behind it.
    pub(crate) fn cut(&mut self, wal: &mut Wal) {
        if let Some(after) = self.cut_after.take() {
            wal.append(self.place.slot, Record::Truncate { after: Some(after) });
        }
    }

    /// Writes what was found, once; behind which record all is whole. An engine whose log may have lost what nothing names has more to
    /// make good, and says itself when it has. A copy has no engine.
    fn write(&mut self, wal: &mut Wal, copy: bool) -> Lsn {
        self.cut(wal);
        if let Some(written) = self.written {
            return written;
        }
        for (index, entry) in std::mem::take(&mut self.found) {
            wal.repair(self.place.slot, index, entry.term, entry.payload.clone());
            self.log.entries.push(entry);
        }
        self.log.entries.sort_by_key(|e| e.index);
        let heals = copy || !self.log.suspect;
        let written = if heals { wal.healed(self.place.slot) } else { wal.last() };
        self.written = Some(written);
        written
    }

    /// What the engine is started with.
    pub(crate) fn into_found(mut self) -> Found {
        if !self.left {
            *self.place.found.log_mut(self.place.slot) = self.log;
        }
        self.place.found.state_is_whole();
        self.place.found
    }

    /// The state is a peer's checkpoint now.
    fn begin_behind(&mut self, checkpoint: &Checkpointed) {
        match self.place.record.inner(checkpoint.at) {
            Some(at) => begin_log_at(self, at),
            None => {
                // Of a later epoch: nothing of this one's log is needed.
                self.left = true;
                (self.log, self.cut_after) = (GroupLog::default(), None);
                self.missing.clear();
                self.found.clear();
            }
        }
    }

    /// A planted bug: nothing is taken for missing.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn skipped(mut self) -> Self {
        (self.fetch, self.missing) = (None, BTreeMap::new());
        self
    }

    /// A planted bug: each missing entry is taken for one that does nothing.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn guessed(mut self) -> Self {
        let missing = std::mem::take(&mut self.missing).into_iter();
        let blank = |(index, m): (u64, Missing)| LogEntry { index, term: m.term, payload: vec![0].into() };
        self.log.entries.extend(missing.map(blank));
        self.log.entries.sort_by_key(|e| e.index);
        self
    }

    /// What is missing, for people.
    pub(crate) fn lost(&self) -> String {
        let state =
            self.fetch.as_ref().map(|f| format!("its state up to index {} is missing", f.at_least.index));
        let entries = Some(self.missing.len()).filter(|n| *n > 0);
        let entries = entries.map(|n| format!("{n} log entries are damaged"));
        state.into_iter().chain(entries).collect::<Vec<_>>().join(", ")
    }

    /// Whether no peer is known that could make it good.
    pub(crate) const fn nobody_to_ask(&self) -> bool {
        self.peers.is_empty()
    }

    fn peer(&mut self) -> Option<NodeId> {
        if self.peers.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % self.peers.len();
        self.peers.get(self.turn).copied()
    }
}

impl Node {
    /// Goes on with every repair: asks whom it is time to ask, starts what is whole.
    pub(crate) fn run_repairs(&mut self, now: Now, out: &mut Out) {
        let ids: Vec<GroupId> =
            self.groups.iter().filter(|(_, g)| g.repair.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            self.finish_repair(now, id, out);
            let Some(repair) = self.groups.get_mut(&id).and_then(|g| g.repair.as_mut()) else { continue };
            if repair.written.is_none() && repair.ask_at <= now.mono {
                repair.ask_at = now.mono + SILENCE;
                let asks = questions_for(repair);
                for (to, message) in asks {
                    out.sends.push(Send { to, lane: Lane::Bulk, body: peer_body(id, &message), after: None });
                }
            }
            if let Some(repair) = self.groups.get(&id).and_then(|g| g.repair.as_ref()) {
                out.wake_by(repair.ask_at.max(now.mono + Duration::millis(1)));
            }
        }
    }

    // --- asking ---------------------------------------------------------------------------

    pub(crate) fn on_repair_answer(
        &mut self,
        now: Now,
        from: NodeId,
        group: GroupId,
        message: PeerMessage,
        out: &mut Out,
    ) {
        match message {
            PeerMessage::Entry { at, payload } => self.on_entry(from, group, at, payload),
            PeerMessage::EntryGone { at, checkpoint } => self.on_entry_gone(now, group, at, checkpoint),
            PeerMessage::Piece { checkpoint, cursor, piece } => {
                self.on_piece(now, About { from, group }, checkpoint, &cursor, piece, out);
            }
            PeerMessage::CheckpointLater => self.on_checkpoint_later(from, group),
            _ => {}
        }
    }

    /// The peer no longer has the checkpoint it began to send: any other will do.
    fn on_checkpoint_later(&mut self, from: NodeId, group: GroupId) {
        let repair = self.groups.get_mut(&group).and_then(|g| g.repair.as_mut());
        let Some(fetch) = repair.and_then(|r| r.fetch.as_mut()).filter(|f| !f.busy) else { return };
        if fetch.receiving.as_ref().is_some_and(|(peer, ..)| *peer == from) {
            fetch.receiving = None;
            self.probe.reachable("repair.checkpoint_outlived");
        }
    }

    fn on_entry(&mut self, from: NodeId, group: GroupId, at: Position, payload: Bytes) {
        let Some(repair) = self.groups.get_mut(&group).and_then(|g| g.repair.as_mut()) else { return };
        let Some(at) = repair.place.record.inner(at) else { return };
        let Some(wanted) = repair.missing.get(&at.index).copied().filter(|m| m.term == at.term) else {
            return;
        };
        if wanted.crc.is_some_and(|crc| crc != crc32fast::hash(&payload)) {
            let why = format!("its entry at term {} index {} is not the one we had", at.term, at.index);
            let fault = PeerFault::Body { from, what: "log entry", why };
            self.probe.event(&Event::PeerFaulted { from, why: fault.to_string() });
            return;
        }
        repair.missing.remove(&at.index);
        repair.found.insert(at.index, LogEntry { index: at.index, term: at.term, payload });
        let what = format!("log entry {} of {group}", at.index);
        self.probe.event(&Event::Repaired { what, from });
        self.probe.reachable("repair.entry_from_peer");
    }

    /// The peer no longer has the entry, but state that includes it.
    fn on_entry_gone(&mut self, now: Now, group: GroupId, at: Position, checkpoint: Option<Position>) {
        let Some(repair) = self.groups.get_mut(&group).and_then(|g| g.repair.as_mut()) else { return };
        let covered = checkpoint.is_some_and(|c| covers(c, at));
        let missing = repair.place.record.inner(at).is_some_and(|at| repair.missing.contains_key(&at.index));
        if covered && missing && repair.fetch.is_none() {
            repair.fetch = Some(Fetch::reaching(at));
            repair.ask_at = now.mono;
        }
    }

    fn on_piece(
        &mut self,
        now: Now,
        about: About,
        checkpoint: Checkpointed,
        cursor: &Bytes,
        piece: Piece,
        out: &mut Out,
    ) {
        let About { from, group } = about;
        let Some(g) = self.groups.get_mut(&group) else { return };
        let store = g.store.clone();
        let Some(repair) = g.repair.as_mut() else { return };
        let Some(fetch) = repair.fetch.as_mut().filter(|f| !f.busy && covers(checkpoint.at, f.at_least))
        else {
            return;
        };
        let mut store = store.lock();
        match &fetch.receiving {
            Some((peer, which, Some(next))) if *peer == from && *which == checkpoint && next == cursor => {}
            _ if cursor.is_empty() => store.begin_install(checkpoint.clone()),
            _ => return,
        }
        fetch.receiving = Some((from, checkpoint, piece.next));
        (fetch.busy, fetch.asked) = (true, 0);
        repair.ask_at = now.mono + SILENCE * 4;
        let work = store.install_piece(piece.data);
        drop(store);
        self.start_job(NodeJob::InstallPiece { group }, work, out);
    }

    pub(crate) fn on_piece_installed(&mut self, now: Now, group: GroupId, result: JobResult, out: &mut Out) {
        let Some(g) = self.groups.get_mut(&group) else { return };
        let store = g.store.clone();
        let Some(repair) = g.repair.as_mut() else { return };
        let Some(fetch) = repair.fetch.as_mut() else { return };
        fetch.busy = false;
        let taken = result.and_then(|r| r.downcast::<Result<(), String>>().ok());
        let last = matches!(fetch.receiving, Some((_, _, None)));
        match taken.map(|t| *t) {
            Some(Ok(())) if last => {
                fetch.busy = true;
                let work = store.lock().finish_install();
                self.start_job(NodeJob::Install { group }, work, out);
            }
            Some(Ok(())) => repair.ask_at = now.mono,
            _ => {
                // A piece that fails its checks: from the beginning, from somebody else.
                fetch.receiving = None;
                repair.ask_at = now.mono;
            }
        }
    }

    pub(crate) fn on_installed(&mut self, now: Now, group: GroupId, result: JobResult, out: &mut Out) {
        let Some(g) = self.groups.get_mut(&group) else { return };
        let store = g.store.clone();
        let Some(repair) = g.repair.as_mut() else { return };
        let Some(Fetch { receiving: Some((from, checkpoint, _)), .. }) = repair.fetch.clone() else { return };
        let installed = store.lock().install_done(result);
        match installed {
            Ok(()) => {
                repair.fetch = None;
                repair.begin_behind(&checkpoint);
                self.probe.reachable("repair.state_from_peer");
                self.probe.event(&Event::Repaired { what: format!("state of {group}"), from });
            }
            Err(_) => repair.fetch = repair.fetch.as_ref().map(|f| Fetch::reaching(f.at_least)),
        }
        repair.ask_at = now.mono;
        out.wake_by(now.mono);
    }

    /// Once nothing is missing the log is written anew where it was damaged; once that is durable the engine starts.
    fn finish_repair(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let Some(g) = self.groups.get_mut(&group) else { return };
        let Some(repair) = g.repair.as_mut() else { return };
        if repair.fetch.is_some() || !repair.missing.is_empty() {
            return;
        }
        let copy = self.hybrid.get(&group).is_some_and(|h| h.part == Part::Copy);
        let mut wal = self.wal.lock();
        let written = repair.write(&mut wal, copy);
        let durable = wal.durable() >= written;
        drop(wal);
        if durable {
            let Some(repair) = g.repair.take() else { return };
            if copy {
                return self.copy_fetched(now, group, out);
            }
            if let Err(why) = self.start_group(now, group, repair.into_found()) {
                self.fail(why, out);
            }
        }
    }

    // --- answering ------------------------------------------------------------------------

    pub(crate) fn on_entry_wanted(&mut self, from: NodeId, group: GroupId, at: Position, out: &mut Out) {
        if self.repairing(group) {
            return;
        }
        let message = match self.host.entry(group, at) {
            Some((at, payload)) => PeerMessage::Entry { at, payload },
            None => {
                let checkpoint = self.groups.get(&group).and_then(|g| g.store().current_checkpoint());
                PeerMessage::EntryGone { at, checkpoint: checkpoint.map(|c| c.at) }
            }
        };
        out.sends.push(Send { to: from, lane: Lane::Bulk, body: peer_body(group, &message), after: None });
    }

    pub(crate) fn on_checkpoint_wanted(
        &mut self,
        now: Now,
        about: About,
        at: Option<Position>,
        at_least: Position,
        cursor: Bytes,
        out: &mut Out,
    ) {
        let About { from, group } = about;
        if self.repairing(group) {
            return;
        }
        if self.jobs.len() >= JOBS_MAX {
            return;
        }
        let Some(g) = self.groups.get(&group) else { return };
        let fits = match at {
            Some(begun) => g.store().servable(begun),
            None => g.store().current_checkpoint().filter(|c| covers(c.at, at_least)),
        };
        let work = fits.as_ref().and_then(|c| g.store().read_piece(c.at, cursor.clone()));
        if let (Some(checkpoint), Some(work)) = (fits, work) {
            let serving = Serving { checkpoint, cursor };
            return self.start_job(NodeJob::PeerPiece { to: from, group, serving }, work, out);
        }
        let reached = self.engine_status(group).applied.is_some_and(|a| covers(a, at_least));
        if reached
            && at.is_none()
            && let Some(token) = self.own_question(group, crate::Ask::Snapshot, now.mono + Duration::secs(30))
        {
            self.host.snapshot(group, token);
        }
        let body = peer_body(group, &PeerMessage::CheckpointLater);
        out.sends.push(Send { to: from, lane: Lane::Bulk, body, after: None });
    }

    pub(crate) fn on_peer_piece(
        &mut self,
        to: NodeId,
        group: GroupId,
        serving: Serving,
        result: JobResult,
        out: &mut Out,
    ) {
        if let Ok(piece) = piece_of(result) {
            let message =
                PeerMessage::Piece { checkpoint: serving.checkpoint, cursor: serving.cursor, piece };
            out.sends.push(Send { to, lane: Lane::Bulk, body: peer_body(group, &message), after: None });
        }
    }
}

/// Whom to ask what next.
fn questions_for(repair: &mut Repair) -> Vec<(NodeId, PeerMessage)> {
    if let Some(fetch) = &mut repair.fetch {
        if fetch.busy {
            return Vec::new();
        }
        fetch.asked += 1;
        let at_least = fetch.at_least;
        // A peer that has fallen silent: the next question begins anew with another.
        let begun = fetch.receiving.take().filter(|_| fetch.asked <= ASKED_MAX);
        let (to, at, cursor) = match begun.clone() {
            Some((from, checkpoint, Some(next))) => (Some(from), Some(checkpoint.at), next),
            _ => (None, None, Bytes::new()),
        };
        fetch.receiving = begun.filter(|_| at.is_some());
        let ask = PeerMessage::CheckpointWanted { at, at_least, cursor };
        return to.or_else(|| repair.peer()).map(|to| (to, ask)).into_iter().collect();
    }
    let wanted: Vec<Position> = repair
        .missing
        .iter()
        .take(ASKED_AT_ONCE)
        .map(|(index, m)| repair.place.record.outer(Position { term: m.term, index: *index }))
        .collect();
    let Some(to) = repair.peer() else { return Vec::new() };
    wanted.into_iter().map(|at| (to, PeerMessage::EntryWanted { at })).collect()
}

/// The log now begins behind a checkpoint: what lies before is no longer needed, damaged or not.
///
/// What lies behind is kept only if it goes on from the checkpoint. Terms never fall along a log, and all logs with
/// an entry of a term as high as the checkpoint's contain it (Log Matching, Leader Completeness); so one entry of a
/// lower term tells that this log took another way: its end was never decided, and goes (Raft, §7).
pub(crate) fn begin_log_at(repair: &mut Repair, at: Position) {
    let (log, missing) = (&mut repair.log, &mut repair.missing);
    log.entries.retain(|e| e.index > at.index);
    missing.retain(|index, _| *index > at.index);
    repair.found.retain(|index, _| *index > at.index);
    let elsewhere =
        log.entries.iter().any(|e| e.term < at.term) || missing.values().any(|m| m.term < at.term);
    if elsewhere {
        log.entries.clear();
        log.last = Some(at.index);
        missing.clear();
        repair.found.clear();
        repair.cut_after = Some(at.index);
    }
    let further = log.purged.is_none_or(|(_, index)| index < at.index);
    if further {
        log.purged = Some((at.term, at.index));
    }
}

#[cfg(test)]
#[path = "../../raft/tests/raft/harness/disk.rs"]
#[allow(dead_code, reason = "the disk in memory of the engines' tests")]
mod disk;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(purged: (u64, u64), terms: &[u64]) -> GroupLog {
        let entry =
            |(i, term): (u64, &u64)| LogEntry { index: purged.1 + i, term: *term, payload: Bytes::new() };
        let entries: Vec<LogEntry> = (1..).zip(terms).map(entry).collect();
        GroupLog {
            purged: Some(purged),
            last: entries.last().map(|e| e.index),
            entries,
            ..GroupLog::default()
        }
    }

    fn place() -> Place {
        Place { slot: GroupId(0), record: ChainRecord::default(), found: Found::nothing() }
    }

    #[test]
    fn a_log_goes_on_from_a_checkpoint_or_ends_there() {
        for (name, terms, missing, at, kept, cut) in [
            ("the same log", &[1, 1, 2][..], None, (1, 2), vec![(3, 2)], None),
            ("a later term behind it", &[1, 1, 3], None, (1, 2), vec![(3, 3)], None),
            ("all of it is inside", &[1, 1, 2], None, (2, 3), vec![], None),
            ("the checkpoint is ahead", &[1, 1], None, (2, 9), vec![], None),
            ("another way, undecided", &[1, 1, 1], None, (2, 2), vec![], Some(2)),
            ("another way, and its first entry is damaged", &[1, 1], Some((3, 1)), (2, 2), vec![], Some(2)),
            ("nothing behind it, and one damaged", &[1, 1], Some((3, 2)), (1, 2), vec![], None),
        ] {
            let missing = missing.map(|(i, term)| (i, Missing { term, crc: None })).into_iter().collect();
            let mut repair = Repair::new(place(), log((1, 0), terms), None, missing, Vec::new());
            begin_log_at(&mut repair, Position { term: at.0, index: at.1 });
            let left: Vec<(u64, u64)> = repair.log.entries.iter().map(|e| (e.index, e.term)).collect();
            assert_eq!(left, kept, "{name}");
            assert_eq!(repair.cut_after, cut, "{name}");
            assert!(repair.missing.keys().all(|i| cut.is_none() && *i > at.1), "{name}");
            assert_eq!(repair.log.purged, Some(at), "{name}");
        }
    }

    /// Entries that are found again make nobody well who may have lost a vote besides: that the engine says, or a next life would vote.
    #[test]
    fn a_repair_of_entries_heals_no_log_that_lost_what_nothing_names() {
        let slot = GroupId(5);
        for (suspect, copy, voting) in [(false, false, true), (true, false, false), (true, true, true)] {
            let disk = disk::MemDisk::default();
            let open = || {
                let world = dwcp_env::World {
                    now: Now::default(),
                    storage: std::sync::Arc::new(disk.clone()),
                    probe: dwcp_env::Probe::silent(),
                    seed: dwcp_env::Seed(1),
                };
                Wal::open(&world, dwcp_wal::WalConfig::default()).unwrap()
            };
            let mut wal = open().0;
            wal.append(slot, Record::Vote(Bytes::from_static(b"v")));
            if suspect {
                wal.suspect(slot);
            }
            let log = GroupLog { suspect, ..log((1, 4), &[1]) };
            let place = Place { slot, ..place() };
            let mut repair = Repair::new(place, log, None, BTreeMap::new(), Vec::new());
            repair.found.insert(6, LogEntry { index: 6, term: 1, payload: Bytes::from_static(b"e") });
            let written = repair.write(&mut wal, copy);
            assert_eq!(repair.write(&mut wal, copy), written, "once");
            let (mut ticket, mut out) = (1, Vec::new());
            wal.flush(&mut ticket, &mut out);
            out[0].ops.iter().try_for_each(|op| disk.carry_out(op)).unwrap();
            let found = open().1;
            assert_eq!(found.may_vote(slot), voting, "suspect {suspect}, copy {copy}");
            assert_eq!(found.groups[&slot].entries.len(), 1);
        }
    }
}
