//! The way back to a checkpoint: writes as anybody's, each with its record.
//!
//! **Promise.** After a rollback beside which nobody wrote, what it was about is shown as it was when the checkpoint was taken. What it went over is on record
//! (`explain` names the checkpoint and who went back, `undo` brings it back) for as long as any loser. What others write meanwhile, here or on the other side of a cut,
//! is neither waited for nor lost: it stands beside, and the policy decides.
//!
//! **Model.** What a document is now and what it was then are compared; where they differ a change is made of it and goes the way of every change
//! ([`super::write`]): checked by the schema in force, split into places, in the name of who wants it, so that policies rank them.
//!
//! | the document | then | now | comes to |
//! |---|---|---|---|
//! | was changed | there | there | the fields that differ |
//! | was deleted | there | not | all of it, as a new one |
//! | was made since | not | there | nothing: it stays and is named; with `created` it is deleted |
//! | is of a kind that was not taken | | | nothing |
//! | does not fit the schema any more | there | | the whole rollback is refused before anything is written, with the place |
//!
//! A policy that changed since counts as it is now; nothing of the old one is brought back.
//!
//! **In parts.** One question looks at [`LOOK`] documents, so that no turn of the node is long; its answer says where the next goes on. A part is written in as few
//! transactions as its size allows, each with the records of what it went over and a note of how far it has come. So after a crash, or when whoever asked is gone, the note
//! says truly what was written: it is listed as not finished, and who asks for the same again goes on under it. What is back already is not
//! written twice.
//!
//! **Invariants.** 1. Nothing is gone over without its record. 2. A note that says *done* was written with the last of its writes, or after it.
//!
//! **Rejected.** Finishing a rollback after a restart without being asked: people may have gone on from what they saw. Rewinding version vectors, or taking the writes since out of
//! the space: others have built on them. Deleting what was made since by default: a checkpoint of Monday says nothing about Tuesday's machine.
//!
//! **Limits.** Keys that are named: [`KEYS_MAX`]. A thousand writes of an answer are told, all are counted.

use super::ask::{self, Back, Change, Which};
use super::checkpoints::id_bytes;
use super::serve::{Asked, at, bytes, pair, person, wrong};
use super::view::{is_split, keys, schema_of};
use super::write::Field;
use super::{Documents, ROLLED};
use crate::api::WRITE_MAX;
use crate::refusal::Refusal;
use crate::replica::{Eventual, millis};
use dwcp_conflict::audit::Settlement;
use dwcp_conflict::checkpoint::taken::Taken;
use dwcp_conflict::checkpoint::{Objects, rollback};
use dwcp_conflict::policy::class_of;
use dwcp_conflict::queue::Closed;
use dwcp_conflict::reference::Name;
use dwcp_conflict::strategy::{Named, Reason, Settled, Why};
use dwcp_conflict::{Answer, Class, ConflictId, Outcome, Pointer, Policy, Ticket, Value, Write, Writer};
use dwcp_crdt::code::{Malformed, Reader, Writer as Out};
use dwcp_crdt::{Address, Dot, Edit, Hlc, Kind};
use dwcp_env::Now;
use dwcp_wal::Lsn;
use std::collections::BTreeSet;

/// Documents that one question looks at.
const LOOK: usize = 256;
/// Keys that are named.
const KEYS_MAX: usize = 64;
/// Writes of an answer that are told, and documents made since.
const TOLD_MAX: usize = 1_000;
/// Documents that no longer fit, that a refusal names.
const NAMED_MAX: usize = 8;
const VERSION: u8 = 1;

/// Who goes back, and whether anything is written.
pub(super) struct Going {
    pub(super) by: Writer,
    pub(super) dry: bool,
}

/// A way back, as it is noted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rolled {
    id: Dot,
    name: String,
    of: Dot,
    which: Which,
    by: Writer,
    begun: u64,
    /// When it wrote last.
    pub(super) at: u64,
    documents: u64,
    fields: u64,
    done: bool,
}

