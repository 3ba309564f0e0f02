//! Transactions over lists, optimistic: read everything at one revision, then write on the
//! condition that nothing read has changed. Lists that have grown long are left for fresh
//! ones, as Elle does, so that the cost of a run stays linear.

use super::{Begun, Draw, Then, everything, found, number_of, put, txn, unchanged};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::{Micro, What};
use dwcp_env::Purpose;
use dwcp_store::api::{KeyValue, Op, OpError, Response, Revision, TxnOp, TxnRequest};
use std::collections::BTreeMap;

const WHAT: Purpose = Purpose::named("lists.what");
const KEY: Purpose = Purpose::named("lists.key");
/// A list this long is left for the next of its row.
const LONG: usize = 40;
/// Row `r` of generation `g` is key `r + g * ROWS`.
const ROWS: u64 = 1 << 16;
/// Lost races before the transaction is given up.
const RACES: u32 = 6;

/// A client of lists.
#[derive(Debug)]
pub struct Lists {
    keys: u64,
    generation: Vec<u64>,
    races: u32,
}

#[derive(Default)]
struct Held {
    mod_revision: Revision,
    elements: Vec<u64>,
}

impl Lists {
    pub(super) fn new(keys: u64) -> Self {
        Self { keys, generation: vec![0; keys as usize], races: 0 }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        self.races = 0;
        let parts = 1 + draw.below(3, WHAT, 0);
        let mut micros = Vec::with_capacity(parts as usize);
        for part in 0..parts {
            let row = draw.below(self.keys, KEY, part);
            let key = row + self.generation[row as usize] * ROWS;
            micros.push(if draw.below(100, WHAT, 1 + part) < 60 {
                Micro::Append { key, element: draw.unique(part) }
            } else {
                Micro::Read { key, seen: Vec::new() }
            });
        }
        Begun { what: Some(What::Lists(micros)), ask: Ask::Range(everything(Use::ListAppend)) }
    }

    pub(super) fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        let (Some(What::Lists(micros)), Ok(Answer::Said(response))) = (what, answer) else {
            return Then::fail();
        };
        match txn(&response) {
            Some((true, _)) => Then::ok(response.header.revision),
            Some((false, answers)) => {
                self.races += 1;
                match answers.first() {
                    Some(now) if self.races < RACES => self.attempt(micros, now, response.header.revision),
                    _ => Then::fail(),
                }
            }
            None => self.attempt(micros, &response, response.header.revision),
        }
    }

    /// Plays the parts on what was read, and asks for the result to be written.
    fn attempt(&mut self, micros: &mut [Micro], read: &Response, revision: Revision) -> Then {
        let mut lists = BTreeMap::new();
        for kv in found(read) {
            if let Some(key) = Use::ListAppend.number(&kv.key) {
                lists.insert(key, hold(kv));
            }
        }
        for (row, generation) in self.generation.iter_mut().enumerate() {
            let key = row as u64 + *generation * ROWS;
            if lists.get(&key).is_some_and(|l| l.elements.len() >= LONG) {
                *generation += 1;
            }
        }
        let mut touched: BTreeMap<u64, bool> = BTreeMap::new();
        for micro in micros.iter_mut() {
            match micro {
                Micro::Append { key, element } => {
                    lists.entry(*key).or_default().elements.push(*element);
                    touched.insert(*key, true);
                }
                Micro::Read { key, seen } => {
                    seen.clear();
                    seen.extend_from_slice(&lists.entry(*key).or_default().elements);
                    touched.entry(*key).or_insert(false);
                }
            }
        }
        if !touched.values().any(|written| *written) {
            // Only reads: the range was one snapshot, and linearizable.
            return Then::ok(revision);
        }
        let name = |key: &u64| Use::ListAppend.key(*key);
        let compare = touched.keys().map(|k| unchanged(name(k), lists[k].mod_revision)).collect();
        let written = touched.iter().filter(|(_, written)| **written);
        let success = written.map(|(k, _)| put(name(k), &bytes_of(&lists[k].elements))).collect();
        let failure = vec![TxnOp::Range(everything(Use::ListAppend))];
        Then::Ask(Ask::Do { stamp: None, op: Op::Txn(TxnRequest { compare, success, failure }) })
    }
}

fn hold(kv: &KeyValue) -> Held {
    Held { mod_revision: kv.mod_revision, elements: elements(&kv.value) }
}

/// The elements of a stored list.
pub(crate) fn elements(value: &[u8]) -> Vec<u64> {
    value.chunks_exact(8).filter_map(number_of).collect()
}

fn bytes_of(elements: &[u64]) -> Vec<u8> {
    elements.iter().flat_map(|e| e.to_be_bytes()).collect()
}
