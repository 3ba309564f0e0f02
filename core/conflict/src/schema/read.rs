//! A schema from its file.
//!
//! ```json
//! {"schema": "vm", "version": 1,
//!  "types":  {"disk": {"kind": "record", "fields": {"name": {"kind": "atomic", "type": "text", "required": true}, "gib": "max"}}},
//!  "fields": {"cpu": {"kind": "atomic", "type": "int", "owner": "operator"},
//!             "labels": {"kind": "map", "of": "atomic"},
//!             "disks": {"kind": "keyed-list", "key": "name", "of": "disk"}}}
//! ```
//!
//! A field is a map with `kind`; or the name of a kind that needs nothing else; or the name of a type.

use super::{FIELDS_MAX, Field, FieldKind, LEVELS_MAX, Schema, Type, find};
use crate::pointer::Pointer;
use crate::reading::{Fault, Part, any_of, quoted};
use crate::value::Value;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Names that are to be one document's own.
const UNIQUE_MAX: usize = 16;
/// Types of a schema.
const TYPES_MAX: usize = 256;
const KINDS: [&str; 11] = [
    "atomic",
    "record",
    "map",
    "keyed-list",
    "set",
    "counter",
    "max",
    "min",
    "text",
    "ordered-list",
    "reference",
];

impl Schema {
    /// Reads a schema and checks it: no unknown key, no type that contains itself, no merge key that isn't one.
    ///
    /// # Errors
    /// The first thing that is wrong, where, and what would be right.
    pub fn read(file: &Value) -> Result<Self, Fault> {
        let part = Part::root(file);
        part.only(&["schema", "version", "types", "fields", "owner", "lifecycle", "unique"])?;
        let name = part.need("schema")?.text()?.clone();
        let version = part.need("version")?.int(1..=i64::from(u32::MAX))? as u32;
        let types = match part.may("types") {
            Some(types) => types.entries(TYPES_MAX, "types")?,
            None => Vec::new(),
        };
        if let Some((name, part)) = types.iter().find(|(n, _)| KINDS.contains(&&***n)) {
            return part.fault(format!("a type with the name of a kind, `{name}`"), "give it another name");
        }
        let mut reader = Reader { types: &types, open: Vec::new(), fields: 0, levels: 0 };
        let owner = part.may("owner").map(|p| p.text().cloned()).transpose()?;
        // Each type is looked at, used or not.
        for (name, part) in &types {
            reader.open.push(name);
            reader.fields = 0;
            reader.field(part, None)?;
            reader.open.pop();
        }
        reader.fields = 0;
        let kind = reader.record(&part.need("fields")?, owner.as_ref())?;
        let root = Field { counts: counts(&kind), kind, required: true, owner };
        let lifecycle = part.may("lifecycle").map(|p| lifecycle(&p, &root)).transpose()?;
        let unique = match part.may("unique") {
            Some(all) => {
                all.items(UNIQUE_MAX, "names")?.iter().map(|p| unique(p, &root)).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        if let Some(twice) = (1..unique.len()).find(|n| unique[..*n].contains(&unique[*n])) {
            return part
                .fault(format!("`{}` stands twice in `unique`", unique[twice].as_str()), "name each once");
        }
        if let Some(life) = lifecycle.as_ref().filter(|life| unique.contains(life)) {
            return part.fault(format!("`{}` is the lifecycle", life.as_str()), "leave it out of `unique`");
        }
        Ok(Self { name, version, root, lifecycle, unique })
    }
}

/// A field that there is in every document: below records only.
fn everywhere<'f>(part: &Part<'_>, root: &'f Field, example: &str) -> Result<(Pointer, &'f Field), Fault> {
    let text: &str = part.any_text()?;
    let at = match Pointer::parse(text) {
        Ok(at) => at,
        Err(e) => return part.fault(format!("`{}` is no place", quoted(text)), format!("{e}")),
    };
    let field = at.segments().try_fold(root, |field, name| match &field.kind {
        FieldKind::Record(fields) => find(fields, &name),
        _ => None,
    });
    match field {
        Some(field) => Ok((at, field)),
        None => part.fault(
            format!("`{}` is no field of every document", quoted(text)),
            format!("name one of `fields`, or of a record in it, as \"/{example}\""),
        ),
    }
}

/// A word, and none that its writers have to give.
fn lifecycle(part: &Part<'_>, root: &Field) -> Result<Pointer, Fault> {
    let (at, field) = everywhere(part, root, "lifecycle")?;
    match (&field.kind, field.required) {
        (FieldKind::Atomic(Type::Text | Type::Any), false) => Ok(at),
        (FieldKind::Atomic(Type::Text | Type::Any), true) => part.fault(
            format!("`{}` is required", at.as_str()),
            "leave `required` out: who says nothing there says `present`",
        ),
        _ => part.fault(format!("`{}` can't hold a word", at.as_str()), "name an atomic field of texts"),
    }
}

/// A name that is one document's own.
fn unique(part: &Part<'_>, root: &Field) -> Result<Pointer, Fault> {
    let (at, field) = everywhere(part, root, "name")?;
    match &field.kind {
        FieldKind::Atomic(_) => Ok(at),
        other => part.fault(
            format!("`{}` is a {}: what several write there is joined", at.as_str(), other.name()),
            "name an atomic field",
        ),
    }
}

struct Reader<'a, 't> {
    types: &'t [(&'a Arc<str>, Part<'a>)],
    /// The types that are being read, one in the other.
    open: Vec<&'a str>,
    fields: usize,
    levels: usize,
}

impl<'a> Reader<'a, '_> {
    fn field(&mut self, part: &Part<'a>, owner: Option<&Arc<str>>) -> Result<Field, Fault> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return part.fault(format!("more than {FIELDS_MAX} fields"), "split the object, or use a map");
        }
        if self.levels == LEVELS_MAX {
            return part.fault(format!("more than {LEVELS_MAX} levels"), "flatten the object");
        }
        self.levels += 1;
        let field = if let Value::Text(word) = part.value {
            self.word(part, word, owner)
        } else {
            self.map(part, owner)
        };
        self.levels -= 1;
        field
    }
    /// A kind that needs nothing else, or a type.
    fn word(
        &mut self,
        part: &Part<'a>,
        word: &'a Arc<str>,
        owner: Option<&Arc<str>>,
    ) -> Result<Field, Fault> {
        let plain = match &**word {
            "atomic" => Some(FieldKind::Atomic(Type::Any)),
            "set" => Some(FieldKind::Set(Type::Any)),
            "counter" => Some(FieldKind::Counter { min: i64::MIN, max: i64::MAX }),
            "max" => Some(FieldKind::Max(Type::Int)),
            "min" => Some(FieldKind::Min(Type::Int)),
            "text" => Some(FieldKind::Text),
            "ordered-list" => Some(FieldKind::List(Type::Any)),
            _ => None,
        };
        if let Some(kind) = plain {
            return Ok(Field { counts: counts(&kind), kind, required: false, owner: owner.cloned() });
        }
        if KINDS.contains(&&**word) {
            return part.fault(
                format!("`{word}` needs more than its name"),
                format!("write a map with `kind` = `{word}` and what it holds"),
            );
        }
        let Some((_, body)) = self.types.iter().find(|(name, _)| *name == word) else {
            let known = KINDS.iter().copied().chain(self.types.iter().map(|(n, _)| &***n));
            return part.fault(
                format!("`{}` is neither a kind nor a type", quoted(word)),
                format!("write {}", any_of(known)),
            );
        };
        if let Some(at) = self.open.iter().position(|open| *open == &**word) {
            let mut way = self.open[at..].join(" → ");
            way.push_str(" → ");
            way.push_str(word);
            return part
                .fault(format!("a type that contains itself: {way}"), "refer to another object instead");
        }
        if self.open.len() >= LEVELS_MAX {
            return part.fault(format!("more than {LEVELS_MAX} levels"), "flatten the object");
        }
        let body = body.clone();
        self.open.push(word);
        let field = match body.value {
            Value::Text(word) => self.word(&body, word, owner),
            _ => self.map(&body, owner),
        };
        self.open.pop();
        field
    }
    fn map(&mut self, part: &Part<'a>, above: Option<&Arc<str>>) -> Result<Field, Fault> {
        let word = match part.value {
            Value::Map(_) => part.need("kind")?,
            _ => return part.fault(format!("{} where a field is due", part.value.what()), "name a kind"),
        };
        let kind = word.text()?;
        let own: &[&str] = match &**kind {
            "atomic" | "set" | "max" | "min" | "ordered-list" => &["kind", "required", "owner", "type"],
            "record" => &["kind", "required", "owner", "fields"],
            "map" => &["kind", "required", "owner", "of"],
            "keyed-list" => &["kind", "required", "owner", "of", "key"],
            "counter" => &["kind", "required", "owner", "min", "max"],
            "text" => &["kind", "required", "owner"],
            "reference" => &["kind", "required", "owner", "to", "tree"],
            _ => {
                return word.fault(format!("`{kind}` is no kind"), format!("write {}", any_of(KINDS)));
            }
        };
        part.only(own)?;
        let required = part.may("required").map_or(Ok(false), |p| p.bool())?;
        let owner = part.may("owner").map(|p| p.text().cloned()).transpose()?.or_else(|| above.cloned());
        let typed = |default| part.may("type").map_or(Ok(default), |p| p.word(&Type::WORDS));
        let kind = match &**kind {
            "atomic" => FieldKind::Atomic(typed(Type::Any)?),
            "set" => FieldKind::Set(typed(Type::Any)?),
            "ordered-list" => FieldKind::List(typed(Type::Any)?),
            "max" => FieldKind::Max(ordered(part, typed(Type::Int)?)?),
            "min" => FieldKind::Min(ordered(part, typed(Type::Int)?)?),
            "text" => FieldKind::Text,
            "record" => self.record(&part.need("fields")?, owner.as_ref())?,
            "map" => FieldKind::Map(Arc::new(self.field(&part.need("of")?, owner.as_ref())?)),
            "keyed-list" => self.keyed(part, owner.as_ref())?,
            "counter" => {
                let min = part.may("min").map_or(Ok(i64::MIN), |p| p.int(i64::MIN..=i64::MAX))?;
                let max = part.may("max").map_or(Ok(i64::MAX), |p| p.int(min..=i64::MAX))?;
                FieldKind::Counter { min, max }
            }
            _ => FieldKind::Reference {
                to: part.need("to")?.text()?.clone(),
                tree: part.may("tree").map_or(Ok(false), |p| p.bool())?,
            },
        };
        Ok(Field { counts: counts(&kind), kind, required, owner })
    }
    fn record(&mut self, part: &Part<'a>, owner: Option<&Arc<str>>) -> Result<FieldKind, Fault> {
        let mut fields = Vec::new();
        for (name, part) in part.entries(FIELDS_MAX, "fields")? {
            fields.push((name.clone(), self.field(&part, owner)?));
        }
        if fields.is_empty() {
            part.fault("a record without fields", "name one at least")
        } else {
            Ok(FieldKind::Record(fields))
        }
    }
    fn keyed(&mut self, part: &Part<'a>, owner: Option<&Arc<str>>) -> Result<FieldKind, Fault> {
        let of_part = part.need("of")?;
        let of = self.field(&of_part, owner)?;
        let FieldKind::Record(fields) = &of.kind else {
            return of_part
                .fault("the elements of a keyed list are records", "name a type that is one, or use a set");
        };
        let key_part = part.need("key")?;
        let key = key_part.names()?;
        for name in &key {
            let Some(field) = find(fields, name) else {
                let known = any_of(fields.iter().map(|(n, _)| &**n));
                return key_part.fault(format!("the record has no field `{name}`"), format!("write {known}"));
            };
            if !matches!(field.kind, FieldKind::Atomic(_) | FieldKind::Reference { .. }) || !field.required {
                return key_part.fault(
                    format!("`{name}` can't be a merge key"),
                    "make the field atomic or a reference, with `required` = true",
                );
            }
        }
        Ok(FieldKind::Keyed { key, of: Arc::new(of) })
    }
}

/// The canonical order is the numbers' own among whole ones only.
fn ordered(part: &Part<'_>, t: Type) -> Result<Type, Fault> {
    match t {
        Type::Number => {
            part.fault("the greatest of whole and other numbers is not defined here", "use type `int`")
        }
        t => Ok(t),
    }
}

fn counts(kind: &FieldKind) -> bool {
    match kind {
        FieldKind::Counter { .. } => true,
        FieldKind::Record(fields) => fields.iter().any(|(_, f)| f.counts),
        FieldKind::Map(of) | FieldKind::Keyed { of, .. } => of.counts,
        _ => false,
    }
}
