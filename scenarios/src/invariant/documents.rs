//! **One view**, **nothing lost** and **rolled back**: what replicas of a keyspace of documents show, and what resolutions leave behind, from outside.
//!
//! The first is the promise of a resolution as a view: who has the same writes and the same rules shows the same document. It is asked of all
//! at the end, and of any two that have the same meanwhile, while writes stand beside each other ([`Views`]): at the end nothing does. The second
//! takes every write as its replica logged it, knows which of them resolutions superseded, and asks every replica's audit for each: on record, with its
//! value. It does not ask the code that settles what it thinks it did. What rollbacks superseded counts as what resolutions did.
//!
//! The third looks at a replica right after a turn in which it made a rollback in one part and took nothing else in: what it shows is what lies in the
//! checkpoint's pieces, no more and no less.

use super::{Broken, Property};
use dwcp_conflict::lineage::{Envelope, Name};
use dwcp_crdt::code::Reader;
use dwcp_crdt::op::Action;
use dwcp_crdt::{Address, Dot};
use dwcp_env::NodeId;
use dwcp_eventual::Eventual;
use std::collections::{BTreeMap, VecDeque};

/// How the name of whoever goes back begins in workloads.
const BACK: &str = "back ";

/// Writes that were seen, and those among them that a resolution superseded.
#[derive(Debug, Default)]
pub struct Settled {
    writes: BTreeMap<Dot, Seen>,
    /// What was superseded, by which resolution; and at which address.
    superseded: BTreeMap<(Dot, Dot), String>,
}

/// A write at a place.
#[derive(Debug)]
struct Seen {
    is_resolution: bool,
    /// The writes whose values its line tells.
    rests_on: Vec<Dot>,
    supersedes: Vec<Dot>,
    /// What it wrote; nothing if it deleted.
    says: Option<[u8; 32]>,
}

impl Settled {
    /// Looks at what a replica has logged in its last turn.
    pub fn look(&mut self, replica: &Eventual) {
        // What has reached another is durable where it was made: its dot names nothing else any more.
        let left = replica.drained().iter().filter(|b| replica.place() != Some(b.replica()));
        for op in left.flat_map(dwcp_crdt::Batch::ops).flatten() {
            let Action::Write(bytes) = op.action else { continue };
            let container = Address::decode(&mut Reader::new(op.container));
            if container.as_ref().is_ok_and(|c| c.names.first().is_some_and(|n| n.first() == Some(&0))) {
                continue;
            }
            let Ok(envelope) = Envelope::from_bytes(bytes) else { continue };
            let is_resolution = envelope.resolves.is_some();
            let settles = is_resolution || envelope.writer.name.starts_with(BACK);
            let supersedes = op.supersedes.as_slice().to_vec();
            if settles && !self.writes.contains_key(&op.dot) {
                let name = String::from_utf8_lossy(op.name).into_owned();
                let at = container.map_or_else(|_| name.clone(), |c| format!("{} {name}", told(&c)));
                self.superseded.extend(supersedes.iter().map(|d| ((*d, op.dot), at.clone())));
            }
            let points = envelope.line.points.iter();
            let rests_on = points.filter_map(|p| if let Name::Write(d) = p.name { Some(d) } else { None });
            let rests_on = rests_on.collect();
            let says = envelope.value.as_ref().map(dwcp_conflict::Value::digest);
            self.writes.entry(op.dot).or_insert(Seen { is_resolution, rests_on, supersedes, says });
        }
    }
    /// Whether somebody whose write this resolution joined had written over it: operations of several replicas come in any order, so what
    /// was overwritten long ago may stand beside what was written since, until the write between them comes.
    fn was_seen(&self, dot: Dot, by: Dot) -> bool {
        let joined = self.writes.get(&by).map_or(&[][..], |r| &r.supersedes);
        joined.iter().any(|d| self.writes.get(d).is_some_and(|w| w.rests_on.contains(&dot)))
    }
    /// Whether somebody wrote over it what it said itself, without settling anything.
    fn was_said_again(&self, dot: Dot, by: Dot) -> bool {
        let (was, by) = (self.writes.get(&dot), self.writes.get(&by));
        was.zip(by).is_some_and(|(was, by)| was.says == by.says && !by.is_resolution)
    }
    /// Resolutions seen so far, and what they superseded.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.writes.values().filter(|w| w.is_resolution).count(), self.superseded.len())
    }
    /// Whether all that resolutions superseded is on record at all of these. A resolution that was superseded as the twin of another
    /// says nothing of its own.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn on_record<'e>(
        &self,
        replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>,
    ) -> Result<(), String> {
        let meant = |d: &Dot| self.writes.get(d).is_some_and(|w| !w.is_resolution);
        let lost =
            |(d, by): &(Dot, Dot)| meant(d) && !self.was_seen(*d, *by) && !self.was_said_again(*d, *by);
        let all: Vec<_> = self.superseded.iter().filter(|(both, _)| lost(both)).collect();
        for (node, replica) in replicas {
            let Some(replica) = replica else { return Err(format!("{node} does not run")) };
            let known = replica.writes_on_record();
            if let Some(((lost, by), at)) = all.iter().find(|((d, _), _)| !known.contains(d)) {
                return Err(format!(
                    "{lost} at {at} was superseded by the resolution {by}, and {node} has no record of it"
                ));
            }
        }
        Ok(())
    }
}

