//! From what the last incarnation made durable to a node that serves.
//!
//! The log and the stores are read, compared, and each group is started, repaired, or (when it may have
//! promised what it can't remember) refused with the operator's next step.

use crate::config::{GroupSpec, NodeConfig};
use crate::eventual::EventualGroup;
use crate::group::Group;
use crate::hybrid::{HybridGroup, Part};
use crate::node::{Node, Out};
use crate::origin::Origins;
use crate::outside::{Outside, settle_regions};
use crate::repair::{Fetch, Missing, Place, Repair, begin_log_at};
use dwcp_chain::{ChainConfig, ChainHost, ChainRecord, EngineKind, Found, Spec, end_unknown_slots};
use dwcp_consensus::{Position, StateMachine as _};
use dwcp_env::exec::Pick;
use dwcp_env::{DiskError, Event, GroupId, NodeId, Now, Purpose, World};
use dwcp_raft::GroupConfig;
use dwcp_store::{LeaseClock, Store, StoreError, StoreOptions, Watchers};
use dwcp_wal::{GroupLog, Lost, Recovered, Wal, WalError};
use spin::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a node does not start. Each ends with what to do; the disk is as it was.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BootError {
    /// The write-ahead log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node may have promised what it can't remember.
    #[error(
        "{group}: durable records of this node's votes are lost to the disk, so it may not vote again; remove {node} with \
         `dwcp member remove`, empty its data directory, and let it join under a new id"
    )]
    Amnesia {
        /// Which group.
        group: GroupId,
        /// This node.
        node: NodeId,
    },
    /// Something durable is lost, and nobody else has it.
    #[error(
        "{group}: {lost}; no other member is known that could give it back, so nothing was changed. Restore the data directory \
         from a backup; or, if the group has other members by now, empty it and join as a new node (`dwcp member add`)"
    )]
    Alone {
        /// Which group.
        group: GroupId,
        /// What is lost.
        lost: String,
    },
    /// An eventual keyspace's file can't be opened, or its settings can't work.
    #[error("{group}: {why}")]
    Eventual {
        /// Which group.
        group: GroupId,
        /// Why.
        why: String,
    },
    /// A keyspace that other nodes form by this configuration than by the one it was formed under.
    #[error(
        "the keyspace {keyspace:?} was formed by {was}, and by this configuration it would be {is}': a keyspace does not move by its file, \
         and would come up empty. Write it {line} again on all nodes, or give the new one a name and a group number of its own"
    )]
    OtherRegion {
        /// Which.
        keyspace: String,
        /// Who formed it.
        was: String,
        /// Who would.
        is: String,
        /// How the file said it.
        line: String,
    },
    /// What region forms which keyspace can't be read.
    #[error(
        "the file `regions` in the data directory, which says which region forms which keyspace, can't be read. Take it from another \
         node: it is the same on all"
    )]
    Regions,
    /// An engine refused what was recovered.
    #[error("{group}: {why}")]
    Engine {
        /// Which group.
        group: GroupId,
        /// Why.
        why: String,
    },
}

const TOKENS: Purpose = Purpose::named("node.tokens");
const ENGINES: Purpose = Purpose::named("node.engines");

/// Ready tasks run in the order of waking; where the world allows mischief, in a drawn one.
fn pick(world: &World) -> Pick {
    if world.probe.buggify("exec.drawn_order") { Pick::Drawn(world.seed) } else { Pick::Fifo }
}

