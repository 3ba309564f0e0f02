//! The clients of a run, and when each wants to be woken.

use super::door;
use crate::expand::RunPlan;
use dwcp_env::{Duration, Instant, NodeId, Purpose, RequestId, Seed};
use dwcp_node::{Request, Response};
use dwcp_runtime_sim::client::{self as sim, ClientEvent};
use dwcp_workload::oracle::{Heard, Oracle};
use dwcp_workload::script::Script;
use dwcp_workload::{Ask, Client, Do, Log, Refusal};
use std::collections::{BTreeMap, BTreeSet};

const HOME: Purpose = Purpose::named("crowd.home");
/// Before this clients are silent, if the file does not say: the cluster is forming.
const FIRST: Duration = Duration::secs(2);

/// What a client wants of the world.
pub(super) enum Wish {
    /// Ask a node; the world's name for the request is to be told to [`Crowd::sent`].
    Ask { client: usize, attempt: u64, node: NodeId, deadline: Instant, request: Request },
    /// Forget a request.
    Cancel(RequestId),
}

/// All clients.
pub(super) struct Crowd {
    clients: Vec<Client>,
    pub(super) log: Log,
    /// (when, who), one for each client.
    wakes: BTreeSet<(Instant, usize)>,
    wake_of: Vec<Instant>,
    open: BTreeMap<RequestId, (usize, u64)>,
    request_of: Vec<Option<(RequestId, u64)>>,
    out: Vec<Do>,
}

impl Crowd {
    /// The clients of a plan, at home in the members' regions in turn: they ask the nodes there
    /// first, then the others. The world's number of clients, which the shrinker lowers, is the
    /// most there are.
    pub(super) fn new(plan: &RunPlan) -> Self {
        let seed = plan.world.seed;
        let mut clients = Vec::new();
        for load in &plan.loads {
            let interval =
                Duration::nanos(1_000_000_000_000 * u64::from(load.clients) / load.per_second_milli.max(1));
            for nth in 0..load.clients {
                if clients.len() >= plan.world.clients as usize {
                    break;
                }
                let id = clients.len() as u32;
                let script = Script::new(load.kind, nth, load.keys).sized(load.carries);
                let from = Instant::ZERO + load.from.unwrap_or(FIRST);
                let mut client = Client::new(id, seed, script, preferred(plan, seed, id), interval, from);
                client.stop_at(plan.world.heal_at + plan.serve_for);
                clients.push(client);
            }
        }
        let wake_of: Vec<Instant> = clients.iter().map(Client::wake_at).collect();
        Self {
            wakes: wake_of.iter().copied().enumerate().map(|(c, at)| (at, c)).collect(),
            request_of: vec![None; clients.len()],
            wake_of,
            clients,
            log: Log::default(),
            open: BTreeMap::new(),
            out: Vec::new(),
        }
    }
    /// What clients draw from now on comes from this seed.
    pub(super) fn rekey(&mut self, seed: Seed) {
        self.clients.iter_mut().for_each(|c| c.rekey(seed));
    }
    /// Keeps the first client back for a moment.
    pub(super) fn delay_first(&mut self, by: Duration) {
        if let Some(at) = self.wake_of.first().copied() {
            self.set_wake(0, at + by);
        }
    }
    /// Whether any of them writes.
    pub(super) fn writes(&self) -> bool {
        !self.clients.is_empty()
    }
    /// When the next client wants to be woken.
    pub(super) fn next_wake(&self) -> Instant {
        self.wakes.first().map_or(Instant::FAR, |w| w.0)
    }
    /// Whether nobody waits and nobody will begin.
    pub(super) fn done(&self, now: Instant) -> bool {
        self.clients.iter().all(|c| c.is_done(now) && !c.is_busy())
    }
    /// Wakes everybody whose time has come.
    pub(super) fn wake(&mut self, now: Instant, wishes: &mut Vec<Wish>) {
        while let Some((at, client)) = self.wakes.first().copied()
            && at <= now
        {
            self.clients[client].wake(now, &mut self.log, &mut self.out);
            self.settle(client, wishes);
            if self.wake_of[client] <= now {
                // It has nothing to do now and says "now": it is looked at again a moment later.
                self.set_wake(client, now + Duration::millis(1));
            }
        }
    }
    /// A client hears from the world.
    ///
    /// # Errors
    /// The oracle says that this can't be answered so.
    pub(super) fn hears(
        &mut self,
        now: Instant,
        event: ClientEvent<Response>,
        oracle: Option<&mut Oracle>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), String> {
        let ends = event.ends();
        let Some((client, attempt)) = self.open.get(&event.id).copied() else { return Ok(()) };
        if ends {
            self.open.remove(&event.id);
        }
        let answer = match event.heard {
            sim::Heard::Reply { response, .. } => door::answer(response),
            sim::Heard::Broken | sim::Heard::Expired => Err(Refusal::Unknown),
        };
        let mut judged = Ok(());
        if let (Some(oracle), Some((ask, sent))) = (oracle, self.clients[client].asking(attempt)) {
            let (client, answer) = (client as u32, &answer);
            judged = oracle.heard(Heard { at: now, client, attempt, sent, ask, answer });
        }
        self.clients[client].answered(now, attempt, answer, &mut self.log, &mut self.out);
        self.settle(client, wishes);
        judged
    }
    /// What an attempt that was just sent asks.
    pub(super) fn asking(&self, client: usize, attempt: u64) -> Option<&Ask> {
        self.clients[client].asking(attempt).map(|a| a.0)
    }
    /// The world has taken a request.
    pub(super) fn sent(&mut self, client: usize, attempt: u64, id: RequestId) {
        self.open.insert(id, (client, attempt));
        self.request_of[client] = Some((id, attempt));
    }

    /// Turns what a client wants into wishes, and notes its next wake.
    fn settle(&mut self, client: usize, wishes: &mut Vec<Wish>) {
        for action in self.out.drain(..) {
            match action {
                Do::Send { node, attempt, deadline, ask } => {
                    let request = door::question(ask);
                    wishes.push(Wish::Ask { client, attempt, node, deadline, request });
                }
                Do::Cancel { attempt } => {
                    if let Some((id, _)) = self.request_of[client].take_if(|r| r.1 == attempt)
                        && self.open.remove(&id).is_some()
                    {
                        wishes.push(Wish::Cancel(id));
                    }
                }
            }
        }
        let at = self.clients[client].wake_at();
        self.set_wake(client, at);
    }
    fn set_wake(&mut self, client: usize, at: Instant) {
        let before = std::mem::replace(&mut self.wake_of[client], at);
        if before != at {
            self.wakes.remove(&(before, client));
            self.wakes.insert((at, client));
        }
    }
}

/// The nodes a client asks, in order: those of its home region first, each group in an order
/// of its own.
fn preferred(plan: &RunPlan, seed: Seed, client: u32) -> Vec<NodeId> {
    let mut regions: Vec<&str> = plan.world.nodes.iter().map(|n| n.region.as_str()).collect();
    regions.sort_unstable();
    regions.dedup();
    let home = regions[client as usize % regions.len()];
    let key = |n: &NodeId| seed.draw(HOME, u64::from(client), Instant::ZERO, n.0);
    // Where one region forms the keyspace, the others' nodes bring their clients' questions to it.
    let is_member = |n: &NodeId| plan.members.contains(n) || plan.node.region.is_some();
    let mut nodes: Vec<(bool, u64, NodeId)> = plan
        .world
        .nodes
        .iter()
        .filter(|n| is_member(&n.id))
        .map(|n| (n.region != home, key(&n.id), n.id))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|n| n.2).collect()
}
