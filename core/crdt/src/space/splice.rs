//! From a client's edits of sequences to operations.
//!
//! Positions are those of the elements shown here, as the edits before this one left them; operations name elements. So what
//! goes is what the client saw, wherever it stands elsewhere, and what comes stands beside what it stood beside here.
//!
//! **Replacing** hangs the new element on the old, on the side away from the end of the list at which others may be pushing: the last
//! one's successor comes before it, any other's behind it. A push at the other end of a list of one, at the same time,
//! may come between.

use super::Space;
use super::mutate::{Foreseen, Place};
use super::tree::path_names;
use crate::address::{Address, Kind, VALUE_MAX};
use crate::batch::Run;
use crate::dot::Dot;
use crate::edit::{Change, Edit, EditFault};
use crate::hlc::Hlc;
use crate::op::{Action, Op};
use crate::rga::{Hang, List, Side, Span};
use crate::splice::{Splice, encode};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Bytes that the values of one insertion may have, with their lengths; the rest of an operation is small.
const VALUES_MAX: usize = VALUE_MAX - 1024;
/// Elements that one operation takes out. More take several.
const GO_MAX: usize = 1 << 16;

impl Space {
    /// Checks an edit of a sequence against its length as the edits before leave it.
    pub(super) fn check_sequence<'e>(
        &self,
        at: &'e Address,
        change: &Change,
        foreseen: &mut Foreseen<'e>,
    ) -> Result<(), EditFault> {
        let len = foreseen.length(at, self.list(at).map_or(0, List::len));
        let beyond = |at: usize, within: bool| {
            if within { Ok(()) } else { Err(EditFault::Beyond { at, len }) }
        };
        let after = match change {
            Change::Insert { at, values } => {
                beyond(*at, *at <= len)?;
                len + fitting(values)?
            }
            Change::Erase { from, count } => {
                let end = from.saturating_add(*count);
                beyond(end, end <= len)?;
                len - count
            }
            Change::EraseNamed(names) => {
                let names: BTreeSet<&Dot> = names.iter().collect();
                let live = |l: &List| names.iter().filter(|name| l.is_live(***name)).count();
                len.saturating_sub(self.list(at).map_or(0, live))
            }
            Change::Replace { at, value } => {
                fitting(core::slice::from_ref(value))?;
                beyond(*at, *at < len)?;
                len
            }
            _ => len,
        };
        foreseen.set_length(at, after);
        Ok(())
    }
    /// Makes the operations of an edit that was checked.
    pub(super) fn perform_sequence(&mut self, edit: &Edit, hlc: Hlc, out: &mut Run) {
        let at = &edit.at;
        let first = self.next_dot();
        match &edit.change {
            Change::Insert { at: position, values } => {
                let hang = self.any_list(at).map_or(Hang::ROOT, |l| l.hang_at(first, *position));
                self.emit_splice(at, Some(hang), &[], values, hlc, out);
            }
            Change::Erase { from, count } => {
                let names = self.list(at).map_or_else(Vec::new, |l| l.names(*from, *count));
                self.take_out(at, names, hlc, out);
            }
            Change::EraseNamed(names) => {
                let Some(list) = self.list(at) else { return };
                let live = names.iter().filter(|name| list.is_live(**name)).map(|name| name.bits()).collect();
                self.take_out(at, live, hlc, out);
            }
            Change::Replace { at: position, value } => {
                let Some(list) = self.list(at) else { return };
                let Some(old) = list.name_at(*position) else { return };
                let behind = usize::from(position + 1 < list.len());
                let hang = list.hang_at(first, position + behind);
                let span = Span { first: old, len: 1 };
                self.emit_splice(at, Some(hang), &[span], core::slice::from_ref(value), hlc, out);
            }
            _ => {}
        }
    }
    pub(super) fn take_out(&mut self, at: &Address, mut names: Vec<u64>, hlc: Hlc, out: &mut Run) {
        names.sort_unstable();
        names.dedup();
        for part in names.chunks(GO_MAX) {
            self.emit_splice(at, None, &spans(part), &[], hlc, out);
        }
    }
    fn emit_splice(
        &mut self,
        at: &Address,
        hang: Option<Hang>,
        spans: &[Span],
        values: &[Vec<u8>],
        hlc: Hlc,
        out: &mut Run,
    ) {
        let dot = self.next_dot();
        let bytes = encode(dot, hang, spans, values);
        let place = Place::element(at, &[]);
        let action = Action::Splice { width: values.len().max(1) as u64, bytes: &bytes };
        let op = place.op(dot, hlc, Vec::new(), action);
        self.emit(&op, out);
    }
    /// The names of all that a sequence shows, if it also holds what it can't show yet. A deletion names them one by one then: the version that
    /// covers them covers the others too, which nobody was shown.
    pub(super) fn shown_beside_others(&self, at: &Address) -> Option<Vec<u64>> {
        self.list(at).filter(|l| l.waiting() > 0).map(|l| l.names(0, l.len()))
    }
    /// The bytes of an operation on a sequence that is made anew under another dot; `now` says what names stand for. What it hung on is
    /// named again only if it lives: else it hangs on what stands there. Where that was nobody may know any more, if it was purged, or not yet, if
    /// it is to be made anew by another: then it goes to the end of the list on whose side it hung, for pushes are what most lists are made of.
    pub(super) fn splice_anew(&self, op: &Op<'_>, dot: Dot, now: impl Fn(Dot) -> Dot) -> Option<Vec<u8>> {
        let Action::Splice { width, bytes } = op.action else { return None };
        let old = Splice::decode(op.dot, width, bytes).ok()?;
        let (_, names) = path_names(op.container);
        let names = names.map(<[u8]>::to_vec).collect();
        let list = self.any_list(&Address { names, kind: Kind::Sequence });
        let hang = old.hang.map(|old| {
            let origin = old.origin.map(&now);
            match (list, origin) {
                (_, None) => Hang::ROOT,
                (Some(list), Some(name)) if list.is_live(name) => Hang { origin, ..old },
                (None, Some(_)) => Hang::ROOT,
                (Some(list), Some(name)) => {
                    let end = if old.side == Side::Left { 0 } else { list.len() };
                    list.hang_at(dot, list.position(name).unwrap_or(end))
                }
            }
        });
        let mut gone: Vec<u64> = old.spans.iter().flat_map(Span::names).map(|d| now(d).bits()).collect();
        gone.sort_unstable();
        gone.dedup();
        let elements: Vec<Vec<u8>> = old.elements().map(<[u8]>::to_vec).collect();
        Some(encode(dot, hang, &spans(&gone), &elements))
    }
}

/// Rows of names that ascend.
pub(super) fn spans(names: &[u64]) -> Vec<Span> {
    let span = |run: &[u64]| Span { first: Dot::from_bits(run[0]), len: run.len() as u32 };
    names.chunk_by(|a, b| a + 1 == *b).map(span).collect()
}

fn fitting(values: &[Vec<u8>]) -> Result<usize, EditFault> {
    let size: usize = values.iter().map(|v| v.len() + 4).sum();
    if values.is_empty() {
        return Err(EditFault::Nothing);
    }
    if size > VALUES_MAX {
        return Err(EditFault::Size { what: "what is inserted at once", size, limit: VALUES_MAX });
    }
    Ok(values.len())
}
