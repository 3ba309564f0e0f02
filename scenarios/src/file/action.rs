//! The words behind `do`: what goes wrong, or is asked for, and to whom.
//!
//! | `do` | happens |
//! |---|---|
//! | `crash WHO` | the process dies, unsynced writes are lost as the disk sees fit; it comes back after `for` |
//! | `restart WHO` | the process ends in good order of its disk; it comes back after `for` |
//! | `pause WHO` | the process stands still for `for`, its clock goes on |
//! | `wipe WHO` | crash, and the disk comes back empty |
//! | `region.lose REGION` | every node of a region dies, until after `for`; `leader` means the leader's region |
//! | `partition WHO` | WHO can't reach the others, nor they it |
//! | `partition WHO from WHOM` | as said, both ways; everybody else reaches everybody |
//! | `cut WHO to WHOM` | messages from WHO to WHOM are lost; the other way is open |
//! | `clog WHO to WHOM` | messages are held, and all arrive when it is over |
//! | `slow WHO to WHOM by SPAN` | messages both ways take so much longer |
//! | `switch ENGINE` | the group is asked to go on under `raft`, `paxos`, `epaxos` or `pbft` |
//! | `disk.full WHO` | no room left |
//! | `disk.slow WHO by SPAN` | every operation takes so much longer |
//! | `disk.stall WHO` | nothing completes |
//! | `disk.fail WHO` | operations fail with an I/O error |
//! | `disk.rot WHO` | bits of durable data flip |
//! | `disk.unreadable WHO` | durable sectors can't be read any more |
//! | `disk.torn WHO` | crash in the middle of a write: any sectors of it may be on the disk |
//! | `clock.jump WHO by JUMP` | the calendar clock jumps |
//! | `clock.drift WHO by N` | the clock runs wrong by N parts in a million (signed) |
//! | `members.remove WHO` | the group is asked to drop a voter |
//! | `members.add WHO` | … to take a node in: as a learner first, then as a voter |
//! | `transfer WHO` | the leader is asked to hand over to WHO |
//! | `hybrid.promote REGION` | a region is to take the hybrid keyspace over, its home being lost |
//! | `hybrid.move REGION` | … its home handing over all it has |
//! | `snapshot WHO` | the node is asked to take a snapshot and trim its log |
//!
//! WHO and WHOM are sets: `leader`, `followers`, `follower` (one of them), `any` (one node),
//! `others` (all that WHO is not), `minority`, `majority` (with the leader or without, by the
//! seed), `minority+leader`, `majority-leader`, `n3`, `n1,n4`, or a region's name.
//! `leader` and what depends on it are looked up when the time comes; everything else is
//! drawn when the plan is made.

use super::quantity::{duration, jump};
use dwcp_env::{Duration, NodeId};
use dwcp_node::EngineKind;
use serde::{Deserialize, Serialize};

/// A set of nodes, as the file says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Who leads when the time comes.
    Leader,
    /// All who do not.
    Followers,
    /// One who does not.
    Follower,
    /// One node.
    Any,
    /// Everybody the other set leaves out.
    Others,
    /// Fewer than half.
    Minority,
    /// More than half.
    Majority,
    /// Fewer than half, the leader among them.
    MinorityWithLeader,
    /// More than half, the leader not among them.
    MajorityWithoutLeader,
    /// A region's nodes.
    Region(String),
    /// These.
    Nodes(Vec<NodeId>),
}

/// What is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The process dies.
    Crash(Who),
    /// The process ends in order.
    Restart(Who),
    /// The process stands still.
    Pause(Who),
    /// The process dies and its disk is emptied.
    Wipe(Who),
    /// A region is lost.
    RegionLose(String),
    /// A cut both ways.
    Partition(Who, Who),
    /// A cut one way.
    Cut(Who, Who),
    /// Messages held.
    Clog(Who, Who),
    /// Slower links both ways.
    Slow(Who, Who, Duration),
    /// No room.
    DiskFull(Who),
    /// Slower operations.
    DiskSlow(Who, Duration),
    /// Messages altered, kept back, sent twice or long after: from the network's view a liar.
    Lie(Who),
    /// Operations that don't complete.
    DiskStall(Who),
    /// Operations that fail.
    DiskFail(Who),
    /// Durable bits that flip.
    DiskRot(Who),
    /// Durable sectors that are gone.
    DiskUnreadable(Who),
    /// A crash in the middle of a write.
    DiskTorn(Who),
    /// A jump of the calendar clock, in nanoseconds.
    ClockJump(Who, i64),
    /// A clock that runs wrong, in parts in a million.
    ClockDrift(Who, i32),
    /// A voter leaves.
    MembersRemove(Who),
    /// A node joins.
    MembersAdd(Who),
    /// Leadership is handed over.
    Transfer(Who),
    /// A snapshot is taken.
    Snapshot(Who),
    /// The next epoch begins, under this engine.
    Switch(EngineKind),
    /// A region takes the hybrid keyspace over: planned or not.
    HybridMove(String, bool),
}

