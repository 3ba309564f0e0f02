//! Questions of clients to a keyspace of documents.

use super::ask::{self, At, Open, Person, Resolution, Rule, Side, Told, Trial};
use super::rollback::Going;
use super::settle::NOT_FIRST;
use super::view::{keys, places_of, schema_of};
use super::{Documents, before, met};
use crate::refusal::Refusal;
use crate::replica::{Eventual, Held, Outbox, millis};
use bytes::Bytes;
use dwcp_conflict::audit::{Held as Kept, Record, trial};
use dwcp_conflict::lineage::{Envelope, Line, Meeting, Written};
use dwcp_conflict::queue::Closed;
use dwcp_conflict::strategy::{Named, Ordered, Reason, Settled, Why};
use dwcp_conflict::{
    Answer, ConflictId, Outcome, Place, Pointer, Policy, Sibling, Ticket, Value, Write, Writer,
};
use dwcp_crdt::code::Reader;
use dwcp_crdt::{Change, Dot, Edit, ReplicaIndex};
use dwcp_env::{Instant, Now, RequestId};
use dwcp_wal::Lsn;

/// Bytes of a kind, a key, a person's name.
const WORD_MAX: usize = 256;
/// Open conflicts that one answer lists.
const LISTED_MAX: usize = 1_000;
/// Places that are looked at for it: not each is one still.
const LOOKED_MAX: usize = 4_096;

pub(super) type Asked = Result<(ask::Answer, bool), Refusal>;

pub(super) fn wrong<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Argument(why.into()))
}

pub(super) fn value(bytes: &[u8]) -> Result<Value, Refusal> {
    let mut from = Reader::new(bytes);
    match Value::decode(&mut from) {
        Ok(v) if from.is_empty() => Ok(v),
        Ok(_) => wrong("bytes behind a value"),
        Err(e) => wrong(format!("a value that is none: {e}")),
    }
}

pub(super) fn bytes(value: &Value) -> Bytes {
    value.to_bytes().into()
}

pub(super) fn word(what: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > WORD_MAX || text.starts_with('\0') {
        return wrong(format!("{what} {text:?}: 1 to {WORD_MAX} bytes, not beginning with a zero"));
    }
    Ok(())
}

pub(super) fn writer(by: &Person) -> Result<Writer, Refusal> {
    word("the writer's name", &by.name)?;
    for text in [&by.role, &by.region] {
        if text.len() > WORD_MAX {
            return wrong(format!("a role and a region have {WORD_MAX} bytes at most"));
        }
    }
    Ok(Writer::new(&by.name, &by.role, &by.region))
}

pub(super) fn person(w: &Writer) -> Person {
    Person { name: w.name.to_string(), role: w.role.to_string(), region: w.region.to_string() }
}

pub(super) fn pair(dot: Dot) -> (u16, u64) {
    (dot.replica().0, dot.sequence())
}

pub(super) fn at(place: &Place) -> At {
    let pointer = place.pointer.as_str().to_string();
    At { kind: place.kind.to_string(), key: place.key.to_string(), pointer }
}

pub(super) fn pointer(text: &str) -> Result<Pointer, Refusal> {
    Pointer::parse(text).or_else(|e| wrong(format!("{text:?}: {e}")))
}

fn place(at: &At) -> Result<Place, Refusal> {
    Ok(Place::new(&at.kind, &at.key, pointer(&at.pointer)?))
}

fn side(s: &Sibling) -> Side {
    let value = s.value.as_ref().map(bytes);
    Side { dot: pair(s.dot), at_ms: s.hlc.millis(), by: person(&s.writer), value }
}

/// Two ascending rows as one; what is in both comes once.
fn in_order<'p>(
    a: impl Iterator<Item = &'p Place>,
    b: impl Iterator<Item = &'p Place>,
) -> impl Iterator<Item = &'p Place> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x == y => {
            b.next();
            a.next()
        }
        (Some(x), Some(y)) if y < x => b.next(),
        (None, _) => b.next(),
        _ => a.next(),
    })
}

