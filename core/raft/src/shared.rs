//! What the parts of one group on this node share: the way out, open calls, jobs.

use crate::config::GroupConfig;
use crate::message::{self, Answer, Message};
use crate::runtime::{Dropped, OneReceiver, OneSender, one};
use bytes::Bytes;
use dwcp_consensus::{EngineError, EngineOutput, StateMachine, Token, Work};
use dwcp_env::{Event, GroupId, Job, JobId, JobResult, Lane, NodeId, Probe};
use spin::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Calls that may be open at once in one group; more fail at once.
const CALLS_MAX: usize = 4_096;

/// Where all groups of a host put what they want done.
pub(crate) type Outbox<R> = Arc<Mutex<Vec<(GroupId, EngineOutput<R>)>>>;

/// The jobs of a host that are under way.
#[derive(Default)]
pub(crate) struct Jobs {
    made: u64,
    waiting: BTreeMap<JobId, OneSender<JobResult>>,
}

impl Jobs {
    /// Hands a result to whoever waits for it; tells whether the job was one of ours.
    pub(crate) fn done(&mut self, job: JobId, result: JobResult) -> bool {
        match self.waiting.remove(&job) {
            Some(waiting) => {
                // The task that asked may be gone.
                drop(waiting.give(result));
                true
            }
            None => false,
        }
    }
}

struct Open {
    to: NodeId,
    answer: OneSender<Answer>,
}

/// Requests that wait for their answers.
struct Calls {
    next: u64,
    open: BTreeMap<u64, Open>,
}

/// One group on this node.
pub(crate) struct Shared<SM: StateMachine> {
    pub(crate) group: GroupId,
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) probe: Probe,
    pub(crate) machine: Arc<Mutex<SM>>,
    pub(crate) jobs: Arc<Mutex<Jobs>>,
    outbox: Outbox<SM::Response>,
    calls: Mutex<Calls>,
    /// Who asked for a snapshot: answered when the next one is done.
    pub(crate) snapshot_asked: Mutex<Vec<Token>>,
}

impl<SM: StateMachine> Shared<SM> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        group: GroupId,
        config: Arc<GroupConfig>,
        probe: Probe,
        machine: Arc<Mutex<SM>>,
        jobs: Arc<Mutex<Jobs>>,
        outbox: Outbox<SM::Response>,
        first_call: u64,
    ) -> Arc<Self> {
        let calls = Mutex::new(Calls { next: first_call, open: BTreeMap::new() });
        let snapshot_asked = Mutex::default();
        Arc::new(Self { group, config, probe, machine, jobs, outbox, calls, snapshot_asked })
    }

    pub(crate) fn put(&self, output: EngineOutput<SM::Response>) {
        self.outbox.lock().push((self.group, output));
    }

    pub(crate) fn done(&self, token: Token, result: Result<(), EngineError>) {
        self.put(EngineOutput::Done { token, result });
    }

    /// A peer broke a rule: said aloud, counted, and otherwise ignored.
    pub(crate) fn fault(&self, from: NodeId, why: impl ToString) {
        self.probe.event(&Event::PeerFaulted { from, why: why.to_string() });
    }

    /// A number that names a transfer.
    pub(crate) fn new_transfer(&self) -> u64 {
        let mut calls = self.calls.lock();
        calls.next = calls.next.wrapping_add(1);
        calls.next
    }

    /// Runs work off the loop. `None` if it was lost.
    pub(crate) async fn job(&self, work: Work) -> JobResult {
        let ended = {
            let mut jobs = self.jobs.lock();
            jobs.made += 1;
            let id = JobId(jobs.made);
            let (give, ended) = one();
            jobs.waiting.insert(id, give);
            self.put(EngineOutput::Job(Job { id, name: work.name, cost: work.cost, run: work.run }));
            ended
        };
        ended.await.unwrap_or(None)
    }

    /// Sends a request. `None` if too many are open.
    pub(crate) fn call<'a>(
        self: &Arc<Self>,
        to: NodeId,
        lane: Lane,
        request: impl FnOnce(u64) -> Message,
        tail: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Option<Call<SM>> {
        let (give, answer) = one();
        let id = {
            let mut calls = self.calls.lock();
            if calls.open.len() >= CALLS_MAX {
                return None;
            }
            let id = calls.next;
            calls.next = calls.next.wrapping_add(1);
            calls.open.insert(id, Open { to, answer: give });
            id
        };
        let body = message::encode(&request(id), tail);
        self.put(EngineOutput::Send { to, lane, body });
        Some(Call { id, answer, shared: self.clone() })
    }

    /// Answers a peer's request.
    pub(crate) fn answer(&self, to: NodeId, id: u64, answer: Answer) {
        let body = message::encode(&Message::Answer(id, answer), std::iter::empty());
        self.put(EngineOutput::Send { to, lane: Lane::Control, body });
    }

    /// An answer has come. Late and repeated ones match no open call and are dropped.
    pub(crate) fn answered(&self, from: NodeId, id: u64, answer: Answer) {
        let open = {
            let mut calls = self.calls.lock();
            let mut id = id;
            if crate::config::bug!(self.config, answers_by_order) {
                id = calls.open.iter().find(|(_, open)| open.to == from).map_or(id, |(oldest, _)| *oldest);
            }
            match calls.open.get(&id) {
                Some(open) if open.to == from => calls.open.remove(&id),
                Some(_) => {
                    drop(calls);
                    return self.fault(from, "answers a request made to another node");
                }
                None => None,
            }
        };
        if let Some(open) = open {
            drop(open.answer.give(answer));
        }
    }
}

/// A request on its way; dropping it forgets it.
pub(crate) struct Call<SM: StateMachine> {
    id: u64,
    answer: OneReceiver<Answer>,
    shared: Arc<Shared<SM>>,
}

impl<SM: StateMachine> Future for Call<SM> {
    type Output = Result<Answer, Dropped>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx)
    }
}

impl<SM: StateMachine> Drop for Call<SM> {
    fn drop(&mut self) {
        let open = self.shared.calls.lock().open.remove(&self.id);
        drop(open);
    }
}
