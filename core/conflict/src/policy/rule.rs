//! What a rule matches, and when one rule matches all that another does.

use super::{Question, span_millis};
use crate::conflict::{Class, Sibling};
use crate::strategy::{Ordered, Strategy};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What it matches, and how that is settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What people call it.
    pub name: Arc<str>,
    /// When it applies.
    pub when: Match,
    /// What settles it.
    pub then: Strategy,
}

/// Conditions; all must hold. What is absent holds always.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Match {
    /// Kinds of objects, ascending.
    pub kinds: Option<Vec<Arc<str>>>,
    /// Where in the object.
    pub path: Option<Pattern>,
    /// Classes, a bit for each number.
    pub classes: Option<u8>,
    /// Some sibling's writer has one of these roles, ascending.
    pub roles: Option<Vec<Arc<str>>>,
    /// Some sibling's writer is in one of these regions, ascending.
    pub regions: Option<Vec<Arc<str>>>,
    /// Each of these texts was written by some sibling, ascending.
    pub values: Option<Vec<Arc<str>>>,
    /// What holds of the siblings together.
    pub together: Together,
}

/// Conditions on all siblings together; all must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Together {
    /// Whether one of them deletes.
    pub deletion: Option<bool>,
    /// Whether all wrote the same.
    pub agree: Option<bool>,
    /// So many siblings at most.
    pub at_most: Option<u8>,
    /// From the earliest to the latest so many milliseconds at most.
    pub within: Option<u64>,
    /// By one writer, or by many.
    pub writers: Option<Spread>,
    /// From one region, or from many.
    pub from: Option<Spread>,
}

/// One or many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// All the same.
    One,
    /// Two at least.
    Many,
}

/// Places: names, `*` for any one name, `**` for any rest, none included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    pub(super) steps: Vec<Step>,
    /// Whether anything may follow.
    pub(super) deep: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    Name(Arc<str>),
    Any,
}

impl Pattern {
    /// Whether it matches all that another matches.
    fn covers(&self, other: &Self) -> bool {
        let long_enough = match (self.deep, other.deep) {
            (false, true) => false,
            (false, false) => self.steps.len() == other.steps.len(),
            (true, _) => self.steps.len() <= other.steps.len(),
        };
        let step = |(a, b): (&Step, &Step)| *a == Step::Any || a == b;
        long_enough && self.steps.iter().zip(&other.steps).all(step)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Name(name) => write!(f, "{}", crate::Pointer::root().join(name))?,
                Step::Any => f.write_str("/*")?,
            }
        }
        f.write_str(if self.deep { "/**" } else { "" })
    }
}

/// All that `b` allows, `a` allows.
fn covers_words(a: Option<&Vec<Arc<str>>>, b: Option<&Vec<Arc<str>>>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => b.iter().all(|w| a.binary_search(w).is_ok()),
    }
}

impl Match {
    /// Whether it has no condition.
    #[must_use]
    pub fn is_all(&self) -> bool {
        let anywhere = self.path.as_ref().is_none_or(|p| p.deep && p.steps.is_empty());
        *self == Self { path: self.path.clone(), ..Self::default() } && anywhere
    }
    /// Whether it holds for a class.
    #[must_use]
    pub fn has_class(&self, class: Class) -> bool {
        self.classes.is_none_or(|c| c & 1 << class as u8 != 0)
    }
    /// Whether it matches all that another matches of one class. Says no where it can't tell.
    pub(super) fn covers(&self, other: &Self, class: Class) -> bool {
        let t = (&self.together, &other.together);
        fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || a == b
        }
        fn at_most<T: PartialOrd>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none_or(|a| b.is_some_and(|b| b <= a))
        }
        self.has_class(class)
            && covers_words(self.kinds.as_ref(), other.kinds.as_ref())
            && covers_words(self.roles.as_ref(), other.roles.as_ref())
            && covers_words(self.regions.as_ref(), other.regions.as_ref())
            && match (&self.values, &other.values) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(a), Some(b)) => a.iter().all(|w| b.binary_search(w).is_ok()),
            }
            && match (&self.path, &other.path) {
                (None, _) => true,
                (Some(a), None) => a.deep && a.steps.is_empty(),
                (Some(a), Some(b)) => a.covers(b),
            }
            && same(t.0.deletion, t.1.deletion)
            && same(t.0.agree, t.1.agree)
            && same(t.0.writers, t.1.writers)
            && same(t.0.from, t.1.from)
            && at_most(t.0.at_most, t.1.at_most)
            && at_most(t.0.within, t.1.within)
    }
    /// Whether the conditions hold that the tree has not looked at: all but kind and path.
    pub(super) fn holds(&self, question: &Question<'_>, siblings: &Ordered<'_>) -> bool {
        let some = |words: &Option<Vec<Arc<str>>>, of: fn(&Sibling) -> &Arc<str>| {
            words.as_ref().is_none_or(|w| siblings.all().iter().any(|s| w.binary_search(of(s)).is_ok()))
        };
        self.has_class(question.class)
            && some(&self.roles, |s| &s.writer.role)
            && some(&self.regions, |s| &s.writer.region)
            && self.values.as_ref().is_none_or(|all| siblings.wrote(all))
            && (self.together == Together::default() || self.together.holds(siblings))
    }
}

impl Together {
    fn holds(&self, siblings: &Ordered<'_>) -> bool {
        let all = siblings.all();
        let alike = |of: fn(&Sibling) -> &Arc<str>| all.windows(2).all(|w| of(w[0]) == of(w[1]));
        let spread = |of| if alike(of) { Spread::One } else { Spread::Many };
        self.deletion.is_none_or(|d| d == all.iter().any(|s| s.value.is_none()))
            && self.agree.is_none_or(|a| a == all.windows(2).all(|w| w[0].value == w[1].value))
            && self.at_most.is_none_or(|n| all.len() <= usize::from(n))
            && self.within.is_none_or(|t| span_millis(siblings) <= t)
            && self.writers.is_none_or(|w| w == spread(|s| &s.writer.name))
            && self.from.is_none_or(|w| w == spread(|s| &s.writer.region))
    }
}
