//! Why a key shows what it shows.

use super::{View, integer, type_of};
use crate::api::{Entry, Explanation, Type};
use bytes::Bytes;
use dwcp_crdt::{Address, Dot, Hlc, Kind, Space};

/// Entries of one explanation.
const ENTRIES_MAX: usize = 1_000;
/// Bytes of their values after which no more are shown.
const VALUES_BYTES: usize = 4 * 1024 * 1024;
/// Values, as large as they may be, that are copied before their size is looked at.
const FEW: usize = 16;

/// All that lies under a key, and what of it is shown.
pub(crate) fn explain(view: View<'_>, key: &Bytes) -> Explanation {
    let path = [key.to_vec()];
    let mut out = Explanation {
        key: key.clone(),
        shown: match View::shown(&view.kinds(key)) {
            Type::None => None,
            Type::String => view.text(&path),
            other => Some(other.name().into()),
        },
        deadline_ms: view.deadline(&path),
        ..Explanation::default()
    };
    below(view, &path, &mut out);
    out
}

fn is_full(out: &Explanation) -> bool {
    let bytes = out.entries.iter().filter_map(|e| e.value.as_ref()).map(Bytes::len).sum::<usize>();
    out.entries.len() >= ENTRIES_MAX || bytes >= VALUES_BYTES
}

fn below(view: View<'_>, path: &[Vec<u8>], out: &mut Explanation) {
    for kind in view.space.kinds(path) {
        if is_full(out) {
            out.cut = true;
            return;
        }
        let at = Address { names: path.to_vec(), kind };
        match kind {
            Kind::Map => view.names(path, None, |name, _| {
                let mut deeper = path.to_vec();
                deeper.push(name.to_vec());
                below(view, &deeper, out);
                !out.cut
            }),
            kind if kind.is_register() => registers(view, &at, out),
            kind if kind.is_counter() => counters(view, &at, out),
            kind if kind.is_set() => elements(view, &at, out),
            _ => places(view, &at, out),
        }
    }
}

fn entry(space: &Space, at: &Address, dot: Dot) -> Entry {
    let member = space.roster().get(dot.replica());
    Entry {
        path: at.names.iter().skip(1).map(|n| Bytes::from(n.clone())).collect(),
        kind: at.kind.name().into(),
        dot: (dot.replica().0, dot.sequence()),
        writer: member.map(|m| (m.node.0, m.incarnation)),
        time: None,
        value: None,
        shown: None,
    }
}

fn time(hlc: Hlc) -> Option<(u64, u16)> {
    Some((hlc.millis(), hlc.counter()))
}

fn registers(view: View<'_>, at: &Address, out: &mut Explanation) {
    let first = view.writes(&at.names).first().map(|s| s.dot);
    for (i, s) in view.space.siblings(at).into_iter().enumerate() {
        let shown = match at.kind {
            Kind::Deadline if i == 0 => Some("the deadline: the latest by (time, dot)".to_string()),
            Kind::Deadline => None,
            _ if Some(s.dot) == first => {
                Some("shown: of the writes that no other has seen, the latest by (time, dot)".into())
            }
            _ => Some("a sibling: written at the same time elsewhere; the next write supersedes it".into()),
        };
        let value = match (at.kind, <[u8; 8]>::try_from(s.value.as_slice())) {
            (Kind::Deadline, Ok(raw)) => u64::from_le_bytes(raw).to_string().into(),
            _ => Bytes::from(s.value),
        };
        let found = entry(view.space, at, s.dot);
        out.entries.push(Entry { time: time(s.hlc), value: Some(value), shown, ..found });
    }
}

fn counters(view: View<'_>, at: &Address, out: &mut Explanation) {
    let base = view.writes(&at.names).into_iter().next();
    let hidden = base.is_some_and(|b| integer(&b.value).is_none());
    for share in view.space.shares(at) {
        let shown = if hidden {
            "not counted: the string beside it is no number".to_string()
        } else {
            format!("counted, in the counter that {} made", share.instance)
        };
        let value = format!("+{} -{}", share.plus, share.minus).into();
        let found = entry(view.space, at, share.dot);
        out.entries.push(Entry { time: time(share.hlc), value: Some(value), shown: Some(shown), ..found });
    }
}

fn places(view: View<'_>, at: &Address, out: &mut Explanation) {
    let len = view.space.length(at);
    let mut shown = 0;
    while shown < len && !is_full(out) {
        let some = view.space.placed(at, shown, FEW.min(ENTRIES_MAX - out.entries.len()));
        for (i, placed) in (shown..).zip(some) {
            let mut e = entry(view.space, at, placed.dot);
            e.path.push(i.to_string().into());
            e.value = Some(placed.value.into());
            e.shown =
                Some("there: no removal names it; it stands beside what its writer saw beside it".into());
            out.entries.push(e);
            shown = i + 1;
        }
    }
    out.cut |= shown < len;
    debug_assert!(at.kind == Kind::Sequence, "only sequences have places");
}

fn elements(view: View<'_>, at: &Address, out: &mut Explanation) {
    let room = ENTRIES_MAX.saturating_sub(out.entries.len());
    let found = view.space.elements(at, None, room + 1);
    out.cut |= found.len() > room;
    for element in found.into_iter().take(room) {
        for dot in &element.dots {
            let mut e = entry(view.space, at, *dot);
            e.path.push(element.bytes.clone().into());
            e.shown = Some("there: no removal has seen this addition".into());
            out.entries.push(e);
        }
    }
    debug_assert!(type_of(at.kind) == Type::Set, "only sets have elements");
}