impl Node {
    /// Recovers from the world's storage and starts.
    ///
    /// # Errors
    /// See [`BootError`]; nothing has been changed on the disk then.
    pub fn boot(config: NodeConfig, world: &World) -> Result<Self, BootError> {
        settle_regions(&config, &*world.storage)?;
        let (wal, mut recovered) = Wal::open(world, config.wal)?;
        let wal = Arc::new(Mutex::new(wal));
        let mut host = ChainHost::new(
            pick(world),
            world.seed.part(ENGINES, config.node.0),
            wal.clone(),
            world.probe.clone(),
        );
        host.reserve(&recovered);
        // Tokens name calls to peers: those of an earlier incarnation must not be mistaken for ours.
        let first_token = (world.seed.part(TOKENS, config.node.0).0 >> 34) << 32;
        #[cfg(feature = "planted-bugs")]
        let first_token = if config.bugs.tokens_restart { 0 } else { first_token };
        tell_damage(world, &recovered);
        let records = recovered.records;
        let specs = config.groups.clone();
        let mut node = Self::new(config, world.probe.clone(), wal, host, first_token);
        for spec in specs {
            let (mut store, mut whole) = open_store(&node.config, &spec, world)?;
            let hybrid = node.config.hybrid.iter().find(|h| h.group == spec.id).cloned();
            let hybrid = hybrid
                .map(|h| {
                    let store = (&mut store, store_options(&node.config, spec.id));
                    HybridGroup::boot(&node, h, &spec, store, &mut recovered, world)
                        .map_err(|why| BootError::Engine { group: spec.id, why })
                })
                .transpose()?;
            whole &= hybrid.as_ref().is_none_or(|h| h.whole);
            let unfit = |why: &str| BootError::Engine { group: spec.id, why: why.to_string() };
            let record = ChainRecord::decode(&store.applied().1).map_err(unfit)?;
            let known = record.is_some();
            let record = record.unwrap_or_else(|| ChainRecord::genesis(spec.genesis().unwrap_or_default()));
            let mut found = Found::take(&mut recovered, spec.id, whole);
            // Only Raft's log can be made good entry by entry; what else is damaged the chain goes round.
            let slot = found.slot(spec.id, &record.spec).filter(|_| {
                record.spec.engine == EngineKind::Raft
                    && (known || !found.has_later_epochs() || found.replays(spec.id))
            });
            let log = slot.map(|slot| std::mem::take(found.log_mut(slot))).unwrap_or_default();
            let forgotten = recovered.unknown_lost && slot == Some(spec.id) && log == GroupLog::default();
            if forgotten || log.vote_lost || found.is_amnesiac() {
                return Err(BootError::Amnesia { group: spec.id, node: node.config.node });
            }
            let mut group = Group {
                id: spec.id,
                keyspace: spec.keyspace.clone(),
                store: Arc::new(Mutex::new(store)),
                repair: None,
                seen_leader: (0, None),
                told_members_at: None,
                leases: LeaseClock::new(),
                leases_term: 0,
                watchers: Watchers::default(),
                watches: BTreeMap::new(),
                origins: Origins::of(&record),
                more_to_watch: false,
            };
            if let Some(mut boot) = hybrid {
                let copy = boot.group.part == Part::Copy;
                if copy {
                    boot.group.keep(found);
                    node.hybrid.insert(spec.id, boot.group);
                    node.groups.insert(spec.id, group);
                    continue;
                }
                node.hybrid.insert(spec.id, boot.group);
            }
            let Some(slot) = slot else {
                if !whole && spec.peers(node.config.node).next().is_none() {
                    let lost = "its state is missing".to_string();
                    return Err(BootError::Alone { group: spec.id, lost });
                }
                node.groups.insert(spec.id, group);
                node.start_group(world.now, spec.id, found)
                    .map_err(|why| BootError::Engine { group: spec.id, why })?;
                continue;
            };
            let place = Place { slot, record, found };
            let repair = plan_repair(&node, &group, place, log, &recovered, whole);
            #[cfg(feature = "planted-bugs")]
            let repair = match &node.config.bugs {
                bugs if bugs.repair_guesses => repair.guessed(),
                bugs if bugs.repair_skipped => repair.skipped(),
                _ => repair,
            };
            let mut repair = repair;
            let clean = repair.fetch.is_none() && repair.missing.is_empty();
            if !clean && repair.nobody_to_ask() {
                return Err(BootError::Alone { group: spec.id, lost: repair.lost() });
            }
            if clean {
                repair.cut(&mut node.wal.lock());
                node.groups.insert(spec.id, group);
                node.start_group(world.now, spec.id, repair.into_found())
                    .map_err(|why| BootError::Engine { group: spec.id, why })?;
            } else {
                group.repair = Some(Box::new(repair));
                node.groups.insert(spec.id, group);
            }
        }
        for spec in node.config.eventual.clone() {
            let group = spec.group;
            let found = EventualGroup::boot(&node, spec, &mut recovered, world)
                .map_err(|why| BootError::Eventual { group, why })?;
            node.eventual.insert(group, found);
        }
        node.outside = node.config.outside.iter().map(|o| (o.id, Outside::new(o.clone()))).collect();
        end_unknown_slots(&recovered, &node.wal);
        world.probe.event(&Event::NodeStarted { records, took: dwcp_env::Duration::ZERO });
        Ok(node)
    }

