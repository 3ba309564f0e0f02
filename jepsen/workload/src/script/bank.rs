//! Accounts whose sum never changes. An account that was never written holds
//! [`OPENING`]; a transfer reads all of them and writes two, if those have not changed.

use super::{Begun, Draw, Then, everything, found, number_of, put, txn, unchanged};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::What;
use dwcp_env::Purpose;
use dwcp_store::api::{Op, OpError, Response, TxnRequest};

const WHAT: Purpose = Purpose::named("bank.what");
/// What an account holds before it was ever written.
pub const OPENING: u64 = 100;

/// A client of the bank.
#[derive(Debug)]
pub struct Bank {
    accounts: u64,
}

impl Bank {
    pub(super) const fn new(accounts: u64) -> Self {
        Self { accounts: if accounts < 2 { 2 } else { accounts } }
    }

    pub(super) fn begin(&self, draw: Draw) -> Begun {
        let what = if draw.below(100, WHAT, 0) < 30 {
            What::Audit { total: 0, accounts: self.accounts }
        } else {
            let from = draw.below(self.accounts, WHAT, 1);
            let to = (from + 1 + draw.below(self.accounts - 1, WHAT, 2)) % self.accounts;
            What::Transfer { from, to, amount: 1 + draw.below(OPENING / 4, WHAT, 3) }
        };
        Begun { what: Some(what), ask: Ask::Range(everything(Use::Bank)) }
    }

    pub(super) fn answered(&self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        let (Some(what), Ok(Answer::Said(response))) = (what, answer) else { return Then::fail() };
        match (what, txn(&response)) {
            (What::Audit { total, accounts }, None) => {
                *total = (0..*accounts).map(|a| held(&response, a).0).sum();
                Then::ok(response.header.revision)
            }
            (What::Transfer { .. }, Some((true, _))) => Then::ok(response.header.revision),
            (What::Transfer { from, to, amount }, None) => {
                let ((mine, mine_at), (yours, yours_at)) = (held(&response, *from), held(&response, *to));
                if mine < *amount {
                    return Then::fail();
                }
                let name = |a: &u64| Use::Bank.key(*a);
                let op = Op::Txn(TxnRequest {
                    compare: vec![unchanged(name(from), mine_at), unchanged(name(to), yours_at)],
                    success: vec![
                        put(name(from), &(mine - *amount).to_be_bytes()),
                        put(name(to), &(yours + *amount).to_be_bytes()),
                    ],
                    failure: Vec::new(),
                });
                Then::Ask(Ask::Do { stamp: None, op })
            }
            _ => Then::fail(),
        }
    }
}

/// What an account holds, and since which revision.
fn held(response: &Response, account: u64) -> (u64, i64) {
    let kv = found(response).iter().find(|kv| Use::Bank.number(&kv.key) == Some(account));
    kv.map_or((OPENING, 0), |kv| (number_of(&kv.value).unwrap_or(0), kv.mod_revision))
}
