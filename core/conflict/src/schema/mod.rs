//! What each field of an object is, and so how two versions of it join.
//!
//! **Promise.** A [`Document`] fits its schema: it can only be had from [`Schema::admit`] and from a merge. It has one form: sets and keyed lists
//! are in order, so that equal meanings are equal bytes.
//!
//! | kind | value | concurrent changes |
//! |---|---|---|
//! | `atomic` | anything | conflict C1 (C2 if the field has an owner and one of the writers is it) |
//! | `record` | fields by name, each as declared | field by field |
//! | `map` | fields by any name, all of one kind | field by field |
//! | `keyed-list` | records told apart by a merge key | record by record |
//! | `set` | values, each once | what any added is in, what any removed is out |
//! | `counter` | a whole number | the changes add up; beyond 64 bits or the range: C4 |
//! | `max`, `min` | something ordered | the greatest, the least |
//! | `text` | text | all insertions and deletions |
//! | `ordered-list` | values in a row | all insertions and deletions |
//! | `reference` | the key of another object | as atomic; see [`crate::reference`] |
//!
//! **Lifecycle.** A document can't be taken away field by field beside somebody who goes on writing one: what is left is neither. So a schema may name a
//! field (`lifecycle = "/field"`) that says in a word whether there is a document: [`DELETED`], or anything else ([`PRESENT`] by those who have
//! nothing to add). Whoever deletes writes there alone, whoever changes anything writes there too, and the two meet in one conflict.
//!
//! **Names.** What two who do not see each other give two documents no merge of either shows. A schema may list fields whose values are to be one document's own
//! (`unique = ["/name"]`): where two have the same, all but the first by key are told so ([`crate::reference::unique`]).
//!
//! **Limits.** 16 names. 4096 fields with all that types expand to ([`FIELDS_MAX`]), 16 levels ([`LEVELS_MAX`]), 256 types, names of 256 bytes.
//!
//! **Rejected.** Recursive types: a merge's cost would follow the document's depth, and no object of a fleet needs them.

mod admit;
mod read;

pub(crate) use admit::{admit, by_key};

use crate::reading::Fault;
use crate::value::Value;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Fields of a schema, with all that its types expand to.
pub const FIELDS_MAX: usize = 4096;
/// Levels of a schema.
pub const LEVELS_MAX: usize = 16;

/// The word of a lifecycle by which there is no document.
pub const DELETED: &str = "deleted";
/// The word of whoever changes a document and says nothing else there.
pub const PRESENT: &str = "present";

/// What the objects of one kind look like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    pub(crate) name: Arc<str>,
    pub(crate) version: u32,
    pub(crate) root: Field,
    pub(crate) lifecycle: Option<crate::Pointer>,
    pub(crate) unique: Vec<crate::Pointer>,
}

/// One field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// What it is.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub required: bool,
    /// The role whose writes are meant to be here; said by the field, or by one above it.
    pub owner: Option<Arc<str>>,
    /// Whether a counter lies in it: two equal changes are then two changes.
    pub(crate) counts: bool,
}

/// What a field is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// Replaced as a whole.
    Atomic(Type),
    /// Fields by name, ascending.
    Record(Vec<(Arc<str>, Field)>),
    /// Fields of one kind by any name.
    Map(Arc<Field>),
    /// Records, told apart by these of their fields.
    Keyed {
        /// The merge key.
        key: Vec<Arc<str>>,
        /// The record.
        of: Arc<Field>,
    },
    /// Values, each once.
    Set(Type),
    /// A number that changes by differences.
    Counter {
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
    },
    /// The greatest stands.
    Max(Type),
    /// The least stands.
    Min(Type),
    /// A text, merged by its characters.
    Text,
    /// Values in a row.
    List(Type),
    /// The key of another object.
    Reference {
        /// Of which kind.
        to: Arc<str>,
        /// Whether following it must never come back: a parent, a mount point.
        tree: bool,
    },
}

impl FieldKind {
    /// Its name in schemas.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Atomic(_) => "atomic",
            Self::Record(_) => "record",
            Self::Map(_) => "map",
            Self::Keyed { .. } => "keyed-list",
            Self::Set(_) => "set",
            Self::Counter { .. } => "counter",
            Self::Max(_) => "max",
            Self::Min(_) => "min",
            Self::Text => "text",
            Self::List(_) => "ordered-list",
            Self::Reference { .. } => "reference",
        }
    }
}