impl Eventual {
    /// A client asks about documents.
    pub(crate) fn on_documents(
        &mut self,
        now: Now,
        id: RequestId,
        deadline: Instant,
        question: ask::Question,
        out: &mut Outbox,
    ) {
        let asked = match self.documents.take() {
            None => wrong("this keyspace holds no documents: ask one with `documents = true`"),
            Some(mut documents) => {
                let asked =
                    self.may_read().and_then(|()| self.answer_documents(now, &mut documents, question));
                self.documents = Some(documents);
                asked
            }
        };
        match asked {
            Err(refusal) => out.replies.push((id, Err(refusal), true)),
            Ok((answer, wrote)) => {
                let answer = crate::api::Answer::Documents(Box::new(answer));
                if wrote {
                    self.unsynced_any = Some(Lsn(u64::MAX));
                    self.fresh.push(Held::Reply { id, deadline, answer });
                } else {
                    self.answer_after(self.unsynced_any, (id, deadline), answer, out);
                }
            }
        }
    }

    fn answer_documents(&mut self, now: Now, documents: &mut Documents, question: ask::Question) -> Asked {
        let ms = millis(now);
        match question {
            ask::Question::Write { kind, key, by, change } => {
                word("the key", &key)?;
                self.write_document(ms, documents, (&kind, &key), change, &writer(&by)?)
            }
            ask::Question::Read { kind, key } => {
                let value = documents.document(&self.space, &kind, &key, ms);
                let open = places_of(&self.space, &kind, &key);
                let open = open.iter().filter_map(|p| self.open_at(ms, documents, p));
                let open = open.chain(documents.between(&self.space, &kind, &key, ms)).collect();
                Ok((ask::Answer::Document(value.map(|v| (bytes(&v), open))), false))
            }
            ask::Question::List { kind, after } => {
                let (mut found, next) = keys(&self.space, &kind, after.as_deref());
                found.retain(|key| documents.document(&self.space, &kind, key, ms).is_some());
                Ok((ask::Answer::Keys(found, next), false))
            }
            ask::Question::Conflicts { after } => {
                let after = after.as_ref().map(place).transpose()?;
                Ok((self.conflicts(ms, documents, after), false))
            }
            ask::Question::Explain { kind, key, pointer: at } => {
                let at = at.as_deref().map(pointer).transpose()?;
                let mut text = documents.audit.explain(&kind, &key, at.as_ref());
                text += &documents.told_between(&self.space, &kind, &key, ms);
                let records = documents.audit.of_object(&kind, &key);
                let records = records.filter(|r| at.as_ref().is_none_or(|at| r.place.pointer == *at));
                let records = records.map(|r| documents.told(&r)).collect();
                Ok((ask::Answer::Explained(text, records), false))
            }
            ask::Question::Conflict(name) => {
                let id = documents.named(&name)?;
                let records: Vec<Record> = documents.audit.of_conflict(id).collect();
                let place = records.first().map(|r| r.place.clone());
                let text = place
                    .map(|p| documents.audit.explain(&p.kind, &p.key, Some(&p.pointer)))
                    .unwrap_or_default();
                let records = records.iter().map(|r| documents.told(r)).collect();
                Ok((ask::Answer::Explained(text, records), false))
            }
            ask::Question::Answer { at, conflict, choice, by } => {
                self.decide(now, documents, &place(&at)?, &conflict, &choice, &writer(&by)?)
            }
            ask::Question::Undo { conflict, which, force, by } => {
                let which = which.map(|(r, s)| Dot::new(ReplicaIndex(r), s));
                self.undo(now, documents, &conflict, which, force, &writer(&by)?)
            }
            ask::Question::Merge { kind, base, sides } => {
                super::join::join(documents, &kind, base.as_deref(), &sides)
            }
            ask::Question::Checkpoint { name, kinds, days, by } => {
                self.take_checkpoint(now, documents, &name, &kinds, days, &writer(&by)?)
            }
            ask::Question::Checkpoints => Ok((self.checkpoints(), false)),
            ask::Question::Forget { name } => self.forget_checkpoint(now, &name),
            ask::Question::Rollback { name, which, dry, after, by } => {
                self.roll_back(now, documents, &name, which, after, &Going { by: writer(&by)?, dry })
            }
            ask::Question::Verify => self.verify_records(documents),
            ask::Question::Rules => Ok((documents.rules(ms), false)),
            ask::Question::DryRun(file) => {
                let policy = Policy::read(&value(&file)?).or_else(|e| wrong(e.to_string()))?;
                Ok((ask::Answer::Trial(documents.dry_run(&policy)), false))
            }
        }
    }

