//! Epochs whose members may lie: whose keys they are begun with, whose state is believed, and how they end.
//!
//! **Keys.** Each node has one secret of its own, from its world; all else follows from it (`dwcp_consensus::pbft::keys`). A switch to
//! PBFT asks every voter for the public half first, over links that name their ends, in an epoch whose members are still
//! believed, and puts them into the seal: so who is who is decided by the log. The members are those of the instant of the seal. A voter that does not answer within
//! [`KEYS_WITHIN`] is named in the refusal.
//!
//! **Whose state is believed.** It depends on the epoch that this node is in and the one that the state is of:
//!
//! | in an epoch of | state of | believed if |
//! |---|---|---|
//! | believed members | believed members | any of them sends it |
//! | believed members | PBFT, as it began | any of them sends it: it is the end of the epoch before |
//! | believed members | PBFT | 2f + 1 of that epoch's voters signed its digest |
//! | PBFT | the same epoch | 2f + 1 of its voters signed its digest |
//! | PBFT | a later epoch | the operator signed this one's end, and as in the lines above: what follows, the operator has vouched for (a later one of PBFT, as it began: if it followed one of believed members) |
//!
//! Who was in a believed epoch when the group began to distrust learns the next one's keys from one of those it
//! believes. The digest is compared before the state is swapped in. A transfer may outlast the checkpoint that it brings: its proof
//! stays with it, and counts again at its end.
//!
//! **How it ends.** By a seal under the operator's key, and by no other; the seal stays with the chain's record.
//!
//! **Left to others.** A client believes its own node: what that answers it has decided with the group, and if it lies, clients
//! elsewhere are not touched. A member that is no voter, or keeps silent, serves no strong reads and no writes here. What a
//! command means nobody judges: a liar's clients may write what any client may, and its clock may age sessions.

use crate::bugs::bug;
use crate::group::{ChainGroup, Running, Secret};
use crate::host::{ChainHost, Switch, admissible};
use crate::message::ChainMessage;
use crate::record::ChainRecord;
use crate::spec::{Distrust, EngineKind, INTERVAL_MAX, Spec};
use bytes::Bytes;
use dwcp_consensus::pbft::config::{INTERVALS_MAX, Watched};
use dwcp_consensus::pbft::{self, keys};
use dwcp_consensus::{Checkpointed, EngineError, EngineOutput, Members, StateMachine, Token};
use dwcp_env::{Duration, GroupId, Instant, Lane, NodeId, Now, wire};
use std::collections::BTreeMap;

/// How long members have to tell their keys.
const KEYS_WITHIN: Duration = Duration::secs(5);
/// They are asked again so often.
const ASK_EVERY: Duration = Duration::millis(500);
/// Log entries after which other engines take a checkpoint, for each place of the order after which this one does: a place
/// carries many.
const ENTRIES_A_PLACE: u64 = 4;
/// The shortest way from one checkpoint to the next.
const INTERVAL_MIN: u64 = 8;
/// Batches that a primary keeps under way, and bundles that a member does.
const PIPELINE: u64 = 16;

/// A switch to an epoch whose members may lie, and the keys heard so far.
#[derive(Debug)]
pub(crate) struct Wish {
    token: Token,
    next: Spec,
    operator: Option<[u8; 32]>,
    heard: BTreeMap<NodeId, [u8; 32]>,
    until: Option<Instant>,
    ask_at: Instant,
}

impl Wish {
    /// A node's key. Of others than the voters none is kept.
    pub(crate) fn hear(&mut self, from: NodeId, public: [u8; 32]) {
        if self.next.members.voters.contains(&from) {
            self.heard.insert(from, public);
        }
    }
    /// The members are those of the instant of the seal: Raft may change them while keys are asked for.
    fn follow(&mut self, members: Members) {
        if members.nodes.is_empty() {
            return;
        }
        self.heard.retain(|node, _| members.voters.contains(node));
        self.next.first = self.next.first.filter(|first| members.voters.contains(first));
        self.next.members = members;
    }
}

/// How many places lie between two checkpoints, where other engines take one after so many entries (0: only when asked).
#[must_use]
pub fn interval(snapshot_entries: u64) -> u64 {
    match snapshot_entries {
        0 => INTERVAL_MAX,
        entries => (entries / ENTRIES_A_PLACE).clamp(INTERVAL_MIN, INTERVAL_MAX),
    }
}

