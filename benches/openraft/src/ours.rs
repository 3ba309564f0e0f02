//! Three members of `core/raft`, driven as a node drives them.

use crate::disk::MemDisk;
use crate::{Load, Measured, Watch};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, EngineOutput, Member, Position, StateMachine, Token, Work};
use dwcp_env::disk::{DiskOp, DiskRequest};
use dwcp_env::exec::Pick;
use dwcp_env::{GroupId, Instant, JobResult, Lane, NodeId, Now, Probe, Seed, World};
use dwcp_raft::{GroupConfig, RaftHost};
use dwcp_wal::{GroupLog, Wal, WalConfig};
use spin::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const G: GroupId = GroupId(1);
/// A group that does not elect by then never will.
const ELECT_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// A state that counts, and is never checkpointed.
#[derive(Default)]
struct Count {
    at: Option<Position>,
    record: Bytes,
    commands: u64,
}

impl StateMachine for Count {
    type Response = u64;
    fn applied(&self) -> (Option<Position>, Bytes) {
        (self.at, self.record.clone())
    }
    fn apply(&mut self, at: Position, _: &Bytes) -> u64 {
        self.at = Some(at);
        self.commands += 1;
        self.commands
    }
    fn note(&mut self, at: Position, record: Option<Bytes>) {
        self.at = Some(at);
        self.record = record.unwrap_or_else(|| self.record.clone());
    }
    fn record(&mut self, record: Bytes) {
        self.record = record;
    }
    fn blank_response(&self) -> u64 {
        0
    }
    fn checkpoint(&mut self) -> Option<Work> {
        None
    }
    fn checkpoint_done(&mut self, _: JobResult) -> Result<Checkpointed, String> {
        Err("none was begun".into())
    }
    fn current_checkpoint(&self) -> Option<Checkpointed> {
        None
    }
    fn read_piece(&self, _: Position, _: Bytes) -> Option<Work> {
        None
    }
    fn begin_install(&mut self, _: Checkpointed) {}
    fn install_piece(&mut self, _: Bytes) -> Work {
        self.finish_install()
    }
    fn finish_install(&mut self) -> Work {
        let run = Box::new(|| {
            Box::new(Err::<(), String>("nobody sends one".into())) as Box<dyn std::any::Any + Send>
        });
        Work { name: "nothing", cost: dwcp_env::Duration::ZERO, run }
    }
    fn install_done(&mut self, _: JobResult) -> Result<(), String> {
        Err("nobody sends one".into())
    }
}

struct Node {
    host: RaftHost<Count>,
    wal: Arc<Mutex<Wal>>,
    next_ticket: u64,
    wake: Option<Instant>,
    /// Where what is logged goes, and how much went there.
    file: Option<std::fs::File>,
    written: u64,
}

impl Node {
    /// Carries a request out; where there is no file, it was in memory already.
    fn carry_out(&mut self, request: &DiskRequest) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        for op in &request.ops {
            match op {
                DiskOp::Write { data, .. } => {
                    file.write_all_at(data, self.written).map_err(|e| e.to_string())?;
                    self.written += data.len() as u64;
                }
                DiskOp::Sync { .. } => file.sync_data().map_err(|e| e.to_string())?,
                _ => {}
            }
        }
        Ok(())
    }
}

struct Group {
    nodes: Vec<Node>,
    wire: VecDeque<(NodeId, NodeId, Lane, Bytes)>,
    began: std::time::Instant,
    done: u64,
    out: Vec<(GroupId, EngineOutput<u64>)>,
    disk: Vec<DiskRequest>,
}

