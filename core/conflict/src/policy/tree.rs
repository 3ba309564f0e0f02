//! Rules as a decision tree: by kind, then name by name down the path; at the end the rules that are left, in their order.
//!
//! The first that holds is what trying all in order finds (`tests/conflict/policies.rs`, against doing just that).

use super::rule::{Rule, Step};
use super::{Pattern, Question};
use crate::strategy::Ordered;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[derive(Clone, Debug, Default)]
struct Node {
    named: BTreeMap<Arc<str>, Self>,
    any: Option<Box<Self>>,
    /// Rules whose path ends here.
    here: Vec<u16>,
    /// Rules whose path is `**` from here on.
    deep: Vec<u16>,
}

/// The compiled rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    kinds: BTreeMap<Arc<str>, Node>,
    /// For kinds that no rule names.
    other: Node,
}

impl Tree {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut tree = Self::default();
        let named = rules.iter().filter_map(|r| r.when.kinds.as_ref()).flatten();
        tree.kinds = named.map(|kind| (kind.clone(), Node::default())).collect();
        for (i, rule) in rules.iter().enumerate() {
            let of = |kind: Option<&Arc<str>>| {
                let kinds = rule.when.kinds.as_ref();
                kinds.is_none_or(|all| kind.is_some_and(|k| all.binary_search(k).is_ok()))
            };
            let nodes = tree.kinds.iter_mut().filter(|(kind, _)| of(Some(kind))).map(|(_, node)| node);
            let other = of(None).then_some(&mut tree.other);
            nodes.chain(other).for_each(|node| node.add(rule.when.path.as_ref(), i as u16));
        }
        tree
    }
    /// The first rule that holds. The last holds always.
    pub(super) fn first(&self, rules: &[Rule], question: &Question<'_>, siblings: &Ordered<'_>) -> u16 {
        let node = self.kinds.get(&question.place.kind).unwrap_or(&self.other);
        let mut best = (rules.len() - 1) as u16;
        let mut holds = |candidates: &[u16]| {
            for rule in candidates {
                if *rule >= best {
                    break;
                }
                if rules[usize::from(*rule)].when.holds(question, siblings) {
                    best = *rule;
                    break;
                }
            }
        };
        let way: Vec<Cow<'_, str>> = question.place.pointer.segments().collect();
        node.walk(&way, &mut holds);
        best
    }
}

impl Node {
    fn add(&mut self, path: Option<&Pattern>, rule: u16) {
        let Some(path) = path else {
            self.deep.push(rule);
            return;
        };
        let mut node = self;
        for step in &path.steps {
            node = match step {
                Step::Name(name) => node.named.entry(name.clone()).or_default(),
                Step::Any => node.any.get_or_insert_default(),
            };
        }
        if path.deep { node.deep.push(rule) } else { node.here.push(rule) }
    }
    fn walk(&self, way: &[Cow<'_, str>], visit: &mut impl FnMut(&[u16])) {
        visit(&self.deep);
        let Some((name, rest)) = way.split_first() else {
            visit(&self.here);
            return;
        };
        if let Some(node) = self.named.get(&**name) {
            node.walk(rest, visit);
        }
        if let Some(node) = &self.any {
            node.walk(rest, visit);
        }
    }
}