/// What a peer's state is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    /// Its sender's word is enough.
    Believed,
    /// A quorum has signed that its digest is this.
    Proved([u8; 32]),
    /// This node has come as far meanwhile.
    Behind,
}

impl<SM: StateMachine> ChainGroup<SM> {
    /// What this node runs an epoch with in which members may lie; `None` if it holds no key, or not the one the epoch knows.
    pub(crate) fn member_config(&self, spec: &Spec) -> Option<pbft::Config> {
        let Secret(secret) = self.config.secret.as_ref()?;
        let distrust = spec.distrust.as_ref()?;
        let members: Vec<NodeId> = spec.members.voters.iter().copied().collect();
        let public: Vec<[u8; 32]> = members.iter().filter_map(|m| distrust.public.get(m)).copied().collect();
        let realm = spec.realm(self.id);
        let shared = public.iter().map(|p| keys::shared(secret, p, &realm)).collect::<Option<_>>()?;
        let times = &self.config.raft;
        let window = (distrust.interval * INTERVALS_MAX).min(2 * INTERVAL_MAX);
        let parameters = pbft::Parameters {
            realm,
            me: self.me(),
            first: spec.first.and_then(|f| members.binary_search(&f).ok()).unwrap_or(0),
            members,
            shared,
            secret: *secret,
            public,
            operator: distrust.operator,
            window,
            interval: distrust.interval,
            pipeline: PIPELINE.min(window),
            outstanding: PIPELINE,
            patience: times.election_max,
            resend: times.election_max / 5,
            idle: times.election_max,
        };
        pbft::Config::new(parameters).ok()
    }

    /// The checkpoint that a peer may be given now, with its proof (empty where none is needed).
    pub(crate) fn servable(&self) -> Option<(Checkpointed, Bytes)> {
        let proved = |epoch: u32| match self.epochs.get(&epoch).map(|e| &e.running) {
            Some(Running::Step(step)) => step.proved_checkpoint(),
            _ => None,
        };
        let (epoch, engine) = self.tail.with(|t| (t.spec.epoch, t.spec.engine));
        if engine == EngineKind::Pbft {
            return proved(epoch);
        }
        let checkpoint = self.machine.lock().current_checkpoint()?;
        match ChainRecord::decode(&checkpoint.engine_record).ok()? {
            Some(record) if record.spec.engine == EngineKind::Pbft => proved(record.spec.epoch),
            _ => Some((checkpoint, Bytes::new())),
        }
    }

    /// Whether a peer's state may be taken, which ends at this index.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        from: NodeId,
        index: u64,
        record: Option<&ChainRecord>,
        proof: &Bytes,
    ) -> Result<Judged, &'static str> {
        if bug!(self.config.bugs, state_unproved) {
            return Ok(Judged::Believed);
        }
        let tail = self.tail.with(|t| t.spec.clone());
        let Some(record) = record else {
            let believed = tail.engine != EngineKind::Pbft;
            return believed
                .then_some(Judged::Believed)
                .ok_or("a state that knows no chain, to who believes no single member");
        };
        if tail.engine == EngineKind::Pbft && !follows_by_signature(self.id, &tail, record) {
            return Err("a state of an epoch whose beginning no operator has signed");
        }
        let begins = record.inner.is_empty() && record.base == index && record.spec.epoch > tail.epoch;
        // Of the epoch before it was the end; if members were believed there, whoever signed the way to it has vouched for them.
        let ended = record.past.last().is_some_and(|p| p.engine != EngineKind::Pbft);
        if record.spec.engine != EngineKind::Pbft || (begins && (tail.engine != EngineKind::Pbft || ended)) {
            return Ok(Judged::Believed);
        }
        let unproved = "a state that no quorum of its members vouches for";
        let digest = proved(self.id, &record.spec, &record.inner, proof).ok_or(unproved)?;
        if let Some(Running::Step(step)) = self.epochs.get_mut(&record.spec.epoch).map(|e| &mut e.running) {
            step.learn(now, from, proof);
            if !step.admits(&record.inner) {
                return Ok(Judged::Behind);
            }
        }
        Ok(Judged::Proved(digest))
    }
}

