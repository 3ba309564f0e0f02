//! The difference from a peer, found by range reconciliation: for a replica that is older than its peers' logs and still
//! holds most of what they hold.
//!
//! **Source.** `dwcp_crdt::range` (Meyer, SRDS 2023) and `dwcp_crdt::space` ("reconcile"), which are pure; here they are a protocol.
//!
//! | we | the holder |
//! |---|---|
//! | copy our live entries; `RangesWanted`: 64 sums over them | takes its header, then its items: a *view*; `Ranges`: the header; sums of the parts that differ |
//! | `RangesWanted`: finer sums … | from the same view or a later one, `Ranges`: dots |
//! | strike what only we have; `EntriesWanted`: dots | `Entries`: what of it is still live, and counters that changed meanwhile |
//! | `TailWanted`, then as in `fetch` | operations since the header, digest |
//!
//! **Why a later view will do, and an earlier one would not.** The header is that of the first answer. An item seen in any
//! later view and superseded since is superseded by an operation of the tail; one superseded *before* the header would stay for
//! ever. So a view is never older than the header it goes with: both are taken in one turn, kept together for [`VIEW`] for whoever
//! asks, and thrown away together.
//!
//! **What it costs.** About five bytes an item that differs and ten a range, then the entries themselves; two or three exchanges
//! before them, whatever the size. The holder walks and sorts its entries once a view (measured on a busy core: 30 ms of its turn
//! for 100,000, 0.3 s for a million), and walks them once for each [`DOTS`] asked for (10 ms, 0.13 s).
//!
//! **When the whole state is better.** If more than half of the holder's entries are needed or more than [`NEED_MAX`], a message outgrows
//! `RANGES_BYTES`, or after [`ROUNDS`] exchanges of ranges, the fetch goes on as one of the state. Over [`ENTRIES_MAX`] entries
//! it is not tried.
//!
//! **Bounds.** Each answer is taken from the peer's budget; without room the question stays unanswered and is repeated.
//! One view; one fetch. A question is checked for form and size before anything is made of it.

use crate::fetch::Fetch;
use crate::look::Rung;
use crate::message::{self, CHUNK_BYTES, Message, RANGES_BYTES, dots_bytes, version_bytes};
use crate::replica::{Eventual, Intent};
use bytes::Bytes;
use dwcp_crdt::range::{self, Difference, Items};
use dwcp_crdt::space::Restore;
use dwcp_crdt::{Dot, VersionVector};
use dwcp_env::{Duration, Instant, Lane, NodeId, Now, PeerFault};
use std::collections::BTreeMap;

/// A view is kept this long.
const VIEW: Duration = Duration::secs(10);
/// One that was asked so lately does not cut its log,
const PULLED: Duration = Duration::secs(10);
/// nor for so long after its last answer, which may have to be given again.
const ANSWERED: Duration = Duration::secs(3);
/// Exchanges of ranges: 64 to the eighth power items.
const ROUNDS: u32 = 8;
/// Exchanges of entries.
const ASKED_MAX: u32 = 4_096;
/// Entries asked for at once.
const DOTS: usize = 4_096;
/// So many are fetched one by one in any case.
const MANY: u64 = 1_024;
/// Entries that had no room in an answer.
const LEFT_MAX: usize = 64 * 1024;
/// Beyond so many entries a view takes too much of a turn.
const ENTRIES_MAX: usize = 1_000_000;
/// So many are fetched one by one at most: sixteen walks.
const NEED_MAX: u64 = 64 * 1024;
/// An answer is begun with so much room in the peer's budget.
const LEAST: usize = 16 * 1024;

/// Where a fetch stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Ranges are compared.
    Compare {
        /// Tells this fetch's answers from another's.
        pull: u64,
        round: u32,
        ours: Items,
        found: Difference,
    },
    /// Entries are fetched.
    Entries {
        pull: u64,
        round: u32,
        /// Not asked for yet.
        need: Vec<Dot>,
        /// Counters that changed since then go along.
        since: VersionVector,
    },
    /// The whole state is fetched; the next part is this.
    Parts { next: Option<Bytes> },
    /// What happened meanwhile is fetched.
    Tail,
}

/// What is kept for those who pull.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    view: Option<View>,
    /// Who fetches from us, and until when the log is kept for that.
    pullers: BTreeMap<NodeId, Instant>,
}

/// Our entries as of one moment.
#[derive(Debug)]
struct View {
    at: Instant,
    head: (Bytes, Bytes),
    items: Items,
}

