//! The faults of the world: 26 kinds, each a line of a plan.
//!
//! **Promise.** A [`Fault`] is data: what ([`Effect`]), to whom ([`Target`]), from when until
//! when. Nothing else breaks anything. A fault is counted as *fired* only when it changed
//! something a node could have observed, and each kind's count is the `sometimes` probe
//! `fault.<name>`: a scenario that lists a fault and never sees it fire tested nothing.
//!
//! | family | kinds |
//! |---|---|
//! | links | partition, partition_one_way, clog, delay, reorder, duplicate, drop, bandwidth, corrupt_packet |
//! | clocks | clock_skew, clock_drift, clock_jump |
//! | processes | crash, torn_write, pause, wipe, version_change, byzantine |
//! | disks | latent_sector_error, bit_rot, misdirected_write, misdirected_read, phantom_write, disk_full, disk_error, slow_disk |
//!
//! **Windows.** A fault acts in `at..until`. For what happens at one point (a jump, rot) only
//! `at` counts. For what takes a node down, `until` is when it boots again.

use dwcp_env::{ByteCount, Duration, Instant, NodeId, Rate, Ratio};
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum FaultKind { $($(#[$doc])* $name,)* }

        impl FaultKind {
            /// Every kind.
            pub const ALL: [Self; FAULT_KINDS] = [$(Self::$name,)*];
            /// Its name in plans.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// The `sometimes` probe that counts its firings.
            #[must_use]
            pub const fn probe(self) -> &'static str {
                match self { $(Self::$name => concat!("fault.", $text),)* }
            }
        }
    };
}

/// How many kinds of fault there are.
pub const FAULT_KINDS: usize = 26;