/// The digest that a quorum of an epoch's members has signed for the state of this mark.
fn proved(group: GroupId, spec: &Spec, mark: &Bytes, proof: &Bytes) -> Option<[u8; 32]> {
    let distrust = spec.distrust.as_ref()?;
    let members: Vec<NodeId> = spec.members.voters.iter().copied().collect();
    let public = members.iter().filter_map(|m| distrust.public.get(m)).copied().collect();
    let watched = Watched { realm: spec.realm(group), members, public };
    let message: pbft::Message = wire::decode(proof).ok()?;
    pbft::vouched(&watched, mark, &message)
}

/// Whether a record goes on from an epoch whose members may lie: it is of the same one, or the operator signed what follows.
fn follows_by_signature(group: GroupId, tail: &Spec, record: &ChainRecord) -> bool {
    if record.spec.epoch <= tail.epoch {
        return record.spec == *tail;
    }
    let Some(distrust) = &tail.distrust else { return false };
    let seal = record.past.iter().find(|p| p.epoch == tail.epoch).map(|p| &p.seal);
    let signed = seal.filter(|s| pbft::seal::holds(&distrust.operator, &tail.realm(group), s));
    let next = signed.and_then(pbft::seal::record).and_then(|next| Spec::decode(&next));
    next.is_some_and(|next| {
        next.follows(tail.epoch).is_ok() && (record.spec.epoch != next.epoch || record.spec == next)
    })
}

impl<SM: StateMachine> ChainHost<SM> {
    /// Ends an epoch whose members may lie, if its operator has signed that.
    pub(crate) fn seal_signed(&mut self, id: GroupId, token: Token, switch: &Switch) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        let spec = group.spec();
        let seal = signed_seal(id, &spec, switch).map_err(|why| EngineError::Refused(why.into()));
        self.seal_bytes(id, token, seal)
    }

    /// Begins a switch to an epoch whose members may lie: their keys come first.
    pub(crate) fn ask_for_keys(
        &mut self,
        id: GroupId,
        token: Token,
        next: Spec,
        operator: Option<[u8; 32]>,
    ) -> bool {
        let Some(group) = self.groups.get_mut(&id) else { return false };
        let secret = group.config.secret.as_ref();
        let mut heard: BTreeMap<NodeId, [u8; 32]> = BTreeMap::new();
        heard.extend(secret.map(|Secret(s)| (group.config.raft.node, keys::public(s))));
        // What can be said before any key is known is said at once.
        let early = match next.check() {
            Err(e @ (crate::SpecError::Few(_) | crate::SpecError::Quorums(_))) => Some(e.to_string()),
            _ if operator.is_none() => Some(crate::SpecError::Operator.to_string()),
            _ if group.wish.is_some() => {
                Some("another switch to pbft is under way: it is asking for keys".into())
            }
            _ => None,
        };
        if let Some(why) = early {
            let result = Err(EngineError::Refused(why));
            self.out.push((id, EngineOutput::Done { token, result }));
            return true;
        }
        group.wish = Some(Wish { token, next, operator, heard, until: None, ask_at: Instant::ZERO });
        true
    }

    /// Answers who asks for this node's key.
    pub(crate) fn tell_key(&mut self, id: GroupId, to: NodeId) {
        let Some(group) = self.groups.get(&id) else { return };
        if let Some(Secret(secret)) = &group.config.secret {
            let public = keys::public(secret);
            self.say(id, to, Lane::Control, &ChainMessage::Key { public });
        }
    }

    /// Asks for the keys that are not known yet; seals once all are, or refuses.
    pub(crate) fn pursue_wish(&mut self, now: Now, id: GroupId) -> Option<Instant> {
        let group = self.groups.get_mut(&id)?;
        let every = interval(group.config.raft.snapshot_entries);
        group.wish.as_ref()?;
        let members = group.members(&self.raft);
        let wish = group.wish.as_mut()?;
        let until = *wish.until.get_or_insert(now.mono + KEYS_WITHIN);
        let changing = !members.outgoing.is_empty();
        wish.follow(members);
        let voters = &wish.next.members.voters;
        let missing: Vec<NodeId> = voters.iter().filter(|v| !wish.heard.contains_key(v)).copied().collect();
        if (missing.is_empty() && !changing) || now.mono >= until {
            let Wish { token, mut next, operator, heard, .. } = group.wish.take()?;
            let operator = operator.unwrap_or_default();
            next.distrust = Some(Distrust { operator, public: heard, interval: every });
            self.probe.sometimes("chain.keys_unknown", !missing.is_empty());
            let tail = group.tail.epoch();
            let follows = next.follows(tail).map_err(|e| EngineError::Refused(e.to_string()));
            let checked = follows.and_then(|()| admissible(&next)).map(|()| next);
            self.seal(id, token, checked);
            return Some(now.mono);
        }
        if now.mono >= wish.ask_at {
            wish.ask_at = now.mono + ASK_EVERY;
            for to in missing {
                self.say(id, to, Lane::Control, &ChainMessage::KeyWanted);
            }
        }
        let wish = self.groups.get(&id)?.wish.as_ref()?;
        Some(wish.ask_at.min(until))
    }
}