/// Of a document: its kind, its key, and what it shows.
type Shown = (String, String, String);
/// What is shown is a function of these: the writes, as their version's digest tells, and the files of rules at their revisions.
type Basis = (u128, Vec<(Vec<u8>, i64)>);

/// How many versions are remembered: replicas that have the same have it within seconds.
const REMEMBERED: usize = 1_024;
/// One version of so many is looked at, the same at all replicas: to show all documents costs more than a node's turn.
const ONE_OF: u128 = 8;

/// An address, for people.
fn told(at: &Address) -> String {
    at.names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect::<Vec<_>>().join(" ")
}

/// What is watched of documents at every look.
#[derive(Debug, Default)]
pub struct Watched {
    views: Option<Views>,
    /// What each replica appended to its log last.
    returns: Option<BTreeMap<NodeId, First>>,
}

impl Watched {
    /// Where these properties are asked for.
    pub fn of(watches: impl Fn(Property) -> bool) -> Self {
        Self {
            views: watches(Property::DocumentsOneView).then(Views::default),
            returns: watches(Property::DocumentsRolledBack).then(BTreeMap::new),
        }
    }
    /// Looks at a replica after a turn of its node; tells what was compared.
    ///
    /// # Errors
    /// What is broken.
    pub fn look(&mut self, node: NodeId, replica: &Eventual) -> Result<Vec<&'static str>, Broken> {
        let mut met = Vec::new();
        if let Some(seen) = &mut self.returns
            && let Some(found) = rolled_back(node, replica, seen.entry(node).or_default())
        {
            found?;
            met.push("documents.rollbacks_compared");
        }
        if let Some(views) = &mut self.views {
            let before = views.compared();
            match views.look(node, replica) {
                Some(broken) => return Err(broken),
                None if views.compared() > before => met.push("documents.views_compared"),
                None => {}
            }
        }
        Ok(met)
    }
}

/// The first write that a replica appended to its log last.
type First = Option<Dot>;

/// Whether what a replica shows is what it went back to in this turn; nothing if it did not, or not alone. `seen`: what it had appended last when it was looked at before:
/// a turn that appends nothing may have taken in what came later.
fn rolled_back(node: NodeId, replica: &Eventual, seen: &mut First) -> Option<Result<(), Broken>> {
    let appended = || replica.drained().iter().flat_map(dwcp_crdt::Batch::ops).flatten();
    let first = appended().next().map(|op| op.dot);
    if std::mem::replace(seen, first) == first {
        return None;
    }
    let mut to = None;
    for op in appended() {
        // What others made is appended as well when it comes: that one of them went back says nothing of what is here.
        if Some(op.dot.replica()) != replica.place() {
            return None;
        }
        let container = Address::decode(&mut Reader::new(op.container)).ok()?;
        match (container.names.first().map(Vec::as_slice), &op.action) {
            (Some(b"\0rolled"), Action::Write(bytes)) => {
                let mut from = Reader::new(bytes);
                let _version = from.byte().ok()?;
                let (name, id) = (from.bytes(bytes.len()).ok()?.to_vec(), from.dot().ok()?);
                // The first of its writes is the one it is called by: another part has gone before this else.
                let alone = to.is_none() && bytes.last() == Some(&1) && called_now(op.name, replica);
                to = Some((name, id)).filter(|_| alone);
                to.as_ref()?;
            }
            (Some(b"\0audit" | b"\0value"), _) => {}
            (_, Action::Write(bytes))
                if Envelope::from_bytes(bytes).is_ok_and(|e| e.writer.name.starts_with(BACK)) => {}
            _ => return None,
        }
    }
    let (name, id) = to?;
    let then = held(replica, &name, id)?;
    let shown: Vec<Shown> = replica.documents_shown().0.into_iter().filter(|(.., d)| !d.is_empty()).collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    Some(match then == shown {
        true => Ok(()),
        false => Err(Broken {
            property: Property::DocumentsRolledBack,
            detail: format!("{node} went back to {name}, which holds {then:?}, and shows {shown:?}"),
        }),
    })
}