kinds! {
    /// Links cut both ways.
    Partition "partition",
    /// Links cut one way: A hears B, B does not hear A.
    PartitionOneWay "partition_one_way",
    /// Messages held, and let go at the end of the window.
    Clog "clog",
    /// Messages later than the link is long.
    Delay "delay",
    /// Messages overtake each other.
    Reorder "reorder",
    /// Messages arrive twice.
    Duplicate "duplicate",
    /// Messages lost, one by one or in bursts.
    Drop "drop",
    /// A narrow link: a queue, and loss when it is full.
    Bandwidth "bandwidth",
    /// Bits of a frame flipped on the way.
    CorruptPacket "corrupt_packet",
    /// A calendar clock that is off.
    ClockSkew "clock_skew",
    /// Clocks that run fast or slow.
    ClockDrift "clock_drift",
    /// A calendar clock that jumps, either way.
    ClockJump "clock_jump",
    /// Power lost: the process ends, what was not synced may be gone.
    Crash "crash",
    /// Power lost in the middle of writes: blocks torn at 512 bytes.
    TornWrite "torn_write",
    /// Sectors that can't be read any more.
    LatentSectorError "latent_sector_error",
    /// Bits of durable data flipped.
    BitRot "bit_rot",
    /// Writes that land elsewhere.
    MisdirectedWrite "misdirected_write",
    /// Reads that answer with other data.
    MisdirectedRead "misdirected_read",
    /// Writes and syncs acknowledged but not made.
    PhantomWrite "phantom_write",
    /// No space for what grows.
    DiskFull "disk_full",
    /// Operations refused by the device.
    DiskError "disk_error",
    /// Operations that take long, or until the window ends.
    SlowDisk "slow_disk",
    /// A process that stands still while the world goes on.
    Pause "pause",
    /// A disk swapped for an empty one.
    Wipe "wipe",
    /// A restart with another version of the program.
    VersionChange "version_change",
    /// A node that lies to its peers.
    Byzantine "byzantine",
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a fault does, with its parameters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Cuts the target links in both directions.
    Partition {},
    /// Cuts the target links in the direction stated.
    PartitionOneWay {},
    /// Holds messages until the window ends.
    Clog {},
    /// Adds to each message's time on the way.
    Delay {
        /// Always added.
        extra: Duration,
        /// Up to this much more, drawn for each message.
        #[serde(default)]
        jitter: Duration,
    },
    /// Lets messages be overtaken.
    Reorder {
        /// How many.
        rate: Ratio,
        /// Up to this much later.
        extra: Duration,
    },
    /// Repeats messages.
    Duplicate {
        /// How many.
        rate: Ratio,
        /// The copy comes up to this much later.
        extra: Duration,
    },
    /// Loses messages.
    Drop {
        /// How many draws hit.
        rate: Ratio,
        /// A hit loses this many messages of the link in a row; at least one.
        #[serde(default)]
        burst: u32,
    },
    /// Narrows links.
    Bandwidth {
        /// The rate left.
        rate: Rate,
        /// What may wait; more is lost.
        queue: ByteCount,
    },
    /// Flips bits of frames.
    CorruptPacket {
        /// How many frames.
        rate: Ratio,
        /// Up to this many bits of each.
        bits: u32,
    },
    /// Sets a calendar clock off.
    ClockSkew {
        /// By how much, in nanoseconds.
        nanos: i64,
        /// Whether the stated uncertainty covers it; if not, the bound is wrong by design.
        honest: bool,
    },
    /// Makes both clocks of a node run fast or slow.
    ClockDrift {
        /// Parts in a million; at most ±100,000.
        ppm: i32,
    },
    /// Makes a calendar clock jump, once.
    ClockJump {
        /// By how much, in nanoseconds.
        nanos: i64,
    },
    /// Power loss.
    Crash {
        /// Waits, at most until the window's end, for a moment inside a disk request or job.
        #[serde(default)]
        mid_write: bool,
    },
    /// Power loss with blocks torn; always inside a disk request or job if one comes in time.
    TornWrite {},
    /// Makes sectors unreadable until they are written again.
    LatentSectorError {
        /// How many.
        sectors: u32,
        /// Leaves alone what the last sync of each file made durable (see [`crate::atlas`]).
        #[serde(default)]
        spare_tail: bool,
    },
    /// Flips bits of what is durable.
    BitRot {
        /// How many, each in a sector of its own draw.
        bits: u32,
        /// Leaves alone what the last sync of each file made durable (see [`crate::atlas`]).
        #[serde(default)]
        spare_tail: bool,
    },
    /// Sends writes to another place.
    MisdirectedWrite {
        /// How many.
        rate: Ratio,
    },
    /// Answers reads from another place.
    MisdirectedRead {
        /// How many.
        rate: Ratio,
    },
    /// Acknowledges what is not made.
    PhantomWrite {
        /// How many blocks of a sync are left out.
        rate: Ratio,
        /// How many syncs do nothing at all.
        #[serde(default)]
        lying_sync: Ratio,
    },
    /// Fills the disk.
    DiskFull {
        /// What is left for growth.
        #[serde(default)]
        free: ByteCount,
    },
    /// Fails operations.
    DiskError {
        /// How many reads.
        #[serde(default)]
        reads: Ratio,
        /// How many writes, creations and renames.
        #[serde(default)]
        writes: Ratio,
        /// How many syncs.
        #[serde(default)]
        syncs: Ratio,
    },
    /// Slows operations down.
    SlowDisk {
        /// Added to each operation.
        #[serde(default)]
        extra: Duration,
        /// Nothing completes before the window's end.
        #[serde(default)]
        stalled: bool,
    },
    /// Stops a process and lets it go on.
    Pause {},
    /// Ends a process and empties its disk.
    Wipe {},
    /// Ends a process in good order of its disk and boots another version.
    VersionChange {
        /// The version that boots.
        version: u32,
    },
    /// Makes a node lie.
    Byzantine {
        /// How many messages have a byte of their body altered (the frame is made to fit).
        #[serde(default)]
        mutate: Ratio,
        /// How many are sent twice.
        #[serde(default)]
        duplicate: Ratio,
        /// How many have an older message of the node sent after them.
        #[serde(default)]
        replay: Ratio,
        /// How many are not sent.
        #[serde(default)]
        withhold: Ratio,
    },
}

