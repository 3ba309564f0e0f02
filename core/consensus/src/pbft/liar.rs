//! Members who lie, with their own keys and nobody else's.
//!
//! A liar runs an honest replica and twists what it says. It knows all that the replica heard, signs and
//! codes under its own keys, and plays together with other liars without talking to them: what they show to
//! whom is a function of what all of them know.
//!
//! | kind | does |
//! |---|---|
//! | mute | says nothing, to all or to some |
//! | two-faced | as primary gives half of the members another batch; votes with each half for what that half was given |
//! | parrot | repeats what it said and heard, as it was and to others; orders old bundles again |
//! | laggard | says everything as late as the others' patience bears |
//! | brake | as primary gives out each batch so late that nobody appeals |
//! | forger | bundles under others' names, seals no operator signed, certificates and leaves nobody signed, words in others' names |
//! | flooder | places far ahead, views without end, bundles without end, questions without end |
//! | miscounter | wrong digests of checkpoints, wrong decisions, wrong batches, offers of state |
//! | perjurer | leaves with claims it made up or left out; new views that carry on something else; leaves at will |
//! | chameleon | any of them, another every while |

use super::bundle::{Batch, Bundle, Name, pack};
use super::config::Config;
use super::crypto::{Digest, Kind, Signature};
use super::message::{Certificate, Claim, Message, NewView, Status, ViewChange, Vote, covered};
use super::{Out, Pbft};
use crate::rehearsal::Liar;
use crate::step::{Output, Payload};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};

const DRAW: Purpose = Purpose::named("pbft liar");
/// What it remembers.
const MEMORY: usize = 256;

/// How it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the table above says what each does")]
pub enum Manner {
    Mute,
    TwoFaced,
    Parrot,
    Laggard,
    Brake,
    Forger,
    Flooder,
    Miscounter,
    Perjurer,
    Chameleon,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Mute,
        Self::TwoFaced,
        Self::Parrot,
        Self::Laggard,
        Self::Brake,
        Self::Forger,
        Self::Flooder,
        Self::Miscounter,
        Self::Perjurer,
        Self::Chameleon,
    ];
}

/// A liar's tongue.
#[derive(Debug)]
pub struct Tongue {
    config: Config,
    manner: Manner,
    seed: Seed,
    draws: u64,
    heard: VecDeque<Message>,
    said: VecDeque<Message>,
    /// What the other half was given instead of a batch, by its digest.
    other: BTreeMap<Digest, Digest>,
    late: VecDeque<(Instant, NodeId, Message)>,
    forged: Vec<(NodeId, NodeId, Message)>,
    last: Instant,
    numbers: u64,
    view: u64,
    seq: u64,
    stable: u64,
}

