//! Lists: what is in them once, and in which order.

use super::{Done, Holds, Wrong, at};
use crate::record::{Deed, Outcome, Record};
use dwcp_env::NodeId;
use std::collections::BTreeMap;

/// Lists at the end of a run, and where each element stands.
pub(super) struct Lists {
    held: BTreeMap<u64, Vec<Vec<u8>>>,
    places: BTreeMap<(u64, u64), usize>,
}

impl Lists {
    pub(super) fn has(&self, list: u64, element: u64) -> bool {
        self.places.contains_key(&(list, element))
    }
}

/// All lists that were pushed to.
pub(super) fn all(done: &[Done<'_>], held: &dyn Holds) -> Lists {
    let mut lists = Lists { held: BTreeMap::new(), places: BTreeMap::new() };
    for one in done {
        if let Deed::Push { key, .. } = one.deed {
            lists.held.entry(*key).or_insert_with(|| held.list(*key));
        }
    }
    for (key, elements) in &lists.held {
        for (place, element) in elements.iter().enumerate() {
            if let Some(number) = number(element) {
                lists.places.entry((*key, number)).or_insert(place);
            }
        }
    }
    lists
}

fn number(element: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(element.try_into().ok()?))
}

/// A push of which something is left: where its first and its last stand.
struct Pushed<'a> {
    done: Done<'a>,
    list: u64,
    /// Its first element, whether it is left or not.
    element: u64,
    left: bool,
    first: usize,
    last: usize,
}

pub(super) fn judge(
    done: &[Done<'_>],
    lists: &Lists,
    was_evicted: &dyn Fn(NodeId) -> bool,
    wrong: &mut Wrong,
) {
    let mut known: BTreeMap<(u64, u64), &Record> = BTreeMap::new();
    let mut left: Vec<Pushed<'_>> = Vec::new();
    for one in done {
        if let Deed::Push { key, element, many, .. } = one.deed {
            known.extend((*element..element + many).map(|e| ((*key, e), one.record)));
            left.extend(together(one, lists, wrong));
        }
    }
    // What stands in a list is said of any push to it.
    for (key, elements) in &lists.held {
        let any = known.range((*key, 0)..=(*key, u64::MAX)).next().map(|k| *k.1);
        for (place, element) in elements.iter().enumerate() {
            let pushed = number(element).and_then(|n| known.get(&(*key, n)).map(|r| (n, *r)));
            match (pushed, any) {
                (None, Some(any)) => {
                    wrong.say(any, false, format!("list {key} holds {element:?}, which nobody pushed"));
                }
                (Some((n, record)), _) if lists.places.get(&(*key, n)) != Some(&place) => {
                    wrong.say(record, false, format!("element {n} of list {key} is there more than once"));
                }
                _ => {}
            }
        }
    }
    left.retain(|p| p.done.record.outcome == Outcome::Ok && !p.done.record.node.is_some_and(was_evicted));
    sessions(left, wrong);
}

/// Whether what is left of a push stands together and in its order.
fn together<'a>(one: &Done<'a>, lists: &Lists, wrong: &mut Wrong) -> Option<Pushed<'a>> {
    let Deed::Push { key, element, many, left } = *one.deed else { return None };
    let elements = (element..element + many).filter_map(|e| lists.places.get(&(key, e)).copied());
    let mut places: Vec<usize> = elements.collect();
    if left {
        places.reverse();
    }
    let (first, last) = (*places.first()?, *places.last()?);
    if places.windows(2).any(|w| w[0] + 1 != w[1]) {
        let told =
            format!("elements {element} and after of list {key} were pushed as one, and stand at {places:?}");
        wrong.say(one.record, false, told);
    }
    Some(Pushed { done: *one, list: key, element, left, first, last })
}

/// Whether each push is beyond all that its node had acknowledged before.
fn sessions(left: Vec<Pushed<'_>>, wrong: &mut Wrong) {
    let mut of_one: BTreeMap<_, Vec<Pushed<'_>>> = BTreeMap::new();
    for pushed in left {
        of_one.entry((pushed.list, pushed.done.record.node)).or_default().push(pushed);
    }
    for ((list, _), pushes) in &of_one {
        for later in pushes {
            let passed =
                |p: &&Pushed<'_>| if later.left { p.first < later.last } else { p.last > later.first };
            let before = |p: &&Pushed<'_>| p.done.is_known_to(later.done.record);
            if let Some(p) = pushes.iter().filter(before).find(passed) {
                let (end, node) = (if later.left { "left" } else { "right" }, at(later.done.record));
                let told = format!(
                    "list {list} holds {} at {}, which {node} pushed to the {end} end when it had {}, which is at {}",
                    later.element, later.first, p.element, p.first
                );
                wrong.say(later.done.record, false, told);
                break;
            }
        }
    }
}
