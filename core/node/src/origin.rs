//! Where the epoch that a group is in comes from, as far as this process has seen it.
//!
//! **Promise.** What is told was seen: when this process's state came to the epoch, and who wanted it, if that was asked for
//! or chosen on this node. What another node was asked for, or what was before this process began, is told as not seen:
//! whoever asks all nodes finds the one that knows. Nothing here decides anything, and nothing of it outlives the process;
//! a seal names no author, so the log can't tell either.
//!
//! | cause | known by |
//! |---|---|
//! | the configuration | the epoch is the first |
//! | an operator asked for it | the node that put the seal to its engine for him: engine and quorums are as asked |
//! | the selection chose it | the node whose policy wanted it sealed: engine and quorums are as wanted, with the reasons it had then |
//! | the members changed | engine and quorums are those of the epoch before, and the members are not |
//! | not seen | none of these |

use crate::node::Node;
use dwcp_chain::{ChainRecord, EngineKind, Spec, Switch};
use dwcp_consensus::Members;
use dwcp_consensus::quorum::System;
use dwcp_env::{GroupId, Now, WallTime};
use serde::{Deserialize, Serialize};

/// Why an epoch was begun, as one node saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It is the first: the nodes' configurations name its engine.
    Configured,
    /// An operator asked for it, and this node proposed it.
    Asked,
    /// This node's selection chose it, for these reasons.
    Chosen(String),
    /// The members changed; engine and quorums are as before.
    Members,
    /// Another node knows, or nobody any more.
    #[default]
    Unseen,
}

/// Where an epoch comes from, as one node saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// When the node's state came to the epoch, by its calendar; `None` if that was before its process began.
    pub since: Option<WallTime>,
    /// Why.
    pub cause: Cause,
}

/// What somebody wants the epoch behind one to be.
#[derive(PartialEq, Eq, Debug)]
struct Wish {
    after: u32,
    engine: EngineKind,
    quorums: Option<System>,
}

impl Wish {
    fn is(&self, before: u32, now: &Spec) -> bool {
        (self.after, self.engine, &self.quorums) == (before, now.engine, &now.quorums)
    }
}

/// What a group's node remembers of its epochs' ends.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    epoch: u32,
    /// The epoch as it was come to; `None` before the engine has run.
    spec: Option<Spec>,
    origin: Origin,
    asked: Option<Wish>,
    chosen: Option<(Wish, String)>,
}

impl Origins {
    /// Before this process has seen anything.
    pub(crate) fn of(record: &ChainRecord) -> Self {
        Self { epoch: record.spec.epoch, ..Self::default() }
    }
    pub(crate) fn get(&self) -> Origin {
        match self.epoch {
            0 => Origin { since: None, cause: Cause::Configured },
            _ => self.origin.clone(),
        }
    }
    fn ask(&mut self, after: u32, to: &Switch) {
        self.asked = Some(Wish { after, engine: to.engine, quorums: to.quorums.clone() });
    }
    fn come(&mut self, at: WallTime, now: Spec) {
        let before = self.epoch;
        let seen = self.spec.is_some();
        let cause = if self.asked.as_ref().is_some_and(|w| w.is(before, &now)) {
            Cause::Asked
        } else if let Some((_, why)) = self.chosen.as_ref().filter(|(w, _)| w.is(before, &now)) {
            Cause::Chosen(why.clone())
        } else if self.spec.as_ref().is_some_and(|old| {
            let same = (old.engine, &old.quorums) == (now.engine, &now.quorums);
            same && old.epoch.wrapping_add(1) == now.epoch && changed(&old.members, &now.members)
        }) {
            Cause::Members
        } else {
            Cause::Unseen
        };
        (self.asked, self.chosen) = (None, None);
        self.origin = Origin { since: seen.then_some(at), cause };
        (self.epoch, self.spec) = (now.epoch, Some(now));
    }
}

/// Of Raft's first epoch no members are in the record.
fn changed(old: &Members, now: &Members) -> bool {
    !old.voters.is_empty() && old != now
}