    /// Starts the engine of a group whose state and log are whole.
    pub(crate) fn start_group(&mut self, now: Now, group: GroupId, found: Found) -> Result<(), String> {
        let spec = self.config.groups.iter().find(|s| s.id == group);
        let raft = GroupConfig { node: self.config.node, initial: None, ..self.config.engine.clone() };
        let known = spec.into_iter().flat_map(|s| s.peers(raft.node)).collect();
        let config = ChainConfig {
            raft,
            genesis: spec.and_then(GroupSpec::genesis),
            known,
            secret: self.config.secret.clone(),
            policy: self.config.policy.clone(),
            #[cfg(feature = "planted-bugs")]
            bugs: self.config.bugs.chain,
        };
        let store = self.groups.get(&group).map(|g| g.store.clone());
        let Some(store) = store else { return Err("no such group".into()) };
        self.host.add_group(now, group, config, store, found)?;
        if let Some(configured) = self.other_engine(group) {
            self.probe.event(&Event::EngineDiffers { group, configured: configured.to_string() });
        }
        Ok(())
    }

    /// Tells the world which links the members of all groups call for, if that has changed.
    pub(crate) fn tell_peers(&mut self, out: &mut Out) {
        let mut changed = false;
        for (id, group) in &mut self.groups {
            let at = self.host.members_at(*id);
            changed |= at.is_some() && at != group.told_members_at;
            group.told_members_at = at.or(group.told_members_at);
        }
        if !changed {
            return;
        }
        let me = self.config.node;
        let mut peers = BTreeMap::new();
        for id in self.groups.keys() {
            let nodes = self.engine_status(*id).members.nodes;
            let others = nodes.into_iter().filter(|(n, m)| *n != me && !m.peer_address.is_empty());
            peers.extend(others.map(|(n, m)| (n, m.peer_address)));
        }
        // A node that knows no members yet keeps the links its configuration names.
        if !peers.is_empty() {
            out.peers = Some(peers.into_iter().collect());
        }
    }
}

impl GroupSpec {
    /// Its first epoch, on those that form it.
    fn genesis(&self) -> Option<Spec> {
        let members = self.initial.clone()?;
        let distrust = self.distrust.clone().filter(|_| self.engine == EngineKind::Pbft);
        Some(Spec { members, engine: self.engine, distrust, ..Spec::default() })
    }
    /// Who else is known to have it.
    fn peers(&self, me: NodeId) -> impl Iterator<Item = NodeId> {
        let initial = self.initial.iter().flat_map(|m| m.nodes.keys());
        initial.chain(&self.known).copied().filter(move |n| *n != me)
    }
}

fn tell_damage(world: &World, recovered: &Recovered) {
    if let Some(cut) = &recovered.tail_cut {
        world.probe.event(&Event::WalTailCut { bytes: cut.bytes });
    }
    for damage in &recovered.damage {
        let file = damage.file.clone().unwrap_or_else(|| "wal".into());
        world.probe.event(&Event::CorruptionFound { file, offset: damage.offset });
    }
}

fn store_options(config: &NodeConfig, group: GroupId) -> StoreOptions {
    StoreOptions {
        cluster: config.cluster,
        group,
        cache: config.store_cache,
        #[cfg(feature = "planted-bugs")]
        bugs: config.bugs.store,
        #[cfg(not(feature = "planted-bugs"))]
        bugs: dwcp_store::StoreBugs::default(),
    }
}

