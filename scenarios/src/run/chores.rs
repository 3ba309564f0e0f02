//! What an operator asks of the group during a run: members in and out, leadership moved,
//! snapshots. Asked of whoever leads, again and again until it is done or nobody waits.

use super::cluster::{Cluster, OPERATOR};
use super::door::{GROUP, HYBRID};
use crate::expand::{Act, Cast, RunPlan, asked};
use crate::file::action::Action;
use dwcp_consensus::MemberChange;
use dwcp_consensus::pbft::{keys, seal};
use dwcp_env::{Duration, GroupId, Instant, NodeId, RequestId};
use dwcp_node::{Answer, Ask, AskError, EngineKind, HybridAsk, Request, Spec, Switch};
use dwcp_runtime_sim::client::{ClientEvent, Heard};
use dwcp_store::api::{Body, Response};
use std::collections::{BTreeSet, VecDeque};

/// After so long the operator gives up.
const GIVE_UP: Duration = Duration::secs(20);
/// One attempt.
pub(super) const ATTEMPT: Duration = Duration::secs(3);
/// Between two.
const PAUSE: Duration = Duration::millis(500);

struct Chore {
    steps: VecDeque<Ask>,
    /// Of whom; the leader if nobody is named.
    node: Option<NodeId>,
    group: GroupId,
    next_at: Instant,
    give_up: Instant,
    open: Option<RequestId>,
}

/// Whether the group is at any time in an epoch whose members may lie.
fn distrusts(plan: &RunPlan) -> bool {
    let asked = |act: &Act| matches!(act.action, Action::Switch(EngineKind::Pbft));
    plan.node.engine == EngineKind::Pbft || plan.acts.iter().any(asked)
}

/// The operator's signature under a switch, if the current epoch ends by no less.
fn sign(current: &Spec, after: &mut Option<u32>, to: &mut Switch) {
    (*after, to.signed) = (None, None);
    if current.engine == EngineKind::Pbft && to.engine != EngineKind::Pbft {
        let next = to.next(current, current.members.clone(), None);
        *after = Some(current.epoch);
        to.signed = Some(seal::seal(&OPERATOR, &current.realm(GROUP), &next.encode()));
    }
}

/// All that is asked of the group.
#[derive(Default)]
pub(super) struct Chores {
    list: Vec<Chore>,
    /// Nodes that joined and left, as far as the operator was told.
    pub(super) joined: BTreeSet<NodeId>,
    pub(super) left: BTreeSet<NodeId>,
}

impl Chores {
    /// Takes an act that is a request; whether it was one that can be asked now.
    pub(super) fn begin(&mut self, plan: &RunPlan, act: &Act, cast: &Cast<'_>, now: Instant) -> bool {
        let nodes = asked(act, cast);
        for id in &nodes {
            let (mut node, mut group) = (None, GROUP);
            let one = BTreeSet::from([*id]);
            let steps: Vec<Ask> = match &act.action {
                Action::MembersAdd(_) => vec![
                    Ask::ChangeMembers(MemberChange::AddLearner(*id, Cluster::member(plan, *id))),
                    Ask::ChangeMembers(MemberChange::Promote(one)),
                ],
                Action::MembersRemove(_) => vec![Ask::ChangeMembers(MemberChange::Remove(one))],
                Action::Switch(engine) => {
                    let operator = (*engine == EngineKind::Pbft).then(|| keys::public(&OPERATOR));
                    let to = Switch { engine: *engine, operator, ..Switch::default() };
                    let switch = Ask::Switch { after: None, to };
                    // Where members may lie the operator must see what to sign.
                    if distrusts(plan) { vec![Ask::Consensus, switch] } else { vec![switch] }
                }
                Action::HybridMove(to, planned) => {
                    (node, group) = (Some(*id), HYBRID);
                    // Nobody who is asked looks whether the home is still heard: the fence alone must do.
                    let (to, planned) = (to.clone(), *planned);
                    vec![Ask::Hybrid(HybridAsk::Promote { to, planned, force: !planned })]
                }
                Action::Transfer(_) => vec![Ask::MoveLeader(*id)],
                Action::Snapshot(_) => {
                    node = Some(*id);
                    vec![Ask::Snapshot]
                }
                _ => Vec::new(),
            };
            let give_up = now + GIVE_UP;
            self.list.push(Chore { steps: steps.into(), node, group, next_at: now, give_up, open: None });
        }
        !nodes.is_empty()
    }
    /// Whether any of them changes the members.
    pub(super) fn changes_members(&self) -> bool {
        self.list.iter().any(|c| c.steps.iter().any(|s| matches!(s, Ask::ChangeMembers(_))))
    }
    /// When something is to be asked next.
    pub(super) fn next_at(&self) -> Instant {
        let waiting = self.list.iter().filter(|c| c.open.is_none());
        waiting.map(|c| c.next_at).min().unwrap_or(Instant::FAR)
    }
    /// What is due: the number of the chore, whom to ask (the leader if nobody), and what.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, Option<NodeId>, Request)> {
        self.list.retain(|c| c.open.is_some() || (now < c.give_up && !c.steps.is_empty()));
        let mut due = Vec::new();
        for (place, chore) in self.list.iter_mut().enumerate() {
            if chore.open.is_none() && chore.next_at <= now {
                chore.next_at = now + PAUSE;
                if let Some(ask) = chore.steps.front() {
                    due.push((place, chore.node, Request { group: chore.group, ask: ask.clone() }));
                }
            }
        }
        due
    }
    /// The world has taken a request.
    pub(super) fn sent(&mut self, place: usize, id: RequestId) {
        if let Some(chore) = self.list.get_mut(place) {
            chore.open = Some(id);
        }
    }
    /// The operator hears; whether it was for the operator.
    pub(super) fn hears(&mut self, now: Instant, event: &ClientEvent<dwcp_node::Response>) -> bool {
        let Some(chore) = self.list.iter_mut().find(|c| c.open == Some(event.id)) else { return false };
        if event.ends() {
            chore.open = None;
            chore.next_at = now + PAUSE;
        }
        let done = match &event.heard {
            Heard::Reply { response: Ok(Answer::Done | Answer::Members(_)), .. } => true,
            // The deed was changed, or somebody else had changed it.
            Heard::Reply { response: Ok(Answer::Written(Response { body, .. })), .. } => {
                matches!(body, Body::Txn { succeeded: true, .. })
            }
            Heard::Reply { response: Ok(Answer::Consensus(status)), .. } => {
                if let Some(Ask::Switch { after, to }) = chore.steps.get_mut(1) {
                    sign(&status.spec, after, to);
                }
                chore.next_at = now;
                true
            }
            Heard::Reply { response: Err(AskError::Refused(_)), .. } => {
                if let Some(Ask::Switch { after: Some(_), .. }) = chore.steps.front() {
                    // The epoch that was signed for may have ended.
                    chore.steps.push_front(Ask::Consensus);
                }
                false
            }
            Heard::Reply { response: Ok(Answer::Piece { .. }), end } => *end,
            // It can't be done in this state: asking again changes nothing unless the state does.
            Heard::Reply { response: Err(AskError::Op(_) | AskError::NoGroup(_)), .. } => {
                chore.give_up = now;
                false
            }
            _ => false,
        };
        if done {
            match chore.steps.pop_front() {
                Some(Ask::ChangeMembers(MemberChange::Promote(nodes))) => self.joined.extend(nodes),
                Some(Ask::ChangeMembers(MemberChange::Remove(nodes))) => self.left.extend(nodes),
                _ => {}
            }
        }
        true
    }
}