/// The region of whoever leads when the time comes.
pub const LEADERS: &str = "leader";

/// The verbs, for the error that lists them.
pub const VERBS: &[&str] = &[
    "crash",
    "restart",
    "pause",
    "wipe",
    "lie",
    "region.lose",
    "partition",
    "cut",
    "clog",
    "slow",
    "disk.full",
    "disk.slow",
    "disk.stall",
    "disk.fail",
    "disk.rot",
    "disk.unreadable",
    "disk.torn",
    "clock.jump",
    "clock.drift",
    "members.remove",
    "members.add",
    "transfer",
    "snapshot",
    "switch",
    "hybrid.promote",
    "hybrid.move",
];

impl Action {
    /// Whether `for` means something to it.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::DiskRot(_)
                | Self::DiskUnreadable(_)
                | Self::ClockJump(..)
                | Self::MembersRemove(_)
                | Self::MembersAdd(_)
                | Self::Transfer(_)
                | Self::Snapshot(_)
                | Self::Switch(_)
                | Self::HybridMove(..)
        )
    }
}

fn who(text: &str, regions: &[String]) -> Result<Who, String> {
    Ok(match text {
        "leader" => Who::Leader,
        "followers" => Who::Followers,
        "follower" => Who::Follower,
        "any" => Who::Any,
        "others" => Who::Others,
        "minority" => Who::Minority,
        "majority" => Who::Majority,
        "minority+leader" => Who::MinorityWithLeader,
        "majority-leader" => Who::MajorityWithoutLeader,
        region if regions.iter().any(|r| r == region) => Who::Region(region.to_owned()),
        list => Who::Nodes(
            list.split(',')
                .map(|n| n.strip_prefix('n').and_then(|n| n.parse().ok()).map(NodeId))
                .collect::<Option<_>>()
                .ok_or_else(|| {
                    format!(
                        "{list:?} names nobody; write leader, followers, follower, any, others, minority, majority, \
                         minority+leader, majority-leader, n1,n2 or a region ({})",
                        regions.join(", ")
                    )
                })?,
        ),
    })
}

