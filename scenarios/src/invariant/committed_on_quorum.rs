//! **Committed on a quorum** (Raft §5.3): what a leader shows as committed is in the logs of a
//! majority.
//!
//! Seen from outside: when the commit index rises to C, the last look at a majority of nodes
//! (the dead included: their disks still count) shows a log of at least C. Looks follow each
//! event at a node, so a log is seen to grow before its acknowledgement can have arrived. Not
//! judged once the members change: then the majority is another.

use super::Look;

#[derive(Debug, Default)]
pub(super) struct CommittedOnQuorum {
    /// Zero: not judged.
    majority: usize,
    committed: u64,
}

impl CommittedOnQuorum {
    pub(super) const fn of(voters: usize) -> Self {
        Self { majority: voters / 2 + 1, committed: 0 }
    }
    pub(super) const fn stop(&mut self) {
        self.majority = 0;
    }
    pub(super) fn look(&mut self, look: &Look, last: &[Look]) -> Option<String> {
        if look.committed <= self.committed || self.majority == 0 {
            return None;
        }
        self.committed = look.committed;
        let holders = last.iter().filter(|l| l.last >= look.committed).count();
        (holders < self.majority).then(|| {
            let seen = last.iter().filter(|l| l.life > 0);
            let logs: Vec<String> = seen.map(|l| format!("{} {}", l.node, l.last)).collect();
            format!(
                "{} shows index {} as committed in term {}; {holders} logs reach it, {} are needed (logs end at: {})",
                look.node,
                look.committed,
                look.term,
                self.majority,
                logs.join(", ")
            )
        })
    }
}