pub(super) fn address(id: Dot) -> Address {
    Address { names: [ROLLED.to_vec(), id_bytes(id)].into(), kind: Kind::Mv }
}

impl Rolled {
    fn new(id: Dot, taken: &Taken, which: &Which, by: &Writer, ms: u64) -> Self {
        let (name, which, by) = (taken.name.to_string(), which.clone(), by.clone());
        Self { id, name, of: taken.id, which, by, begun: ms, at: ms, documents: 0, fields: 0, done: false }
    }
    pub(super) fn told(&self) -> ask::Rolled {
        ask::Rolled {
            id: pair(self.id),
            name: self.name.clone(),
            of: pair(self.of),
            which: self.which.clone(),
            by: person(&self.by),
            begun_ms: self.begun,
            at_ms: self.at,
            wrote: (self.documents, self.fields),
            done: self.done,
        }
    }
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Out::new();
        out.byte(VERSION);
        out.bytes(self.name.as_bytes());
        out.dot(self.of);
        for all in [&self.which.kinds, &self.which.keys] {
            out.varint(all.len() as u64);
            all.iter().for_each(|word| out.bytes(word.as_bytes()));
        }
        out.byte(u8::from(self.which.created));
        [&self.by.name, &self.by.role, &self.by.region].into_iter().for_each(|t| out.bytes(t.as_bytes()));
        [self.begun, self.at, self.documents, self.fields].into_iter().for_each(|n| out.varint(n));
        out.byte(u8::from(self.done));
        out.into_bytes()
    }
    fn from_bytes(id: Dot, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(from.malformed("a way back of an unknown version"));
        }
        let (name, of) = (word(&mut from)?, from.dot()?);
        let mut words = [Vec::new(), Vec::new()];
        for all in &mut words {
            for _ in 0..from.count(1_024)? {
                all.push(word(&mut from)?);
            }
        }
        let [kinds, keys] = words;
        let which = Which { kinds, keys, created: from.byte()? == 1 };
        let by = Writer::new(&word(&mut from)?, &word(&mut from)?, &word(&mut from)?);
        let (begun, at) = (from.varint()?, from.varint()?);
        let (documents, fields) = (from.varint()?, from.varint()?);
        let done = from.byte()? == 1;
        Ok(Self { id, name, of, which, by, begun, at, documents, fields, done })
    }
}

fn word(from: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = from.bytes(4_096)?.to_vec();
    String::from_utf8(bytes).map_err(|_| from.malformed("no UTF-8"))
}

/// Some documents, then and now.
#[derive(Default)]
struct Part {
    then: Objects,
    now: Objects,
    /// Behind this one there is more.
    next: Option<Name>,
}

/// A document that goes back: what is written in it.
type Document = Vec<Field>;

impl Which {
    fn selects(&self, kind: &str, key: &str) -> bool {
        let is = |all: &[String], one: &str| all.is_empty() || all.iter().any(|a| a == one);
        is(&self.kinds, kind) && is(&self.keys, key)
    }
}