/// The seal of a switch, if it is the operator's, for this epoch, and says what is asked for.
fn signed_seal(group: GroupId, spec: &Spec, switch: &Switch) -> Result<Bytes, &'static str> {
    let unsigned = "an epoch under pbft ends by its operator's signature: `dwcp consensus switch ENGINE --sign-with FILE`";
    let seal = switch.signed.as_ref().ok_or(unsigned)?;
    let operator = spec.distrust.as_ref().map(|d| d.operator).unwrap_or_default();
    if !pbft::seal::holds(&operator, &spec.realm(group), seal) {
        return Err(
            "the signature is not that of this epoch's operator over this epoch and what is to follow: it may have ended \
                    meanwhile, or the key is another one",
        );
    }
    let next = pbft::seal::record(seal).and_then(|next| Spec::decode(&next));
    match next.filter(|n| n.follows(spec.epoch).is_ok()) {
        Some(next) if admissible(&next).is_err() => {
            Err("what was signed is no epoch that its engine can begin with")
        }
        Some(next) if (next.engine, &next.quorums) == (switch.engine, &switch.quorums) => Ok(seal.clone()),
        Some(_) => Err("what was signed is another switch than what is asked for"),
        None => Err("what was signed is no epoch that can follow this one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpecError;
    use dwcp_consensus::Member;
    use dwcp_consensus::quorum::System;
    use std::collections::BTreeSet;

    const OPERATOR: [u8; 32] = [99; 32];
    const GROUP: GroupId = GroupId(7);

    fn of(n: u64) -> Spec {
        let voters: BTreeSet<NodeId> = (1..=n).map(NodeId).collect();
        let nodes = voters.iter().map(|v| (*v, Member::default())).collect();
        let public = voters.iter().map(|v| (*v, keys::public(&[v.0 as u8; 32]))).collect();
        Spec {
            epoch: 3,
            engine: EngineKind::Pbft,
            members: Members { voters, nodes, outgoing: BTreeSet::new() },
            distrust: Some(Distrust { operator: keys::public(&OPERATOR), public, interval: 64 }),
            ..Spec::default()
        }
    }

    #[test]
    fn an_epoch_without_trust_needs_four_members_their_keys_and_an_operator() {
        assert_eq!(of(4).check(), Ok(()));
        assert_eq!(of(3).check(), Err(SpecError::Few(3)));
        let with = |change: &dyn Fn(&mut Distrust)| {
            let mut spec = of(4);
            change(spec.distrust.as_mut().unwrap());
            spec.check()
        };
        let missing = with(&|d| d.public.retain(|n, _| *n != NodeId(2)));
        assert_eq!(missing, Err(SpecError::Keys(vec![NodeId(2)])));
        assert!(missing.unwrap_err().to_string().contains("n2"), "the refusal names the member");
        let none = with(&|d| d.public.extend([(NodeId(3), [0; 32])]));
        assert_eq!(none, Err(SpecError::Keys(vec![NodeId(3)])));
        let stranger = with(&|d| d.public.extend([(NodeId(9), keys::public(&[9; 32]))]));
        assert_eq!(stranger, Err(SpecError::Keys(vec![NodeId(9)])));
        let twice = with(&|d| d.public.extend([(NodeId(3), keys::public(&[1; 32]))]));
        assert_eq!(twice, Err(SpecError::SameKey(vec![NodeId(1), NodeId(3)])));
        assert_eq!(with(&|d| d.operator = [0; 32]), Err(SpecError::Operator));
        assert_eq!(with(&|d| d.interval = 0), Err(SpecError::Interval(0)));
        assert_eq!(with(&|d| d.interval = 257), Err(SpecError::Interval(257)));
        assert_eq!(Spec { distrust: None, ..of(4) }.check(), Err(SpecError::Operator));
        assert_eq!(
            Spec { engine: EngineKind::Paxos, ..of(4) }.check(),
            Err(SpecError::Believed(EngineKind::Paxos))
        );
        let quorums = Some(System::Majority { members: 4 });
        assert_eq!(Spec { quorums, ..of(4) }.check(), Err(SpecError::Quorums(EngineKind::Pbft)));
    }

    #[test]
    fn a_realm_names_group_and_epoch() {
        let realm = of(4).realm(GROUP);
        assert_ne!(realm, of(4).realm(GroupId(8)));
        assert_ne!(realm, Spec { epoch: 4, ..of(4) }.realm(GROUP));
        assert_ne!(realm, of(5).realm(GROUP));
    }

    #[test]
    fn who_is_left_behind_where_members_may_lie_believes_the_operator_only() {
        let tail = of(4);
        let to = Switch { engine: EngineKind::Paxos, ..Switch::default() };
        let next = to.next(&tail, tail.members.clone(), None);
        let seal = |secret: [u8; 32], realm: [u8; 32]| pbft::seal::seal(&secret, &realm, &next.encode());
        let right = seal(OPERATOR, tail.realm(GROUP));
        let begun = ChainRecord { spec: tail.clone(), ..ChainRecord::default() };
        let record = |seal: &Bytes| begun.next_signed(next.clone(), 40, seal.clone());
        assert!(follows_by_signature(GROUP, &tail, &begun), "the same epoch");
        assert!(follows_by_signature(GROUP, &tail, &record(&right)));
        let later = record(&right).next(Spec { epoch: 5, ..next.clone() }, 50);
        assert!(follows_by_signature(GROUP, &tail, &later), "whom the operator believes may go on");
        for (name, seal) in [
            ("no signature", Bytes::new()),
            ("a member's", seal([1; 32], tail.realm(GROUP))),
            ("of another group", seal(OPERATOR, tail.realm(GroupId(8)))),
            ("of an earlier epoch", seal(OPERATOR, Spec { epoch: 2, ..tail.clone() }.realm(GROUP))),
        ] {
            assert!(!follows_by_signature(GROUP, &tail, &record(&seal)), "{name}");
        }
        let other = Spec { engine: EngineKind::EPaxos, ..next.clone() };
        let bent = ChainRecord { spec: other, ..record(&right) };
        assert!(!follows_by_signature(GROUP, &tail, &bent), "another epoch than the one signed");
        let same = ChainRecord { spec: Spec { epoch: 3, ..of(5) }, ..ChainRecord::default() };
        assert!(!follows_by_signature(GROUP, &tail, &same), "other members in this very epoch");
    }

    #[test]
    fn a_switch_out_says_what_was_signed_or_what_is_missing() {
        let tail = of(4);
        let switch = Switch { engine: EngineKind::Raft, ..Switch::default() };
        let next = switch.next(&tail, tail.members.clone(), Some(NodeId(2)));
        assert_eq!((next.epoch, next.first, &next.distrust), (4, Some(NodeId(2)), &None));
        let seal = pbft::seal::seal(&OPERATOR, &tail.realm(GROUP), &next.encode());
        let signed = Switch { signed: Some(seal.clone()), ..switch.clone() };
        assert_eq!(signed_seal(GROUP, &tail, &signed), Ok(seal.clone()));
        assert!(signed_seal(GROUP, &tail, &switch).unwrap_err().contains("--sign-with"));
        let other = Switch { engine: EngineKind::Paxos, signed: Some(seal), ..Switch::default() };
        assert!(signed_seal(GROUP, &tail, &other).unwrap_err().contains("another switch"));
        let mallory = pbft::seal::seal(&[1; 32], &tail.realm(GROUP), &next.encode());
        let forged = Switch { signed: Some(mallory), ..switch };
        assert!(
            signed_seal(GROUP, &tail, &forged).unwrap_err().contains("not that of this epoch's operator")
        );
    }
}
