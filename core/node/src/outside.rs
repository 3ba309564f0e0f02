//! Keyspaces of other regions: what this node holds nothing of, and brings questions to nevertheless.
//!
//! **Promise.** A keyspace that one region's nodes form is reached at every node's door; it needs no node outside its region, and a
//! node outside keeps nothing for it: no log, no state, no vote, no heartbeat.
//!
//! **Model.** Who hosts a group hears of its leader all the time. Who does not asks its nodes, while a question about it waits here,
//! and goes by what it heard of late: of the answers the one of the highest epoch and term counts, and among equals one that a leader gave
//! of itself. The question then goes its usual way (`route`): to that node, and on by what that says.
//!
//! | message | says | answered by |
//! |---|---|---|
//! | `LeaderWanted` | who leads this group, and who forms it? | `LeaderIs` |
//!
//! **Invariants.** 1. Nothing is answered from here: not a read that may be stale, not a watch. (An empty store would say that there is
//! nothing.) 2. A question that can't be repeated is given only to a node that was named as leader; who is not says so, and it was not done.
//! 3. Nobody is asked while nothing waits.
//!
//! **Limits.** All nodes known of a group are asked every heartbeat while something waits: [`VOTERS_MAX`] at most. An answer counts for
//! as long as a silent leader is waited for. Links go to members of the keyspaces that this node hosts: a region's nodes are members of the
//! default keyspace, too.
//!
//! **Which region forms a keyspace** is settled when its nodes start for the first time: each notes it on its disk, for all such
//! keyspaces, hosted or not, and does not start under a file that says otherwise. The note comes before the first log and the first
//! state, so there is no keyspace of a region without one.
//!
//! **Rejected.** *Learners everywhere*: an epoch of Raft begins with voters only, and nine nodes would write what three need; what other
//! regions shall keep is what hybrid keyspaces are for. *Asking any node and letting it forward*: two hops on each question, and loops
//! where two nodes each take the other for the leader.

use crate::api::{Answer, Ask, AskError, GroupStatus};
use crate::boot::BootError;
use crate::config::NodeConfig;
use crate::node::{Node, Out};
use crate::peer::{PeerMessage, peer_body};
use crate::question::{Origin, Waits};
use crate::route::reply;
use dwcp_chain::EngineKind;
use dwcp_consensus::Role;
use dwcp_env::bound::VOTERS_MAX;
use dwcp_env::disk::{self, FileName};
use dwcp_env::{Event, GroupId, Instant, Lane, NodeId, Now, PeerFault, RequestId, Send, Storage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A keyspace that this node does not host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutsideSpec {
    /// Its group.
    pub id: GroupId,
    /// Its name.
    pub keyspace: String,
    /// The region whose nodes form it, for people.
    pub region: String,
    /// Those that form it, as far as the configuration knows.
    pub known: BTreeSet<NodeId>,
}

/// What a node of a group says of its leader.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lead {
    /// The epoch and the term it is of.
    pub at: (u32, u64),
    /// Where commands go.
    pub leader: Option<NodeId>,
    /// Who keeps time for leases.
    pub keeper: Option<NodeId>,
    /// Who forms the group by now.
    pub voters: BTreeSet<NodeId>,
}

/// What is known of a group from outside.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) spec: OutsideSpec,
    heard: BTreeMap<NodeId, (Instant, Lead)>,
    /// Whether a question about it may be open here.
    wanted: bool,
    ask_at: Instant,
    /// The leader that questions were last told of.
    told: Option<NodeId>,
}

impl Outside {
    pub(crate) const fn new(spec: OutsideSpec) -> Self {
        Self { spec, heard: BTreeMap::new(), wanted: false, ask_at: Instant::ZERO, told: None }
    }

