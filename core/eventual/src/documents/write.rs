//! What a client's change of a document comes to: places, and what each is to hold.
//!
//! **Model.** A change of fields is a write at each of their places, over all that lies there. Whether there is a document at all is no matter of its fields, if
//! its schema names a `lifecycle` ([`dwcp_conflict::schema`]): then a deletion is one write at one place, and whoever changes anything writes
//! there too, in the same transaction. So a deletion beside an edit is one conflict, whatever was edited; whichever prevails, the document is whole or
//! is not there.
//!
//! | the document | `Put` | `Patch` | `Delete` |
//! |---|---|---|---|
//! | is there | its fields, and the lifecycle | its fields, and the lifecycle | `deleted` at the lifecycle |
//! | was deleted | all fields, as new | refused: it would be a document of a few fields; unless it brings the lifecycle back, and with it all that is left | nothing |
//!
//! What is written at the lifecycle is what the client says; else the word that lies there, if not everyone is known to have it (it may have been written
//! against a deletion that is under way); else `present`. Fields of a document that was deleted are written again even where they hold the same:
//! somebody may be taking them out of the space ([`super::fallen`]), who does not take what they have not seen.
//!
//! **Limits.** [`PLACES_MAX`] places with something in them a document, refused with their number. Two sides of a cut may each stay
//! below it and be above it together: then all is shown, and nothing that adds a place is taken.

use super::join::over;
use super::serve::{Asked, pointer, value, wrong};
use super::view::{PLACES_MAX, is_split, places, places_of, schema_of};
use super::{Documents, ask, met};
use crate::api::WRITE_MAX;
use crate::refusal::Refusal;
use crate::replica::Eventual;
use bytes::Bytes;
use dwcp_conflict::lineage::Meeting;
use dwcp_conflict::schema::{DELETED, PRESENT, Schema};
use dwcp_conflict::{Place, Pointer, Value, Writer};
use dwcp_crdt::{Dot, Edit};
use std::collections::BTreeSet;

/// A field that is written.
pub(super) struct Field {
    pub(super) place: Place,
    pub(super) value: Option<Value>,
    /// What lies there.
    pub(super) meeting: Meeting,
    pub(super) dots: Vec<Dot>,
    pub(super) edit: Edit,
    /// It holds that already, and is written because others are.
    pub(super) beside: bool,
}

/// What a place is to hold.
struct Wanted {
    place: Place,
    value: Option<Value>,
    /// Even if it holds that.
    anew: bool,
}

/// The lifecycle of a document.
struct Life {
    place: Place,
    /// Whether it says that there is no document.
    deleted: bool,
    /// What to write there beside a change that says nothing of it.
    word: Value,
}

/// A document, and what is known of it before a write.
struct Target<'d> {
    documents: &'d Documents,
    schema: &'d Schema,
    kind: &'d str,
    key: &'d str,
    /// The places there are.
    here: Vec<Place>,
    life: Option<Life>,
    ms: u64,
}

impl Target<'_> {
    fn at(&self, p: &Pointer) -> Place {
        Place::new(self.kind, self.key, p.clone())
    }
    fn is_deleted(&self) -> bool {
        self.life.as_ref().is_some_and(|l| l.deleted)
    }
    /// The document is to be this.
    fn whole(&self, document: &Value) -> Result<Vec<Wanted>, Refusal> {
        let document = self.schema.admit(document).map_err(|e| Refusal::Argument(e.to_string()))?;
        let mut found = Vec::new();
        if let Some(root) = self.schema.field(&Pointer::root()) {
            places(root, &mut Pointer::root(), document.value(), &mut found);
        }
        Ok(self.replaced(&Pointer::root(), found))
    }
    /// These places with what they are to hold, and those of the document below a place that are not among them with nothing.
    fn replaced(&self, below: &Pointer, found: Vec<(Pointer, Value)>) -> Vec<Wanted> {
        let names: BTreeSet<&str> = found.iter().map(|(p, _)| p.as_str()).collect();
        let inside = |p: &&Place| {
            let (p, below) = (p.pointer.as_str(), below.as_str());
            p.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let gone = self.here.iter().filter(inside).filter(|p| !names.contains(p.pointer.as_str()));
        let mut out: Vec<Wanted> =
            gone.map(|p| Wanted { place: p.clone(), value: None, anew: false }).collect();
        let anew = self.is_deleted();
        out.extend(found.into_iter().map(|(p, v)| Wanted { place: self.at(&p), value: Some(v), anew }));
        out
    }
}