/// The group's store; a corrupt one is thrown away and comes back empty, to be filled from a peer.
fn open_store(config: &NodeConfig, spec: &GroupSpec, world: &World) -> Result<(Store, bool), BootError> {
    let group = spec.id;
    // Its files stay as they are: they may be all there is.
    let alone = spec.initial.as_ref().is_some_and(|m| m.nodes.keys().all(|n| *n == config.node));
    let options = store_options(config, group);
    let damaged = |file: String, offset: u64| {
        if alone {
            let lost = format!("the state's file {file:?} is corrupt at byte {offset}");
            return Err(BootError::Alone { group, lost });
        }
        world.probe.event(&Event::CorruptionFound { file, offset });
        let empty = Store::reset(options.clone(), world.storage.clone(), world.probe.clone())?;
        Ok::<_, BootError>((empty, false))
    };
    let mut unreadable = None;
    loop {
        match Store::open(options.clone(), world.storage.clone(), world.probe.clone()) {
            Ok(store) => return Ok((store, true)),
            Err(StoreError::Corrupt { file, .. }) => return damaged(file, 0),
            // A place that can't be read is as bad as one that fails its checksum, if it stays so: a
            // device that fails now and then must not cost the state.
            Err(StoreError::Disk(DiskError::Io { doing: "read", file, offset, why })) => {
                let (place, times) = unreadable.take().unwrap_or((offset, 0));
                if place == offset && times >= READS {
                    return damaged(file, offset);
                }
                if place != offset {
                    return Err(StoreError::Disk(DiskError::Io { doing: "read", file, offset, why }).into());
                }
                unreadable = Some((offset, times + 1));
            }
            Err(other) => return Err(other.into()),
        }
    }
}

/// Failed reads of one place after which it is taken for lost.
const READS: u32 = 3;

/// What is missing of a group, given what its log and its store still have.
fn plan_repair(
    node: &Node,
    group: &Group,
    place: Place,
    log: GroupLog,
    recovered: &Recovered,
    whole: bool,
) -> Repair {
    let applied = group.store().applied().0.and_then(|at| place.record.inner(at));
    let reaching = |index| Fetch::reaching(place.record.outer(Position { term: 0, index }));
    let mut fetch = None;
    let mut missing = BTreeMap::new();
    for damage in recovered.damage.iter().filter(|d| d.group == Some(place.slot)) {
        match damage.lost {
            Lost::Entry { index, .. } if applied.is_some_and(|a| a.index >= index) => {}
            Lost::Entry { index, term: Some(term), crc } => {
                missing.insert(index, Missing { term, crc });
            }
            Lost::Entry { .. } => fetch = log.last.map(reaching),
            Lost::Vote | Lost::Unknown { .. } => {}
        }
    }
    // A state that was put aside comes back empty, and stays so if the node dies before a peer has filled it:
    // whatever the log no longer holds the state must. An empty log that was never purged needs none.
    let purged = log.purged.map_or(0, |(_, index)| index);
    let behind = applied.map_or(0, |a| a.index) < purged;
    if (behind || !whole) && fetch.is_none() {
        node.probe.sometimes("repair.state_behind_its_log", behind && whole);
        fetch = log.purged.map(|(_, index)| reaching(index));
    }
    let me = node.config.node;
    let spec = node.config.groups.iter().find(|s| s.id == group.id);
    let kept = dwcp_raft::members_of(&place.record.inner);
    // Raft's record of an epoch is empty until that has decided something.
    let sealed = Some(place.record.spec.members.clone()).filter(|m| !m.nodes.is_empty());
    let members = kept.or(sealed).or_else(|| spec.and_then(|s| s.initial.clone()));
    let members = members.map(|m| m.nodes.into_keys().collect());
    let known = members.or_else(|| spec.map(|s| s.known.clone())).unwrap_or_default();
    let peers = known.into_iter().filter(|n| *n != me).collect();
    let mut repair = Repair::new(place, log, fetch, missing, peers);
    if let Some(applied) = applied {
        begin_log_at(&mut repair, applied);
    }
    repair
}