    /// Open conflicts after a place, in order, a page of them.
    fn conflicts(&self, ms: u64, documents: &Documents, after: Option<Place>) -> ask::Answer {
        let (mut found, mut looked, mut last) = (Vec::new(), 0, None);
        let (open, between) = (documents.open_after(after.as_ref()), documents.between_after(after.as_ref()));
        let mut rest = in_order(open, between).peekable();
        while found.len() < LISTED_MAX && looked < LOOKED_MAX {
            let Some(place) = rest.next() else { break };
            found.extend(self.open_at(ms, documents, place));
            let between = documents.between(&self.space, &place.kind, &place.key, ms);
            found.extend(between.into_iter().filter(|o| o.at.pointer == place.pointer.as_str()));
            (looked, last) = (looked + 1, Some(at(place)));
        }
        let next = last.filter(|_| rest.peek().is_some());
        ask::Answer::Conflicts(found, next)
    }

    /// The edit by which somebody writes at a place over all that lies there.
    #[allow(clippy::too_many_arguments, reason = "it is what a write is made of")]
    pub(super) fn person_writes(
        &self,
        ms: u64,
        documents: &Documents,
        place: &Place,
        written: &[Written],
        meeting: &Meeting,
        by: &Writer,
        value: Option<Value>,
    ) -> Edit {
        let shown = if meeting.siblings.len() > 1 { documents.shown(&self.space, place, ms).1 } else { None };
        let stable = self.space.stable();
        let name = documents.name(place, meeting, ms);
        let line = Line::over(written, (name, shown.as_ref()), &|dot| stable.contains(dot));
        let envelope = Envelope { writer: by.clone(), value, resolves: None, line };
        Edit::new(place.address(), Change::Write(envelope.to_bytes()))
    }

    /// A place where writes stand beside each other, for people; nothing if they don't.
    fn open_at(&self, ms: u64, documents: &Documents, place: &Place) -> Option<Open> {
        let (_, _, meeting) = met(&self.space, place);
        if meeting.siblings.len() < 2 {
            return None;
        }
        let id = ConflictId::of(meeting.siblings.iter().map(|s| s.dot));
        let class = documents.ask(place, &meeting, |q| q.class.name().to_string());
        let answered = documents.answer(place, &meeting, ms);
        let until = documents.asked_until(id);
        let (by, asked) = match &answered {
            None => (None, None),
            Some((policy, answer)) => {
                let rule = policy.rules().get(usize::from(answer.rule));
                let by = rule.map(|r| (r.name.to_string(), answer.strategy.name().to_string()));
                let asked = match &answer.settled.outcome {
                    Outcome::Asked { suggestion, .. } => Some((suggestion.as_ref().map(bytes), until)),
                    _ => None,
                };
                (by, asked)
            }
        };
        let waits = match (&answered, &asked) {
            (None, _) => "no policy is in force: apply one with `dwcp policy apply`".to_string(),
            (_, Some((_, Some(_)))) => "a person is asked".into(),
            (Some((_, a)), _) if matches!(a.settled.outcome, Outcome::Many(_)) => {
                "all values are kept".into()
            }
            _ => documents.unsettled.get(place).cloned().unwrap_or_else(|| NOT_FIRST.into()),
        };
        Some(Open {
            at: at(place),
            conflict: id.to_string(),
            class,
            base: before(meeting.base.as_ref()),
            sides: Ordered::new(&meeting.siblings).all().iter().map(|s| side(s)).collect(),
            shown: documents.shown(&self.space, place, ms).1.as_ref().map(bytes),
            by,
            asked,
            waits,
        })
    }

