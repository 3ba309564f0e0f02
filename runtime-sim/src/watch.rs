//! What nodes say about themselves: the simulator's end of [`dwcp_env::Probe`].
//!
//! One [`Witness`] listens to all nodes of a run. Counts of `sometimes` are found by the
//! address of the name's text, which is fast, and merged by the text when they are read, so
//! that nothing that anyone sees depends on an address.

use crate::fingerprint::TextDigest;
use dwcp_env::probe::Watch;
use dwcp_env::{Event, Instant, NodeId, Probe, Purpose, Ratio, Seed};
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SITE: Purpose = Purpose::named("buggify.site");
const FIRE: Purpose = Purpose::named("buggify.fire");
/// A site is active in a quarter of the runs, and then fires a quarter of the time, as in
/// FoundationDB.
const QUARTER: Ratio = Ratio { num: 1, den: 4 };

/// An event told by a node, not yet taken by the world.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) node: NodeId,
    pub(crate) name: &'static str,
    pub(crate) digest: u64,
    pub(crate) text: String,
}

/// An invariant a node found broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) node: NodeId,
    pub(crate) name: &'static str,
    pub(crate) detail: String,
}

/// How often a buggify site was asked in an instant, and fired in all.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    at: Instant,
    ordinal: u64,
    fired: u64,
}

/// How often something has happened, and when that reached each power of two.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// How often.
    pub count: u64,
    /// The moment of the first, the second, the fourth, the eighth…
    pub at: Vec<Instant>,
}

impl Reached {
    /// Once more.
    pub fn pass(&mut self, now: Instant) {
        self.count += 1;
        if self.count.is_power_of_two() {
            self.at.push(now);
        }
    }
}

#[derive(Debug, Default)]
struct Heard {
    /// Address of a name, the name, how often.
    sometimes: Vec<(usize, &'static str, Reached)>,
    /// Of the buggify sites asked so far, by name and node.
    sites: BTreeMap<(&'static str, u64), Asked>,
    told: Vec<Told>,
    broken: Vec<Broken>,
}

/// Listens to all nodes of a run.
#[derive(Debug)]
pub(crate) struct Witness {
    /// Which sites may fire in this run.
    seed: Seed,
    /// When they do.
    firing: AtomicU64,
    buggify: bool,
    time: Arc<AtomicU64>,
    /// Whether something waits to be taken.
    waits: AtomicBool,
    /// Whether texts of events are wanted.
    texts: AtomicBool,
    heard: Mutex<Heard>,
}

impl Witness {
    pub(crate) fn new(seed: Seed, buggify: bool, time: Arc<AtomicU64>) -> Arc<Self> {
        let (waits, texts) = (AtomicBool::new(false), AtomicBool::new(false));
        let firing = AtomicU64::new(seed.0);
        Arc::new(Self { seed, firing, buggify, time, waits, texts, heard: Mutex::default() })
    }
    pub(crate) fn probe(self: &Arc<Self>, node: NodeId) -> Probe {
        Probe::new(Arc::new(Line { node, witness: self.clone() }))
    }
    /// Keys when buggify sites fire from now on anew; which sites may is the run's for good.
    pub(crate) fn rekey(&self, seed: Seed) {
        self.firing.store(seed.0, Ordering::Relaxed);
    }
    pub(crate) fn want_texts(&self, wanted: bool) {
        self.texts.store(wanted, Ordering::Relaxed);
    }
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether [`Witness::take`] would give something.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }
    /// What has been told since last asked.
    pub(crate) fn take(&self) -> (Vec<Told>, Vec<Broken>) {
        self.waits.store(false, Ordering::Relaxed);
        let mut heard = self.heard();
        (std::mem::take(&mut heard.told), std::mem::take(&mut heard.broken))
    }
    /// How often each `sometimes` and `reachable` was passed, and each buggify site fired.
    pub(crate) fn sometimes(&self) -> BTreeMap<String, u64> {
        let heard = self.heard();
        let mut out = BTreeMap::new();
        for (_, name, reached) in &heard.sometimes {
            *out.entry((*name).to_owned()).or_default() += reached.count;
        }
        for ((name, _), asked) in heard.sites.iter().filter(|(_, a)| a.fired > 0) {
            *out.entry(format!("buggify.{name}")).or_default() += asked.fired;
        }
        out
    }
}

impl Witness {
    /// When each `sometimes` reached each power of two. A name with two addresses is counted by
    /// the one that was passed more often.
    pub(crate) fn reached(&self) -> BTreeMap<String, Reached> {
        let heard = self.heard();
        let mut out: BTreeMap<String, Reached> = BTreeMap::new();
        for (_, name, reached) in &heard.sometimes {
            let known = out.entry((*name).to_owned()).or_default();
            let more =
                (reached.count, std::cmp::Reverse(&reached.at)) > (known.count, std::cmp::Reverse(&known.at));
            if more {
                *known = reached.clone();
            }
        }
        out
    }
}

struct Line {
    node: NodeId,
    witness: Arc<Witness>,
}

impl Watch for Line {
    fn event(&self, event: &Event) {
        let mut digest = TextDigest(self.node.0);
        // A digest of text can't fail.
        let _ok = write!(digest, "{event}");
        let texts = self.witness.texts.load(Ordering::Relaxed);
        let text = if texts { event.to_string() } else { String::new() };
        let told = Told { node: self.node, name: event.name(), digest: digest.0, text };
        self.witness.heard().told.push(told);
        self.witness.waits.store(true, Ordering::Relaxed);
    }
    fn sometimes(&self, name: &'static str) {
        let now = Instant::from_nanos(self.witness.time.load(Ordering::Relaxed));
        let mut heard = self.witness.heard();
        let address = name.as_ptr().addr();
        match heard.sometimes.iter_mut().find(|s| s.0 == address && s.1.len() == name.len()) {
            Some(s) => s.2.pass(now),
            None => {
                let mut first = Reached::default();
                first.pass(now);
                heard.sometimes.push((address, name, first));
            }
        }
    }
    fn buggify(&self, name: &'static str) -> bool {
        let w = &self.witness;
        if !w.buggify {
            return false;
        }
        let purpose = Purpose::named(name);
        let site = Seed(w.seed.draw(SITE, 0, Instant::ZERO, 0)).draw(purpose, 0, Instant::ZERO, 0);
        if !QUARTER.hit(site) {
            return false;
        }
        let at = Instant::from_nanos(w.time.load(Ordering::Relaxed));
        let mut heard = w.heard();
        let asked = heard.sites.entry((name, self.node.0)).or_default();
        asked.ordinal = if asked.at == at { asked.ordinal + 1 } else { 0 };
        asked.at = at;
        let firing = Seed(w.firing.load(Ordering::Relaxed));
        let root = Seed(firing.draw(FIRE, self.node.0, at, asked.ordinal));
        let hit = QUARTER.hit(root.draw(purpose, 0, at, 0));
        asked.fired += u64::from(hit);
        hit
    }
    fn violated(&self, name: &'static str, detail: &dyn Display) {
        let broken = Broken { node: self.node, name, detail: detail.to_string() };
        self.witness.heard().broken.push(broken);
        self.witness.waits.store(true, Ordering::Relaxed);
    }
}