impl Effect {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Partition {} => FaultKind::Partition,
            Self::PartitionOneWay {} => FaultKind::PartitionOneWay,
            Self::Clog {} => FaultKind::Clog,
            Self::Delay { .. } => FaultKind::Delay,
            Self::Reorder { .. } => FaultKind::Reorder,
            Self::Duplicate { .. } => FaultKind::Duplicate,
            Self::Drop { .. } => FaultKind::Drop,
            Self::Bandwidth { .. } => FaultKind::Bandwidth,
            Self::CorruptPacket { .. } => FaultKind::CorruptPacket,
            Self::ClockSkew { .. } => FaultKind::ClockSkew,
            Self::ClockDrift { .. } => FaultKind::ClockDrift,
            Self::ClockJump { .. } => FaultKind::ClockJump,
            Self::Crash { .. } => FaultKind::Crash,
            Self::TornWrite {} => FaultKind::TornWrite,
            Self::LatentSectorError { .. } => FaultKind::LatentSectorError,
            Self::BitRot { .. } => FaultKind::BitRot,
            Self::MisdirectedWrite { .. } => FaultKind::MisdirectedWrite,
            Self::MisdirectedRead { .. } => FaultKind::MisdirectedRead,
            Self::PhantomWrite { .. } => FaultKind::PhantomWrite,
            Self::DiskFull { .. } => FaultKind::DiskFull,
            Self::DiskError { .. } => FaultKind::DiskError,
            Self::SlowDisk { .. } => FaultKind::SlowDisk,
            Self::Pause {} => FaultKind::Pause,
            Self::Wipe {} => FaultKind::Wipe,
            Self::VersionChange { .. } => FaultKind::VersionChange,
            Self::Byzantine { .. } => FaultKind::Byzantine,
        }
    }
    /// Whether it acts on links; the others act on a node.
    #[must_use]
    pub const fn on_links(&self) -> bool {
        matches!(
            self,
            Self::Partition {}
                | Self::PartitionOneWay {}
                | Self::Clog {}
                | Self::Delay { .. }
                | Self::Reorder { .. }
                | Self::Duplicate { .. }
                | Self::Drop { .. }
                | Self::Bandwidth { .. }
                | Self::CorruptPacket { .. }
        )
    }
    /// Whether it acts at one point, without an end.
    #[must_use]
    pub const fn at_a_point(&self) -> bool {
        matches!(self, Self::ClockJump { .. } | Self::LatentSectorError { .. } | Self::BitRot { .. })
    }
}

/// Whom a fault hits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One node.
    Node(NodeId),
    /// The links from each of `from` to each of `to`, a node's link to itself excepted.
    Links {
        /// Senders; none named means all.
        #[serde(default)]
        from: Vec<NodeId>,
        /// Receivers; none named means all.
        #[serde(default)]
        to: Vec<NodeId>,
    },
}

impl Target {
    /// The links between two sides.
    #[must_use]
    pub fn between(from: &[NodeId], to: &[NodeId]) -> Self {
        Self::Links { from: from.to_vec(), to: to.to_vec() }
    }
    /// Every link.
    #[must_use]
    pub const fn all_links() -> Self {
        Self::Links { from: Vec::new(), to: Vec::new() }
    }
}

/// One window of one fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// From when; simulated time.
    pub at: Instant,
    /// Until when; not before `at`.
    pub until: Instant,
    /// Whom.
    pub target: Target,
    /// What.
    pub effect: Effect,
}

impl Fault {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        self.effect.kind()
    }
    /// A fault of a node.
    #[must_use]
    pub const fn node(node: NodeId, at: Instant, until: Instant, effect: Effect) -> Self {
        Self { at, until, target: Target::Node(node), effect }
    }
    /// A fault of the links between two sides.
    #[must_use]
    pub fn links(from: &[NodeId], to: &[NodeId], at: Instant, until: Instant, effect: Effect) -> Self {
        Self { at, until, target: Target::between(from, to), effect }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}..{} ", self.kind(), self.at, self.until)?;
        match &self.target {
            Target::Node(n) => write!(f, "{n}"),
            Target::Links { from, to } => write!(f, "{from:?}->{to:?}"),
        }
    }
}

/// How often each kind has fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fired([u64; FAULT_KINDS]);

impl Fired {
    /// One more.
    pub const fn count(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }
    /// Some more.
    pub const fn add(&mut self, kind: FaultKind, n: u64) {
        self.0[kind as usize] += n;
    }
    /// How often this kind has fired.
    #[must_use]
    pub const fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }
    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        FaultKind::ALL.into_iter().map(|k| (k, self.of(k)))
    }
    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a += b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_26_kinds_with_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = FaultKind::ALL.iter().map(|k| k.name()).collect();
        assert_eq!(names.len(), FAULT_KINDS);
        for (i, k) in FaultKind::ALL.iter().enumerate() {
            assert_eq!(*k as usize, i);
            assert_eq!(k.probe(), format!("fault.{}", k.name()));
        }
    }
}
