//! What stands beside each other is found where it arrives, settled by the first node that lives, and recorded in the same transaction.

use super::view::places_of;
use super::write::is_deleted;
use super::{
    AUDIT, Documents, Known, TICKETS_MAX, VALUE, VALUES_MAX, audit_address, met, place_of, value_address,
};
use crate::api::{DocumentFigures as Figures, WRITE_MAX};
use crate::look::Rung;
use crate::replica::{Eventual, millis};
use dwcp_conflict::audit::{Audit, Planned, Settlement};
use dwcp_conflict::lineage::{Envelope, Meeting, Name};
use dwcp_conflict::queue::Closed;
use dwcp_conflict::{Answer, ConflictId, Outcome, Place, Policy, Question, Value, Writer};
use dwcp_crdt::code::Reader;
use dwcp_crdt::space::Field;
use dwcp_crdt::{Address, Change, Dot, Edit, Hlc, ReplicaIndex, Space, Standing};
use dwcp_env::{Duration, Event, Now};
use dwcp_wal::Lsn;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Between looks at what is open.
const LOOK_EVERY: Duration = Duration::millis(500);
/// Open places of one look: the rest in the next.
const LOOK_AT: usize = 1_024;
/// Places settled in one look.
const AT_ONCE: usize = 256;
/// Places of which it is remembered why they are not settled.
const TOLD_MAX: usize = 1_024;

/// What a conflict waits for where nothing else keeps it.
pub(super) const NOT_FIRST: &str = "the first node that lives settles it in a moment";
/// Who a resolution is by where nobody prevails.
const NOBODY: &str = "policy";

impl Eventual {
    /// Notes what batches that were just logged have changed.
    pub(crate) fn note_documents(&mut self) {
        let Some(documents) = &mut self.documents else { return };
        for op in self.drained.iter().flat_map(dwcp_crdt::Batch::ops).flatten() {
            let Ok(container) = Address::decode(&mut Reader::new(op.container)) else { continue };
            let mut names: Vec<&[u8]> = container.names.iter().map(Vec::as_slice).collect();
            names.push(op.name);
            match names[..] {
                [AUDIT, ..] | [VALUE, ..] => documents.scan_audit(),
                _ => {
                    if let Some(place) = place_of(&names) {
                        documents.note(&self.space, place);
                    }
                }
            }
        }
    }

    /// Settles what is open, if it is time.
    pub(crate) fn settle_documents(&mut self, now: Now) {
        let Some(mut documents) = self.documents.take() else { return };
        if now.mono >= documents.next_look && self.serves() {
            documents.next_look = now.mono + LOOK_EVERY;
            self.look_through(&mut documents);
            self.take_records(&mut documents);
            self.look_at_open(now, &mut documents);
            self.look_between(&mut documents, millis(now));
            self.look_at_records(now, &mut documents);
            self.sweep(now, &mut documents);
            self.let_go(now, &mut documents);
            self.forget_checkpoints(now, &mut documents);
        }
        self.documents = Some(documents);
    }
    /// When that is next.
    pub(crate) fn documents_wake(&self) -> Option<dwcp_env::Instant> {
        self.documents.as_ref().filter(|_| self.serves()).map(|d| d.next_look)
    }

    /// After a start, or when states came in other ways than in batches: all that the space holds.
    fn look_through(&mut self, documents: &mut Documents) {
        let repairs = |rung| self.rungs.of(rung).repairs;
        let fetched = (self.counts.snapshots, repairs(Rung::Ranges), repairs(Rung::State));
        if !documents.scan && documents.fetched == fetched {
            return;
        }
        (documents.scan, documents.fetched) = (false, fetched);
        documents.scan_audit();
        let kinds: Vec<Arc<str>> = documents.schemas.keys().cloned().collect();
        for kind in kinds {
            let mut after: Option<Field> = None;
            loop {
                let found = self.space.fields(&[kind.as_bytes().to_vec()], after.as_ref(), AT_ONCE);
                for field in &found {
                    let Ok(key) = std::str::from_utf8(&field.name) else { continue };
                    for place in places_of(&self.space, &kind, key) {
                        documents.note(&self.space, place);
                    }
                }
                let full = found.len() == AT_ONCE;
                after = found.into_iter().last();
                if !full {
                    break;
                }
            }
        }
    }

