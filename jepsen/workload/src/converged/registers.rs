//! Registers: one value at a time. Of concurrent writes the later is shown, so little can be said of them; of writes at one node
//! much: each supersedes all that the node had.

use super::{Done, Holds, Wrong, at, emptied};
use crate::record::{Deed, Of, Outcome, Record};
use crate::script::written;
use std::collections::BTreeMap;

#[derive(Default)]
struct Register<'a> {
    /// What may have been written, with its write.
    written: Vec<(u64, Done<'a>)>,
    /// Who may have removed it, with what was shown then.
    removed: Vec<(Done<'a>, &'a [u64])>,
}

pub(super) fn judge(done: &[Done<'_>], held: &dyn Holds, wrong: &mut Wrong) {
    let mut registers: BTreeMap<u64, Register<'_>> = BTreeMap::new();
    for one in done.iter().filter(|d| !d.failed) {
        if let Deed::Write { key, value } = one.deed {
            registers.entry(*key).or_default().written.push((*value, *one));
        }
        if let Some((Of::Register, key, seen)) = emptied(one) {
            registers.entry(key).or_default().removed.push((*one, seen));
        }
    }
    for (key, register) in &registers {
        match held.value(*key) {
            None => register.must_be_there(*key, wrong),
            Some(shown) => register.may_show(*key, &shown, wrong),
        }
    }
}

impl<'a> Register<'a> {
    /// Nothing is shown: not right if a write was acknowledged and every removal had ended before it began.
    fn must_be_there(&self, key: u64, wrong: &mut Wrong) {
        let before = |removal: &Done<'_>, write: &Record| {
            removal.record.outcome == Outcome::Ok && removal.record.ret_place < write.call_place
        };
        let lasting = |write: &Done<'_>| self.removed.iter().all(|(r, _)| before(r, write.record));
        let lost = self.written.iter().rev().find(|(_, w)| w.promised && lasting(w));
        if let Some((value, write)) = lost {
            wrong.say(write.record, true, format!("register {key} was written, {value}, and is not there"));
        }
    }

    /// A value is shown: not right if nobody wrote it, or if it was superseded.
    fn may_show(&self, key: u64, shown: &[u8], wrong: &mut Wrong) {
        let value = written(shown);
        let Some((value, write)) = self.written.iter().find(|(v, _)| Some(*v) == value) else {
            if let Some((_, any)) = self.written.iter().rev().find(|(_, w)| w.promised) {
                let told = format!("register {key} holds {shown:?}, which nobody wrote");
                wrong.say(any.record, true, told);
            }
            return;
        };
        let saw = self.removed.iter().find(|(r, seen)| r.promised && seen.contains(value));
        if let Some((removal, _)) = saw {
            let told = format!("value {value} of register {key} was removed and is there again");
            wrong.say(removal.record, true, told);
        } else if let Some(later) = self.later(write) {
            let did = match later.deed {
                Deed::Write { value, .. } => format!("then acknowledged {value}"),
                _ => "then removed it".to_owned(),
            };
            let node = at(later.record);
            wrong.say(
                later.record,
                true,
                format!("register {key} shows {value}, which {node} acknowledged, and {did}"),
            );
        }
    }

    /// A write or a removal that had seen this write, for its node had acknowledged it.
    fn later(&self, write: &Done<'_>) -> Option<Done<'a>> {
        let writes = self.written.iter().map(|(_, w)| *w);
        let mut all = writes.chain(self.removed.iter().map(|(r, _)| *r));
        all.find(|later| later.promised && write.is_known_to(later.record))
    }
}
