//! Keys that no client of this door writes: the fleet's, below [`dwcp_fleet::key::ROOT`], and dwcp's own, below `\0dwcp/`.
//!
//! The fleet's records rest on each other, and a transaction of the fleet trusts what it reads; whoever holds the deed of a
//! hybrid keyspace answers for it. So whoever would write or delete one of them past its own door is refused, and told where
//! to ask; whoever reads or watches them may. This is a difference from etcd.

use super::status::{Code, Status};
use dwcp_fleet::key::ROOT;

/// Below which no client writes; whose that is, and how it is changed.
const RESERVED: [(&str, &str, &str); 2] = [
    (
        ROOT,
        "the fleet's",
        "change the fleet by `dwcp vm`, `host`, `region`, `address`, `quota` or its HTTP door",
    ),
    ("\0dwcp/", "dwcp's own", "change homes of hybrid keyspaces by `dwcp consensus promote`"),
];

/// Whether the keys from one up to another (none: the one alone; a zero byte: all from there on) meet those below a root.
fn meets(root: &str, key: &[u8], end: &[u8]) -> bool {
    let root = root.as_bytes();
    match end {
        [] => key.starts_with(root),
        // All keys below the root are below the root with its last byte raised.
        _ => (end == [0] || end > root) && (key < root || key.starts_with(root)),
    }
}

/// Refuses to write these.
pub(super) fn refuse(key: &[u8], end: &[u8]) -> Result<(), Status> {
    let Some((root, whose, how)) = RESERVED.into_iter().find(|(root, ..)| meets(root, key, end)) else {
        return Ok(());
    };
    let which = if key.starts_with(root.as_bytes()) { "is" } else { "holds keys that are" };
    let rest = if end.is_empty() { "" } else { "; a range is deleted in parts that leave them out" };
    let told =
        format!("dwcp: what begins with {root:?} {which} {whose} and is not written here: {how}{rest}");
    Err(Status::told(Code::InvalidArgument, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_the_fleets_keys_are_refused() {
        for (key, end, ours) in [
            ("/dwcp/fleet/r/eu/vm/1", "", true),
            ("/dwcp/fleet/", "", true),
            ("/dwcp/fleet", "", false),
            ("/dwcp/fleet0", "", false),
            ("a", "", false),
            ("/", "0", true),
            ("/dwcp/fleet/g", "/dwcp/fleet/h", true),
            ("\0", "\0", true),
            ("/dwcp/a", "/dwcp/fleet/", false),
            ("/dwcp/fleet0", "\0", false),
            ("/dwcp/fleet/z", "\0", true),
            ("b", "c", false),
        ] {
            assert_eq!(meets(ROOT, key.as_bytes(), end.as_bytes()), ours, "{key:?} {end:?}");
        }
    }

    #[test]
    fn a_deed_is_not_written_by_clients() {
        for (key, end, ours) in [
            ("\0dwcp/hybrid/orders", "", true),
            ("\0", "\0", true),
            ("\0a", "\0b", false),
            ("a", "\0", false),
        ] {
            let fleets = meets(ROOT, key.as_bytes(), end.as_bytes());
            assert_eq!(refuse(key.as_bytes(), end.as_bytes()).is_err(), ours || fleets, "{key:?} {end:?}");
        }
    }
}