    /// Whom to ask: who is known to form it, by the file and by what was heard last.
    fn nodes(&self) -> BTreeSet<NodeId> {
        let newest = self.heard.values().max_by_key(|(_, lead)| lead.at);
        let voters = newest.into_iter().flat_map(|(_, lead)| lead.voters.iter().copied());
        voters.chain(self.spec.known.iter().copied()).take(VOTERS_MAX).collect()
    }

    /// The leader, or who keeps its leases, by what was heard since `since`. Where every member leads, the one that questions went to.
    fn leader(&self, since: Instant, keeper: bool) -> Option<NodeId> {
        let fresh = self.heard.iter().filter(|(_, (at, _))| *at >= since);
        let named = fresh.filter_map(|(from, (_, lead))| {
            let who = if keeper { lead.keeper } else { lead.leader }?;
            Some((lead.at, who == *from, Some(who) == self.told, who))
        });
        named.max().map(|(.., who)| who)
    }
}

impl Node {
    /// Whether a group is another region's.
    pub(crate) fn is_outside(&self, group: GroupId) -> bool {
        self.outside.contains_key(&group)
    }

    /// The leader of a group that is another region's, as far as it is known; asks for it if there is none.
    pub(crate) fn leader_outside(&mut self, now: Now, group: GroupId, keeper: bool) -> Option<NodeId> {
        let since = self.believed_since(now);
        let me = self.config.node;
        let outside = self.outside.get_mut(&group)?;
        outside.wanted = true;
        outside.leader(since, keeper).filter(|l| *l != me)
    }

    /// What was heard since then counts.
    fn believed_since(&self, now: Now) -> Instant {
        now.mono - self.patience.ask_again
    }

    /// What can't be answered from here, and why.
    pub(crate) fn refused_outside(&self, group: GroupId, ask: &Ask) -> Option<AskError> {
        let spec = &self.outside.get(&group)?.spec;
        let what = match ask {
            Ask::Watch(_) => "a watch",
            Ask::Snapshot => "a snapshot",
            Ask::HashKv(_) => "a hash of its content",
            Ask::Consensus => "how it is decided",
            Ask::Hybrid(_) => "what becomes of a home (it has none)",
            Ask::Eventual(_) => "a command of an eventual keyspace (it is strong)",
            _ => return None,
        };
        let (keyspace, region) = (&spec.keyspace, &spec.region);
        Some(AskError::Refused(format!(
            "the keyspace {keyspace:?} is {region}'s, and this node holds nothing of it: {what} is had from a node of {region}"
        )))
    }

    /// A client's question about a group that is another region's.
    pub(crate) fn ask_outside(
        &mut self,
        now: Now,
        (id, deadline): (RequestId, Instant),
        group: GroupId,
        ask: Ask,
        out: &mut Out,
    ) {
        if let Some(refused) = self.refused_outside(group, &ask) {
            return reply(out, id, Err(refused), true);
        }
        let ask = match ask {
            Ask::Status => {
                let status = self.status_outside(now, group).ok_or(AskError::NoGroup(group));
                return reply(out, id, status.map(|s| Answer::Status(Box::new(s))), true);
            }
            // Nothing here is as new as anything: what may be stale is fetched, too.
            Ask::Range { range, .. } => Ask::Range { range, serializable: false },
            ask => ask,
        };
        match self.questions.open(group, ask, Origin::Client(id), deadline) {
            Ok(token) => self.route(now, token, None, out),
            Err(refused) => {
                self.probe.event(&Event::Overloaded { in_flight: self.questions.len() as u64 });
                reply(out, id, Err(refused), true);
            }
        }
    }

    /// How a group looks from outside.
    pub(crate) fn status_outside(&self, now: Now, group: GroupId) -> Option<GroupStatus> {
        let outside = self.outside.get(&group)?;
        Some(GroupStatus {
            node: self.config.node,
            group,
            keyspace: outside.spec.keyspace.clone(),
            role: Role::Outside,
            term: 0,
            leader: outside.leader(self.believed_since(now), false),
            last_index: 0,
            committed_index: 0,
            applied_index: 0,
            checkpoint_index: 0,
            revision: 0,
            keys: 0,
            state_bytes: 0,
            matched: BTreeMap::new(),
            repairing: None,
            configured: None,
            epoch: 0,
            engine: EngineKind::default(),
            silent: false,
            taken: BTreeMap::new(),
        })
    }

