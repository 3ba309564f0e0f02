//! Read atomic and causal: the axioms of [`crate::rw`], with the order of versions that the
//! lists tell as further demands.

use super::orders::{NOBODY, Orders};
use super::{Anomaly, Level, Status, Step, Transaction};
use crate::history::Value;
use crate::rw;
use std::collections::BTreeMap;

pub(crate) fn check(transactions: &[Transaction], orders: &Orders<'_>, level: Level) -> Option<Anomaly> {
    let as_registers: Vec<rw::Transaction> =
        transactions.iter().enumerate().map(|(at, t)| as_registers(t, orders.happened[at])).collect();
    let options = rw::Options {
        level,
        unwritten: rw::Unwritten::Ignore,
        sessions: true,
        budget: rw::Budget::default(),
    };
    rw::with_versions(&as_registers, &options, |ids, demands| {
        let ids: BTreeMap<Value, u32> = ids.iter().enumerate().map(|(id, name)| (*name, id as u32)).collect();
        for key in &orders.keys {
            let Some(&id) = ids.get(&key.name) else { continue };
            let mut last = NOBODY;
            for &writer in key.writers.iter().filter(|writer| **writer != NOBODY) {
                if last != NOBODY {
                    demands.known(last, writer, id);
                }
                last = writer;
            }
            for &writer in key.unseen.iter().filter(|_| last != NOBODY) {
                demands.known(last, writer, id);
            }
        }
    })
}

/// An append as the write of its element, a read as that of the last element.
fn as_registers(transaction: &Transaction, happened: bool) -> rw::Transaction {
    let step = |step: &Step| match step {
        Step::Append { key, element } => Some(rw::Step::Write { key: *key, value: *element }),
        Step::Read { list: None, .. } => None,
        Step::Read { key, list: Some(list) } => {
            Some(rw::Step::Read { key: *key, value: list.last().copied() })
        }
    };
    rw::Transaction {
        process: transaction.process,
        call: transaction.call,
        ret: transaction.ret,
        status: if happened { Status::Committed } else { transaction.status },
        steps: transaction.steps.iter().filter_map(step).collect(),
    }
}
