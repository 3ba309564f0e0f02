//! Which strategy settles what: policies as data.
//!
//! **Promise.** A policy that was loaded answers every question, the same on every node, whatever the order of siblings. One
//! that would not is refused when it is loaded, with the place in its file.
//!
//! ```toml
//! policy = "fleet"        # its name
//! version = 7             # grows by each change
//! activates = 1200        # the epoch from which on it counts
//!
//! [[rule]]
//! name = "a host knows its machines"
//! kind = "vm"                                   # of objects; one or a list
//! path = "/status/**"                           # `*` one name, `**` any rest
//! class = ["value", "intent"]
//! role = "host"                                 # some sibling's writer has it
//! wrote = ["kept"]                              # each of these texts is some sibling's
//! where = { within = "5m", writers = "one" }    # of the siblings together
//! use = { strategy = "priority", by = "role", order = ["host"] }
//!
//! [[rule]]
//! name = "the rest"                             # no condition: mandatory, and last
//! use = { strategy = "manual", deadline = "4h", default = "last-writer" }
//! ```
//!
//! Rules are tried in their order; compiled, that is one walk down a tree of kinds and names (`tree`).
//!
//! **What is checked at load** (`read`, [`proof`]): unknown keys and words; the last rule and only the last matches all; each rule can
//! be reached; last-writer never for C4; answers do not change with the order of siblings or with a sibling that comes twice, and an
//! answer once written is its own answer: tried on sibling sets drawn from a fixed seed, within a bound of work.
//!
//! **Versions.** Two nodes with different policies would differ for ever. So a policy goes through consensus with the epoch from which on it counts,
//! and [`Versions::settle`] refuses to answer under one that is not in force.
//!
//! **Invariant.** What a rule can look at is in its grammar: siblings, their writers and times, the class, the place. No clock, no
//! state of the node, no order of arrival has a word in it.

pub mod proof;
mod read;
mod rule;
mod tree;
mod versions;

pub use rule::{Match, Pattern, Rule, Spread, Together};
pub use versions::{AHEAD_MAX, NotActive, NotNext, SKIP_MAX, Versions};

use crate::conflict::{Base, Class, ConflictId, Place, Sibling};
use crate::merge::{Clash, Decision, MergeFault, Merged, SIDES_MAX, Side, merge_with};
use crate::queue::{Ticket, Write};
use crate::schema::{Document, Field, Schema};
use crate::strategy::{Case, Named, Ordered, Outcome, Settled, Strategy};
use crate::value::Value;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::Hlc;

/// Rules of one policy.
pub const RULES_MAX: usize = 256;

/// A policy that was checked.
#[derive(Clone, Debug)]
pub struct Policy {
    name: Arc<str>,
    version: u32,
    activates: u64,
    digest: [u8; 32],
    rules: Vec<Rule>,
    tree: tree::Tree,
}

/// What is to be settled.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where.
    pub place: &'a Place,
    /// Of which class.
    pub class: Class,
    /// What the schema says of the field.
    pub field: Option<&'a Field>,
    /// What was there before all siblings: the same on every node that has them ([`crate::lineage`]).
    pub base: Base<&'a Value>,
    /// The siblings, in any order.
    pub siblings: &'a [Sibling],
}

/// Of which class siblings at one place are: C3 if one deletes what another writes, C2 if the field's owner is among the writers and not
/// alone, else C1. What takes more than one place to see (C4, C5, the rest of C3) is said by who sees it.
#[must_use]
pub fn class_of(field: Option<&Field>, siblings: &[Sibling]) -> Class {
    let gone = siblings.iter().filter(|s| s.value.is_none()).count();
    if gone > 0 && gone < siblings.len() {
        return Class::Structure;
    }
    let Some(owner) = field.and_then(|f| f.owner.as_ref()) else { return Class::Value };
    let owners = siblings.iter().filter(|s| s.writer.role == *owner).count();
    if owners > 0 && owners < siblings.len() { Class::Intent } else { Class::Value }
}

impl Question<'_> {
    /// The conflict's name.
    #[must_use]
    pub fn id(&self) -> ConflictId {
        ConflictId::of(self.siblings.iter().map(|s| s.dot))
    }
}

/// How it was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// By which rule, counted from 0.
    pub rule: u16,
    /// With which strategy.
    pub strategy: Named,
    /// What came out, and why.
    pub settled: Settled,
}

