//! PBFT: one order of commands among members of whom f of 3f + 1 may lie.
//!
//! **Promise.** With at most f liars among n >= 3f + 1 members — whatever they say, whatever the network
//! loses, repeats or delays, whichever correct processes crash and come back with their disks — no two
//! correct members decide differently at one place, nothing is decided that its named origin did not
//! propose, and a proposal takes effect at most once. While delays are bounded (the bound is searched for by
//! doubling, up to 256 of the configured patiences) every proposal of a correct member that stays up is decided. A member
//! that lost its disk counts towards f.
//!
//! **Source.** Castro & Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999; "… and Proactive Recovery",
//! TOCS 20(4), 2002.
//!
//! **Model.** Members take turns at being *primary*: of *view* v, the one v places behind the first, around. The primary gives
//! batches places in the order; 2f + 1 take note of it (*prepare*: no other batch can get this place in this
//! view); 2f + 1 know that (*commit*: no other can get it in any later view). Five one-way delays from a
//! member's proposal to its decision, three syncs on the way. A replica that waits too long leaves the view;
//! 2f + 1 leaves determine what the next begins with ([`select`]). Each `interval` places members take a
//! checkpoint of their state and sign its digest; 2f + 1 equal signatures make it *stable*, what lies below
//! is forgotten, and a member that lacks what was forgotten gets the state.
//!
//! Here a member's replica is also the client of its node: what is proposed there is bundled, signed and
//! sent to the primary, and after half a *patience* to all. A client outside believes f + 1 equal replies
//! ([`reply`]).
//!
//! | room | holds |
//! |---|---|
//! | [`config`], [`keys`], [`crypto`] | members, keys, bounds, times; codes and signatures |
//! | [`message`], [`record`] | what is said and why it is believed; what must be on disk before which message |
//! | [`bundle`] | what is proposed, its name, and that it takes effect once |
//! | `recover` | the state after a crash; what the log may be replaced with |
//! | `select`, `view` | what a view must carry on, with the proof; leaving and entering views |
//! | `slot`, `normal` | the three phases; applying in order |
//! | `pace` | a primary that is slower than it need be |
//! | `checkpoint` | signatures, certificates, watermarks, transfer of state |
//! | `requests`, `repair` | own proposals and those of others; sending again what was lost |
//! | [`reply`] | the rule by which a client believes |
//! | [`seal`] | what ends the epoch: an operator's signature |
//! | `liar` (feature `rehearsal`) | members who lie, with their own keys |
//!
//! **Codes or signatures.** The normal case has codes only. A prepare is therefore no certificate that could be
//! shown to others, and the view change does not need one: leaves carry signed *claims*, and what is counted
//! over a quorum of claims is safe to act on (the argument stands in [`select`]). Signatures stand where
//! third parties must be convinced: bundles (once for hundreds of commands; the reason in [`bundle`]),
//! checkpoints, leaves, new views.
//!
//! **Invariants.**
//! 1. A correct member takes note of one batch for a place in a view, and only from that view's primary: in
//!    place of the choice, where the new view made one.
//! 2. It sends Commit only after a quorum's notes, its own on disk included in none but itself.
//! 3. Nothing leaves before the record it stands for is on disk, and own votes are counted no earlier.
//! 4. Places are open from the last stable checkpoint to `window` above it: memory is bounded whatever
//!    others send, and each sender has a share of its own in every buffer.
//! 5. What is applied is a function of the order: [`bundle::Seen`] is part of the checkpoint.
//! 6. The epoch ends by a seal that the operator signed, and by no other ([`seal`]).
//! 7. A peer's state is installed only if 2f + 1 members signed its digest.
//!
//! **Rejected.** *Signing each prepare* (certificates that can be shown): 350 us of signatures a batch, and not
//! needed. *View changes by codes with acknowledgements* (TOCS 2002): one more round and messages whose
//! authors cannot be proved, to save what happens seldom. *Vectors of codes on requests*: see [`bundle`].
//! *Leaving the primary's own note unsynced until its peers' are*: a crash would make a liar of it.
//!
//! **Limits.** 4 to 15 members (traffic is quadratic); 512 open places; batches of 1 MiB
//! or one bundle of 1.9 MiB, so that each fits a record of the log; 32 places in a primary's pipeline; 64 bundles of one
//! origin under way; 32 different batches for one place in failed views, 1,536 claims in all
//! ([`message::CLAIMS_MAX`], [`message::NOTED_MAX`]).
//!
//! **Not yet.** Reads are ordered like commands (the paper's read-only path, 2f + 1 equal replies in one round
//! trip, is not there). Tentative execution is not there. A transfer of leadership is ignored: views
//! change by 2f + 1 members only. State is transferred whole, by the driver. What readers found and nobody mended: `docs/protocols/consensus.md`.

