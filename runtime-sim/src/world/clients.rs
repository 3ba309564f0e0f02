//! Requests on their way, and what their clients hear.

use super::{Next, SimWorld};
use crate::client::{Advance, ClientEvent, Heard};
use crate::trace::What;
use dwcp_env::{Input, Instant, Machine, NodeId, Reply, RequestId};
use std::collections::VecDeque;

/// Requests that have not ended, by identifier: a window over consecutive numbers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    first: u64,
    /// Which node was asked; none once it has ended.
    nodes: VecDeque<Option<u16>>,
}

impl Waiting {
    fn open(&mut self, node: u16) -> RequestId {
        self.nodes.push_back(Some(node));
        RequestId(self.first + self.nodes.len() as u64 - 1)
    }
    fn place(&self, id: RequestId) -> Option<usize> {
        let i = id.0.checked_sub(self.first)? as usize;
        (i < self.nodes.len()).then_some(i)
    }
    fn node(&self, id: RequestId) -> Option<u16> {
        self.place(id).and_then(|i| self.nodes[i])
    }
    fn issued(&self, id: RequestId) -> bool {
        id.0 < self.first + self.nodes.len() as u64
    }
    fn end(&mut self, id: RequestId) {
        if let Some(i) = self.place(id) {
            self.nodes[i] = None;
            while self.nodes.front() == Some(&None) {
                self.nodes.pop_front();
                self.first += 1;
            }
        }
    }
    fn of(&self, node: u16) -> Vec<RequestId> {
        let mine =
            |(i, n): (usize, &Option<u16>)| (*n == Some(node)).then(|| RequestId(self.first + i as u64));
        self.nodes.iter().enumerate().filter_map(mine).collect()
    }
}

impl<M: Machine> SimWorld<M> {
    /// Asks a node. The client waits until `deadline`, in simulated time;
    /// [`Instant::FAR`] waits forever.
    ///
    /// # Panics
    /// If there is no such node in the plan.
    pub fn request(&mut self, node: NodeId, request: M::Request, deadline: Instant) -> RequestId {
        let index = self.index(node).expect("a client asks a node of the plan");
        let id = self.waiting.open(index as u16);
        let deadline = deadline.as_nanos();
        let next = Next::Request { node: index as u16, id, deadline, request: Box::new(request) };
        self.queue.push(self.now + self.plan.net.client.as_nanos(), next);
        if deadline != u64::MAX {
            self.queue.push(deadline.max(self.now), Next::Expire { node: index as u16, id });
        }
        id
    }

    /// The client no longer waits: nothing more is heard of this request.
    pub fn cancel(&mut self, id: RequestId) {
        if let Some(node) = self.waiting.node(id) {
            self.waiting.end(id);
            self.queue.push(self.now + self.plan.net.client.as_nanos(), Next::Cancel { node, id });
        }
    }

    /// Requests that have not ended.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.waiting.nodes.iter().flatten().count()
    }

    pub(super) fn request_arrives(&mut self, i: usize, id: RequestId, deadline: u64, request: M::Request) {
        let node = self.hosts[i].id;
        if self.hosts[i].machine.is_none() {
            self.connection_breaks(i as u16, id);
            return;
        }
        self.note(id.0, || What::Request { node, id });
        // The deadline as the node's clock will show it.
        let host = &self.hosts[i];
        let deadline = match deadline {
            u64::MAX => Instant::FAR,
            t => Instant::from_nanos(host.clock.mono(t.max(self.now))),
        };
        self.arrive(i, Input::Request { id, deadline, request });
    }

    pub(super) fn cancel_arrives(&mut self, i: usize, id: RequestId) {
        let node = self.hosts[i].id;
        self.note(id.0, || What::Cancel { node, id });
        if self.hosts[i].machine.is_some() {
            self.arrive(i, Input::Cancel { id });
        }
    }

    pub(super) fn expire(&mut self, i: usize, id: RequestId) {
        if self.waiting.node(id).is_some() {
            let (at, node) = (self.now(), self.hosts[i].id);
            self.cancel(id);
            self.heard.push_back(Advance::Client(ClientEvent { at, id, node, heard: Heard::Expired }));
        }
    }

    fn connection_breaks(&mut self, index: u16, id: RequestId) {
        let node = self.hosts[index as usize].id;
        let at = self.now + self.plan.net.client.as_nanos();
        let event = ClientEvent { at: Instant::from_nanos(at), id, node, heard: Heard::Broken };
        self.queue.push(at, Next::Client(Box::new(event)));
    }

    /// A process has ended: its clients' connections break.
    pub(super) fn connections_break(&mut self, i: usize) {
        for id in self.waiting.of(i as u16) {
            self.connection_breaks(i as u16, id);
        }
    }

    /// A node's answer leaves.
    pub(super) fn reply(&mut self, i: usize, reply: Reply<M::Response>) {
        let (id, end, node) = (reply.id, reply.end, self.hosts[i].id);
        if !self.waiting.issued(id) {
            self.violate("contract.reply", format!("{node} answers {id}, which was never asked"), Some(node));
            return;
        }
        self.note(id.0 << 1 | u64::from(end), || What::Reply { node, id, end });
        match self.waiting.node(id) {
            Some(asked) if asked as usize == i => {
                let at = self.now + self.plan.net.client.as_nanos();
                let heard = Heard::Reply { response: reply.response, end };
                let event = ClientEvent { at: Instant::from_nanos(at), id, node, heard };
                self.queue.push(at, Next::Client(Box::new(event)));
            }
            Some(_) => {
                let detail = format!("{node} answers {id}, which another node was asked");
                self.violate("contract.reply", detail, Some(node));
            }
            None => self.stats.late_replies += 1,
        }
    }

    pub(super) fn client_hears(&mut self, event: ClientEvent<M::Response>) {
        let (node, id) = (event.node, event.id);
        if self.waiting.node(id).is_none() {
            self.stats.late_replies += u64::from(event.heard_reply());
            return;
        }
        if matches!(event.heard, Heard::Broken) {
            self.note(id.0, || What::Broken { node, id });
        }
        if event.ends() {
            self.waiting.end(id);
        }
        self.heard.push_back(Advance::Client(event));
    }
}