    /// Takes in what records of others, or of an earlier life, lie in the space.
    fn take_records(&mut self, documents: &mut Documents) {
        let Some(me) = self.identity.map(|i| i.replica) else { return };
        if documents.owner != me {
            documents.owner = me;
            documents.audit = Audit::new(me, documents.retention, VALUES_MAX);
            documents.scan_audit();
        }
        if !std::mem::take(&mut documents.records_came) {
            return;
        }
        for field in self.space.fields(&[AUDIT.to_vec()], None, usize::from(u16::MAX)) {
            let Ok(of) = <[u8; 2]>::try_from(&field.name[..]) else { continue };
            let of = ReplicaIndex(u16::from_be_bytes(of));
            let head = |a: &Audit| a.chains().find(|c| c.owner() == of).map_or(0, |c| c.head().sequence);
            let mut next = head(&documents.audit) + 1;
            loop {
                let found = self.space.siblings(&audit_address(of, next));
                if found.is_empty() {
                    break;
                }
                let taken = found.iter().map(|s| documents.audit.take_in(of, next, &s.value));
                match taken.reduce(|a, b| a.or(b)) {
                    Some(Ok(_)) => {
                        next += 1;
                        documents.broken.remove(&of);
                    }
                    Some(Err(why)) => {
                        let told = format!("the audit of {of}, record {next}: {why}");
                        if documents.broken.insert(of, told.clone()).is_none() {
                            let file = format!("{}/{told}", self.spec.keyspace);
                            self.probe.event(&Event::CorruptionFound { file, offset: next });
                        }
                        self.probe.reachable("documents.record_refused");
                        break;
                    }
                    None => break,
                }
            }
        }
        let missing: Vec<[u8; 32]> = documents.audit.missing().copied().collect();
        for hash in missing {
            for s in self.space.siblings(&value_address(&hash)) {
                if let Ok(value) = Value::decode(&mut Reader::new(&s.value)) {
                    documents.audit.keep(value);
                }
            }
        }
    }

    /// Whether this node is the first of those that live here: who settles.
    pub(super) fn is_first(&self) -> bool {
        let active = |n| {
            let place = self.places.get(&n).and_then(|r| self.space.roster().get(*r));
            place.is_some_and(|m| matches!(m.standing, Standing::Active))
        };
        let others = self.gossip.live().iter().copied().filter(|n| *n != self.node && active(*n));
        others.min().is_none_or(|first| self.node < first)
    }

    /// Goes on through what is open, so many places at a time.
    fn look_at_open(&mut self, now: Now, documents: &mut Documents) {
        let may = self.may_write() && self.is_first();
        let places: Vec<Place> =
            documents.open_after(documents.looked.as_ref()).take(LOOK_AT).cloned().collect();
        documents.looked = places.last().filter(|_| places.len() == LOOK_AT).cloned();
        let mut left = AT_ONCE;
        for place in places {
            let (dots, _, meeting) = met(&self.space, &place);
            if meeting.siblings.len() < 2 {
                self.probe.sometimes("documents.twins_are_one", dots.len() > 1);
                documents.close(&place);
                if documents.fell(&place, &meeting) {
                    documents.fallen.insert(place);
                }
                continue;
            }
            self.probe.reachable("documents.conflict");
            let id = ConflictId::of(meeting.siblings.iter().map(|s| s.dot));
            documents.set_asking(&place, documents.asked_until(id).is_some());
            if !may || left == 0 {
                continue;
            }
            let room = documents.asking.len() < TICKETS_MAX || documents.asking.contains(&place);
            let done = self.settle_place(now, documents, &place, &meeting, room);
            left -= usize::from(matches!(done, Ok(Done::Settled)));
            documents.set_asking(&place, matches!(done, Ok(Done::Asked)));
            match done {
                Err(why)
                    if documents.unsettled.len() < TOLD_MAX || documents.unsettled.contains_key(&place) =>
                {
                    documents.unsettled.insert(place, why);
                }
                Err(_) => {}
                Ok(_) => drop(documents.unsettled.remove(&place)),
            }
        }
    }