/// Reads one `do`.
///
/// # Errors
/// What was expected.
pub fn parse(text: &str, regions: &[String]) -> Result<Action, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let verb = words.first().copied().unwrap_or_default();
    let set = |at: usize| -> Result<Who, String> {
        who(
            words.get(at).ok_or_else(|| format!("{text:?} does not say who; write \"{verb} leader\""))?,
            regions,
        )
    };
    // `verb WHO <word> ARG`
    let argument = |at: usize, word: &str| -> Result<&str, String> {
        match (words.get(at), words.get(at + 1)) {
            (Some(w), Some(arg)) if *w == word => Ok(arg),
            _ => Err(format!("{text:?} lacks its \"{word} …\"")),
        }
    };
    let (action, used) = match verb {
        "crash" => (Action::Crash(set(1)?), 2),
        "restart" => (Action::Restart(set(1)?), 2),
        "pause" => (Action::Pause(set(1)?), 2),
        "wipe" => (Action::Wipe(set(1)?), 2),
        "region.lose" => match set(1)? {
            Who::Region(r) => (Action::RegionLose(r), 2),
            Who::Leader => (Action::RegionLose(LEADERS.to_owned()), 2),
            _ => return Err(format!("{text:?} names no region; the world has {}", regions.join(", "))),
        },
        "hybrid.promote" | "hybrid.move" => match set(1)? {
            Who::Region(r) => (Action::HybridMove(r, verb == "hybrid.move"), 2),
            _ => return Err(format!("{text:?} names no region; the world has {}", regions.join(", "))),
        },
        "partition" if words.len() <= 2 => (Action::Partition(set(1)?, Who::Others), 2),
        "partition" => (Action::Partition(set(1)?, who(argument(2, "from")?, regions)?), 4),
        "cut" => (Action::Cut(set(1)?, who(argument(2, "to")?, regions)?), 4),
        "clog" => (Action::Clog(set(1)?, who(argument(2, "to")?, regions)?), 4),
        "slow" => {
            let to = who(argument(2, "to")?, regions)?;
            (Action::Slow(set(1)?, to, duration(argument(4, "by")?)?), 6)
        }
        "disk.full" => (Action::DiskFull(set(1)?), 2),
        "disk.slow" => (Action::DiskSlow(set(1)?, duration(argument(2, "by")?)?), 4),
        "disk.stall" => (Action::DiskStall(set(1)?), 2),
        "disk.fail" => (Action::DiskFail(set(1)?), 2),
        "lie" => (Action::Lie(set(1)?), 2),
        "disk.rot" => (Action::DiskRot(set(1)?), 2),
        "disk.unreadable" => (Action::DiskUnreadable(set(1)?), 2),
        "disk.torn" => (Action::DiskTorn(set(1)?), 2),
        "clock.jump" => (Action::ClockJump(set(1)?, jump(argument(2, "by")?)?), 4),
        "clock.drift" => {
            let ppm = argument(2, "by")?;
            let n = ppm.strip_suffix("ppm").and_then(|n| n.parse().ok());
            (Action::ClockDrift(set(1)?, n.ok_or_else(|| format!("{ppm:?} is no drift; write +200ppm"))?), 4)
        }
        "members.remove" => (Action::MembersRemove(set(1)?), 2),
        "members.add" => (Action::MembersAdd(set(1)?), 2),
        "transfer" => (Action::Transfer(set(1)?), 2),
        "snapshot" => (Action::Snapshot(set(1)?), 2),
        "switch" => (Action::Switch(words.get(1).copied().unwrap_or_default().parse()?), 2),
        _ => return Err(format!("{verb:?} is no action; the actions are {}", VERBS.join(", "))),
    };
    match words.get(used) {
        Some(extra) => Err(format!("{text:?} has {extra:?} left over at its end")),
        None => Ok(action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_reads() {
        let regions = vec!["eu-west-1".to_owned()];
        for (text, action) in [
            ("crash leader", Action::Crash(Who::Leader)),
            ("partition minority+leader", Action::Partition(Who::MinorityWithLeader, Who::Others)),
            ("partition n1,n2 from n3", {
                Action::Partition(Who::Nodes(vec![NodeId(1), NodeId(2)]), Who::Nodes(vec![NodeId(3)]))
            }),
            ("cut leader to followers", Action::Cut(Who::Leader, Who::Followers)),
            ("region.lose eu-west-1", Action::RegionLose("eu-west-1".into())),
            ("slow leader to others by 200ms", Action::Slow(Who::Leader, Who::Others, Duration::millis(200))),
            ("disk.slow eu-west-1 by 30ms", {
                Action::DiskSlow(Who::Region("eu-west-1".into()), Duration::millis(30))
            }),
            ("clock.jump any by -5s", Action::ClockJump(Who::Any, -5_000_000_000)),
            ("lie n4", Action::Lie(Who::Nodes(vec![NodeId(4)]))),
            ("clock.drift any by +200ppm", Action::ClockDrift(Who::Any, 200)),
        ] {
            assert_eq!(parse(text, &regions), Ok(action), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_advice() {
        let regions = vec!["eu-west-1".to_owned()];
        for (text, part) in [
            ("explode leader", "is no action; the actions are crash"),
            ("crash", "does not say who"),
            ("crash mars", "names nobody"),
            ("region.lose n1", "names no region; the world has eu-west-1"),
            ("cut leader", "lacks its \"to …\""),
            ("crash leader now", "\"now\" left over"),
            ("clock.jump any by 5s", "with its sign"),
        ] {
            let err = parse(text, &regions).unwrap_err();
            assert!(err.contains(part), "{text}: {err}");
        }
    }
}
