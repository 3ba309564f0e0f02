//! Elements of sets, maps and lists: put once in a run, taken out by who put them, or with everything else.

use super::lists::Lists;
use super::{Done, Holds, Wrong, at, emptied};
use crate::record::{Deed, Of, Outcome, Record, What};
use std::collections::BTreeMap;

/// An element: of what, which, and its number.
type Name = (Of, u64, u64);

/// All attempts to take an element out.
#[derive(Default)]
struct Fate<'a> {
    /// One that was acknowledged and had seen it.
    gone: Option<&'a Record>,
    /// Where the first of all began, as a place in the log; those of which nobody knows, too.
    tried: Option<u64>,
    /// Who emptied what it was in saw it, and that was a promise.
    shown: bool,
}

impl Fate<'_> {
    fn tried_at(&mut self, place: u64) {
        self.tried = Some(self.tried.map_or(place, |first| first.min(place)));
    }
}

#[derive(Default)]
struct Fates<'a> {
    of: BTreeMap<Name, Fate<'a>>,
    /// Emptied by somebody who was never answered: where the first such attempt began.
    doubtful: BTreeMap<(Of, u64), u64>,
}

impl Fates<'_> {
    /// Whether anybody can have taken it out.
    fn touched(&self, (of, key, element): Name) -> bool {
        self.touched_before((of, key, element), u64::MAX)
    }
    /// Whether anybody can have taken it out before this place in the log.
    fn touched_before(&self, (of, key, element): Name, place: u64) -> bool {
        let own = self.of.get(&(of, key, element)).and_then(|f| f.tried);
        let all = self.doubtful.get(&(of, key)).copied();
        own.into_iter().chain(all).any(|began| began < place)
    }
}

pub(super) fn judge(done: &[Done<'_>], held: &dyn Holds, lists: &Lists, wrong: &mut Wrong) {
    let fates = fates(done, wrong);
    let there = |(of, key, element): Name| match of {
        Of::Set => held.contains(key, element),
        Of::Map => held.field(key, element),
        Of::List => lists.has(key, element),
        Of::Register => false,
    };
    for one in done {
        for name in put(one.deed) {
            presence(one, name, there(name), &fates, wrong);
        }
    }
    emptyings(done, &fates, wrong);
    wholes(done, &there, &fates, wrong);
}

/// What a deed puts where it can be found again.
fn put(deed: &Deed) -> impl Iterator<Item = Name> {
    let (of, key, first, many) = match *deed {
        Deed::Add { key, element } => (Of::Set, key, element, 1),
        Deed::Field { key, field } => (Of::Map, key, field, 1),
        Deed::Push { key, element, many, .. } => (Of::List, key, element, many),
        _ => (Of::Set, 0, 0, 0),
    };
    (first..first + many).map(move |element| (of, key, element))
}

fn fates<'a>(done: &[Done<'a>], wrong: &mut Wrong) -> Fates<'a> {
    let mut fates = Fates::default();
    for one in done {
        let began = one.record.call_place;
        if let Deed::Remove { of, key, element, seen } = one.deed
            && !one.failed
        {
            let fate = fates.of.entry((*of, *key, *element)).or_default();
            fate.tried_at(began);
            if one.promised && *seen > 0 {
                fate.gone = Some(one.record);
            }
            if *seen > 1 {
                let (of, holds) = (of.name(), of.holds());
                wrong.say(
                    one.record,
                    false,
                    format!("{holds} {element} of {of} {key} was there {seen} times"),
                );
            }
        }
        let Some((of, key, seen)) = emptied(one) else { continue };
        if one.record.outcome != Outcome::Ok {
            let first = fates.doubtful.entry((of, key)).or_insert(began);
            *first = began.min(*first);
        }
        for element in seen {
            let fate = fates.of.entry((of, key, *element)).or_default();
            fate.tried_at(began);
            if one.promised {
                fate.shown = true;
                fate.gone = Some(one.record);
            }
        }
    }
    fates
}

/// Whether an element is there if it must be, and isn't if it must not be.
fn presence(one: &Done<'_>, name: Name, there: bool, fates: &Fates<'_>, wrong: &mut Wrong) {
    let (of, key, element) = (name.0.name(), name.1, name.2);
    let what = format!("{} {element} of {of} {key}", name.0.holds());
    if there && let Some(gone) = fates.of.get(&name).and_then(|f| f.gone) {
        wrong.say(gone, true, format!("{what} was removed and is there again"));
    } else if there && one.failed {
        wrong.say(one.record, false, format!("{what} was refused and is there"));
    } else if !there && one.promised && !fates.touched(name) {
        wrong.say(one.record, true, format!("{what} was acknowledged and is not there"));
    }
}

/// Who empties something at a node sees what that node has acknowledged.
fn emptyings(done: &[Done<'_>], fates: &Fates<'_>, wrong: &mut Wrong) {
    let mut puts: BTreeMap<(Of, u64), Vec<(&Done<'_>, u64)>> = BTreeMap::new();
    for one in done {
        for (of, key, element) in put(one.deed) {
            puts.entry((of, key)).or_default().push((one, element));
        }
    }
    for one in done.iter().filter(|d| d.record.outcome == Outcome::Ok) {
        let Some((of, key, seen)) = emptied(one) else { continue };
        for (earlier, element) in puts.get(&(of, key)).into_iter().flatten() {
            let missed = earlier.is_known_to(one.record) && !seen.contains(element);
            if missed && !fates.touched_before((of, key, *element), one.record.ret_place) {
                let (what, of, node) = (of.holds(), of.name(), at(one.record));
                let told = format!(
                    "{what} {element} of {of} {key} was acknowledged by {node}, which did not show it when that {of} was emptied"
                );
                wrong.say(earlier.record, false, told);
            }
        }
    }
}

/// A transaction of which something is or was there is there as a whole.
fn wholes(done: &[Done<'_>], there: &dyn Fn(Name) -> bool, fates: &Fates<'_>, wrong: &mut Wrong) {
    let several = |d: &&Done<'_>| matches!(d.record.what, What::Together(_)) && !d.failed && !d.promised;
    let mut of_one: BTreeMap<u64, Vec<(&Record, Name)>> = BTreeMap::new();
    for one in done.iter().filter(several) {
        of_one.entry(one.record.call_place).or_default().extend(put(one.deed).map(|name| (one.record, name)));
    }
    for elements in of_one.values() {
        let shown = |name: &Name| there(*name) || fates.of.get(name).is_some_and(|f| f.shown);
        let is = elements.iter().find(|(_, name)| shown(name));
        let is_not = elements.iter().find(|(_, name)| !shown(name) && !fates.touched(*name));
        if let (Some((record, is)), Some((_, is_not))) = (is, is_not) {
            let say = |(of, key, element): &Name| format!("{} {element} of {} {key}", of.holds(), of.name());
            let told = format!("half of a transaction is there: {} is, {} is not", say(is), say(is_not));
            wrong.say(record, false, told);
        }
    }
}