    /// Asks for leaders that questions wait for.
    pub(crate) fn seek_leaders(&mut self, now: Now, out: &mut Out) {
        let again = self.patience.look_again;
        for (id, outside) in self.outside.iter_mut().filter(|(_, o)| o.wanted) {
            if now.mono >= outside.ask_at {
                outside.wanted = self.questions.concern(*id);
                if !outside.wanted {
                    continue;
                }
                outside.ask_at = now.mono + again;
                for to in outside.nodes() {
                    let body = peer_body(*id, &PeerMessage::LeaderWanted);
                    out.sends.push(Send { to, lane: Lane::Control, body, after: None });
                }
            }
            out.wake_by(outside.ask_at);
        }
    }

    /// Says who leads a group that this node hosts.
    pub(crate) fn on_leader_wanted(&self, from: NodeId, group: GroupId, out: &mut Out) {
        let brief = self.host.brief(group);
        let known = !self.repairing(group);
        let lead = Lead {
            at: (brief.epoch, brief.term),
            leader: brief.leader.filter(|_| known),
            keeper: brief.keeper.filter(|_| known),
            voters: self.engine_status(group).members.voters,
        };
        let body = peer_body(group, &PeerMessage::LeaderIs(lead));
        out.sends.push(Send { to: from, lane: Lane::Control, body, after: None });
    }

    /// A node of another region's group says who leads it.
    pub(crate) fn on_leader_is(&mut self, now: Now, from: NodeId, group: GroupId, lead: Lead, out: &mut Out) {
        if lead.voters.len() > VOTERS_MAX {
            let (what, why) = ("who leads", format!("it names {} voters", lead.voters.len()));
            return self.on_fault(from, &PeerFault::Body { from, what, why });
        }
        let since = self.believed_since(now);
        let Some(outside) = self.outside.get_mut(&group) else { return };
        if !outside.nodes().contains(&from) {
            return;
        }
        outside.heard.insert(from, (now.mono, lead));
        outside.heard.retain(|_, (at, _)| *at >= since);
        let leader = outside.leader(since, false);
        let waiting = !self.questions.waiting(group, |w| w == Waits::Leader).is_empty();
        let changed = outside.told != leader;
        outside.told = leader.or(outside.told);
        if let Some(leader) = leader.filter(|_| changed || waiting) {
            self.probe.reachable("node.led_from_outside");
            self.on_leader(now, group, leader, out);
        }
    }
}

/// The note: which region forms which keyspace.
fn note() -> Option<FileName> {
    FileName::new("regions")
}

/// Refuses a configuration under which a keyspace would be another region's than it was, and notes what is new.
pub(crate) fn settle_regions(config: &NodeConfig, storage: &dyn Storage) -> Result<(), BootError> {
    let (Some(name), says) = (note(), &config.regions) else { return Ok(()) };
    let present = storage.list().map_err(dwcp_store::StoreError::from)?;
    let noted = if present.contains(&name) {
        let data = disk::read_all(storage, &name).map_err(dwcp_store::StoreError::from)?;
        read(&data).ok_or(BootError::Regions)?
    } else if says.is_empty() {
        return Ok(());
    } else {
        BTreeMap::new()
    };
    let keyspace = |group: GroupId| {
        let hosted = config.groups.iter().find(|g| g.id == group).map(|g| g.keyspace.clone());
        hosted.or_else(|| config.outside.iter().find(|o| o.id == group).map(|o| o.keyspace.clone()))
    };
    let begun = |group: GroupId| present.iter().any(|f| f.as_str().starts_with(&format!("{group}-")));
    for group in says.keys().chain(noted.keys()) {
        let Some(keyspace) = keyspace(*group) else { continue };
        let (was, is) = (noted.get(group), says.get(group));
        if was != is && (was.is_some() || begun(*group)) {
            let words =
                |region: Option<&String>| region.map_or("all nodes".to_owned(), |r| format!("{r}'s nodes"));
            let line = was.map_or("without `region`".to_owned(), |r| format!("with `region = {r:?}`"));
            return Err(BootError::OtherRegion { keyspace, was: words(was), is: words(is), line });
        }
    }
    let mut all = noted.clone();
    all.extend(says.iter().map(|(group, region)| (*group, region.clone())));
    if all != noted {
        disk::replace(storage, &name, write(&all).as_bytes()).map_err(dwcp_store::StoreError::from)?;
    }
    Ok(())
}