    /// Settles one place, or puts its question.
    fn settle_place(
        &mut self,
        now: Now,
        documents: &mut Documents,
        place: &Place,
        meeting: &Meeting,
        room: bool,
    ) -> Result<Done, String> {
        let ms = millis(now);
        let (policy, answer) = documents.answer(place, meeting, ms).ok_or("no policy is in force")?;
        let id = ConflictId::of(meeting.siblings.iter().map(|s| s.dot));
        let decided = documents.audit.of_conflict(id).any(|r| r.by.is_some());
        let asked = documents.asked_until(id);
        match &answer.settled.outcome {
            Outcome::One(value) => {
                let value = value.clone();
                self.resolve(now, documents, place, meeting, (&policy, &answer, value, None))?;
                self.probe.reachable("documents.settled");
                Ok(Done::Settled)
            }
            Outcome::Many(_) if documents.audit.of_conflict(id).next().is_some() => Ok(Done::Kept),
            Outcome::Asked { default, .. } if decided || asked.is_some_and(|until| until <= ms) || !room => {
                let value = default.clone();
                let asked_at = asked.unwrap_or(ms);
                let closed = documents.ask(place, meeting, |q| {
                    let ticket = answer.ticket(q, asked_at)?;
                    let write = dwcp_conflict::Write {
                        place: place.clone(),
                        value: value.clone(),
                        supersedes: meeting.siblings.iter().map(|s| s.dot).collect(),
                    };
                    Some(Closed { ticket, write, by: None })
                });
                self.resolve(now, documents, place, meeting, (&policy, &answer, value, closed))?;
                self.probe.reachable("documents.default_stands");
                Ok(Done::Settled)
            }
            Outcome::Asked { .. } if asked.is_some() => Ok(Done::Asked),
            Outcome::Asked { .. } | Outcome::Many(_) => {
                let planned = documents.plan(place, meeting, &policy, &answer, ms, None, None)?;
                self.make_recorded(now, documents, Vec::new(), planned)?;
                self.probe.reachable("documents.asked");
                Ok(Done::Asked)
            }
        }
    }

    /// Writes what the policy, or the end of a question, makes of siblings.
    fn resolve(
        &mut self,
        now: Now,
        documents: &mut Documents,
        place: &Place,
        meeting: &Meeting,
        (policy, answer, value, closed): (&Policy, &Answer, Option<Value>, Option<Closed>),
    ) -> Result<(), String> {
        let ms = millis(now);
        let Name::Resolution(name) = documents.name(place, meeting, ms) else {
            return Err("a resolution without a name".into());
        };
        let (writer, meant) = documents.ask(place, meeting, |q| {
            let nobody = || Writer::new(NOBODY, NOBODY, "");
            (answer.author(q).map_or_else(nobody, |s| s.writer.clone()), answer.meant(q))
        });
        let resolves = Some((name, meant));
        let envelope = Envelope { writer, value, resolves, line: meeting.line_of_resolution() };
        let write = Edit::new(place.address(), Change::Write(envelope.to_bytes()));
        let output = self.next_own();
        let planned = documents.plan(place, meeting, policy, answer, ms, Some(output), closed.as_ref())?;
        self.make_recorded(now, documents, vec![write], planned)
    }

    /// The dot that the next operation made here will have.
    pub(super) fn next_own(&self) -> Dot {
        let me = self.space.me();
        Dot::new(me, self.space.version().get(me) + 1)
    }

    /// Makes writes and their record, together or not at all.
    pub(super) fn make_recorded(
        &mut self,
        now: Now,
        documents: &mut Documents,
        mut edits: Vec<Edit>,
        planned: Planned,
    ) -> Result<(), String> {
        #[cfg(feature = "planted-bugs")]
        if self.spec.unrecorded && !edits.is_empty() {
            return self.space.make(millis(now), &edits).map(|_| ()).map_err(|e| e.to_string());
        }
        edits.extend(documents.edits_of(core::slice::from_ref(&planned)));
        if self.space.weigh(&edits, WRITE_MAX) > WRITE_MAX {
            return Err(
                "the resolution and what it keeps are too large for one write: a person may choose".into()
            );
        }
        let made = self.space.make(millis(now), &edits).map_err(|e| e.to_string())?;
        self.probe.always("documents.recorded", made, || "a record that changes nothing".to_string());
        documents.audit.carry_out(planned);
        self.unsynced_any = Some(Lsn(u64::MAX));
        Ok(())
    }
}