impl Eventual {
    /// Goes a part of the way back.
    pub(super) fn roll_back(
        &mut self,
        now: Now,
        documents: &mut Documents,
        name: &str,
        which: Which,
        after: Option<(ask::Name, (u16, u64))>,
        going: &Going,
    ) -> Asked {
        let (ms, taken) = (millis(now), self.named_checkpoint(name)?);
        let (after, id) = match after {
            None => (None, None),
            Some(((kind, key), (r, s))) => {
                let id = Dot::new(dwcp_crdt::ReplicaIndex(r), s);
                (Some((kind.as_str().into(), key.as_str().into())), Some(id).filter(|_| s > 0))
            }
        };
        if after.is_none() {
            self.check_asked(documents, &taken, &which, ms)?;
        }
        let part = self.part(documents, &taken, &which, after.as_ref(), ms)?;
        let (all, mut back) = self.changes(documents, &part, &taken, &which, &going.by, ms)?;
        back.next = part.next.as_ref().map(|(kind, key)| (kind.to_string(), key.to_string()));
        back.id = id.map(pair);
        if going.dry {
            return Ok((ask::Answer::Back(back), false));
        }
        let mut rolled = match id {
            Some(id) => match self.rolled_of(id) {
                Some(rolled) => Some(rolled),
                None => {
                    return wrong(format!("the rollback {id} is not known at this node yet: begin it again"));
                }
            },
            None => self.unfinished(&taken, &which),
        };
        if all.is_empty() && (rolled.is_none() || part.next.is_some()) {
            back.id = rolled.map(|r| pair(r.id));
            return Ok((ask::Answer::Back(back), false));
        }
        let begun = || Rolled::new(self.next_own(), &taken, &which, &going.by, ms);
        let rolled = rolled.get_or_insert_with(begun);
        rolled.by = going.by.clone();
        back.id = Some(pair(rolled.id));
        self.write_back(now, documents, all, rolled, part.next.is_none())?;
        self.probe.reachable("documents.rolled_back");
        self.probe.sometimes("documents.rolled_back_in_parts", part.next.is_some());
        #[cfg(feature = "planted-bugs")]
        if self.spec.half_rollback {
            back.next = None;
        }
        Ok((ask::Answer::Back(back), true))
    }

    pub(super) fn rolled_of(&self, id: Dot) -> Option<Rolled> {
        let lies = self.space.siblings(&address(id));
        Rolled::from_bytes(id, &lies.first()?.value).ok()
    }

    /// A way back to the same that was not finished: whoever asks for it again goes on with it.
    fn unfinished(&self, taken: &Taken, which: &Which) -> Option<Rolled> {
        let all = self.rolled().into_iter().map(|(_, r)| r);
        all.filter(|r| r.of == taken.id && r.which == *which && !r.done).max_by_key(|r| r.begun)
    }

    /// Whether what is asked for makes sense, and all that goes back fits its schema.
    fn check_asked(
        &self,
        documents: &Documents,
        taken: &Taken,
        which: &Which,
        ms: u64,
    ) -> Result<(), Refusal> {
        if which.keys.len() > KEYS_MAX {
            return wrong(format!("{} keys: name {KEYS_MAX} at most, or all of a kind", which.keys.len()));
        }
        if let Some(kind) = which.kinds.iter().find(|k| !taken.is_about(k)) {
            let held: Vec<&str> = taken.kinds.iter().map(|k| &*k.kind).collect();
            return wrong(format!("{} is not about {kind:?}: it holds {}", taken.name, held.join(", ")));
        }
        let mut missing: BTreeSet<&str> = which.keys.iter().map(String::as_str).collect();
        let mut unfit = Vec::new();
        for nth in 0..taken.pieces.len() {
            for ((kind, key), value) in self.piece(taken, nth)? {
                if !which.selects(&kind, &key) {
                    continue;
                }
                missing.remove(&*key);
                if documents.document(&self.space, &kind, &key, ms).as_ref() == Some(&value) {
                    continue;
                }
                if let Err(why) = schema_of(documents, &kind)?.admit(&value) {
                    unfit.push(format!("{kind} {key}: {why}"));
                }
            }
        }
        let is_here = |key: &str| {
            taken.kinds.iter().any(|k| documents.document(&self.space, &k.kind, key, ms).is_some())
        };
        if let Some(key) = missing.into_iter().find(|key| !is_here(key)) {
            return wrong(format!("there is no {key:?} in {}, and none here", taken.name));
        }
        if unfit.is_empty() {
            return Ok(());
        }
        let more = unfit.len().saturating_sub(NAMED_MAX);
        unfit.truncate(NAMED_MAX);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        wrong(format!(
            "nothing was written, for the schema has changed since {} was taken: {}{more}. Roll back others by --kind or --key, and write these by hand",
            taken.name,
            unfit.join("; ")
        ))
    }