impl Node {
    /// An operator's wish is about to be proposed here.
    pub(crate) fn note_wish(&mut self, id: GroupId, to: &Switch) {
        let epoch = self.host.brief(id).epoch;
        if let Some(group) = self.groups.get_mut(&id) {
            group.origins.ask(epoch, to);
        }
    }
    /// Notes which groups have come to another epoch, and what the selection wants.
    pub(crate) fn notice_epochs(&mut self, now: Now) {
        for (id, group) in &mut self.groups {
            let Some(chain) = self.host.group(*id) else { continue };
            let (epoch, origins) = (chain.epoch(), &mut group.origins);
            if origins.epoch == epoch && origins.spec.is_some() {
                let Some((engine, quorums)) = self.host.wanted(*id) else { continue };
                let wish = Wish { after: epoch, engine, quorums };
                if origins.chosen.as_ref().is_none_or(|(w, _)| *w != wish) {
                    origins.chosen = Some((wish, self.host.advice(*id).unwrap_or_default()));
                }
            } else if origins.epoch == epoch {
                origins.spec = Some(chain.spec());
            } else {
                origins.come(now.wall, chain.spec());
            }
        }
    }
    /// The engine that this node's configuration begins a group with, if the group's first epoch is known to have been under another.
    pub(crate) fn other_engine(&self, id: GroupId) -> Option<EngineKind> {
        let configured = self.config.groups.iter().find(|g| g.id == id)?.engine;
        // Who joins knows no chain before it has applied something of it.
        self.groups.get(&id)?.store().position()?;
        let chain = self.host.group(id)?;
        let spec = chain.spec();
        let first = if spec.epoch == 0 {
            spec.engine
        } else {
            chain.history().1.iter().find(|p| p.epoch == 0)?.engine
        };
        (first != configured).then_some(configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::NodeId;

    fn spec(epoch: u32, engine: EngineKind, voters: &[u64]) -> Spec {
        let members = Members { voters: voters.iter().copied().map(NodeId).collect(), ..Members::default() };
        Spec { epoch, engine, members, ..Spec::default() }
    }
    fn begun(first: Spec) -> Origins {
        let mut origins = Origins::of(&ChainRecord::genesis(first.clone()));
        origins.spec = Some(first);
        origins
    }
    const AT: WallTime = WallTime::from_nanos(7);

    #[test]
    fn who_wanted_an_epoch_is_known_where_it_was_asked_for_or_chosen() {
        let paxos = spec(0, EngineKind::Paxos, &[1, 2, 3]);
        assert_eq!(begun(paxos.clone()).get().cause, Cause::Configured);
        let raft = spec(1, EngineKind::Raft, &[1, 2, 3]);
        let mut origins = begun(paxos.clone());
        origins.ask(0, &Switch { engine: EngineKind::Raft, ..Switch::default() });
        origins.come(AT, raft.clone());
        assert_eq!(origins.get(), Origin { since: Some(AT), cause: Cause::Asked });

        let mut origins = begun(paxos.clone());
        origins.ask(0, &Switch { engine: EngineKind::EPaxos, ..Switch::default() });
        origins.come(AT, raft.clone());
        assert_eq!(origins.get().cause, Cause::Unseen, "another engine than was asked for here");

        let mut origins = begun(paxos.clone());
        let wish = Wish { after: 0, engine: EngineKind::Raft, quorums: None };
        origins.chosen = Some((wish, "a round trip is saved".into()));
        origins.come(AT, raft);
        assert_eq!(origins.get().cause, Cause::Chosen("a round trip is saved".into()));

        let mut origins = begun(paxos);
        origins.come(AT, spec(1, EngineKind::Paxos, &[1, 2, 3, 4]));
        assert_eq!(origins.get().cause, Cause::Members);
    }

    #[test]
    fn what_was_before_this_process_is_not_seen() {
        let record =
            ChainRecord::genesis(spec(0, EngineKind::Paxos, &[1])).next(spec(1, EngineKind::Raft, &[1]), 9);
        assert_eq!(Origins::of(&record).get(), Origin::default());
    }
}