    /// A person decides between siblings.
    fn decide(
        &mut self,
        now: Now,
        documents: &mut Documents,
        place: &Place,
        conflict: &str,
        choice: &ask::Choice,
        by: &Writer,
    ) -> Asked {
        let ms = millis(now);
        let schema = schema_of(documents, &place.kind)?;
        let (dots, written, meeting) = met(&self.space, place);
        let id = ConflictId::of(meeting.siblings.iter().map(|s| s.dot));
        if meeting.siblings.len() < 2 || conflict.len() < 6 || !id.to_string().starts_with(conflict) {
            return wrong(format!(
                "no open conflict {conflict} at {place}: it was settled, or another write made it another; `dwcp conflict list` shows the open ones"
            ));
        }
        let Some((policy, answer)) = documents.answer(place, &meeting, ms) else {
            return wrong("no policy is in force: apply one with `dwcp policy apply`");
        };
        let asked_at = documents.asked_until(id).unwrap_or(ms);
        let ticket = documents.ask(place, &meeting, |q| answer.ticket(q, asked_at));
        let ticket = ticket.unwrap_or_else(|| Ticket {
            id,
            place: place.clone(),
            class: documents.ask(place, &meeting, |q| q.class),
            base: meeting.base.clone(),
            sides: meeting.siblings.clone(),
            suggestion: answer.settled.outcome.shown().cloned(),
            default: answer.settled.outcome.shown().cloned(),
            deadline: ms,
        });
        let chosen = match choice {
            ask::Choice::Side(r, s) => {
                let dot = Dot::new(ReplicaIndex(*r), *s);
                match ticket.sides.iter().find(|s| s.dot == dot) {
                    Some(side) => side.value.clone(),
                    None => return wrong(format!("{dot} is none of the sides: name one that is shown")),
                }
            }
            ask::Choice::Base if !ticket.base.is_known() => {
                return wrong("what was there before is not known: choose a side, or give a value");
            }
            ask::Choice::Base => ticket.base.clone().value(),
            ask::Choice::Suggestion => ticket.suggestion.clone(),
            ask::Choice::Default => ticket.default.clone(),
            ask::Choice::Value(None) => None,
            ask::Choice::Value(Some(v)) => {
                let v = schema.admit_at(&place.pointer, &value(v)?);
                Some(v.map_err(|e| Refusal::Argument(e.to_string()))?)
            }
        };
        let write = Write { place: place.clone(), value: chosen.clone(), supersedes: dots };
        let closed = Closed { ticket, write, by: Some(by.clone()) };
        let edit = self.person_writes(ms, documents, place, &written, &meeting, by, chosen);
        self.check_room()?;
        let output = Some(self.next_own());
        let planned = documents.plan(place, &meeting, &policy, &answer, ms, output, Some(&closed));
        let planned = planned.map_err(Refusal::Argument)?;
        self.make_recorded(now, documents, vec![edit], planned).map_err(Refusal::NotReady)?;
        self.probe.reachable("documents.answered");
        Ok((ask::Answer::Written(1), true))
    }

    /// Brings back what did not prevail.
    fn undo(
        &mut self,
        now: Now,
        documents: &mut Documents,
        conflict: &str,
        which: Option<Dot>,
        force: bool,
        by: &Writer,
    ) -> Asked {
        let ms = millis(now);
        let id = documents.named(conflict)?;
        let writes = documents.audit.undo(id, which).or_else(|e| wrong(e.to_string()))?;
        let mut n = 0;
        for write in writes {
            let (dots, written, meeting) = met(&self.space, &write.place);
            if let Some(unseen) = write.unseen(dots).filter(|_| !force) {
                return wrong(format!(
                    "{}: {unseen}; `--force` writes over it, and it can be had back in turn",
                    write.place
                ));
            }
            self.check_room()?;
            let policy = documents.active(ms).cloned();
            let policy = policy.ok_or_else(|| Refusal::Argument("no policy is in force".into()))?;
            // That someone decided so, over whatever stands there, is a record of its own.
            let reason = Reason { why: Why::Alone, lack: None };
            let outcome = Outcome::One(write.value.clone());
            let settled = Settled { outcome, prevails: Vec::new(), author: None, reason };
            let answer = Answer { rule: 0, strategy: Named::Manual, settled };
            let ticket = Ticket {
                id,
                place: write.place.clone(),
                class: documents.ask(&write.place, &meeting, |q| q.class),
                base: meeting.base.clone(),
                sides: meeting.siblings.clone(),
                suggestion: None,
                default: None,
                deadline: ms,
            };
            let (place, value) = (write.place.clone(), write.value.clone());
            let closed = Closed { ticket, write, by: Some(by.clone()) };
            let edit = self.person_writes(ms, documents, &place, &written, &meeting, by, value);
            let output = Some(self.next_own());
            let planned = documents.plan(&place, &meeting, &policy, &answer, ms, output, Some(&closed));
            let planned = planned.map_err(Refusal::Argument)?;
            self.make_recorded(now, documents, vec![edit], planned).map_err(Refusal::NotReady)?;
            n += 1;
        }
        self.probe.reachable("documents.undone");
        Ok((ask::Answer::Written(n), true))
    }
}

