//! **Election safety** (Raft §5.2): at most one leader can be elected in a given term.
//!
//! Seen from outside: of all looks that ever showed a leader of term T, all showed the same
//! node. A node may lead again in a later life only in a later term, or in the same term if it
//! kept its vote; both agree with this. Terms of later epochs of the chain are higher.
//!
//! Only where a leader is elected: under EPaxos every node leads, and under PBFT the view names its primary, and the term
//! counts more than views.

use super::Look;
use dwcp_consensus::Role;
use dwcp_env::NodeId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, NodeId>,
    /// The last answer that was found good: looks at a leader come by the thousand.
    known: Option<(u64, NodeId)>,
}

impl ElectionSafety {
    pub(super) fn look(&mut self, look: &Look) -> Option<String> {
        let elects = !look.engine.serves_everywhere();
        if !elects || look.role != Role::Leader || self.known == Some((look.term, look.node)) {
            return None;
        }
        let first = *self.leaders.entry(look.term).or_insert(look.node);
        self.known = Some((look.term, look.node));
        (first != look.node)
            .then(|| format!("{} leads in term {}, which {first} has led", look.node, look.term))
    }
}
