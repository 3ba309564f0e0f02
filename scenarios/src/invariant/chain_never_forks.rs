//! **The chain never forks** (Balakrishnan et al., *Virtual Consensus in Delos*, OSDI 2020, §3.2: the chain is written
//! once for each epoch; Malkhi, Lamport, Zhou, *Stoppable Paxos*, 2008, §3: a stopping command is the last one): there is one
//! epoch of each number, with one content, one beginning and one end, and each begins where the one before it ends.
//!
//! Seen from outside: what nodes show of the epoch that their state is in, and of those that they remember, whenever one
//! of them shows another epoch, or has begun another life. Under Raft, which changes its members inside an epoch, the
//! content is what the seal said. Who has applied nothing knows no chain yet: it may be joining. That a node of one life
//! never goes back is [`super::monotone`]'s: terms count epochs.

use super::{Broken, Look, Property};
use dwcp_env::NodeId;
use dwcp_node::{EngineKind, Past, Spec};
use std::collections::BTreeMap;

/// An epoch, as far as anybody has shown it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    engine: EngineKind,
    /// The index before its first.
    base: u64,
    /// Of its content, from those whose state was in it.
    id: Option<u64>,
    /// The index of its seal.
    sealed: Option<u64>,
}

/// What was shown of a chain.
#[derive(Debug, Default)]
pub struct Chains {
    watched: bool,
    epochs: BTreeMap<u32, (Known, NodeId)>,
    /// In which life and epoch each node was seen last, by number.
    seen: Vec<(u32, u32)>,
}

impl Chains {
    /// Watches the chain, if that is asked for.
    #[must_use]
    pub fn new(watched: &[Property]) -> Self {
        Self { watched: watched.contains(&Property::ChainNeverForks), ..Self::default() }
    }
    /// Whether this look is one after which the chain is to be shown to [`Self::look`].
    pub fn wants(&mut self, look: &Look) -> bool {
        if !self.watched || look.life == 0 || look.applied.is_none() {
            return false;
        }
        let slot = usize::try_from(look.node.0).unwrap_or(usize::MAX).min(dwcp_runtime_sim::plan::NODES_MAX);
        if self.seen.len() <= slot {
            self.seen.resize(slot + 1, (0, 0));
        }
        self.seen[slot] != (look.life, look.epoch)
    }
    /// Takes what a node shows in this of its lives.
    pub fn look(&mut self, node: NodeId, life: u32, spec: &Spec, base: u64, past: &[Past]) -> Option<Broken> {
        if let Some(seen) = usize::try_from(node.0).ok().and_then(|slot| self.seen.get_mut(slot)) {
            *seen = (life, spec.epoch);
        }
        let broken = |detail| Some(Broken { property: Property::ChainNeverForks, detail });
        let Spec { epoch, engine, .. } = *spec;
        let ends = past.iter().map(|p| (p.epoch, p.sealed));
        let begins = past.iter().map(|p| (p.epoch, p.base)).chain([(epoch, base)]).skip(1);
        for ((before, sealed), (after, base)) in ends.zip(begins) {
            // Ends in between may be forgotten.
            if before >= after || sealed > base || (before + 1 == after && sealed != base) {
                return broken(format!(
                    "{node} knows epoch {before} to end at {sealed}, and epoch {after} to begin behind {base}"
                ));
            }
        }
        let now = Known { engine, base, id: Some(spec.id()), sealed: None };
        let past = past
            .iter()
            .map(|p| (p.epoch, Known { engine: p.engine, base: p.base, id: None, sealed: Some(p.sealed) }));
        past.chain([(epoch, now)]).find_map(|(epoch, shown)| broken(self.compare(epoch, shown, node)?))
    }
    fn compare(&mut self, epoch: u32, shown: Known, node: NodeId) -> Option<String> {
        let (known, who) = self.epochs.entry(epoch).or_insert((shown, node));
        let both = Known {
            engine: known.engine,
            base: known.base,
            id: shown.id.and(known.id).or(shown.id),
            sealed: shown.sealed.and(known.sealed).or(shown.sealed),
        };
        let shown = Known { id: shown.id.or(both.id), sealed: shown.sealed.or(both.sealed), ..shown };
        if shown != both {
            return Some(format!("{node} shows epoch {epoch} as {shown:?}; {who} has shown it as {known:?}"));
        }
        known.id = known.id.or(shown.id);
        known.sealed = known.sealed.or(shown.sealed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_consensus::Members;

    fn spec(epoch: u32, engine: EngineKind, first: u64) -> Spec {
        let members = Members { voters: [NodeId(1), NodeId(2)].into(), ..Members::default() };
        Spec { epoch, engine, members, first: Some(NodeId(first)), ..Spec::default() }
    }
    fn past(epoch: u32, base: u64, sealed: u64) -> Past {
        Past { epoch, engine: EngineKind::Paxos, base, sealed, seal: Default::default() }
    }
    fn judge(shown: &[(Spec, u64, Vec<Past>)]) -> Option<String> {
        let mut chains = Chains::new(&[Property::ChainNeverForks]);
        let each = shown.iter().zip(1..);
        each.map(|((spec, base, past), node)| chains.look(NodeId(node), 1, spec, *base, past))
            .find_map(|broken| broken.map(|b| b.detail))
    }

    #[test]
    fn one_chain_is_not_accused() {
        let (zero, two) = (spec(0, EngineKind::Paxos, 1), spec(2, EngineKind::Raft, 2));
        let all = vec![past(0, 0, 9), past(1, 9, 30)];
        assert_eq!(
            judge(&[
                (zero.clone(), 0, vec![]),
                (two.clone(), 30, all),
                (zero, 0, vec![]),
                (two, 30, vec![past(1, 9, 30)])
            ]),
            None
        );
    }

    #[test]
    fn each_fork_is_seen() {
        let (paxos, raft) = (EngineKind::Paxos, EngineKind::Raft);
        let one = (spec(1, paxos, 1), 9, vec![past(0, 0, 9)]);
        for (what, shown) in [
            ("another engine", vec![one.clone(), (spec(1, raft, 1), 9, vec![past(0, 0, 9)])]),
            ("another content", vec![one.clone(), (spec(1, paxos, 2), 9, vec![past(0, 0, 9)])]),
            ("another beginning", vec![one.clone(), (spec(1, paxos, 1), 8, vec![past(0, 0, 8)])]),
            (
                "another end",
                vec![
                    (spec(2, paxos, 1), 30, vec![past(1, 9, 30)]),
                    (spec(2, paxos, 1), 30, vec![past(1, 8, 30)]),
                ],
            ),
            (
                "two ends",
                vec![
                    (spec(2, paxos, 1), 30, vec![past(1, 9, 30)]),
                    (spec(3, paxos, 1), 40, vec![past(1, 9, 31), past(2, 31, 40)]),
                ],
            ),
            ("a gap", vec![(spec(1, paxos, 1), 10, vec![past(0, 0, 9)])]),
            ("a loop", vec![(spec(1, paxos, 1), 9, vec![past(1, 0, 9)])]),
        ] {
            assert!(judge(&shown).is_some(), "{what}");
        }
    }
}
