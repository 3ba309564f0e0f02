//! What must have happened at least once in a sweep, else it tested nothing.

use alloc::collections::BTreeMap;
use dwcp_env::Duration;

macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something worth having happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Seen { $($(#[$doc])* $name),* }
        impl Seen {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text),* } }
        }
    };
}

seen! {
    /// A message was delivered.
    Delivered = "messages delivered";
    /// A message was lost, or met a cut.
    Lost = "messages lost";
    /// A message came twice.
    Doubled = "messages doubled";
    /// A cut held a message until it was mended.
    Held = "messages held by a cut";
    /// A message came long after it was sent.
    Late = "messages of long ago";
    /// A message overtook others.
    Overtook = "messages that overtook";
    /// A record was appended.
    Appended = "records appended";
    /// A sync ended.
    Synced = "syncs";
    /// A message waited for a sync.
    Waited = "messages held for a sync";
    /// A node crashed.
    Crashed = "crashes";
    /// A node was told that a peer's process seems to be gone.
    Hinted = "hints that a process is gone";
    /// A crash lost records.
    Torn = "crashes that lost records";
    /// A crash kept records that were not reported yet.
    KeptMore = "crashes that kept unreported records";
    /// A crash hit while a log was being replaced.
    MidCompaction = "crashes during compaction";
    /// A disk was wiped.
    Wiped = "wiped disks";
    /// A node was paused.
    Paused = "pauses";
    /// A disk was stalled.
    Stalled = "stalled disks";
    /// Links were cut.
    Cut = "cuts";
    /// A command was acknowledged.
    Acknowledged = "commands acknowledged";
    /// A proposal was refused.
    Refused = "proposals refused";
    /// A read was served.
    Read = "reads served";
    /// A checkpoint became durable.
    Checkpointed = "checkpoints";
    /// A log was replaced by its compaction.
    Compacted = "compactions";
    /// A peer's checkpoint was installed.
    Installed = "checkpoints installed";
    /// A crash hit right after a peer's checkpoint was installed.
    Fell = "crashes right after an installation";
    /// A seal was decided.
    Sealed = "states sealed";
    /// A command behind a seal had no effect.
    Void = "commands without effect";
    /// A peer's checkpoint was turned away: not enough vouch for it.
    NotAdmitted = "checkpoints not admitted";
    /// A node restarted from a checkpoint.
    FromMark = "restarts from a checkpoint";
    /// The leader changed.
    Led = "leaders seen";
    /// A command was decided twice.
    Twice = "commands decided twice";
    /// A message went through the codec and back.
    Coded = "messages through the codec";
    /// What a new leader holds was compared with what was decided.
    Compared = "decisions looked for in new leaders";
    /// A value accepted in a ballot was compared with others of that ballot.
    Matched = "acceptances compared";
    /// A decision was compared with others in what it depends on.
    Settled = "dependencies compared";
    /// A value's disks were counted.
    Weighed = "decisions weighed on disks";
    /// A message in another's name was put on the wire.
    Forged = "messages in another's name";
    /// A traitor stepped.
    Lied = "steps of traitors";
}

/// Counts of a run or a sweep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    counts: [u64; Seen::ALL.len()],
    /// The protocol's own hard paths.
    pub hard: BTreeMap<&'static str, u64>,
    /// The longest times, by what was waited for (ns).
    pub longest: BTreeMap<&'static str, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: [0; Seen::ALL.len()], hard: BTreeMap::new(), longest: BTreeMap::new() }
    }
}

impl Tally {
    /// One more.
    pub fn add(&mut self, what: Seen) {
        self.counts[what as usize] += 1;
    }
    /// A time that may be the longest.
    pub fn longest(&mut self, what: &'static str, time: Duration) {
        let longest = self.longest.entry(what).or_default();
        *longest = (*longest).max(time.as_nanos());
    }
    /// How many.
    #[must_use]
    pub const fn of(&self, what: Seen) -> u64 {
        self.counts[what as usize]
    }
    /// All of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        for (name, n) in &other.hard {
            *self.hard.entry(name).or_default() += n;
        }
        for (name, n) in &other.longest {
            self.longest(name, Duration::nanos(*n));
        }
    }
    /// Names and counts.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Seen::ALL.iter().map(|s| (s.name(), self.of(*s))).chain(self.hard.iter().map(|(n, c)| (*n, *c)))
    }
}