/// What became of a place.
enum Done {
    Settled,
    Asked,
    Kept,
}

impl Documents {
    /// Records may have come.
    const fn scan_audit(&mut self) {
        self.records_came = true;
    }
    /// Where a place belongs, by what lies there now.
    fn note(&mut self, space: &Space, place: Place) {
        let all = space.siblings(&place.address());
        let fell = |bytes: &[u8]| match self.is_lifecycle(&place) {
            true => Envelope::from_bytes(bytes).is_ok_and(|e| is_deleted(e.value.as_ref())),
            false => Envelope::deletes(bytes),
        };
        match &all[..] {
            [] => {}
            [one] if fell(&one.value) => drop(self.fallen.insert(place)),
            [_] => {}
            _ => drop(self.open.insert(place)),
        }
    }
    /// Nothing stands beside anything there any more.
    fn close(&mut self, place: &Place) {
        self.open.remove(place);
        self.asking.remove(place);
        self.unsettled.remove(place);
    }
    fn set_asking(&mut self, place: &Place, asked: bool) {
        if asked {
            self.asking.insert(place.clone());
        } else {
            self.asking.remove(place);
        }
    }
    /// What was open when it was looked last, after a place, in order.
    pub(super) fn open_after(&self, after: Option<&Place>) -> impl Iterator<Item = &Place> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range::<Place, _>((from, Bound::Unbounded))
    }
    /// How its documents fare.
    pub(crate) fn figures(&self) -> Figures {
        let records = self.audit.chains().map(|c| c.head().sequence).sum();
        Figures {
            open: self.open.len() as u64,
            asked: self.asking.len() as u64,
            unsettled: self.unsettled.len() as u64,
            records,
            broken_chains: self.chains_at_fault().count() as u64,
        }
    }
    /// Chains that do not go on, or are not what was promised.
    pub(super) fn chains_at_fault(&self) -> impl Iterator<Item = &String> {
        let altered = &self.rounds.altered;
        let only = altered.iter().filter(|(of, _)| !self.broken.contains_key(of));
        self.broken.values().chain(only.map(|(_, told)| told))
    }
    /// Something that people should look at.
    pub(super) fn fault(&mut self, told: String) {
        if !self.faults.contains(&told) && self.faults.len() < 64 {
            self.faults.push(told);
        }
    }
    /// Until when a person is asked about a conflict, if they are; the first time it was put counts.
    pub(super) fn asked_until(&self, id: ConflictId) -> Option<u64> {
        self.audit.of_conflict(id).find_map(|r| r.output.asked_until)
    }
    /// The record of a settlement.
    #[allow(clippy::too_many_arguments, reason = "it is what a record holds")]
    pub(super) fn plan(
        &self,
        place: &Place,
        meeting: &Meeting,
        policy: &Policy,
        answer: &Answer,
        ms: u64,
        output: Option<Dot>,
        decision: Option<&Closed>,
    ) -> Result<Planned, String> {
        self.ask(place, meeting, |q: &Question<'_>| {
            let settlement =
                Settlement { output, decision, ..Settlement::new(q, answer, policy.version(), Hlc::at(ms)) };
            self.audit.plan(&settlement).map_err(|e| e.to_string())
        })
    }
    /// The edits that write records down, behind each other, with the long values that they name.
    pub(super) fn edits_of(&self, planned: &[Planned]) -> Vec<Edit> {
        let write = |at: Address, bytes: Vec<u8>| Edit::new(at, Change::Write(bytes));
        let record = |p: &Planned| write(audit_address(self.owner, p.sequence), p.entry.clone());
        let long: BTreeMap<&[u8; 32], &Value> = planned.iter().flat_map(Planned::long).collect();
        let values = long.into_iter().map(|(hash, v)| write(value_address(hash), v.to_bytes()));
        planned.iter().map(record).chain(values).collect()
    }
    /// A schema's file, for people.
    pub(super) fn known(&self) -> impl Iterator<Item = &Known> {
        self.schemas.values()
    }
}
