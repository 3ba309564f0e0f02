//! **Monotone**: within one life of a node, its term, its commit index and its applied index
//! never fall (Raft §5.1, §5.3).

use super::Look;

pub(super) fn look(before: &Look, now: &Look) -> Option<String> {
    let (was, is) = (before.applied.map_or(0, |p| p.index), now.applied.map_or(0, |p| p.index));
    if before.node != now.node || before.life != now.life {
        return None;
    }
    let falls = [
        ("term", before.term, now.term),
        ("commit index", before.committed, now.committed),
        ("applied index", was, is),
    ];
    let (what, from, to) = falls.into_iter().find(|(_, from, to)| to < from)?;
    Some(format!("the {what} of {} falls from {from} to {to}", now.node))
}