pub mod bundle;
mod checkpoint;
pub mod config;
pub mod crypto;
pub mod keys;
#[cfg(feature = "rehearsal")]
pub mod liar;
pub mod message;
mod normal;
mod pace;
mod planted;
pub mod record;
mod recover;
#[cfg(feature = "rehearsal")]
pub mod rehearsed;
mod repair;
pub mod reply;
mod requests;
pub mod seal;
mod select;
mod slot;
mod view;

#[cfg(feature = "planted-bugs")]
pub use planted::plant;
pub use {
    checkpoint::vouched,
    config::{Config, ConfigError, Parameters},
    message::Message,
    planted::Bug,
    record::Record,
};

use crate::engine::{Role, Token};
use crate::step::{Corrupt, Fault, Input, Output, Outputs, Protocol, Standing, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bundle::{Batch, Bundle, Name};
use bytes::Bytes;
use checkpoint::Point;
use core::hash::{Hash, Hasher};
use crypto::{Covered, Digest, Kind, Tag};
use dwcp_env::Instant;
use message::{Certificate, NewView, ViewChange, Vote};
use slot::Slot;

type Out = Outputs<Pbft>;

/// How often the hard paths were taken; no part of a state's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Views entered.
    pub views_entered: u64,
    /// Places carried into a new view with a batch.
    pub carried: u64,
    /// Places carried into a new view empty.
    pub filled: u64,
    /// New views that had to wait for more than a quorum of leaves, or for a batch.
    pub new_view_waited: u64,
    /// Batches fetched by digest.
    pub fetched: u64,
    /// Places decided by the word of f + 1.
    pub told: u64,
    /// Checkpoints made stable.
    pub stable: u64,
    /// States installed from a peer.
    pub installed: u64,
    /// Bundles that were ordered again, without effect.
    pub repeated: u64,
    /// Messages refused.
    pub blamed: u64,
    /// Bundles sent to all because the primary did not act.
    pub appealed: u64,
    /// Primaries left because they were slow.
    pub slow: u64,
    /// Starts from records of an earlier lifetime.
    pub recovered: u64,
}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// How often a peer was caught: what was wrong changed nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lies(u32);

impl Hash for Lies {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A batch that is held, and whether a record has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Held {
    batch: Arc<Batch>,
    logged: bool,
}

/// How often a batch was asked for, and whether in this period.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Asked {
    tries: u32,
    lately: bool,
}

/// A bundle that waits for its place.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Waiting {
    bundle: Bundle,
    since: Instant,
    arrival: u64,
    ordered: bool,
}

/// A bundle of this lifetime.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Mine {
    bundle: Bundle,
    tokens: Vec<Token>,
    reads: Vec<Token>,
    sent: Instant,
    /// When it was made.
    since: Instant,
}

/// What counts once it is on disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Own {
    Prepare { view: u64, seq: u64, digest: Digest },
    Commit { view: u64, seq: u64, digest: Digest },
    Change(Arc<ViewChange>),
    Vote(u64),
    Stable(u64),
}

/// One member's state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pbft {
    config: Config,
    /// The empty batch's digest.
    nothing: Digest,
    // --- views
    view: u64,
    active: bool,
    /// The place behind which the view began.
    base: u64,
    /// What proves the current view; none in view 0, or outside of views.
    entered: Option<Arc<NewView>>,
    entered_at: Instant,
    /// Since when a quorum asks for the view this member asks for.
    asked_at: Option<Instant>,
    /// Views in a row that brought nothing.
    failed: u32,
    /// Lies of this view's primary to this member.
    lies: Lies,
    changes: BTreeMap<u8, Arc<ViewChange>>,
    /// Votes of views to come, by sender.
    ahead: BTreeMap<u8, VecDeque<Message>>,
    // --- the order
    slots: BTreeMap<u64, Slot>,
    batches: BTreeMap<Digest, Held>,
    point: Point,
    /// The next place this member gives out as primary.
    next: u64,
    // --- checkpoints
    stable: Certificate,
    certificates: BTreeMap<u64, Certificate>,
    votes: BTreeMap<u8, BTreeMap<u64, Vote>>,
    vouched: BTreeMap<u64, (Bytes, Vote)>,
    announced: u64,
    durable: u64,
    low: u64,
    /// A checkpoint's place was lost to a crash: name it again.
    ask_again: bool,
    /// No step was taken since the log was read.
    resumed: bool,
    // --- requests
    pool: BTreeMap<Name, Waiting>,
    arrived: BTreeMap<u64, Name>,
    unordered: VecDeque<Name>,
    arrivals: u64,
    lifetime: u64,
    born: Option<Ticket>,
    number: u64,
    queue: VecDeque<(Token, crate::step::Payload)>,
    queue_bytes: usize,
    reads: VecDeque<Token>,
    mine: BTreeMap<u64, Mine>,
    // --- durability
    ticket: Ticket,
    persisted: Ticket,
    pending: VecDeque<(Ticket, Own)>,
    // --- repair
    next_status: Instant,
    status_at: u64,
    answered: Vec<Option<Instant>>,
    served: Vec<usize>,
    fetches: BTreeMap<Digest, Asked>,
    pace: pace::Pace,
    counts: Counts,
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place && self.members == other.members && self.realm == other.realm
    }
}
impl Eq for Config {}

