//! A run's events as rows for the picture, as they come.
//!
//! A row of messages has 16 bytes, little endian, in the order of arrival:
//!
//! | offset | bytes | holds |
//! |---|---|---|
//! | 0 | 4 | when it was sent, in microseconds |
//! | 4 | 4 | when it arrived or was lost |
//! | 8 | 2 | the sender's place in the plan's list of nodes |
//! | 10 | 2 | the receiver's |
//! | 12 | 1 | the lane: 0 control, 1 data, 2 bulk, 3 datagram |
//! | 13 | 1 | 0 arrived, 1 lost |
//! | 14 | 2 | bytes of the body, 65535 at most |

use dwcp_env::NodeId;
use dwcp_runtime_sim::trace::{Event, What};
use dwcp_scenarios::explain::witness::action;
use dwcp_scenarios::run::moment::says;
use dwcp_scenarios::run::picture::{ended, leads, life, us};
use dwcp_workload::{Log, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;

/// The bytes of a row.
pub(crate) const ROW: usize = 16;
/// Of the events of one answer the last so many are told as text.
const TEXTS: usize = 24;

/// What an answer brings besides the messages. Times are in microseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rows {
    /// Changes of a node's life: when, who, what, why.
    pub(crate) lives: Vec<(u64, u64, &'static str, String)>,
    /// Who was seen to lead: from when, who, which term.
    pub(crate) leaders: Vec<(u64, u64, u64)>,
    /// What nodes told: when, who, in words.
    pub(crate) marks: Vec<(u64, u64, String)>,
    /// Operations that ended, and those still open: number, begun, ended, client, what, how.
    pub(crate) operations: Vec<(usize, u64, u64, u32, String, &'static str)>,
    /// The last events: place in the trace, when, in words.
    pub(crate) texts: Vec<(u64, u64, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u32,
    lane: u8,
    bytes: u16,
}

/// What has to be remembered between answers.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    places: BTreeMap<NodeId, u16>,
    under_way: BTreeMap<u64, Sent>,
    term: u64,
    /// Records of the log already begun, and those of them that were open.
    known: usize,
    open: Vec<usize>,
    pub(crate) messages: Vec<u8>,
}

impl Gather {
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let places = nodes.enumerate().map(|(place, node)| (node, place as u16)).collect();
        Self { places, ..Self::default() }
    }
    /// Turns events into rows. The page knows the first `known` events of the run already: of
    /// those only is remembered what later ones need.
    pub(crate) fn take(&mut self, events: &[Event], log: &Log, known: u64) -> Rows {
        let mut rows = Rows::default();
        self.messages.clear();
        let fresh = events.partition_point(|e| e.seq < known);
        for event in &events[..fresh] {
            self.one(event, &mut rows);
        }
        self.messages.clear();
        rows = Rows::default();
        for event in &events[fresh..] {
            self.one(event, &mut rows);
        }
        self.operations(log, fresh < events.len(), &mut rows);
        let last = &events[events.len().saturating_sub(TEXTS)..];
        rows.texts = last.iter().map(|e| (e.seq, us(e.at), says(e))).collect();
        rows
    }
    fn one(&mut self, event: &Event, rows: &mut Rows) {
        let at = us(event.at);
        rows.lives.extend(life(&event.what).map(|(node, what, why)| (at, node.0, what, why)));
        match &event.what {
            What::Send { message, lane, bytes, .. } => {
                let bytes = u16::try_from(*bytes).unwrap_or(u16::MAX);
                self.under_way.insert(*message, Sent { at: at as u32, lane: *lane, bytes });
            }
            What::Deliver { message, from, to, .. } => self.arrived(*message, *from, *to, at, false),
            What::Drop { message, from, to, .. } => self.arrived(*message, *from, *to, at, true),
            What::Told { node, name, text } => {
                if let Some((term, leader)) = leads(name, text)
                    && term > self.term
                {
                    self.term = term;
                    rows.leaders.push((at, leader, term));
                }
                rows.marks.push((at, node.0, text.clone()));
            }
            _ => {}
        }
    }
    fn arrived(&mut self, message: u64, from: NodeId, to: NodeId, at: u64, lost: bool) {
        let Some(sent) = self.under_way.remove(&message) else { return };
        let place = |n| self.places.get(&n).copied().unwrap_or(u16::MAX);
        self.messages.extend(sent.at.to_le_bytes());
        self.messages.extend((at as u32).to_le_bytes());
        self.messages.extend(place(from).to_le_bytes());
        self.messages.extend(place(to).to_le_bytes());
        self.messages.extend([sent.lane, u8::from(lost)]);
        self.messages.extend(sent.bytes.to_le_bytes());
    }
    fn operations(&mut self, log: &Log, told: bool, rows: &mut Rows) {
        self.open.extend(self.known..log.records.len());
        self.known = log.records.len();
        self.open.retain(|nth| {
            let r = &log.records[*nth];
            if r.outcome == Outcome::Open {
                return true;
            }
            // What a watcher saw is no operation, and there are very many.
            if told && r.what.name() != "saw" {
                let (what, how) = (action(&r.what), ended(r.outcome));
                rows.operations.push((*nth, us(r.call), us(r.ret), r.client, what, how));
            }
            false
        });
    }
    /// Operations that are open now: begun, client, what.
    pub(crate) fn open(&self, log: &Log) -> Vec<(u64, u32, String)> {
        let of = |nth: &usize| log.records.get(*nth);
        self.open.iter().filter_map(of).map(|r| (us(r.call), r.client, format!("{:?}", r.what))).collect()
    }
    /// How many messages are on their way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }
}
