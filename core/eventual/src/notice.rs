//! Changes, told to subscribers as Redis tells its keyspace notifications.

use crate::api::{Answer, Notice, Subscription};
use crate::command::matches;
use crate::refusal::Refusal;
use crate::replica::Outbox;
use bytes::Bytes;
use dwcp_crdt::code::Reader;
use dwcp_crdt::op::{Action, Op};
use dwcp_crdt::{Address, Batch, Kind};
use dwcp_env::RequestId;
use std::collections::BTreeMap;

/// Notices for one subscriber in one turn; one who has to hear of more reads the keys anew.
const TURN_MAX: usize = 65_536;
/// Notices for all of them.
const ALL_MAX: usize = 1 << 20;

/// Tells what batches change: each operation is read once, and what would be too much is not made first.
pub(crate) fn tell(
    subscriptions: &mut BTreeMap<RequestId, Subscription>,
    batches: &[Batch],
    out: &mut Outbox,
) {
    let mut told: BTreeMap<RequestId, Vec<Notice>> = BTreeMap::new();
    let (mut lagging, mut all) = (Vec::new(), 0);
    for op in batches.iter().flat_map(Batch::ops).flatten() {
        if subscriptions.is_empty() {
            break;
        }
        let Some((key, event)) = happened(&op) else { continue };
        let by_key: Bytes = [b"__keyspace@0__:", &key[..]].concat().into();
        let by_event: Bytes = [b"__keyevent@0__:", event.as_bytes()].concat().into();
        let event = Bytes::from_static(event.as_bytes());
        subscriptions.retain(|id, wanted| {
            let notices = told.entry(*id).or_default();
            let before = notices.len();
            find(wanted, &by_key, &event, notices);
            find(wanted, &by_event, &key, notices);
            all += notices.len() - before;
            let few = notices.len() <= TURN_MAX && all <= ALL_MAX;
            if !few {
                all -= told.remove(id).map_or(0, |n| n.len());
                lagging.push(*id);
            }
            few
        });
    }
    let told = told.into_iter().filter(|(_, notices)| !notices.is_empty());
    out.replies.extend(told.map(|(id, notices)| (id, Ok(Answer::Notices(notices)), false)));
    out.replies.extend(lagging.into_iter().map(|id| (id, Err(Refusal::Lagged), true)));
}

fn find(wanted: &Subscription, channel: &Bytes, message: &Bytes, out: &mut Vec<Notice>) {
    let notice = |pattern: Option<&Bytes>| Notice {
        pattern: pattern.cloned(),
        channel: channel.clone(),
        message: message.clone(),
    };
    if wanted.channels.iter().any(|c| c == channel) {
        out.push(notice(None));
    }
    out.extend(wanted.patterns.iter().filter(|p| matches(p, channel)).map(|p| notice(Some(p))));
}

/// The key that an operation changes, and what Redis calls that.
fn happened(op: &Op<'_>) -> Option<(Bytes, &'static str)> {
    let container = Address::decode(&mut Reader::new(op.container)).ok()?;
    let inside = container.names.first().map(|k| Bytes::copy_from_slice(k));
    let key = inside.clone().unwrap_or_else(|| Bytes::copy_from_slice(op.name));
    let field = inside.is_some();
    let event = match (&op.action, op.kind) {
        (Action::Write(_), Kind::Deadline) => "expire",
        (Action::Remove, Kind::Deadline) => "persist",
        (Action::Write(_), _) if field => "hset",
        (Action::Write(_), _) => "set",
        (Action::Count { .. } | Action::Escrow { .. }, _) if field => "hincrby",
        (Action::Count { .. } | Action::Escrow { .. }, _) => "incrby",
        (Action::Add, _) => "sadd",
        (Action::Remove | Action::Retire, kind) if kind.is_set() => "srem",
        (Action::Remove | Action::Clear(_), _) if field => "hdel",
        (Action::Remove | Action::Clear(_), _) => "del",
        _ => "list",
    };
    Some((key, event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::edit::{Change, Edit};
    use dwcp_crdt::space::Config;
    use dwcp_crdt::{ReplicaIndex, Roster, Space};
    use dwcp_env::NodeId;

    /// Batches that set so many keys each.
    fn batches(batches: usize, keys: usize) -> Vec<Batch> {
        let mut space = Space::new(Config::new([0; 32]), Roster::founding([NodeId(1)]), ReplicaIndex(0));
        let edit = |k: usize| Edit::new(Address::key(Kind::Lww, k.to_string()), Change::Write(b"v".to_vec()));
        let edits: Vec<Edit> = (0..keys).map(edit).collect();
        (0..batches).map(|_| space.transact(1, &edits).unwrap().unwrap()).collect()
    }

    #[test]
    fn who_has_to_hear_of_too_much_in_a_turn_is_told_so_and_of_nothing() {
        let wanted = |patterns: &[&'static str], channels: &[&'static str]| Subscription {
            channels: channels.iter().map(|c| Bytes::from(*c)).collect(),
            patterns: patterns.iter().map(|p| Bytes::from(*p)).collect(),
        };
        let mut subscriptions = BTreeMap::from([
            (RequestId(1), wanted(&["__key*"], &[])),
            (RequestId(2), wanted(&[], &["__keyspace@0__:7"])),
            (RequestId(3), wanted(&["nothing"], &[])),
        ]);
        let mut out = Outbox::default();
        tell(&mut subscriptions, &batches(3, 10), &mut out);
        let heard: Vec<(u64, usize)> = out
            .replies
            .iter()
            .map(|(id, answer, last)| match answer {
                Ok(Answer::Notices(notices)) if !last => (id.0, notices.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heard, [(1, 60), (2, 3)]);
        // None of the batches is too much by itself.
        let mut out = Outbox::default();
        tell(&mut subscriptions, &batches(3, 20_000), &mut out);
        assert_eq!(out.replies.len(), 2);
        assert_eq!(out.replies[1], (RequestId(1), Err(Refusal::Lagged), true));
        assert_eq!(subscriptions.len(), 2);
    }
}