impl Group {
    fn new(files: Option<Vec<std::fs::File>>) -> Result<Self, String> {
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let members: BTreeMap<NodeId, Member> = ids.iter().map(|id| (*id, Member::default())).collect();
        let mut files: Vec<Option<std::fs::File>> =
            files.map_or_else(|| vec![None, None, None], |f| f.into_iter().map(Some).collect());
        let mut nodes = Vec::new();
        for id in ids.iter().rev() {
            let world = World {
                now: Now::default(),
                storage: Arc::new(MemDisk::default()),
                probe: Probe::silent(),
                seed: Seed(id.0),
            };
            let (wal, _) = Wal::open(&world, WalConfig::default()).map_err(|e| e.to_string())?;
            let wal = Arc::new(Mutex::new(wal));
            let mut host = RaftHost::new(Pick::Fifo, Seed(id.0), wal.clone(), Probe::silent());
            let config =
                GroupConfig { initial: Some(members.clone()), snapshot_entries: 0, ..GroupConfig::lan(*id) };
            host.add_group(Now::default(), G, config, Arc::default(), GroupLog::default())
                .map_err(|e| e.to_string())?;
            let file = files.pop().flatten();
            nodes.insert(0, Node { host, wal, next_ticket: 1, wake: None, file, written: 0 });
        }
        let began = std::time::Instant::now();
        let (out, disk) = (Vec::new(), Vec::new());
        Ok(Self { nodes, wire: VecDeque::new(), began, done: 0, out, disk })
    }
    fn now(&self) -> Now {
        let nanos = self.began.elapsed().as_nanos() as u64;
        Now { mono: Instant::from_nanos(nanos), ..Now::default() }
    }
    /// One turn of a member, and the end of what it wrote.
    fn turn(&mut self, at: usize) -> Result<(), String> {
        loop {
            let now = self.now();
            let node = &mut self.nodes[at];
            node.wake = node.host.run(now, &mut self.out);
            for (_, output) in self.out.drain(..) {
                match output {
                    EngineOutput::Send { to, lane, body } => {
                        self.wire.push_back((NodeId(at as u64 + 1), to, lane, body));
                    }
                    EngineOutput::Proposed { result, .. } => {
                        result.map_err(|e| format!("a write was refused: {e}"))?;
                        self.done += 1;
                    }
                    EngineOutput::Job(job) => {
                        let result = Some((job.run)());
                        node.host.job_done(job.id, result);
                    }
                    _ => {}
                }
            }
            node.wal.lock().flush(&mut node.next_ticket, &mut self.disk);
            if self.disk.is_empty() {
                return Ok(());
            }
            for request in self.disk.drain(..) {
                node.carry_out(&request)?;
                node.wal.lock().completed(request.ticket, Ok(())).map_err(|e| e.to_string())?;
            }
        }
    }
    /// Delivers one message, or wakes who wants to be; false if there was nothing to do.
    fn step(&mut self) -> Result<bool, String> {
        if let Some((from, to, lane, body)) = self.wire.pop_front() {
            let at = to.0 as usize - 1;
            self.nodes[at].host.message(G, from, lane, &body);
            // What has come meanwhile is taken in the same turn, as a node takes what its sockets hold.
            while let Some((from, _, lane, body)) = self.wire.pop_front_if(|(_, next, ..)| *next == to) {
                self.nodes[at].host.message(G, from, lane, &body);
            }
            self.turn(at)?;
            return Ok(true);
        }
        let now = self.now().mono;
        let due = (0..self.nodes.len()).find(|at| self.nodes[*at].wake.is_some_and(|w| w <= now));
        match due {
            Some(at) => self.turn(at).map(|()| true),
            None => Ok(false),
        }
    }
    fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|at| self.nodes[*at].host.group(G).is_some_and(|g| g.is_leader()))
    }
}

/// Writes a second with so many in flight.
pub(crate) fn measure(load: Load) -> Result<Measured, String> {
    let mut group = Group::new(load.files)?;
    for at in 0..3 {
        group.turn(at)?;
    }
    let leader = loop {
        group.step()?;
        if let Some(leader) = group.leader() {
            break leader;
        }
        if group.began.elapsed() > ELECT_WITHIN {
            return Err("nobody came to lead".into());
        }
    };
    let command = Bytes::from(vec![7; load.bytes]);
    let (mut asked, mut watch) = (0, Watch::new(load.time));
    loop {
        while asked < group.done + load.outstanding {
            asked += 1;
            group.nodes[leader].host.propose(G, Token(asked), &command);
        }
        group.turn(leader)?;
        // Messages are taken until one more answer is there: then the next writes are asked for.
        let before = group.done;
        while group.done == before && group.step()? {}
        if let Some(measured) = watch.look(group.done) {
            return Ok(measured);
        }
    }
}
