//! Versions of one document, joined for who has no history of it: an edited copy, an imported file, a backup from the other side of a cut.
//!
//! **Promise.** What is merged is a function of base, sides and the schema in force ([`dwcp_conflict::merge`]), and changes nothing; a document that is written over a base
//! (`Change::Merge`) is merged with what this node shows in the same step as it is written, or refused with the places that clash.
//!
//! The base is the version that all sides began with, and is given by who asks: a wrong one makes deletions of what the others added. Where sides clash nobody's policy is
//! asked: what stands then is told beside each clash, and who writes over a base is refused.
//!
//! **Limits.** 2 to 16 sides ([`SIDES_MAX`]); 64 clashes are told in full, all are counted.

use super::Documents;
use super::ask::{self, Clash, Joined};
use super::serve::{Asked, bytes, value, word, wrong};
use super::view::schema_of;
use crate::refusal::Refusal;
use dwcp_conflict::merge::{self, Merged};
use dwcp_conflict::schema::{Document, Schema};
use dwcp_conflict::{Side, Value};
use dwcp_crdt::{Dot, ReplicaIndex};

/// Sides of a merge.
const SIDES_MAX: usize = 16;
/// Clashes that are told in full.
const TOLD_MAX: usize = 64;

/// A version with the role of who made it; without a document it was deleted.
type Version = (String, Option<Document>);

fn admitted(schema: &Schema, name: &str, document: &Value) -> Result<Document, Refusal> {
    schema.admit(document).or_else(|e| wrong(format!("{name}: {e}")))
}

fn joined(schema: &Schema, base: Option<&Document>, versions: &[Version]) -> Result<Merged, Refusal> {
    let side = |(i, (role, document)): (u64, &Version)| -> (Dot, String, Option<Document>) {
        (Dot::new(ReplicaIndex(0), i), role.clone(), document.clone())
    };
    let all: Vec<_> = (1..).zip(versions).map(side).collect();
    let sides: Vec<Side<'_>> =
        all.iter().map(|(dot, role, d)| Side { dot: *dot, role, document: d.as_ref() }).collect();
    merge::merge(schema, base, &sides).or_else(|e| wrong(e.to_string()))
}

/// Merges what a client gives.
pub(super) fn join(documents: &Documents, kind: &str, base: Option<&[u8]>, sides: &[ask::Version]) -> Asked {
    let schema = schema_of(documents, kind)?;
    if !(2..=SIDES_MAX).contains(&sides.len()) {
        return wrong(format!("{} sides: give 2 to {SIDES_MAX}", sides.len()));
    }
    let base = base.map(|b| admitted(&schema, "the base", &value(b)?)).transpose()?;
    let version = |(i, v): (usize, &ask::Version)| -> Result<Version, Refusal> {
        if !v.role.is_empty() {
            word("the role", &v.role)?;
        }
        let document = v.document.as_ref().map(|d| admitted(&schema, &format!("side {i}"), &value(d)?));
        Ok((v.role.clone(), document.transpose()?))
    };
    let versions: Vec<Version> = (1..).zip(sides).map(version).collect::<Result<_, _>>()?;
    let merged = joined(&schema, base.as_ref(), &versions)?;
    let clash = |c: &merge::Clash| Clash {
        at: c.at.to_string(),
        class: c.class.name().into(),
        why: c.what.words().into(),
        base: c.base.as_ref().map(bytes),
        sides: c.sides.iter().map(|(i, v)| (*i as u64 + 1, v.as_ref().map(bytes))).collect(),
        stands: c.stands.as_ref().map(bytes),
    };
    let told = merged.clashes.iter().take(TOLD_MAX).map(clash).collect();
    let document = merged.document.as_ref().map(|d| bytes(d.value()));
    Ok((ask::Answer::Joined(Joined { document, clashes: told, all: merged.clashes.len() as u64 }), false))
}

/// What a document that was edited from a base is to be, beside what is there now; nothing if it is to be no more.
pub(super) fn over(
    schema: &Schema,
    base: &Value,
    there: Option<&Value>,
    document: &Value,
) -> Result<Option<Value>, Refusal> {
    let base = admitted(schema, "the base", base)?;
    let there = there.map(|v| admitted(schema, "what is there now", v)).transpose()?;
    let edited = admitted(schema, "the document", document)?;
    let merged = joined(schema, Some(&base), &[(String::new(), there), (String::new(), Some(edited))])?;
    if merged.clashes.is_empty() {
        return Ok(merged.document.map(|d| d.value().clone()));
    }
    let word = |v: Option<&Value>| v.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let told = |c: &merge::Clash| {
        let of = |side| c.sides.iter().find(|(i, _)| *i == side).map(|(_, v)| word(v.as_ref()));
        let (there, yours) = (of(0), of(1));
        let same = || word(c.base.as_ref());
        let at = if c.at.as_str().is_empty() { "the document" } else { c.at.as_str() };
        format!(
            "{at} was {}: it was {}, is {} now and {} in yours",
            c.what.words(),
            same(),
            there.unwrap_or_else(same),
            yours.unwrap_or_else(same)
        )
    };
    let all: Vec<String> = merged.clashes.iter().take(8).map(told).collect();
    let more = merged.clashes.len().saturating_sub(all.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    wrong(format!(
        "nothing was written, for others changed it since the base: {}{more}. Decide, and give what is there now as the base",
        all.join("; ")
    ))
}
