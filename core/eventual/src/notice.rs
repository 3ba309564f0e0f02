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

/// Tells what a batch changes.
pub(crate) fn tell(subscriptions: &mut BTreeMap<RequestId, Subscription>, batch: &Batch, out: &mut Outbox) {
    let mut lagging = Vec::new();
    for (id, wanted) in subscriptions.iter() {
        let mut notices = Vec::new();
        for op in batch.ops().flatten() {
            let Some((key, event)) = happened(&op) else { continue };
            let by_key = [b"__keyspace@0__:", &key[..]].concat();
            find(wanted, &by_key, event.as_bytes(), &mut notices);
            let by_event = [b"__keyevent@0__:", event.as_bytes()].concat();
            find(wanted, &by_event, &key, &mut notices);
        }
        if notices.len() > TURN_MAX {
            lagging.push(*id);
        } else if !notices.is_empty() {
            out.replies.push((*id, Ok(Answer::Notices(notices)), false));
        }
    }
    for id in lagging {
        subscriptions.remove(&id);
        out.replies.push((id, Err(Refusal::Lagged), true));
    }
}

fn find(wanted: &Subscription, channel: &[u8], message: &[u8], out: &mut Vec<Notice>) {
    let notice = |pattern: Option<&Bytes>| Notice {
        pattern: pattern.cloned(),
        channel: Bytes::copy_from_slice(channel),
        message: Bytes::copy_from_slice(message),
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