impl Serving {
    /// One that fetches has asked.
    pub(crate) fn asked(&mut self, now: Now, by: NodeId) {
        self.pullers.insert(by, now.mono + PULLED);
    }
    /// It has been told the last, if that arrives.
    pub(crate) fn answered(&mut self, now: Now, to: NodeId) {
        self.pullers.insert(to, now.mono + ANSWERED);
    }
    pub(crate) fn has_pullers(&self, now: Now) -> bool {
        self.pullers.values().any(|until| *until > now.mono)
    }
    pub(crate) fn tick(&mut self, now: Now) {
        self.view.take_if(|v| now.mono.since(v.at) >= VIEW);
        self.pullers.retain(|_, until| *until > now.mono);
    }
    pub(crate) fn forget(&mut self) {
        self.view = None;
    }
}

impl Eventual {
    // --- who pulls -------------------------------------------------------------------------

    /// Asks where we differ.
    pub(crate) fn begin_ranges(&mut self, now: Now, from: NodeId) {
        if self.space.len() > ENTRIES_MAX {
            return self.begin_state(now, from);
        }
        let restore = Restore::copy(&self.space);
        let ours = restore.items();
        let question: Bytes = range::open(&ours).into();
        let pull = self.draw(now);
        let stage = Stage::Compare { pull, round: 0, ours, found: Difference::default() };
        let wanted = Message::RangesWanted { pull, round: 0, question };
        let mut fetch = Fetch::new(from, now, Rung::Ranges, stage, wanted.clone());
        fetch.restore = Some(restore);
        self.fetch = Some(fetch);
        self.intents.push(Intent::Plain { to: from, message: wanted });
    }

    /// The ranges are no way here: the whole state is.
    fn too_much(&mut self, now: Now, from: NodeId) {
        self.probe.reachable("eventual.ranges_too_much");
        self.begin_state(now, from);
    }

    /// The holder thinks so.
    pub(crate) fn on_ranges_refused(&mut self, now: Now, from: NodeId, refused: u64) {
        let here = |f: &Fetch| {
            f.from == from
                && matches!(f.stage, Stage::Compare { pull, .. } | Stage::Entries { pull, .. } if pull == refused)
        };
        if self.fetch.as_ref().is_some_and(here) {
            self.too_much(now, from);
        }
    }

    /// The holder's ranges.
    pub(crate) fn on_ranges(
        &mut self,
        now: Now,
        from: NodeId,
        (of, at): (u64, u32),
        head: Option<(Bytes, Bytes)>,
        entries: u64,
        answer: &[u8],
    ) -> Result<(), PeerFault> {
        let here = |f: &Fetch| {
            f.from == from
                && matches!(f.stage, Stage::Compare { pull, round, .. } if (pull, round) == (of, at))
        };
        if !self.fetch.as_ref().is_some_and(here) {
            return Ok(());
        }
        if at == 0 {
            let head = head.ok_or_else(|| message::fault(from, "ranges without a head"))?;
            let header = self.read_head(from, &head)?;
            let roster = self.space.roster().clone();
            let Some(fetch) = &mut self.fetch else { return Ok(()) };
            fetch.version = header.version.clone();
            let Some(restore) = &mut fetch.restore else { return Ok(()) };
            restore.aim(header);
            if restore.adopt(&roster).is_err() {
                self.too_much(now, from);
                return Ok(());
            }
        }
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        fetch.bytes += answer.len() as u64;
        self.counts.repair_received += answer.len() as u64;
        let Stage::Compare { round, ours, found, .. } = &mut fetch.stage else { return Ok(()) };
        let next = match range::resolve(ours, answer, found) {
            Ok(next) => next,
            Err(e) => {
                self.fetch = None;
                return Err(message::fault(from, &e.to_string()));
            }
        };
        let many = found.need.len() as u64 > (entries / 2 + MANY).min(NEED_MAX);
        match next {
            _ if many => self.too_much(now, from),
            Some(question) if question.len() > RANGES_BYTES || *round + 1 >= ROUNDS => {
                self.too_much(now, from);
            }
            Some(question) => {
                *round += 1;
                let wanted = Message::RangesWanted { pull: of, round: *round, question: question.into() };
                self.ask_on(now, wanted);
            }
            None => self.found(now, of),
        }
        Ok(())
    }

    /// It is known what differs.
    fn found(&mut self, now: Now, pull: u64) {
        let Some(fetch) = &mut self.fetch else { return };
        let Stage::Compare { found, .. } = &mut fetch.stage else { return };
        let found = std::mem::take(found);
        if let Some(restore) = &mut fetch.restore {
            restore.strike(&found.extra);
        }
        let since = fetch.version.clone();
        fetch.stage = Stage::Entries { pull, round: 0, need: found.need, since };
        self.ask_for_entries(now);
    }