impl Tongue {
    /// A liar of this kind (modulo their number) with the keys of `config`.
    #[must_use]
    pub fn new(config: Config, seed: u64, kind: u64) -> Self {
        Self {
            config,
            manner: Manner::ALL[(kind % Manner::ALL.len() as u64) as usize],
            seed: Seed(seed),
            draws: 0,
            heard: VecDeque::new(),
            said: VecDeque::new(),
            other: BTreeMap::new(),
            late: VecDeque::new(),
            forged: Vec::new(),
            last: Instant::ZERO,
            numbers: 0,
            view: 0,
            seq: 0,
            stable: 0,
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn manner(&self) -> Manner {
        self.manner
    }

    fn below(&mut self, n: u64) -> u64 {
        self.draws += 1;
        self.seed.below(n, DRAW, 0, Instant::ZERO, self.draws)
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn noise(&mut self) -> Digest {
        let n = self.below(u64::MAX);
        Digest::of(Kind::Fetch, &self.config.realm, &[&n.to_le_bytes()])
    }
    /// The half of the members that is told the other story.
    fn fooled(&self, to: usize) -> bool {
        (to + self.config.n() - self.config.place) % 2 == 1
    }

    /// What the other half is given instead: a function of the batch, so that all liars know it.
    fn instead(&self, batch: &Batch) -> Batch {
        let mut other = batch.clone();
        if other.bundles.len() > 1 {
            other.bundles.reverse();
        } else {
            other.bundles.clear();
        }
        other
    }

    fn learn(&mut self, message: &Message) {
        match message {
            Message::PrePrepare { view, seq, batch, .. } => {
                let other = self.instead(batch).digest(&self.config.realm);
                self.other.insert(batch.digest(&self.config.realm), other);
                if self.other.len() > MEMORY {
                    self.other.pop_first();
                }
                self.view = self.view.max(*view);
                self.seq = self.seq.max(*seq);
            }
            Message::Checkpoint(vote) => self.stable = self.stable.max(vote.seq),
            Message::ViewChange(change) => self.view = self.view.max(change.view.min(self.view + 2)),
            _ => {}
        }
    }

    fn remember(kept: &mut VecDeque<Message>, message: &Message) {
        kept.push_back(message.clone());
        if kept.len() > MEMORY {
            kept.pop_front();
        }
    }

    /// The message under a code that holds.
    fn coded(&self, to: usize, message: Message) -> Message {
        let c = &self.config;
        match message {
            Message::PrePrepare { view, seq, batch, .. } => {
                let digest = batch.digest(&c.realm);
                let tag = c.tag(Kind::PrePrepare, to, &covered(view, seq, digest));
                Message::PrePrepare { view, seq, batch, tag }
            }
            Message::Prepare { view, seq, digest, .. } => {
                let tag = c.tag(Kind::Prepare, to, &covered(view, seq, digest));
                Message::Prepare { view, seq, digest, tag }
            }
            Message::Commit { view, seq, digest, .. } => {
                let tag = c.tag(Kind::Commit, to, &covered(view, seq, digest));
                Message::Commit { view, seq, digest, tag }
            }
            Message::Decision { seq, digest, .. } => {
                let tag = c.tag(Kind::Decision, to, &covered(0, seq, digest));
                Message::Decision { seq, digest, tag }
            }
            Message::Fetch { digest, .. } => {
                let tag = c.tag(Kind::Fetch, to, &covered(0, 0, digest));
                Message::Fetch { digest, tag }
            }
            Message::Status(mut status) => {
                status.tag = c.tag(Kind::Status, to, &status.covered());
                Message::Status(status)
            }
            Message::Checkpoint(mut vote) => {
                let signed = Vote::signed(vote.seq, &vote.mark, &vote.state, &c.realm);
                vote.signature = c.sign(Kind::Checkpoint, &signed);
                Message::Checkpoint(vote)
            }
            Message::ViewChange(mut change) => {
                change.place = c.place as u8;
                change.signature = c.sign(Kind::ViewChange, &change.signed(&c.realm));
                Message::ViewChange(change)
            }
            Message::NewView(mut view) => {
                view.signature = c.sign(Kind::NewView, &view.signed(&c.realm));
                Message::NewView(view)
            }
            other => other,
        }
    }

    fn bundle(&mut self, origin: u8, number: u64) -> Bundle {
        // What it proposes in its own name is its right, and blank; what in others', nobody made.
        let own = usize::from(origin) == self.config.place;
        let noise = Bytes::from(self.noise().0.repeat(3));
        let content = match (own, self.manner) {
            (true, Manner::Forger) => Payload::Seal(noise),
            (true, _) => Payload::Blank,
            (false, _) => Payload::Command(noise),
        };
        let name = Name { origin, lifetime: 1 + self.below(3), number };
        let mut bundle = Bundle { name, body: pack([content].iter()), signature: Signature::default() };
        bundle.signature = self.config.sign(Kind::Bundle, &bundle.digest(&self.config.realm));
        bundle
    }

    /// Twists one message; `None`: it is not said.
    fn twist(&mut self, manner: Manner, to: usize, message: Message) -> Option<Message> {
        match manner {
            Manner::Mute => {
                let to_all = self.seed.0.is_multiple_of(2);
                (!to_all && to.is_multiple_of(2)).then_some(message)
            }
            Manner::TwoFaced if self.fooled(to) => Some(self.other_face(to, message)),
            Manner::Forger => Some(self.forge(message)),
            Manner::Miscounter => Some(self.miscount(to, message)),
            Manner::Perjurer => Some(self.perjure(to, message)),
            Manner::Parrot if self.one_in(4) => Some(self.repeat_bundles(to, message)),
            _ => Some(message),
        }
    }

    fn other_face(&mut self, to: usize, message: Message) -> Message {
        let twisted = match message {
            Message::PrePrepare { view, seq, batch, tag } => {
                Message::PrePrepare { view, seq, batch: self.instead(&batch), tag }
            }
            Message::Prepare { view, seq, digest, tag } => Message::Prepare {
                view,
                seq,
                digest: self.other.get(&digest).copied().unwrap_or(digest),
                tag,
            },
            Message::Commit { view, seq, digest, tag } => {
                Message::Commit { view, seq, digest: self.other.get(&digest).copied().unwrap_or(digest), tag }
            }
            Message::Decision { seq, digest, tag } => {
                Message::Decision { seq, digest: self.other.get(&digest).copied().unwrap_or(digest), tag }
            }
            Message::ViewChange(mut change) => {
                for claim in change.prepared.iter_mut() {
                    claim.digest = self.other.get(&claim.digest).copied().unwrap_or(claim.digest);
                }
                change.noted.clone_from(&change.prepared);
                Message::ViewChange(change)
            }
            other => return other,
        };
        self.coded(to, twisted)
    }

    fn forge(&mut self, message: Message) -> Message {
        let victim = self.below(self.config.n() as u64) as u8;
        match message {
            Message::Request(_) if self.one_in(2) => {
                let number = 1 + self.below(60);
                Message::Request(self.bundle(victim, number))
            }
            Message::PrePrepare { view, seq, mut batch, tag } if self.one_in(4) => {
                let number = 1 + self.below(60);
                batch.bundles.push(self.bundle(victim, number));
                Message::PrePrepare { view, seq, batch, tag }
            }
            Message::ViewChange(mut change) if self.one_in(2) => {
                change.place = victim;
                Message::ViewChange(change)
            }
            Message::Prepare { view, seq, digest, tag } if self.one_in(4) => {
                Message::Commit { view, seq, digest, tag }
            }
            Message::Stable(mut certificate) if self.one_in(2) => {
                certificate.state = self.noise();
                Message::Stable(certificate)
            }
            other => other,
        }
    }

    fn miscount(&mut self, to: usize, message: Message) -> Message {
        let noise = self.noise();
        let twisted = match message {
            Message::Checkpoint(mut vote) => {
                vote.state = if self.one_in(2) { noise } else { vote.state };
                vote.mark = if self.one_in(2) { noise } else { vote.mark };
                Message::Checkpoint(vote)
            }
            Message::Decision { seq, tag, .. } => Message::Decision { seq, digest: noise, tag },
            Message::Batch(_) => {
                Message::Batch(Batch { bundles: vec![self.bundle(self.config.place as u8, 1)] })
            }
            Message::Commit { view, seq, digest, tag } if self.one_in(3) => {
                Message::Commit { view, seq, digest: self.other.get(&digest).copied().unwrap_or(noise), tag }
            }
            other => return other,
        };
        self.coded(to, twisted)
    }

    fn perjure(&mut self, to: usize, message: Message) -> Message {
        let noise = self.noise();
        let twisted = match message {
            Message::ViewChange(mut change) => {
                self.perjure_leave(&mut change, noise);
                Message::ViewChange(change)
            }
            Message::NewView(mut view) => {
                match self.below(4) {
                    0 => view.chosen.clear(),
                    1 => view.chosen.reverse(),
                    2 => {
                        view.chosen.iter_mut().for_each(|d| *d = self.other.get(d).copied().unwrap_or(noise))
                    }
                    _ => {
                        view.changes.pop();
                    }
                }
                Message::NewView(view)
            }
            other => return other,
        };
        self.coded(to, twisted)
    }

    /// Claims left out, made up, or dated later than anybody's.
    fn perjure_leave(&mut self, change: &mut ViewChange, noise: Digest) {
        let view = change.view.saturating_sub(1);
        match self.below(4) {
            0 => change.prepared.clear(),
            1 => {
                change.noted.clear();
                for claim in change.prepared.iter_mut() {
                    claim.view = view;
                    claim.digest = self.other.get(&claim.digest).copied().unwrap_or(noise);
                }
                change.noted.clone_from(&change.prepared);
            }
            2 => {
                // Of the empty batch nobody lacks the content.
                let empty = Batch::default().digest(&self.config.realm);
                let digest = if self.one_in(3) { noise } else { empty };
                let low = change.stable.seq;
                let made_up = |i| Claim { seq: low + i, view, digest };
                change.prepared = (1..=self.config.window.min(6)).map(made_up).collect();
                change.noted.clone_from(&change.prepared);
            }
            _ => change.stable = Certificate::default(),
        }
    }

    fn repeat_bundles(&mut self, to: usize, message: Message) -> Message {
        let Message::PrePrepare { view, seq, mut batch, tag } = message else { return message };
        let old: Vec<Bundle> = self
            .heard
            .iter()
            .filter_map(|m| match m {
                Message::Request(bundle) => Some(bundle.clone()),
                _ => None,
            })
            .take(3)
            .collect();
        batch.bundles.extend(old);
        batch.bundles.truncate(super::bundle::BUNDLES_MAX);
        self.coded(to, Message::PrePrepare { view, seq, batch, tag })
    }

    /// What it says that no honest replica in its place would.
    fn extra(&mut self, now: Instant, manner: Manner, out: &mut Vec<(usize, Message)>) {
        if now.since(self.last) < self.config.resend / 2 {
            return;
        }
        self.last = now;
        let to = self.below(self.config.n() as u64) as usize;
        let (view, seq, noise) = (self.view, self.seq, self.noise());
        let tag = super::crypto::Tag::default();
        match manner {
            Manner::Parrot => {
                let all = self.said.len() + self.heard.len();
                for _ in 0..4.min(all) {
                    let at = self.below(all as u64) as usize;
                    let old = self.said.iter().chain(&self.heard).nth(at).cloned();
                    out.extend(old.map(|message| (to, message)));
                }
            }
            Manner::Forger => {
                let victim = self.below(self.config.n() as u64) as usize;
                let from = self.config.members[victim];
                let words = [
                    Message::Prepare { view, seq: seq + 1, digest: noise, tag },
                    Message::Commit { view, seq, digest: noise, tag },
                    Message::Decision { seq: seq + 1, digest: noise, tag },
                ];
                for receiver in self.config.others().filter(|r| *r != victim) {
                    let receiver = self.config.members[receiver];
                    self.forged.extend(words.iter().map(|w| (from, receiver, w.clone())));
                }
                let certificate = Certificate {
                    seq: self.stable + self.config.interval * 3,
                    mark: noise,
                    state: noise,
                    votes: vec![(self.config.place as u8, Signature::default())],
                };
                out.push((to, Message::Stable(certificate)));
            }
            Manner::Flooder => {
                for i in 0..6 {
                    let far = seq + self.below(1_000);
                    self.numbers += 1;
                    let me = self.config.place as u8;
                    let bundle = self.bundle(me, self.numbers);
                    let words = [
                        Message::Prepare { view: view + i, seq: far, digest: noise, tag },
                        Message::Commit { view: view + i, seq: far, digest: noise, tag },
                        Message::Fetch { digest: noise, tag },
                        Message::Status(Status { stuck: true, ..Status::default() }),
                        Message::Request(bundle.clone()),
                        Message::PrePrepare { view, seq: far, batch: Batch { bundles: vec![bundle] }, tag },
                    ];
                    let word = words[i as usize].clone();
                    out.push((to, self.coded(to, word)));
                }
                let change = ViewChange {
                    place: 0,
                    view: view + 1 + self.below(1_000_000),
                    stable: Certificate::default(),
                    prepared: Vec::new(),
                    noted: Vec::new(),
                    signature: Signature::default(),
                };
                out.push((to, self.coded(to, Message::ViewChange(change))));
            }
            Manner::Miscounter => {
                let wrong = Message::Decision { seq: seq + 1, digest: noise, tag };
                out.push((to, self.coded(to, wrong)));
                let wrong = Vote {
                    seq: self.stable + self.config.interval,
                    mark: noise,
                    state: noise,
                    signature: Signature::default(),
                };
                out.push((to, self.coded(to, Message::Checkpoint(wrong))));
            }
            Manner::TwoFaced | Manner::Perjurer => {
                // Places of the past, given out again.
                let place = self.below(seq + 2);
                let past = Message::PrePrepare { view, seq: place, batch: Batch::default(), tag };
                out.push((to, self.coded(to, past)));
                if self.one_in(16) {
                    let mut change = ViewChange {
                        place: 0,
                        view: view + 1,
                        stable: Certificate::default(),
                        prepared: Vec::new(),
                        noted: Vec::new(),
                        signature: Signature::default(),
                    };
                    self.perjure_leave(&mut change, noise);
                    out.push((to, self.coded(to, Message::ViewChange(change))));
                    let begin = NewView {
                        view,
                        changes: Vec::new(),
                        chosen: vec![noise],
                        signature: Signature::default(),
                    };
                    out.push((to, self.coded(to, Message::NewView(begin))));
                }
            }
            Manner::Mute | Manner::Laggard | Manner::Brake | Manner::Chameleon => {}
        }
    }

    fn manner_now(&self, now: Instant) -> Manner {
        if self.manner != Manner::Chameleon {
            return self.manner;
        }
        let turn = now.as_nanos() / (self.config.patience * 2).as_nanos().max(1);
        let n = self.seed.below(Manner::ALL.len() as u64 - 1, DRAW, 1, Instant::ZERO, turn);
        Manner::ALL[n as usize]
    }
}

impl Liar<Pbft> for Tongue {
    fn hear(&mut self, _: Instant, _: NodeId, message: &Message) {
        self.learn(message);
        if !matches!(message, Message::Status(_)) {
            Self::remember(&mut self.heard, message);
        }
    }

    fn speak(&mut self, now: Instant, _: NodeId, members: &[NodeId], out: &mut Out) {
        let manner = self.manner_now(now);
        for output in core::mem::take(out) {
            let Output::Send { to, message, after } = output else {
                out.push(output);
                continue;
            };
            self.learn(&message);
            if !matches!(message, Message::Status(_)) {
                Self::remember(&mut self.said, &message);
            }
            let Ok(place) = members.binary_search(&to) else { continue };
            let Some(message) = self.twist(manner, place, message) else { continue };
            if manner == Manner::Laggard {
                let patience = self.config.patience.as_nanos();
                let until = now + Duration::nanos(self.below(patience * 9 / 10));
                self.late.push_back((until, to, message));
            } else if manner == Manner::Brake && matches!(message, Message::PrePrepare { .. }) {
                self.late.push_back((now + self.config.patience * 2 / 5, to, message));
            } else {
                out.push(Output::Send { to, message, after });
            }
        }
        let (due, late) = core::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= now);
        self.late = late;
        // A liar that crashed meanwhile says it all the same, on disk or not.
        let due: VecDeque<(Instant, NodeId, Message)> = due;
        out.extend(due.into_iter().map(|(_, to, message)| Output::Send { to, message, after: None }));
        let mut extra = Vec::new();
        self.extra(now, manner, &mut extra);
        for (to, message) in extra.into_iter().filter(|(to, _)| *to != self.config.place) {
            out.push(Output::Send { to: members[to], message, after: None });
        }
    }

    fn forge(&mut self) -> Vec<(NodeId, NodeId, Message)> {
        core::mem::take(&mut self.forged)
    }
}
