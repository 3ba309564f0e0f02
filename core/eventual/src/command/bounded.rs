//! Bounded counters: an amount that all regions together never overspend, without asking each other.
//!
//! Escrow (O'Neil, TODS 1986; Balegas et al., SRDS 2015): whoever grants holds the right to spend what it granted; rights are
//! handed over, and a replica spends what it holds. Spending is thus decided where it is asked, through any partition; what
//! is refused is the unlucky case that the rights lie elsewhere, and the error says where.

use super::{Plan, Planned, View};
use crate::api::{Command, Reply, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Address, Change, Edit, Kind, ReplicaIndex, Standing};

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::BGrant { key, by } => {
            let there = check(view, key)?;
            let mut edits = if there { Vec::new() } else { view.space.delete_all(&[key.to_vec()]) };
            edits.push(Edit::new(at(key), Change::Increase(amount(*by)?)));
            let before = if there { total(view, key) } else { 0 };
            answered(before + i128::from(*by), edits)
        }
        Command::BSpend { key, by } => {
            let by = amount(*by)?;
            let held = if check(view, key)? { view.space.rights(&at(key), view.space.me()) } else { 0 };
            if by > held {
                return Err(no_rights(view, key, by, held));
            }
            let edits = vec![Edit::new(at(key), Change::Decrease(by))];
            answered(total(view, key) - i128::from(by), edits)
        }
        Command::BMove { key, node, by } => {
            let amount = amount(*by)?;
            let held = if check(view, key)? { view.space.rights(&at(key), view.space.me()) } else { 0 };
            let to = place_of(view, *node)?;
            if amount > held {
                return Err(no_rights(view, key, amount, held));
            }
            let edits = vec![Edit::new(at(key), Change::Transfer { to, amount })];
            answered(i128::from(held - amount), edits)
        }
        Command::BGet { key } => {
            let mut pairs = Vec::new();
            if check(view, key)? {
                let mut say = |name: String, n: i128| pairs.push((name.into(), n.to_string().into()));
                say("total".into(), total(view, key));
                say("here".into(), view.space.rights(&at(key), view.space.me()).into());
                for (node, rights) in holders(view, key) {
                    say(format!("node:{node}"), rights.into());
                }
            }
            Ok(Plan::reads(Reply::Pairs(pairs)))
        }
        other => unreachable!("{} is no command of bounded counters", other.name()),
    }
}

fn at(key: &Bytes) -> Address {
    Address::key(Kind::Bounded, key)
}

/// Whether a bounded counter is there.
///
/// # Errors
/// Something else is: its sum would hide what may be spent.
fn check(view: View<'_>, key: &[u8]) -> Result<bool, Refusal> {
    let held = view.look(key);
    let there = held.expect(Type::String)?;
    if there && !held.is_bounded() {
        return Err(Refusal::Argument(
            "the key holds a string or a plain counter, which has no bound".into(),
        ));
    }
    Ok(there)
}

fn total(view: View<'_>, key: &Bytes) -> i128 {
    view.space.counter(&at(key)).unwrap_or(0)
}

fn amount(by: i64) -> Result<u64, Refusal> {
    let positive = u64::try_from(by).ok().filter(|n| *n > 0);
    positive.ok_or_else(|| Refusal::Argument("the amount must be a positive integer".into()))
}

fn answered(total: i128, edits: Vec<Edit>) -> Planned {
    let total = i64::try_from(total).map_err(|_| Refusal::Overflow)?;
    Ok(Plan { edits, reply: Reply::Number(total) })
}

/// Who may spend how much, as far as is known here: by node, this one left out.
fn holders(view: View<'_>, key: &Bytes) -> Vec<(u64, u64)> {
    let at = at(key);
    let others = view.space.roster().iter().filter(|(r, m)| *r != view.space.me() && m.takes_part());
    others.map(|(r, m)| (m.node.0, view.space.rights(&at, r))).filter(|(_, rights)| *rights > 0).collect()
}

fn no_rights(view: View<'_>, key: &Bytes, wanted: u64, held: u64) -> Refusal {
    let elsewhere = holders(view, key).into_iter().max_by_key(|(_, rights)| *rights);
    Refusal::NoRights { wanted, held, elsewhere }
}

/// The place that a node writes from.
fn place_of(view: View<'_>, node: u64) -> Result<ReplicaIndex, Refusal> {
    let mut active = view.space.roster().iter().filter(|(_, m)| m.standing == Standing::Active);
    let found = active.find(|(r, m)| m.node.0 == node && *r != view.space.me());
    found.map(|(r, _)| r).ok_or_else(|| {
        Refusal::Argument(format!(
            "node {node} is no other active replica of this keyspace (DWCP.STATUS lists them)"
        ))
    })
}
