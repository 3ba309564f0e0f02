//! Disks that lose entries of a Raft epoch's log, for good, while their node is down.
//!
//! The record is turned over where it lies, so that the log finds out by itself what it lost; and half of these nodes go down again soon
//! after: what one life found, and cut off, the next must know.

use super::Trial;
use crate::harness::G;
use crate::harness::world::Answered;
use bytes::Bytes;
use dwcp_chain::EngineKind;
use dwcp_consensus::Position;
use dwcp_env::{Duration, GroupId, Instant, NodeId, Purpose};
use dwcp_wal::{Damage, Lost, Recovered};
use std::collections::BTreeMap;

const ROT: Purpose = Purpose::named("trial.rot");

/// Who lost something, of which epoch, and how far it had helped to decide there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hurt {
    node: NodeId,
    epoch: u32,
    reaches: u64,
}

/// An entry that may be lost: it was acknowledged, and no checkpoint of that disk has it.
struct Choice {
    slot: GroupId,
    index: u64,
    command: Bytes,
    hurt: Hurt,
}

/// The epoch of an answered position.
const fn epoch_of(at: Position) -> u32 {
    (at.term >> 40) as u32
}

impl Trial {
    fn rot_draw(&mut self, below: u64) -> u64 {
        self.rot_drawn += 1;
        self.seed.below(below, ROT, self.rot_drawn, Instant::ZERO, 0)
    }

    /// A node that is down loses an entry, if it has one to lose, and starts; whether it did.
    pub(super) fn rot(&mut self, id: NodeId) -> bool {
        if self.amnesiac.is_some_and(|a| a != id) || self.rot_draw(3) > 0 {
            return false;
        }
        let before = self.world.log_of(id);
        let mut choices = self.choices(id, &before);
        if choices.is_empty() {
            return false;
        }
        let Choice { slot, index, command, hurt } =
            choices.swap_remove(self.rot_draw(choices.len() as u64) as usize);
        let whole = self.world.nodes[&id].disk.copy();
        self.world.nodes[&id].disk.rot("wal-", &command);
        let after = self.world.log_of(id);
        let lost = |d: &Damage| {
            d.group == Some(slot) && matches!(d.lost, Lost::Entry { index: i, .. } if i == index)
        };
        let new: Vec<&Damage> = after.damage.iter().filter(|d| !before.damage.contains(d)).collect();
        // Of what lies in the log's last batch nobody could tell that it was ever there.
        if after.tail_cut.is_some() || new.len() != 1 || !lost(new[0]) {
            if let Some(node) = self.world.nodes.get_mut(&id) {
                node.disk = whole;
            }
            return false;
        }
        self.amnesiac = Some(id);
        self.hurt = Some(hurt);
        self.told.losses += 1;
        self.say(format_args!("the disk of {id} has lost {command:?}, {index} of {slot}: {hurt:?}"));
        self.world.start(id);
        if self.rot_draw(2) == 0 {
            let time = [1, 5, 40, 200][self.rot_draw(4) as usize];
            self.world.run(Duration::millis(time));
            self.say(format_args!("{id} goes down again"));
            self.world.crash(id);
            self.world.start(id);
        }
        true
    }

    fn choices(&self, id: NodeId, found: &Recovered) -> Vec<Choice> {
        let place = |token| match self.world.answers.get(token) {
            Some(Answered::Proposed(Ok((at, _)))) => Some(*at),
            _ => None,
        };
        let decided: BTreeMap<&Bytes, Position> =
            self.written.iter().filter_map(|(token, command)| Some((command, place(token)?))).collect();
        let kept = self.world.checkpointed(id, G);
        let raft = |epoch| epoch > 0 && self.epochs.get(&epoch).is_some_and(|s| s.engine == EngineKind::Raft);
        let mut choices = Vec::new();
        for (slot, log) in &found.groups {
            // Only Raft casts votes there.
            for entry in log.entries.iter().filter(|_| log.vote.is_some()) {
                let Some(command) = dwcp_raft::command_of(&entry.payload) else { continue };
                let Some(at) = decided.get(&command).filter(|at| raft(epoch_of(**at))) else { continue };
                if kept.contains(&command) || *slot == G {
                    continue;
                }
                let (epoch, base) = (epoch_of(*at), at.index - entry.index);
                let of_it = decided.values().filter(|at| epoch_of(**at) == epoch).map(|at| at.index).max();
                let reaches = of_it.unwrap_or(0).min(base + log.last.unwrap_or(0));
                let hurt = Hurt { node: id, epoch, reaches };
                choices.push(Choice { slot: *slot, index: entry.index, command, hurt });
            }
        }
        choices
    }

    /// Whether who lost something has a voice before it holds that again.
    pub(super) fn judge_voice(&mut self, id: NodeId) -> Result<(), String> {
        let Some(Hurt { node, epoch, reaches }) = self.hurt else { return Ok(()) };
        let Some(host) = self.world.life(id).map(|l| &l.host).filter(|_| id == node) else { return Ok(()) };
        let (brief, suspect) = (host.brief(G), host.is_suspect(G));
        if brief.epoch > epoch {
            self.hurt = None;
        }
        // Nothing runs yet, or the state is of an earlier epoch.
        if brief.epoch != epoch || brief.last_index == 0 || suspect {
            return Ok(());
        }
        let held = brief.last_index.max(brief.applied_index);
        if held < reaches {
            return Err(format!("{id} has a voice in epoch {epoch}, holds {held}, and had {reaches}"));
        }
        self.hurt = None;
        Ok(())
    }
}
