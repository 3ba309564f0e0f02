//! Commands that come to one change under one key: planned by one look, with nothing copied.
//!
//! These are most of what clients write. Whatever is not plain (a deadline, another type, a number that is none, a value that is large) is left to
//! [`super::plan`], which plans the same for these: the tests compare the two for each command that they run.

use super::View;
use crate::api::{Command, ELEMENT_MAX, Expiry, KEY_MAX, Reply, Type, WRITE_MAX};
use dwcp_crdt::edit::Stroke;

/// Values that are longer are weighed before they are written.
const SHORT: usize = 64 * 1024;
/// Bytes of a dot that an operation names, at most one of each place.
const DOT_BYTES: usize = 10;

const _: () = assert!(
    KEY_MAX + SHORT + DOT_BYTES * (u16::MAX as usize + 1) + 1024 <= WRITE_MAX && ELEMENT_MAX <= SHORT,
    "what is not weighed fits a record of the log"
);

/// What a command changes and answers, if that is one change and nothing stands against it.
pub(crate) fn stroke<'c>(view: View<'_>, command: &'c Command) -> Option<(Stroke<'c>, Reply)> {
    match command {
        Command::Set { key, value, expiry: Expiry::Never | Expiry::Keep } => {
            let short = key.len() <= KEY_MAX && value.len() <= SHORT;
            (short && view.look(key).is_plain()).then_some((Stroke::Write { key, value }, Reply::Done))
        }
        Command::IncrBy { key, by } if key.len() <= KEY_MAX => {
            let held = view.look(key);
            let there = held.expect(Type::String).ok()?;
            if if there { held.is_bounded() } else { !held.is_nothing() } {
                return None;
            }
            let now = if there { held.number().ok()? } else { 0 };
            let total = i64::try_from(now + i128::from(*by)).ok()?;
            Some((Stroke::Count { key, by: *by }, Reply::Number(total)))
        }
        Command::SAdd { key, members } if key.len() <= KEY_MAX => {
            let [element] = &members[..] else { return None };
            let held = view.look(key);
            let there = held.expect(Type::Set).ok()?;
            if element.len() > ELEMENT_MAX || (!there && !held.is_nothing()) {
                return None;
            }
            let added = i64::from(!held.contains(element));
            Some((Stroke::Add { key, element }, Reply::Number(added)))
        }
        _ => None,
    }
}
