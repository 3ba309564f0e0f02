//! Single changes, in the words of whoever asks.
//!
//! **Promise.** A stroke makes the operation that its edit makes ([`Stroke::edit`]), byte for byte, and is refused where that is. What it saves is
//! what lies around: an address and a value on the heap, a search for the check, one for the operation and one for applying it.
//!
//! **Rejected.** Edits that borrow: each place that keeps edits (conflicts, documents, salvage) would have to own what they borrow from.

use super::mutate::{Counter, Place};
use super::{Rejected, Space, Transaction};
use crate::address::{Kind, NAME_MAX, VALUE_MAX, encode_path};
use crate::code::Writer;
use crate::edit::{EditFault, Stroke};
use crate::op::Action;

impl Space {
    /// As [`Space::make`], of one stroke.
    ///
    /// # Errors
    /// It can't be done; then nothing changed.
    pub fn make_stroke(&mut self, millis: u64, stroke: &Stroke<'_>) -> Result<bool, Rejected> {
        self.may_write()?;
        let fault = |fault| Rejected::Edit(0, fault);
        match *stroke {
            Stroke::Write { key, value } => {
                fits("a name", key, NAME_MAX)
                    .and_then(|()| fits("a value", value, VALUE_MAX))
                    .map_err(fault)?;
                let mut transaction = self.begin_allowed(millis)?;
                let (hlc, out) = (transaction.hlc, &mut transaction.out);
                self.write_at(&Place::key(key, Kind::Lww), value, hlc, out);
                Ok(self.commit(transaction))
            }
            Stroke::Count { key, by } => {
                fits("a name", key, NAME_MAX).map_err(fault)?;
                let place = Place::key(key, Kind::PnCounter);
                let seen = self.counter_at(&place);
                let more = if by < 0 { (0, by.unsigned_abs()) } else { (by.unsigned_abs(), 0) };
                has_room(&seen, more).map_err(fault)?;
                let mut transaction = self.begin_allowed(millis)?;
                let (hlc, out) = (transaction.hlc, &mut transaction.out);
                self.count_at(&place, &seen, more, hlc, out);
                Ok(self.commit(transaction))
            }
            Stroke::Add { key, element } => {
                fits("a name", key, NAME_MAX)
                    .and_then(|()| fits("an element", element, NAME_MAX))
                    .map_err(fault)?;
                let mut transaction = self.begin_allowed(millis)?;
                self.add(key, element, &mut transaction);
                Ok(self.commit(transaction))
            }
        }
    }
    fn add(&mut self, key: &[u8], element: &[u8], transaction: &mut Transaction) {
        let mut path = Writer::after(core::mem::take(&mut self.path));
        path.clear();
        encode_path(Kind::OrSet, core::iter::once(key), &mut path);
        let place = Place::within(path.as_slice(), Kind::OrSet, element);
        let here = self.seen(&place);
        let op = place.op(self.next_dot(), transaction.hlc, here.dots, Action::Add);
        self.emit_at(&op, here.at, &mut transaction.out);
        self.path = path.into_bytes();
    }
}

fn fits(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), EditFault> {
    let size = bytes.len();
    if size > limit { Err(EditFault::Size { what, size, limit }) } else { Ok(()) }
}

/// Whether this replica's totals stay in their 64 bits.
fn has_room(seen: &Counter, (plus, minus): (u64, u64)) -> Result<(), EditFault> {
    let fits = seen.all.0.checked_add(plus).is_some() && seen.all.1.checked_add(minus).is_some();
    if fits { Ok(()) } else { Err(EditFault::Overflow) }
}
