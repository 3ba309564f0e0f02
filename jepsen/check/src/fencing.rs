//! Fencing: a lock's tokens only rise, and nothing passes under an old one. And its cousin:
//! a term has one leader.
//!
//! Source: Lamport's leases by way of Chubby's sequencers (Burrows, OSDI 2006). A lease
//! cannot keep a paused holder from acting late; a token that the guarded resource compares
//! can. So what is checked is what the resource let pass.
//!
//! | rule | broken by |
//! |---|---|
//! | a token is given once | two acquisitions with one token |
//! | tokens rise in real time | an acquisition called after another returned, with a smaller token |
//! | old tokens are refused | a use that passed, called after a use under a larger token had passed |
//! | tokens come from acquisitions | a use under a token that nobody was given |
//! | a term has one leader | two nodes that both led in one term |
//!
//! Cost n log n.

use crate::history::Value;
use crate::linearizable::Operation;
use crate::mistake::{Mistake, planted};
use std::collections::BTreeMap;

/// What was done to a lock or with its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FencingOp {
    /// The lock was acquired under a token. (Pending: leave it out, the token is unknown.)
    Acquire {
        /// Which lock.
        lock: Value,
        /// The token given.
        token: Value,
    },
    /// The guarded resource was used under a token, and let it pass; or may have (pending).
    Use {
        /// Which lock guards it.
        lock: Value,
        /// The token shown.
        token: Value,
    },
    /// A node led in a term.
    Lead {
        /// Which term.
        term: Value,
        /// Which node.
        node: Value,
    },
}

/// A rule broken, with the operations that break it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// Indices of the operations.
    pub operations: Vec<usize>,
    /// What happened.
    pub text: String,
}

/// All broken rules, at most one of each kind a lock and pair.
#[must_use]
pub fn check(operations: &[Operation<FencingOp>]) -> Vec<Fault> {
    let mut given: BTreeMap<Value, Vec<(usize, Value)>> = BTreeMap::new();
    let mut uses: BTreeMap<Value, Vec<(usize, Value)>> = BTreeMap::new();
    let mut leaders: BTreeMap<Value, (usize, Value)> = BTreeMap::new();
    let mut faults = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        match operation.op {
            FencingOp::Acquire { lock, token } if operation.returned() => {
                given.entry(lock).or_default().push((at, token));
            }
            FencingOp::Acquire { .. } => {}
            FencingOp::Use { lock, token } => uses.entry(lock).or_default().push((at, token)),
            FencingOp::Lead { term, node } => {
                let first = *leaders.entry(term).or_insert((at, node));
                if first.1 != node && !planted(Mistake::TwoLeadersPass) {
                    let text = format!("nodes {} and {node} both led in term {term}", first.1);
                    faults.push(Fault { name: "two-leaders", operations: vec![first.0, at], text });
                }
            }
        }
    }
    for (lock, list) in &given {
        faults.extend(repeated(*lock, list));
        let falls = falling(operations, list);
        faults.extend(falls.filter(|_| !planted(Mistake::TokensFall)).map(|([a, b], [x, y])| Fault {
            name: "token-fell",
            operations: vec![a, b],
            text: format!("lock {lock}: token {y} was given after token {x} had been"),
        }));
    }
    for (lock, list) in &uses {
        let known = given.get(lock).map_or(&[][..], |list| list);
        let invented = list.iter().find(|(_, token)| !known.iter().any(|(_, given)| given == token));
        if let Some((at, token)) = invented.filter(|_| !known.is_empty()) {
            let text = format!("lock {lock}: token {token} was used and never given");
            faults.push(Fault { name: "unknown-token", operations: vec![*at], text });
        }
        let returned: Vec<(usize, Value)> =
            list.iter().copied().filter(|(at, _)| operations[*at].returned()).collect();
        let old = falling(operations, &returned);
        faults.extend(old.filter(|_| !planted(Mistake::OldTokensPass)).map(|([a, b], [x, y])| Fault {
            name: "old-token",
            operations: vec![a, b],
            text: format!("lock {lock}: a use under token {y} passed after one under token {x} had"),
        }));
    }
    faults
}

fn repeated(lock: Value, list: &[(usize, Value)]) -> Option<Fault> {
    let mut by_token: BTreeMap<Value, usize> = BTreeMap::new();
    list.iter().find_map(|(at, token)| {
        let first = by_token.insert(*token, *at)?;
        let text = format!("lock {lock}: token {token} was given twice");
        (!planted(Mistake::TokensRepeat)).then(|| Fault {
            name: "token-repeated",
            operations: vec![first, *at],
            text,
        })
    })
}

/// The first operation that was called after another with a larger token had returned.
fn falling(
    operations: &[Operation<FencingOp>],
    list: &[(usize, Value)],
) -> std::option::IntoIter<([usize; 2], [Value; 2])> {
    let mut calls = list.to_vec();
    calls.sort_by_key(|(at, _)| operations[*at].call);
    let mut returns = list.to_vec();
    returns.sort_by_key(|(at, _)| operations[*at].ret);
    let mut next = 0;
    let mut largest: Option<(usize, Value)> = None;
    for (at, token) in calls {
        while let Some(&(done, other)) =
            returns.get(next).filter(|(done, _)| operations[*done].ret < operations[at].call)
        {
            if largest.is_none_or(|(_, most)| other > most) {
                largest = Some((done, other));
            }
            next += 1;
        }
        if let Some((before, most)) = largest.filter(|(_, most)| *most > token) {
            return Some(([before, at], [most, token])).into_iter();
        }
    }
    None.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use FencingOp::{Acquire, Lead, Use};

    fn names(list: &[(u64, u64, FencingOp)]) -> Vec<&'static str> {
        let operation = |&(call, ret, op): &(u64, u64, FencingOp)| Operation { process: 0, call, ret, op };
        let operations: Vec<_> = list.iter().map(operation).collect();
        check(&operations).iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn each_rule() {
        let acquire = |token| Acquire { lock: 1, token };
        let used = |token| Use { lock: 1, token };
        let fine =
            [(0, 1, acquire(1)), (2, 3, used(1)), (4, 5, acquire(2)), (4, 9, used(1)), (6, 9, used(2))];
        assert_eq!(names(&fine), [""; 0]);
        assert_eq!(names(&[(0, 1, acquire(1)), (2, 3, acquire(1))]), ["token-repeated"]);
        assert_eq!(names(&[(0, 1, acquire(2)), (2, 3, acquire(1))]), ["token-fell"]);
        assert_eq!(names(&[(0, 3, acquire(2)), (2, 5, acquire(1))]), [""; 0]);
        let late = [(0, 1, acquire(1)), (2, 3, acquire(2)), (4, 5, used(2)), (6, 7, used(1))];
        assert_eq!(names(&late), ["old-token"]);
        assert_eq!(names(&[(0, 1, acquire(1)), (2, 3, used(7))]), ["unknown-token"]);
        let lead = |term, node| Lead { term, node };
        assert_eq!(names(&[(0, 1, lead(1, 1)), (2, 3, lead(1, 1)), (2, 3, lead(2, 2))]), [""; 0]);
        assert_eq!(names(&[(0, 1, lead(1, 1)), (2, 3, lead(1, 2))]), ["two-leaders"]);
    }
}
