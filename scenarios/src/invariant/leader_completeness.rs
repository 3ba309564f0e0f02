//! **Leader completeness** (Raft §5.4): an entry committed in a term is present in the logs of
//! the leaders of all higher terms.
//!
//! Seen from outside: when a node first shows as leader of a term, its log reaches at least
//! the highest index that anybody had shown as committed in a lower term by then.

use super::Look;
use dwcp_consensus::Role;

#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    /// The highest index shown committed, and the lowest term in which it was.
    committed: u64,
    term: u64,
    /// The highest term whose leader has been judged.
    judged: u64,
}

impl LeaderCompleteness {
    pub(super) fn look(&mut self, look: &Look) -> Option<String> {
        let mut broken = None;
        if look.role == Role::Leader && look.term > self.judged {
            self.judged = look.term;
            if look.term > self.term && look.last < self.committed {
                broken = Some(format!(
                    "{} leads in term {} with a log up to {}; {} was committed in term {}",
                    look.node, look.term, look.last, self.committed, self.term
                ));
            }
        }
        if look.committed > self.committed {
            self.committed = look.committed;
            self.term = look.term;
        }
        broken
    }
}
