//! Keys that no client of this door writes: the fleet's, below [`dwcp_fleet::key::ROOT`].
//!
//! Its records rest on each other, and a transaction of the fleet trusts what it reads. So whoever would write or delete one
//! of them past the fleet's own door is refused, and told where to ask; whoever reads or watches them may. This is a
//! difference from etcd.

use super::status::{Code, Status};
use dwcp_fleet::key::ROOT;

/// Whether the keys from one up to another (none: the one alone; a zero byte: all from there on) meet the fleet's.
fn meets(key: &[u8], end: &[u8]) -> bool {
    let root = ROOT.as_bytes();
    match end {
        [] => key.starts_with(root),
        // All keys below the root are below the root with its last byte raised.
        _ => (end == [0] || end > root) && (key < root || key.starts_with(root)),
    }
}

/// Refuses to write these.
pub(super) fn refuse(key: &[u8], end: &[u8]) -> Result<(), Status> {
    if !meets(key, end) {
        return Ok(());
    }
    let which = if key.starts_with(ROOT.as_bytes()) { "is the fleet's" } else { "holds keys of the fleet's" };
    let how = "change the fleet by `dwcp vm`, `host`, `region`, `address`, `quota` or its HTTP door";
    let rest = if end.is_empty() { "" } else { "; a range is deleted in parts that leave them out" };
    let told = format!("dwcp: what begins with {ROOT} {which} and is not written here: {how}{rest}");
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
            assert_eq!(meets(key.as_bytes(), end.as_bytes()), ours, "{key:?} {end:?}");
        }
    }
}