impl Answer {
    /// The write that persists it, for the place's owner to make; none while a person is asked or all values are kept.
    #[must_use]
    pub fn write(&self, question: &Question<'_>) -> Option<Write> {
        let Outcome::One(value) = &self.settled.outcome else { return None };
        let mut supersedes: Vec<_> = question.siblings.iter().map(|s| s.dot).collect();
        supersedes.sort_unstable();
        supersedes.dedup();
        Some(Write { place: question.place.clone(), value: value.clone(), supersedes })
    }
    /// In whose name the resolution is to be written, and when it was meant: the latest of those who prevail, where ranks decide of
    /// those of the first rank. Else a resolution on one side of
    /// a cut would meet the other side as the work of whoever settled it: it would rank by their role, and be later than all that people
    /// wrote there before it was settled. Nobody if none prevails; then it was meant when the last of them wrote ([`Answer::meant`]).
    #[must_use]
    pub fn author<'q>(&self, question: &Question<'q>) -> Option<&'q Sibling> {
        if let Some(author) = self.settled.author {
            return question.siblings.iter().find(|s| s.dot == author);
        }
        let theirs = question.siblings.iter().filter(|s| self.settled.prevails.contains(&s.dot));
        theirs.max_by_key(|s| (s.hlc, s.dot))
    }
    /// When the resolution was meant ([`Sibling::hlc`]).
    #[must_use]
    pub fn meant(&self, question: &Question<'_>) -> Hlc {
        let last = || question.siblings.iter().map(|s| s.hlc).max().unwrap_or_default();
        self.author(question).map_or_else(last, |s| s.hlc)
    }
    /// The question to a person, if that is the answer; put to them at this moment, in milliseconds since 1970.
    #[must_use]
    pub fn ticket(&self, question: &Question<'_>, asked_at: u64) -> Option<Ticket> {
        let Outcome::Asked { default, suggestion, within } = &self.settled.outcome else { return None };
        Some(Ticket {
            id: question.id(),
            place: question.place.clone(),
            class: question.class,
            base: question.base.map(Clone::clone),
            sides: Ordered::new(question.siblings).all().iter().map(|s| (*s).clone()).collect(),
            suggestion: suggestion.clone(),
            default: default.clone(),
            deadline: asked_at.saturating_add(*within),
        })
    }
}

impl Policy {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }
    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
    /// The epoch from which on it counts.
    #[must_use]
    pub const fn activates(&self) -> u64 {
        self.activates
    }
    /// BLAKE3 of its file's canonical bytes.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
    /// Its rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
    /// Settles a question. For nodes: [`Versions::settle`], which knows whether this policy is in force.
    #[must_use]
    pub fn settle(&self, question: &Question<'_>) -> Answer {
        let siblings = Ordered::new(question.siblings);
        let rule = self.tree.first(&self.rules, question, &siblings);
        let strategy: &Strategy = &self.rules[usize::from(rule)].then;
        let Question { base, field, class, .. } = *question;
        let case = Case { siblings: &siblings, base, field, class };
        Answer { rule, strategy: strategy.named(), settled: strategy.settle(&case) }
    }
}

/// A version of an object, with what a policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// The write that made it, and by whom; its `value` is not looked at.
    pub made: &'a Sibling,
    /// What it holds; nothing if the object was deleted.
    pub document: Option<&'a Document>,
}

/// A clash of a merge, and how it was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// Where.
    pub place: Place,
    /// Of which class.
    pub class: Class,
    /// What was there.
    pub base: Base<Value>,
    /// The sides that clash, each as a sibling at this place.
    pub siblings: Vec<Sibling>,
    /// How it was settled.
    pub answer: Answer,
    /// What the document holds there now: of several values that are kept one, and what must be there is not deleted.
    pub stands: Option<Value>,
}

impl Policy {
    /// Merges versions of an object, and settles what clashes: what has one outcome stands in the document, and of what a person is asked the
    /// default. Where all values are kept the document holds what it would hold undecided: a field holds one.
    ///
    /// # Errors
    /// If the versions can't be merged at all.
    pub fn merge(
        &self,
        schema: &Schema,
        key: &Arc<str>,
        base: Option<&Document>,
        versions: &[Version<'_>],
    ) -> Result<(Merged, Vec<Resolved>), MergeFault> {
        if versions.len() > SIDES_MAX {
            return Err(MergeFault::Sides(versions.len()));
        }
        let sides: Vec<Side<'_>> = versions
            .iter()
            .map(|v| Side { dot: v.made.dot, role: &v.made.writer.role, document: v.document })
            .collect();
        let mut resolved = Vec::new();
        let mut decide = |clash: &Clash| {
            let sibling = |(side, value): &(usize, Option<Value>)| {
                let made = versions[*side].made;
                Sibling { dot: made.dot, hlc: made.hlc, writer: made.writer.clone(), value: value.clone() }
            };
            let siblings: Vec<Sibling> = clash.sides.iter().map(sibling).collect();
            let place = Place { kind: schema.name.clone(), key: key.clone(), pointer: clash.at.clone() };
            let field = schema.field(&clash.at);
            let base = Base::known(clash.base.as_ref());
            let question = Question { place: &place, class: clash.class, field, base, siblings: &siblings };
            let answer = self.settle(&question);
            let decision = match &answer.settled.outcome {
                Outcome::One(v) => Decision::Take(v.clone()),
                Outcome::Asked { default, .. } => Decision::Take(default.clone()),
                Outcome::Many(_) => Decision::Leave,
            };
            // What must be there is not deleted by a policy.
            let gone = matches!(decision, Decision::Take(None)) && field.is_some_and(|f| f.required);
            let decision = if gone { Decision::Leave } else { decision };
            let stands = match &decision {
                Decision::Leave => clash.stands.clone(),
                Decision::Take(v) => v.clone(),
            };
            let base = Base::known(clash.base.clone());
            resolved.push(Resolved { place, class: clash.class, base, siblings, answer, stands });
            decision
        };
        let merged = merge_with(schema, base, &sides, &mut decide)?;
        Ok((merged, resolved))
    }
}

/// The span of siblings' times, in milliseconds.
pub(crate) fn span_millis(siblings: &Ordered<'_>) -> u64 {
    let at = |s: Option<&&Sibling>| s.map_or(Hlc::default(), |s| s.hlc).millis();
    at(siblings.all().first()).saturating_sub(at(siblings.all().last()))
}