    /// The next documents, as they were and as they are.
    fn part(
        &self,
        documents: &Documents,
        taken: &Taken,
        which: &Which,
        after: Option<&Name>,
        ms: u64,
    ) -> Result<Part, Refusal> {
        let mut then: Vec<(Name, Value)> = Vec::new();
        let mut end = None;
        'pieces: for nth in taken.piece_after(after)..taken.pieces.len() {
            for (name, value) in self.piece(taken, nth)? {
                if after.is_none_or(|a| name > *a) && which.selects(&name.0, &name.1) {
                    end = Some(name.clone());
                    then.push((name, value));
                    if then.len() == LOOK {
                        break 'pieces;
                    }
                }
            }
        }
        let end = end.filter(|_| then.len() == LOOK);
        let (here, next) = self.names_after(taken, which, after, end);
        let mut part = Part { next, ..Part::default() };
        let within = |name: &Name| part.next.as_ref().is_none_or(|next| name <= next);
        let names: Vec<Name> =
            then.iter().map(|(name, _)| name.clone()).chain(here).filter(|n| within(n)).collect();
        then.retain(|(name, _)| within(name));
        for name in names {
            if let Some(value) = documents.document(&self.space, &name.0, &name.1, ms) {
                part.now.insert(name, value);
            }
        }
        for (name, value) in then {
            let value = schema_of(documents, &name.0)?.admit(&value);
            let value = value.or_else(|e| wrong(format!("{} {}: {e}", name.0, name.1)))?;
            part.then.insert(name, value.value().clone());
        }
        Ok(part)
    }

    /// Names of documents that lie here, after one and up to another: some, and the last that was looked at if there are more.
    fn names_after(
        &self,
        taken: &Taken,
        which: &Which,
        after: Option<&Name>,
        end: Option<Name>,
    ) -> (Vec<Name>, Option<Name>) {
        let mut out = Vec::new();
        let upto = |name: &Name| end.as_ref().is_none_or(|end| name <= end);
        for kind in taken.kinds.iter().map(|k| &k.kind) {
            if after.is_some_and(|(last, _)| kind < last)
                || !which.kinds.is_empty() && !which.selects_kind(kind)
            {
                continue;
            }
            let mut from = after.filter(|(last, _)| last == kind).map(|(_, key)| key.to_string());
            loop {
                let (found, next) = keys(&self.space, kind, from.as_deref());
                for key in found {
                    let name: Name = (kind.clone(), key.as_str().into());
                    if !upto(&name) {
                        return (out, end);
                    }
                    if which.selects(kind, &key) {
                        out.push(name.clone());
                    }
                    if out.len() == LOOK {
                        return (out, Some(name));
                    }
                }
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        (out, end)
    }

    /// What is to be written in which documents, and what is told of it.
    fn changes(
        &self,
        documents: &Documents,
        part: &Part,
        taken: &Taken,
        which: &Which,
        by: &Writer,
        ms: u64,
    ) -> Result<(Vec<Document>, Back), Refusal> {
        let splits = |kind: &str, at: &dwcp_conflict::Pointer| {
            documents.schemas.get(kind).and_then(|k| k.schema.field(at)).is_some_and(is_split)
        };
        let mut back = Back::default();
        let mut changes: Vec<(Name, Change)> = Vec::new();
        for w in rollback(&part.now, &part.then, splits) {
            let name: Name = (w.place.kind.clone(), w.place.key.clone());
            let was = part.then.get(&name);
            match (was, part.now.get(&name)) {
                (Some(was), None) => changes.push((name, Change::Put(bytes(was)))),
                (None, _) if which.created => changes.push((name, Change::Delete)),
                (None, _) => {
                    back.all_since += 1;
                    if back.since.len() < TOLD_MAX {
                        back.since.push((name.0.to_string(), name.1.to_string()));
                    }
                }
                (Some(was), Some(_)) => {
                    // What is no field any more stays; that there is a document is not taken back by its absence then.
                    let schema = schema_of(documents, &name.0)?;
                    let life = schema.lifecycle();
                    let is_life = life == Some(&w.place.pointer);
                    if schema.field(&w.place.pointer).is_none() || is_life && w.value.is_none() {
                        continue;
                    }
                    let field = |at: &Pointer, value: Option<&Value>| (at.to_string(), value.map(bytes));
                    if changes.last().is_none_or(|(last, _)| *last != name) {
                        // Always said: an edit that leaves it out may end the word that lies there.
                        let word = life.and_then(|at| Some(field(at, Some(was.at(at)?))));
                        changes.push((name, Change::Patch(word.into_iter().collect())));
                    }
                    if let Some((_, Change::Patch(fields))) = changes.last_mut().filter(|_| !is_life) {
                        fields.push(field(&w.place.pointer, w.value.as_ref()));
                    }
                }
            }
        }
        let mut all = Vec::new();
        for ((kind, key), change) in changes {
            let fields = self.fields_of(ms, documents, (&kind, &key), change, by);
            let fields =
                fields.or_else(|e| wrong(format!("{kind} {key} can't go back to {}: {e}", taken.name)))?;
            let news = fields.iter().filter(|f| !f.beside);
            for f in news.clone().take(TOLD_MAX - back.writes.len()) {
                let is = documents.shown(&self.space, &f.place, ms).1;
                back.writes.push((at(&f.place), is.as_ref().map(bytes), f.value.as_ref().map(bytes)));
            }
            back.wrote = (back.wrote.0 + u64::from(!fields.is_empty()), back.wrote.1 + news.count() as u64);
            if !fields.is_empty() {
                all.push(fields);
            }
        }
        Ok((all, back))
    }

    /// Writes documents back, each as a whole, as many at once as go into a transaction.
    fn write_back(
        &mut self,
        now: Now,
        documents: &mut Documents,
        mut all: Vec<Document>,
        rolled: &mut Rolled,
        last: bool,
    ) -> Result<(), Refusal> {
        let policy = documents.active(millis(now)).cloned();
        let policy = policy.ok_or_else(|| {
            Refusal::Argument("no policy is in force: apply one with `dwcp policy apply`".into())
        })?;
        self.check_room()?;
        #[cfg(feature = "planted-bugs")]
        if self.spec.half_rollback {
            all.truncate(all.len().div_ceil(2));
        }
        let mut at_once = all.len().max(1);
        loop {
            let rest = all.split_off(at_once.min(all.len()));
            let done = rest.is_empty() && last;
            match self.make_part(now, documents, &policy, &all, (rolled, done))? {
                Ok(()) if rest.is_empty() => return Ok(()),
                Ok(()) => all = rest,
                Err(size) if all.len() < 2 => {
                    let what = match all.first().and_then(|d| d.first()) {
                        Some(f) => format!("{} {} with its records", f.place.kind, f.place.key),
                        None => "the note of a rollback".to_string(),
                    };
                    return Err(Refusal::TooLarge { what, size: size as u64, limit: WRITE_MAX as u64 });
                }
                Err(_) => {
                    at_once = all.len() / 2;
                    all.extend(rest);
                }
            }
        }
    }

    /// Writes some documents back with their records, and how far it has come, in one transaction; or tells that it is too large.
    fn make_part(
        &mut self,
        now: Now,
        documents: &mut Documents,
        policy: &Policy,
        all: &[Document],
        (rolled, done): (&mut Rolled, bool),
    ) -> Result<Result<(), usize>, Refusal> {
        let ms = millis(now);
        let fields: Vec<&Field> = all.iter().flatten().collect();
        let news = fields.iter().filter(|f| !f.beside).count() as u64;
        let note = Rolled {
            at: ms,
            documents: rolled.documents + all.len() as u64,
            fields: rolled.fields + news,
            done,
            ..rolled.clone()
        };
        let first = self.next_own();
        let dot = |n: usize| Dot::new(first.replica(), first.sequence() + n as u64);
        let decided: Vec<Decided> = (0..)
            .zip(&fields)
            .filter(|(_, f)| !f.beside)
            .map(|(n, f)| Decided::of(documents, f, dot(n), &rolled.by, ms))
            .collect();
        let settlements: Vec<Settlement<'_>> =
            decided.iter().map(|d| d.settlement(policy.version(), &rolled.name, ms)).collect();
        let planned = documents.audit.plan_all(&settlements).map_err(|e| Refusal::NotReady(e.to_string()))?;
        let mut edits: Vec<Edit> = fields.iter().map(|f| f.edit.clone()).collect();
        edits.push(Edit::new(address(rolled.id), dwcp_crdt::Change::Write(note.to_bytes())));
        let recorded = !cfg!(feature = "planted-bugs") || !self.forgets_rollbacks();
        if recorded {
            edits.extend(documents.edits_of(&planned));
        }
        let size = self.space.weigh(&edits, WRITE_MAX);
        if size > WRITE_MAX {
            return Ok(Err(size));
        }
        self.space.make(ms, &edits).map_err(|r| self.refusal(r))?;
        if recorded {
            for p in planned {
                documents.audit.carry_out(p);
            }
        }
        self.unsynced_any = Some(Lsn(u64::MAX));
        *rolled = note;
        Ok(Ok(()))
    }

    #[cfg(feature = "planted-bugs")]
    const fn forgets_rollbacks(&self) -> bool {
        self.spec.unrecorded_rollback
    }
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self, reason = "the other build asks it")]
    const fn forgets_rollbacks(&self) -> bool {
        false
    }
}