impl Documents {
    /// The conflict whose name begins so.
    fn named(&self, begins: &str) -> Result<ConflictId, Refusal> {
        if begins.len() < 6 {
            return wrong(format!("{begins:?}: give six digits of a conflict's name at least"));
        }
        match &self.audit.named(&begins.to_ascii_lowercase())[..] {
            [one] => Ok(*one),
            [] => wrong(format!(
                "no conflict {begins} is on record here; `dwcp conflict explain KIND KEY` names those of an object{}",
                self.audit.told_gone().replacen(' ', "; ", 1)
            )),
            _ => wrong(format!("several conflicts begin with {begins}: give more digits")),
        }
    }
    fn told(&self, r: &Record) -> Resolution {
        let value = |held: Option<&Kept>| held.and_then(|h| self.audit.value(h)).as_ref().map(bytes);
        let inputs = r.inputs.iter().map(|i| Told {
            side: Side {
                dot: pair(i.dot),
                at_ms: i.hlc.millis(),
                by: person(&i.writer),
                value: value(i.value.as_ref()),
            },
            prevails: i.prevails,
            kept: i.value.as_ref().is_none_or(|h| self.audit.value(h).is_some()),
        });
        Resolution {
            conflict: r.id.to_string(),
            at: at(&r.place),
            at_ms: r.at.millis(),
            class: r.class.name().into(),
            by: (r.policy, r.rule, r.strategy.name().into()),
            person: r.by.as_ref().map(person),
            back_to: r.back_to.as_ref().map(ToString::to_string),
            why: r.reason.to_string(),
            inputs: inputs.collect(),
            stands: value(r.output.value.as_ref()),
            output: r.output.dot.map(pair),
            asked_until_ms: r.output.asked_until,
        }
    }
    fn rules(&self, ms: u64) -> ask::Answer {
        let active = self.active(ms).map(|p| p.version());
        let policies = self.files.values().map(|(p, file)| Rule {
            name: p.name().to_string(),
            version: p.version(),
            activates: Some(p.activates()),
            active: Some(p.version()) == active,
            file: file.clone().into(),
        });
        let schemas = self.known().map(|k| Rule {
            name: k.schema.name().to_string(),
            version: k.schema.version(),
            activates: None,
            active: true,
            file: k.file.clone().into(),
        });
        let chains = self.audit.chains().filter(|c| c.head().sequence > 0).map(|c| {
            let head = c.head();
            (c.owner().0, head.sequence, ConflictId(head.check).to_string())
        });
        ask::Answer::Rules {
            schemas: schemas.collect(),
            policies: policies.collect(),
            faults: self
                .faults
                .iter()
                .chain(self.chains_at_fault())
                .cloned()
                .chain(self.names.fault())
                .collect(),
            chains: chains.collect(),
        }
    }
    fn dry_run(&self, policy: &Policy) -> Trial {
        let field = |place: &Place| self.schemas.get(&place.kind)?.schema.field(&place.pointer);
        let found = trial::dry_run(&self.audit, policy, field);
        let names = policy.rules().iter().map(|r| r.name.to_string());
        let cut = found.otherwise.len().saturating_sub(LISTED_MAX) as u64;
        let otherwise = found.otherwise.into_iter().take(LISTED_MAX).map(|o| {
            let (was, would) = (o.was.as_ref().map(bytes), o.would.as_ref().map(bytes));
            let (stands, would) = ((was, o.by.1.name().into()), (would, o.would_by.1.name().into()));
            ask::Otherwise { at: at(&o.place), conflict: o.id.to_string(), stands, would }
        });
        Trial {
            same: found.same as u64,
            otherwise: otherwise.collect(),
            cut,
            unknown: found.unknown.len() as u64,
            by_rule: names.zip(found.by_rule.iter().map(|n| *n as u64)).collect(),
        }
    }
}
