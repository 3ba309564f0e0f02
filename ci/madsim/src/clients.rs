//! The clients: those of every other world, with madsim's network in between.

use crate::driver::{ANSWER, ASK, Arrival, Word, listen};
use crate::{CLIENTS, GROUP, NODES, address, mono};
use dwcp_env::bound::INPUT_QUEUE;
use dwcp_env::{Duration, Instant, NodeId, Seed};
use dwcp_node as node;
use dwcp_store::api::{Body, Header, Response};
use dwcp_workload::script::Script;
use dwcp_workload::{Answer, Ask, Client, Do, Log, Refusal, Use};
use madsim::net::Endpoint;
use madsim::time::timeout;
use tokio::sync::mpsc::{Receiver, channel};

/// So many clients, and keys that they share.
const CROWD: u32 = 24;
const KEYS: u32 = 8;
/// Each begins an operation so often.
const INTERVAL: Duration = Duration::millis(250);
/// Attempts of one client: numbers of questions tell them apart.
const SPAN: u64 = 1 << 32;

/// The clients' machine.
pub struct Crowd {
    endpoint: Endpoint,
    answers: Receiver<Arrival>,
    clients: Vec<Client>,
    log: Log,
}

impl Crowd {
    /// Clients that begin no operation at or after `stop`.
    ///
    /// # Panics
    /// If their port is taken.
    pub async fn new(seed: u64, stop: Instant) -> Self {
        let endpoint = Endpoint::bind(address(CLIENTS)).await.expect("a port of its own");
        let (into, answers) = channel(INPUT_QUEUE);
        listen(&endpoint, ANSWER, into);
        let client = |id: u32| {
            let mut nodes = NODES.to_vec();
            nodes.rotate_left(id as usize % NODES.len());
            let script = Script::new(Use::Register, id, KEYS);
            let mut client = Client::new(id, Seed(seed), script, nodes, INTERVAL, mono());
            client.stop_at(stop);
            client
        };
        Self { endpoint, answers, clients: (0..CROWD).map(client).collect(), log: Log::default() }
    }

    /// Works until everything has its outcome.
    pub async fn work(&mut self) -> Log {
        let mut out = Vec::new();
        loop {
            let now = mono();
            for id in 0..self.clients.len() {
                self.clients[id].wake(now, &mut self.log, &mut out);
                self.send(id as u64, &mut out).await;
            }
            if self.clients.iter().all(|c| c.is_done(now) && !c.is_busy()) {
                return std::mem::take(&mut self.log);
            }
            let wake = self.clients.iter().map(Client::wake_at).min().unwrap_or(Instant::FAR);
            let wait = wake.since(mono()).max(Duration::millis(1));
            let Ok(Some((_, _, Word::Answer(number, response)))) =
                timeout(wait.to_std(), self.answers.recv()).await
            else {
                continue;
            };
            let (id, attempt) = (number / SPAN, number % SPAN);
            let client = &mut self.clients[id as usize];
            client.answered(mono(), attempt, answer(response), &mut self.log, &mut out);
            self.send(id, &mut out).await;
        }
    }

    async fn send(&self, id: u64, out: &mut Vec<Do>) {
        for what in out.drain(..) {
            // An answer that nobody waits for any more is ignored: there is nothing to cancel.
            let Do::Send { node, attempt, deadline, ask } = what else { continue };
            let ask = match ask {
                Ask::Range(range) => node::Ask::Range { range, serializable: false },
                Ask::Do { stamp, op } => node::Ask::Write { session: stamp, op },
                other => unreachable!("registers need no {other:?}"),
            };
            self.ask(node, id * SPAN + attempt, deadline, ask).await;
        }
    }

    async fn ask(&self, to: NodeId, number: u64, deadline: Instant, ask: node::Ask) {
        let word = Word::Ask(number, deadline, node::Request { group: GROUP, ask });
        let _lost = self.endpoint.send_to_raw(address(to), ASK, Box::new(word)).await;
    }

    /// What a node says of its own state, on a network that loses nothing.
    ///
    /// # Panics
    /// If it says nothing for ten seconds.
    pub async fn hash(&mut self, of: NodeId) -> node::Response {
        let number = u64::MAX - of.0;
        self.ask(of, number, mono() + Duration::secs(10), node::Ask::HashKv(0)).await;
        loop {
            let wait = std::time::Duration::from_secs(10);
            let arrival = timeout(wait, self.answers.recv()).await.expect("an answer");
            let Some((_, _, Word::Answer(n, response))) = arrival else { continue };
            if n == number {
                return response;
            }
        }
    }
}

/// An answer in the client's words.
fn answer(response: node::Response) -> Result<Answer, Refusal> {
    match response {
        Ok(node::Answer::Written(response)) => Ok(Answer::Said(response)),
        Ok(node::Answer::Range { revision, range }) => {
            Ok(Answer::Said(Response { header: Header { revision }, body: Body::Range(range) }))
        }
        Ok(other) => panic!("no question of ours is answered so: {other:?}"),
        Err(node::AskError::Op(error)) => Err(Refusal::Op(error)),
        Err(node::AskError::Unknown) => Err(Refusal::Unknown),
        Err(_) => Err(Refusal::NotDone { hint: None }),
    }
}