impl Which {
    fn selects_kind(&self, kind: &str) -> bool {
        self.kinds.iter().any(|k| k == kind)
    }
}

/// That somebody decided so, over whatever lies at a place.
struct Decided {
    answer: Answer,
    class: Class,
    closed: Closed,
    output: Dot,
}

impl Decided {
    fn of(documents: &Documents, f: &Field, output: Dot, by: &Writer, ms: u64) -> Self {
        let siblings = &f.meeting.siblings;
        let schema = documents.schemas.get(&f.place.kind);
        let class = class_of(schema.and_then(|k| k.schema.field(&f.place.pointer)), siblings);
        let reason = Reason { why: Why::Alone, lack: None };
        let outcome = Outcome::One(f.value.clone());
        let settled = Settled { outcome, prevails: Vec::new(), author: None, reason };
        let ticket = Ticket {
            id: ConflictId::of(siblings.iter().map(|s| s.dot)),
            place: f.place.clone(),
            class,
            base: f.meeting.base.clone(),
            sides: siblings.clone(),
            suggestion: None,
            default: None,
            deadline: ms,
        };
        let write = Write { place: f.place.clone(), value: f.value.clone(), supersedes: f.dots.clone() };
        let closed = Closed { ticket, write, by: Some(by.clone()) };
        Self { answer: Answer { rule: 0, strategy: Named::Rollback, settled }, class, closed, output }
    }
    fn settlement<'d>(&'d self, policy: u32, to: &'d str, ms: u64) -> Settlement<'d> {
        let ticket = &self.closed.ticket;
        Settlement {
            at: Hlc::at(ms),
            policy,
            place: &ticket.place,
            class: self.class,
            base: ticket.base.as_ref(),
            siblings: &ticket.sides,
            answer: &self.answer,
            stands: None,
            asked_at: ms,
            output: Some(self.output),
            decision: Some(&self.closed),
            back_to: Some(to),
        }
    }
}
