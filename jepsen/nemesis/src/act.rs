//! Acts: what happens to whom, as data.

use dwcp_env::NodeId;
use serde::{Deserialize, Serialize};

/// What a window of a nemesis does, from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Act {
    /// SIGKILL at the beginning, started again at the end.
    Kill {
        /// Whom.
        nodes: Vec<NodeId>,
        /// Whether the disk then forgets what was not synced.
        lose_unsynced: bool,
    },
    /// SIGSTOP, then SIGCONT.
    Pause {
        /// Whom.
        nodes: Vec<NodeId>,
    },
    /// One after the other stopped well, and started again.
    Restart {
        /// Whom, in this order.
        nodes: Vec<NodeId>,
    },
    /// What these send to those is dropped.
    Cut {
        /// From, to.
        pairs: Vec<(NodeId, NodeId)>,
    },
    /// Every link takes longer.
    Delay {
        /// One way, in milliseconds.
        millis: u64,
        /// Up to so much more, drawn for each packet.
        jitter_millis: u64,
    },
    /// Every link loses packets.
    Loss {
        /// Of a thousand.
        per_mille: u32,
    },
    /// Calendar clocks are off.
    Clock {
        /// Whose, by how many milliseconds.
        offsets: Vec<(NodeId, i64)>,
    },
    /// No room on the disk.
    DiskFull {
        /// Whose.
        nodes: Vec<NodeId>,
    },
    /// Syncs fail. Whoever ends because of it is started again at the end.
    FsyncFail {
        /// Whose.
        nodes: Vec<NodeId>,
    },
}

impl Act {
    /// In the words of a scenario file's `do`, one action each; nothing where the simulator draws
    /// it otherwise (loss is a setting of its world).
    #[must_use]
    pub fn scenario(&self) -> Vec<String> {
        match self {
            Self::Kill { nodes, .. } => vec![format!("crash {}", names(nodes))],
            Self::Pause { nodes } => vec![format!("pause {}", names(nodes))],
            Self::Restart { nodes } => nodes.iter().map(|n| format!("restart {}", names(&[*n]))).collect(),
            Self::Cut { pairs } => {
                pairs.iter().map(|(a, b)| format!("cut {} to {}", names(&[*a]), names(&[*b]))).collect()
            }
            Self::Delay { millis, .. } => vec![format!("slow any to others by {millis}ms")],
            Self::Loss { .. } => Vec::new(),
            Self::Clock { offsets } => offsets
                .iter()
                .map(|(n, by)| {
                    let sign = if *by < 0 { '-' } else { '+' };
                    format!("clock.jump {} by {sign}{}ms", names(&[*n]), by.unsigned_abs())
                })
                .collect(),
            Self::DiskFull { nodes } => vec![format!("disk.full {}", names(nodes))],
            Self::FsyncFail { nodes } => vec![format!("disk.fail {}", names(nodes))],
        }
    }
    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Kill { nodes, lose_unsynced: false } => format!("kill {}", names(nodes)),
            Self::Kill { nodes, lose_unsynced: true } => {
                format!("kill {}, unsynced writes lost", names(nodes))
            }
            Self::Pause { nodes } => format!("pause {}", names(nodes)),
            Self::Restart { nodes } => format!("restart {}, one by one", names(nodes)),
            Self::Cut { pairs } => {
                let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("n{}→n{}", a.0, b.0)).collect();
                format!("cut {}", pairs.join(" "))
            }
            Self::Delay { millis, jitter_millis } => {
                format!("every link slower by {millis} to {} ms", millis + jitter_millis)
            }
            Self::Loss { per_mille } => format!("every link loses {per_mille} of 1000 packets"),
            Self::Clock { offsets } => {
                let each: Vec<String> =
                    offsets.iter().map(|(n, by)| format!("n{} by {by:+} ms", n.0)).collect();
                format!("clock off: {}", each.join(", "))
            }
            Self::DiskFull { nodes } => format!("disk full: {}", names(nodes)),
            Self::FsyncFail { nodes } => format!("fsync fails: {}", names(nodes)),
        }
    }
    /// Whose processes it ends.
    #[must_use]
    pub fn ends(&self) -> &[NodeId] {
        match self {
            Self::Kill { nodes, .. } | Self::Restart { nodes } | Self::FsyncFail { nodes } => nodes,
            _ => &[],
        }
    }
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|n| format!("n{}", n.0)).collect();
    names.join(",")
}