impl Eventual {
    /// Someone changes a document.
    pub(super) fn write_document(
        &mut self,
        ms: u64,
        documents: &Documents,
        (kind, key): (&str, &str),
        change: ask::Change,
        by: &Writer,
    ) -> Asked {
        let fields = self.fields_of(ms, documents, (kind, key), change, by)?;
        if fields.is_empty() {
            return Ok((ask::Answer::Written(0), false));
        }
        let edits: Vec<Edit> = fields.into_iter().map(|f| f.edit).collect();
        let n = edits.len() as u32;
        self.check_room()?;
        let size = self.space.weigh(&edits, WRITE_MAX);
        if size > WRITE_MAX {
            let what = "what is written at once, with what it rests on".to_string();
            return Err(Refusal::TooLarge { what, size: size as u64, limit: WRITE_MAX as u64 });
        }
        let made = self.space.make(ms, &edits).map_err(|r| self.refusal(r))?;
        Ok((ask::Answer::Written(n), made))
    }

    /// The fields that are written if somebody changes a document; none if that changes nothing.
    pub(super) fn fields_of(
        &self,
        ms: u64,
        documents: &Documents,
        (kind, key): (&str, &str),
        change: ask::Change,
        by: &Writer,
    ) -> Result<Vec<Field>, Refusal> {
        let schema = schema_of(documents, kind)?;
        let life = schema.lifecycle().map(|p| self.life(documents, Place::new(kind, key, p.clone()), ms));
        let here = places_of(&self.space, kind, key);
        let target = Target { documents, schema: &schema, kind, key, here, life, ms };
        let wanted = self.wanted(&target, change)?;
        self.check_places(&target, &wanted)?;
        Ok(self.fields(ms, documents, by, wanted))
    }

    fn life(&self, documents: &Documents, place: Place, ms: u64) -> Life {
        let (dots, shown) = documents.shown(&self.space, &place, ms);
        let deleted = is_deleted(shown.as_ref());
        let stable = self.space.stable();
        let known = dots.iter().all(|d| stable.contains(*d));
        let word = shown.filter(|_| !deleted && !known).unwrap_or_else(|| Value::from(PRESENT));
        Life { place, deleted, word }
    }

    /// The places that a change is about, and what each is to hold.
    fn wanted(&self, to: &Target<'_>, change: ask::Change) -> Result<Vec<Wanted>, Refusal> {
        let mut out: Vec<Wanted> = Vec::new();
        let mut explicit = false;
        match change {
            ask::Change::Delete => return Ok(self.deletion(to)),
            ask::Change::Put(document) => out.extend(to.whole(&value(&document)?)?),
            ask::Change::Merge { base, document } => {
                let there = to.documents.document(&self.space, to.kind, to.key, to.ms);
                let merged = over(to.schema, &value(&base)?, there.as_ref(), &value(&document)?)?;
                match merged {
                    None if there.is_none() => return Ok(Vec::new()),
                    None => return Ok(self.deletion(to)),
                    Some(merged) => out.extend(to.whole(&merged)?),
                }
            }
            ask::Change::Patch(fields) => {
                explicit = true;
                for (text, new) in fields {
                    out.extend(patched(to, &text, new)?);
                }
                // Of what is said twice of a place, by itself and by what it is part of, the last counts.
                let mut said = BTreeSet::new();
                out.reverse();
                out.retain(|w| said.insert(w.place.clone()));
                out.reverse();
            }
        }
        let Some(life) = &to.life else { return Ok(out) };
        // A change of other fields takes no lifecycle away.
        out.retain(|w| w.place != life.place || w.value.is_some());
        let nothing = out.is_empty();
        match out.iter_mut().find(|w| w.place == life.place) {
            Some(said) => {
                said.anew |= explicit;
                if life.deleted && explicit && !is_deleted(said.value.as_ref()) {
                    self.bring_back(to, &mut out);
                }
            }
            None if nothing => {}
            None if life.deleted && explicit => {
                return wrong(format!(
                    "{} {} was deleted: put it anew as a whole, or bring it back with {}={PRESENT}",
                    to.kind, to.key, life.place.pointer
                ));
            }
            None => {
                out.push(Wanted { place: life.place.clone(), value: Some(life.word.clone()), anew: false })
            }
        }
        Ok(out)
    }