/// What values a field takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Any.
    Any,
    /// True or false.
    Bool,
    /// Whole numbers.
    Int,
    /// Numbers.
    Number,
    /// Texts.
    Text,
}

impl Type {
    pub(crate) const WORDS: [(&'static str, Self); 5] = [
        ("any", Self::Any),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("number", Self::Number),
        ("text", Self::Text),
    ];
    pub(crate) const fn takes(self, v: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => matches!(v, Value::Bool(_)),
            Self::Int => matches!(v, Value::Int(_)),
            Self::Number => matches!(v, Value::Int(_) | Value::Real(_)),
            Self::Text => matches!(v, Value::Text(_)),
        }
    }
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Number => "a number",
            Self::Text => "a text",
        }
    }
}

/// An object that fits its schema, in its one form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub(crate) schema: (Arc<str>, u32),
    pub(crate) value: Value,
}

impl Document {
    /// What it holds.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }
    /// The schema it fits, and its version.
    #[must_use]
    pub fn schema(&self) -> (&str, u32) {
        (&self.schema.0, self.schema.1)
    }
}

impl Schema {
    /// The kind of object.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }
    /// Which version of its schema.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
    /// The place that says whether there is a document.
    #[must_use]
    pub const fn lifecycle(&self) -> Option<&crate::Pointer> {
        self.lifecycle.as_ref()
    }
    /// Fields whose values are names: no two documents of this kind are to have the same.
    #[must_use]
    pub fn unique(&self) -> &[crate::Pointer] {
        &self.unique
    }
    /// The field at a place of this document's form: what lies there, merged on its own, is merged so. Nothing where the
    /// schema knows no field. Positions of keyed lists and of ordered lists are any number.
    #[must_use]
    pub fn field(&self, at: &crate::Pointer) -> Option<&Field> {
        at.segments().try_fold(&self.root, |field, segment| match &field.kind {
            FieldKind::Record(fields) => find(fields, &segment),
            FieldKind::Map(of) => Some(&**of),
            FieldKind::Keyed { of, .. } => crate::pointer::index(&segment).map(|_| &**of),
            _ => None,
        })
    }
    /// All fields, each with its pattern: `*` stands for a name of a map or a position.
    pub fn fields(&self) -> Vec<(crate::Pointer, &Field)> {
        let mut out = Vec::new();
        walk(&self.root, &mut crate::Pointer::root(), &mut out);
        out
    }
    /// A document of this schema.
    ///
    /// # Errors
    /// If the value does not fit it, or is too large; says where.
    pub fn admit(&self, value: &Value) -> Result<Document, Fault> {
        let at = crate::Pointer::root();
        value.size().map_err(|e| Fault::new(&at, alloc::format!("{e}"), "nothing of it was taken"))?;
        let value = admit(&self.root, value, &mut at.clone())?;
        Ok(self.document(value))
    }
    /// A value in the form that the field at a place has.
    ///
    /// # Errors
    /// If it does not fit, or there is no such field.
    pub fn admit_at(&self, at: &crate::Pointer, value: &Value) -> Result<Value, Fault> {
        match self.field(at) {
            Some(field) => admit(field, value, &mut at.clone()),
            None => Err(Fault::new(at, "the schema has no such field", "name a field of it")),
        }
    }
    pub(crate) fn document(&self, value: Value) -> Document {
        Document { schema: (self.name.clone(), self.version), value }
    }
}

pub(crate) fn find<'f>(fields: &'f [(Arc<str>, Field)], name: &str) -> Option<&'f Field> {
    entry(fields, name).map(|(_, f)| f)
}

fn entry<'f>(fields: &'f [(Arc<str>, Field)], name: &str) -> Option<&'f (Arc<str>, Field)> {
    fields.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| &fields[at])
}

fn walk<'f>(field: &'f Field, at: &mut crate::Pointer, out: &mut Vec<(crate::Pointer, &'f Field)>) {
    let mut below = |name: &str, field| {
        let was = at.enter(name);
        out.push((at.clone(), field));
        walk(field, at, out);
        at.leave(was);
    };
    match &field.kind {
        FieldKind::Record(fields) => fields.iter().for_each(|(name, f)| below(name, f)),
        FieldKind::Map(of) | FieldKind::Keyed { of, .. } => below("*", of),
        _ => {}
    }
}