/// A line for each group: its number and its region.
fn write(regions: &BTreeMap<GroupId, String>) -> String {
    regions.iter().map(|(group, region)| format!("{} {region}\n", group.0)).collect()
}

fn read(data: &[u8]) -> Option<BTreeMap<GroupId, String>> {
    let text = std::str::from_utf8(data).ok()?;
    let entry = |line: &str| {
        let (group, region) = line.split_once(' ')?;
        Some((GroupId(group.parse().ok()?), region.to_owned()))
    };
    text.lines().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::Duration;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }
    fn lead(term: u64, leader: u64) -> Lead {
        let leader = (leader > 0).then_some(NodeId(leader));
        Lead { at: (0, term), leader, keeper: leader, voters: [7, 8].map(NodeId).into() }
    }

    #[test]
    fn the_newest_word_counts_and_a_leaders_own_among_equals() {
        let spec = OutsideSpec {
            id: GroupId(4),
            keyspace: "eu".into(),
            region: "eu".into(),
            known: [1, 2, 3].map(NodeId).into(),
        };
        for (name, told, said, since, leader) in [
            ("nobody has said anything", None, vec![], 0, None),
            ("nobody leads", None, vec![(1, 5, lead(3, 0))], 0, None),
            (
                "a deposed one still takes itself for it",
                Some(1),
                vec![(1, 9, lead(3, 1)), (2, 5, lead(4, 2))],
                0,
                Some(2),
            ),
            (
                "where all serve, one that answers for itself",
                None,
                vec![(1, 5, lead(4, 3)), (2, 5, lead(4, 2))],
                0,
                Some(2),
            ),
            ("and the same again", Some(1), vec![(1, 5, lead(4, 1)), (2, 5, lead(4, 2))], 0, Some(1)),
            ("what is too old", None, vec![(1, 5, lead(9, 1)), (2, 8, lead(4, 2))], 6, Some(2)),
        ] {
            let mut outside = Outside::new(spec.clone());
            outside.told = told.map(NodeId);
            for (from, ms, lead) in said {
                outside.heard.insert(NodeId(from), (at(ms), lead));
            }
            assert_eq!(outside.leader(at(since), false), leader.map(NodeId), "{name}");
        }
    }

    #[test]
    fn who_forms_it_by_now_is_asked_too() {
        let known: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        let spec = OutsideSpec { id: GroupId(4), keyspace: "eu".into(), region: "eu".into(), known };
        let mut outside = Outside::new(spec);
        outside.heard.insert(NodeId(1), (at(5), lead(1, 1)));
        assert_eq!(outside.nodes(), [1, 2, 3, 7, 8].map(NodeId).into());
    }

    #[test]
    fn a_note_comes_back_and_junk_does_not() {
        let regions = BTreeMap::from([(GroupId(4), "eu-west-1".to_owned()), (GroupId(5), "us".to_owned())]);
        assert_eq!(read(write(&regions).as_bytes()), Some(regions));
        assert_eq!(read(b""), Some(BTreeMap::new()));
        for junk in [&b"4"[..], b"x eu\n", b"\xff 1"] {
            assert_eq!(read(junk), None);
        }
    }
}