    /// All that is left of a document that was deleted is written again.
    fn bring_back(&self, to: &Target<'_>, out: &mut Vec<Wanted>) {
        let named: BTreeSet<Place> = out.iter().map(|w| w.place.clone()).collect();
        for place in to.here.iter().filter(|p| !named.contains(p)) {
            if let (_, Some(value)) = to.documents.shown(&self.space, place, to.ms) {
                out.push(Wanted { place: place.clone(), value: Some(value), anew: true });
            }
        }
    }

    fn deletion(&self, to: &Target<'_>) -> Vec<Wanted> {
        let Some(life) = &to.life else {
            return to.here.iter().map(|p| Wanted { place: p.clone(), value: None, anew: false }).collect();
        };
        if to.documents.document(&self.space, to.kind, to.key, to.ms).is_none() {
            return Vec::new();
        }
        vec![Wanted { place: life.place.clone(), value: Some(Value::from(DELETED)), anew: true }]
    }

    /// Whether a document stays within its limit, or does not grow.
    fn check_places(&self, to: &Target<'_>, wanted: &[Wanted]) -> Result<(), Refusal> {
        let added = wanted.iter().filter(|w| w.value.is_some()).count();
        // Names of fields that are no more are counted with the others only until it matters.
        if to.here.len() + added <= PLACES_MAX {
            return Ok(());
        }
        let holds = |p: &&Place| met(&self.space, p).2.siblings.iter().any(|s| s.value.is_some());
        let before: BTreeSet<&Place> = to.here.iter().filter(holds).collect();
        let mut after = before.clone();
        for w in wanted {
            if w.value.is_some() {
                after.insert(&w.place)
            } else {
                after.remove(&w.place)
            };
        }
        if after.len() > PLACES_MAX && after.len() > before.len() {
            let what = format!("{} {} with this write: a number of fields", to.kind, to.key);
            return Err(Refusal::TooLarge { what, size: after.len() as u64, limit: PLACES_MAX as u64 });
        }
        Ok(())
    }

    /// Someone writes fields, over what they are shown.
    fn fields(&self, ms: u64, documents: &Documents, by: &Writer, wanted: Vec<Wanted>) -> Vec<Field> {
        let life = |place: &Place| {
            let schema = documents.schemas.get(&place.kind);
            schema.is_some_and(|k| k.schema.lifecycle() == Some(&place.pointer))
        };
        let (mut fields, mut others) = (Vec::new(), Vec::new());
        for Wanted { place, value, anew } in wanted {
            let (dots, written, meeting) = met(&self.space, &place);
            // What stands there already, alone, is not written again.
            let same = match &meeting.siblings[..] {
                [] => value.is_none(),
                [one] => one.value == value,
                _ => false,
            };
            let is_life = life(&place);
            if anew || !same || is_life {
                let edit = self.person_writes(ms, documents, &place, &written, &meeting, by, value.clone());
                let field = Field { place, value, meeting, dots, edit, beside: same };
                // A lifecycle that nobody spoke of goes with what is changed, and not alone.
                if is_life && !anew && same { others.push(field) } else { fields.push(field) }
            }
        }
        if !fields.is_empty() {
            fields.extend(others);
        }
        fields
    }
}

/// Whether a word says that there is no document.
pub(super) fn is_deleted(word: Option<&Value>) -> bool {
    matches!(word, Some(Value::Text(word)) if **word == *DELETED)
}

/// What a patch of one field comes to.
fn patched(to: &Target<'_>, text: &str, new: Option<Bytes>) -> Result<Vec<Wanted>, Refusal> {
    let at = pointer(text)?;
    let Some(field) = to.schema.field(&at) else {
        return wrong(format!("{text}: a {} has no such field", to.kind));
    };
    let inside = at.segments().count() > 0 && {
        let parent = text.rsplit_once('/').map_or("", |(p, _)| p);
        to.schema.field(&pointer(parent)?).is_some_and(|f| !is_split(f))
    };
    if inside {
        return wrong(format!("{text} lies in a field that is written as a whole: write that"));
    }
    if let Some(life) = &to.life
        && at == life.place.pointer
        && new.is_none()
    {
        return wrong(format!("{text} says whether there is a document: write {PRESENT:?} or {DELETED:?}"));
    }
    let mut found = Vec::new();
    if let Some(new) = new {
        let new = to.schema.admit_at(&at, &value(&new)?).map_err(|e| Refusal::Argument(e.to_string()))?;
        places(field, &mut at.clone(), &new, &mut found);
    }
    Ok(to.replaced(&at, found))
}