/// Whether a rollback's name is a write of the batches just made here.
fn called_now(name: &[u8], replica: &Eventual) -> bool {
    let Some((r, s)) = name.split_first_chunk::<2>() else { return false };
    let Ok(sequence) = s.try_into().map(u64::from_be_bytes) else { return false };
    let id = Dot::new(dwcp_crdt::ReplicaIndex(u16::from_be_bytes(*r)), sequence);
    replica.drained().iter().flat_map(dwcp_crdt::Batch::ops).flatten().any(|op| op.dot == id)
}

/// What lies in a checkpoint's pieces.
fn held(replica: &Eventual, name: &[u8], id: Dot) -> Option<Vec<Shown>> {
    let bytes = [&id.replica().0.to_be_bytes()[..], &id.sequence().to_be_bytes()[..]].concat();
    let lies = |names: [Vec<u8>; 3]| {
        let all = replica.space().siblings(&Address { names: names.into(), kind: dwcp_crdt::Kind::Mv });
        all.into_iter().next().map(|s| s.value)
    };
    let note = lies([b"\0point".to_vec(), name.to_vec(), bytes.clone()])?;
    let note = dwcp_conflict::checkpoint::taken::Taken::from_bytes(&note).ok()?;
    let mut out = Vec::new();
    for nth in 0..note.pieces.len() {
        let piece = lies([b"\0piece".to_vec(), bytes.clone(), (nth as u32).to_be_bytes().to_vec()])?;
        let objects = note.open(nth, &piece).ok()?;
        out.extend(
            objects.into_iter().map(|((kind, key), v)| (kind.to_string(), key.to_string(), v.to_string())),
        );
    }
    Some(out)
}

/// What replicas showed while writes stood beside each other.
#[derive(Debug, Default)]
struct Views {
    shown: BTreeMap<Basis, (NodeId, Vec<Shown>)>,
    order: VecDeque<Basis>,
    /// At which basis each node was looked at last.
    last: BTreeMap<NodeId, Basis>,
    compared: u64,
}

impl Views {
    /// Looks at a replica after a turn of its node. What is not on disk yet is passed over: a crash takes it back, and its version may name
    /// other writes then.
    fn look(&mut self, node: NodeId, replica: &Eventual) -> Option<Broken> {
        let rules = replica.rules_of_siblings().filter(|_| replica.is_durable())?;
        let basis = (replica.space().digest().version, rules);
        if basis.0 % ONE_OF != 0 || self.last.get(&node) == Some(&basis) {
            return None;
        }
        self.last.insert(node, basis.clone());
        let (shown, _) = replica.documents_shown();
        let Some((other, known)) = self.shown.get(&basis) else {
            self.remember(basis, (node, shown));
            return None;
        };
        self.compared += u64::from(*other != node);
        let detail = differs(*other, known, node, &shown)?;
        let detail = format!("with the same writes ({}) and rules, {detail}", replica.version());
        Some(Broken { property: Property::DocumentsOneView, detail })
    }
    fn remember(&mut self, basis: Basis, seen: (NodeId, Vec<Shown>)) {
        if self.order.len() == REMEMBERED {
            self.order.pop_front().map(|oldest| self.shown.remove(&oldest));
        }
        self.order.push_back(basis.clone());
        self.shown.insert(basis, seen);
    }
    /// How often two replicas had the same while something stood beside something.
    const fn compared(&self) -> u64 {
        self.compared
    }
}

/// What two replicas show differently.
fn differs(other: NodeId, known: &[Shown], node: NodeId, shown: &[Shown]) -> Option<String> {
    if let Some(((kind, key, there), (.., here))) = known.iter().zip(shown).find(|(a, b)| a != b) {
        return Some(format!("of {kind} {key} {other} shows {there}, {node} {here}"));
    }
    let (there, here) = (known.len(), shown.len());
    (there != here).then(|| format!("{other} shows {there} documents, {node} {here}"))
}

/// Whether all of these show the same documents, with nothing left to settle; else who differs.
///
/// # Errors
/// What differs, for people.
pub fn one_view<'e>(replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>) -> Result<(), String> {
    let mut first = None;
    for (node, replica) in replicas {
        let Some(replica) = replica else { return Err(format!("{node} does not run")) };
        let (shown, open) = replica.documents_shown();
        if let Some(place) = open.first() {
            return Err(format!("{node} has not settled {place}"));
        }
        let (other, known) = &*first.get_or_insert_with(|| (node, shown.clone()));
        if let Some(detail) = differs(*other, known, node, &shown) {
            return Err(detail);
        }
    }
    Ok(())
}