    /// Asks for the next of the entries; when there are none, for what happened meanwhile.
    fn ask_for_entries(&mut self, now: Now) {
        let Some(fetch) = &mut self.fetch else { return };
        let Stage::Entries { pull, round, need, since } = &mut fetch.stage else { return };
        if need.is_empty() {
            return self.ask_for_tail(now);
        }
        if *round >= ASKED_MAX {
            let from = fetch.from;
            return self.too_much(now, from);
        }
        let some = need.split_off(need.len().saturating_sub(DOTS));
        *round += 1;
        let (dots, since) = (dots_bytes(&some), version_bytes(since));
        let message = Message::EntriesWanted { pull: *pull, round: *round, dots, since };
        self.ask_on(now, message);
    }

    /// Entries of the holder's.
    pub(crate) fn on_entries(
        &mut self,
        now: Now,
        from: NodeId,
        (of, at): (u64, u32),
        entries: &[u8],
        left: &[u8],
        version: &[u8],
    ) -> Result<(), PeerFault> {
        let left = message::dots(from, left, LEFT_MAX)?;
        let version = message::version(from, version)?;
        let Some(fetch) = self.fetch.as_mut().filter(|f| f.from == from) else { return Ok(()) };
        let Stage::Entries { pull, round, need, since } = &mut fetch.stage else { return Ok(()) };
        if (*pull, *round) != (of, at) {
            return Ok(());
        }
        need.extend(left);
        *since = version;
        fetch.bytes += entries.len() as u64;
        self.counts.repair_received += entries.len() as u64;
        if let Some(restore) = &mut fetch.restore
            && let Err(e) = restore.absorb(entries)
        {
            self.fetch = None;
            return Err(message::fault(from, &e.to_string()));
        }
        self.ask_for_entries(now);
        Ok(())
    }

    // --- who is asked ----------------------------------------------------------------------

    /// Answers a question about ranges or entries.
    pub(crate) fn serve(&mut self, now: Now, to: NodeId, question: Message) {
        if self.room(now, to) < LEAST {
            // The puller asks again.
            self.probe.reachable("eventual.peer_budget_spent");
            return;
        }
        self.serving.asked(now, to);
        let answered = match question {
            Message::RangesWanted { pull, round, question } => {
                self.serve_ranges(now, to, pull, round, &question)
            }
            Message::EntriesWanted { pull, round, dots, since } => {
                self.serve_entries(now, to, pull, round, &dots, &since)
            }
            _ => Ok(()),
        };
        if let Err(fault) = answered {
            self.faulted(&fault);
        }
    }

    fn serve_ranges(
        &mut self,
        now: Now,
        to: NodeId,
        pull: u64,
        round: u32,
        question: &[u8],
    ) -> Result<(), PeerFault> {
        if self.space.len() > ENTRIES_MAX {
            self.send(to, Lane::Data, &Message::RangesRefused { pull });
            return Ok(());
        }
        self.serving.tick(now);
        let (head, space) = (self.serving.view.is_none().then(|| self.head()), &self.space);
        let view = self.serving.view.get_or_insert_with(|| View {
            at: now.mono,
            head: head.unwrap_or_default(),
            items: space.items(),
        });
        let answer = range::answer(&view.items, question);
        let answer = answer.map_err(|e| message::fault(to, &e.to_string()))?;
        let (head, entries) = ((round == 0).then(|| view.head.clone()), view.items.len() as u64);
        if answer.len() > RANGES_BYTES {
            self.send(to, Lane::Data, &Message::RangesRefused { pull });
            return Ok(());
        }
        self.spend(now, to, answer.len());
        let message = Message::Ranges { pull, round, head, entries, answer: answer.into() };
        self.send(to, Lane::Bulk, &message);
        Ok(())
    }

    fn serve_entries(
        &mut self,
        now: Now,
        to: NodeId,
        pull: u64,
        round: u32,
        dots: &[u8],
        since: &[u8],
    ) -> Result<(), PeerFault> {
        let dots = message::dots(to, dots, DOTS)?;
        let since = message::version(to, since)?;
        let budget = self.room(now, to).min(CHUNK_BYTES);
        let (entries, left) = self.space.entries_within(&dots, &since, budget);
        if left.len() > LEFT_MAX {
            self.send(to, Lane::Data, &Message::RangesRefused { pull });
            return Ok(());
        }
        self.spend(now, to, entries.len());
        let (left, version) = (dots_bytes(&left), version_bytes(self.space.version()));
        let message = Message::Entries { pull, round, entries: entries.into(), left, version };
        self.send(to, Lane::Bulk, &message);
        Ok(())
    }
}