impl Pbft {
    fn new(config: Config, now: Instant) -> Self {
        let n = config.n();
        let nothing = Batch::default().digest(&config.realm);
        Self {
            nothing,
            view: 0,
            active: true,
            base: 0,
            entered: None,
            entered_at: now,
            asked_at: None,
            failed: 0,
            lies: Lies(0),
            changes: BTreeMap::new(),
            ahead: BTreeMap::new(),
            slots: BTreeMap::new(),
            batches: BTreeMap::from([(nothing, Held { batch: Arc::default(), logged: true })]),
            point: Point::begin(n),
            next: 1,
            stable: Certificate::default(),
            certificates: BTreeMap::new(),
            votes: BTreeMap::new(),
            vouched: BTreeMap::new(),
            announced: 0,
            durable: 0,
            low: 0,
            ask_again: false,
            resumed: false,
            pool: BTreeMap::new(),
            arrived: BTreeMap::new(),
            unordered: VecDeque::new(),
            arrivals: 0,
            lifetime: 0,
            born: None,
            number: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            reads: VecDeque::new(),
            mine: BTreeMap::new(),
            ticket: Ticket(0),
            persisted: Ticket(0),
            pending: VecDeque::new(),
            next_status: now,
            status_at: 0,
            answered: vec![None; n],
            served: vec![0; n],
            fetches: BTreeMap::new(),
            pace: pace::Pace::default(),
            counts: Counts::default(),
            config,
        }
    }

    /// How often the hard paths were taken in this lifetime.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn me(&self) -> usize {
        self.config.place
    }
    fn leads(&self) -> bool {
        self.active && self.config.primary(self.view) == self.me()
    }
    fn watermark(&self) -> u64 {
        self.low.max(self.base)
    }
    /// Whether a batch may be given this place in this view.
    fn open(&self, seq: u64) -> bool {
        let low = self.watermark();
        planted::is(Bug::WatermarkUnchecked) && seq > 0 || seq > low && seq - low <= self.config.window
    }

    fn persist(&mut self, record: Record, out: &mut Out) -> Ticket {
        self.ticket.0 += 1;
        out.push(Output::Persist { ticket: self.ticket, record });
        self.ticket
    }
    fn send(&self, to: usize, message: Message, after: Option<Ticket>, out: &mut Out) {
        let after = after.filter(|t| *t > self.persisted);
        out.push(Output::Send { to: self.config.members[to], message, after });
    }
    fn send_all(&self, message: &Message, after: Option<Ticket>, out: &mut Out) {
        for to in self.config.others() {
            self.send(to, message.clone(), after, out);
        }
    }
    /// Sends everybody the same under a code for each.
    fn say_all(
        &self,
        kind: Kind,
        what: &Covered,
        with: impl Fn(Tag) -> Message,
        after: Option<Ticket>,
        out: &mut Out,
    ) {
        for to in self.config.others() {
            self.send(to, with(self.config.tag(kind, to, what)), after, out);
        }
    }
    fn check(&self, kind: Kind, from: usize, what: &Covered, tag: &Tag) -> Result<(), Fault> {
        let holds = planted::is(Bug::CodeUnchecked) || self.config.tag_holds(kind, from, what, tag);
        holds.then_some(()).ok_or(Fault::Forged)
    }

    fn hear(&mut self, now: Instant, from: usize, message: Message, out: &mut Out) -> Result<(), Fault> {
        match message {
            Message::Request(bundle) => self.on_request(now, bundle, out),
            Message::PrePrepare { view, seq, batch, tag } => {
                self.on_pre_prepare(now, from, view, seq, batch, &tag, out)
            }
            Message::Prepare { view, seq, digest, tag } => {
                let what = message::covered(view, seq, digest);
                self.check(Kind::Prepare, from, &what, &tag)?;
                self.on_prepare(from, view, seq, digest, tag, out)
            }
            Message::Commit { view, seq, digest, tag } => {
                let what = message::covered(view, seq, digest);
                self.check(Kind::Commit, from, &what, &tag)?;
                self.on_commit(from, view, seq, digest, tag, out)
            }
            Message::Decision { seq, digest, tag } => {
                self.check(Kind::Decision, from, &message::covered(0, seq, digest), &tag)?;
                self.on_decision(from, seq, digest, out)
            }
            Message::Checkpoint(vote) => self.on_vote(from, vote, out),
            Message::Stable(certificate) => self.on_stable(certificate, out),
            Message::ViewChange(change) => self.on_view_change(now, from, change, out),
            Message::NewView(view) => self.on_new_view(now, view, out),
            Message::Status(status) => {
                self.check(Kind::Status, from, &status.covered(), &status.tag)?;
                self.on_status(now, from, &status, out);
                Ok(())
            }
            Message::Fetch { digest, tag } => {
                self.check(Kind::Fetch, from, &message::covered(0, 0, digest), &tag)?;
                self.on_fetch(from, digest, out);
                Ok(())
            }
            Message::Batch(batch) => self.on_batch(now, batch, out),
        }
    }

    fn on_persisted(&mut self, now: Instant, upto: Ticket, out: &mut Out) {
        self.persisted = self.persisted.max(upto);
        while self.pending.front().is_some_and(|(ticket, _)| *ticket <= self.persisted) {
            let Some((_, own)) = self.pending.pop_front() else { break };
            match own {
                Own::Prepare { view, seq, digest } => self.count_own_prepare(view, seq, digest, out),
                Own::Commit { view, seq, digest } => self.count_own_commit(view, seq, digest, out),
                Own::Change(change) => self.count_own_change(now, change, out),
                Own::Vote(seq) => self.count_own_vote(seq, out),
                Own::Stable(seq) => self.announce(seq, out),
            }
        }
    }
}

impl Protocol for Pbft {
    const LIARS: bool = true;

    type Config = Config;
    type Message = Message;
    type Record = Record;

    fn recover(
        config: Config,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Record>,
        now: Instant,
    ) -> Result<Self, Corrupt> {
        Self::new(config, now).replay(mark, records)
    }

    fn step(&mut self, now: Instant, input: Input<Message>, out: &mut Out) {
        self.pace.clock = now;
        self.resume(out);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Message { from, message } => {
                let fault = match self.config.place_of(from) {
                    Some(place) if place != self.me() => self.hear(now, place, message, out).err(),
                    Some(_) => None,
                    None => Some(Fault::Sender),
                };
                if let Some(fault) = fault {
                    self.counts.blamed += 1;
                    out.push(Output::Blame { peer: from, fault });
                }
            }
            Input::Propose(proposals) => self.propose(proposals, out),
            Input::Read(token) => self.read(token, out),
            // A primary is left for what it does not do, which is the same for all; who is gone does nothing.
            Input::Transfer(_) | Input::Unreachable(_) => {}
            Input::Persisted(upto) => self.on_persisted(now, upto, out),
            // Checkpoints count where all take them: `Vouched`.
            Input::Checkpointed { mark: _ } => {}
            Input::Vouched { mark, digest } => self.on_vouched(&mark, &digest, out),
            Input::Installed { mark } => self.on_installed(now, &mark, out),
        }
        self.settle(now, out);
    }

    fn wake_at(&self) -> Instant {
        self.next_status.min(self.deadline())
    }

    fn standing(&self) -> Standing {
        let primary = self.config.primary(self.view);
        Standing {
            role: match (self.active, self.leads()) {
                (true, true) => Role::Leader,
                (true, false) => Role::Follower,
                (false, _) => Role::Candidate,
            },
            ballot: self.view,
            leader: self.active.then(|| self.config.members[primary]),
            decided: self.point.index,
        }
    }

    fn mark(&self) -> Bytes {
        self.point.mark()
    }

    fn successor(&self, seal: &Bytes) -> Option<Bytes> {
        self.config.seal_holds(seal).then(|| seal::record(seal)).flatten()
    }

    fn admits(&self, mark: &Bytes, digest: &[u8; 32]) -> bool {
        self.proves(mark, digest)
    }

    fn proof(&self, mark: &Bytes) -> Option<Message> {
        self.certificate_of(mark).cloned().map(Message::Stable)
    }

    fn proved(&self, mark: &Bytes) -> Option<[u8; 32]> {
        let digest = self.certificate_of(mark)?.state.0;
        self.proves(mark, &digest).then_some(digest)
    }

    fn tally(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let c = self.counts;
        let all = [
            ("views entered", c.views_entered),
            ("places carried into a new view", c.carried),
            ("places filled with nothing", c.filled),
            ("new views that waited", c.new_view_waited),
            ("batches fetched", c.fetched),
            ("places decided by f + 1 words", c.told),
            ("stable checkpoints", c.stable),
            ("states installed", c.installed),
            ("bundles ordered again", c.repeated),
            ("messages refused", c.blamed),
            ("appeals to all", c.appealed),
            ("slow primaries left", c.slow),
            ("recoveries", c.recovered),
        ];
        all.into_iter().for_each(|(name, n)| each(name, n));
    }

    fn compact(&self) -> Vec<Record> {
        self.records()
    }
}

#[cfg(test)]
mod tests;
