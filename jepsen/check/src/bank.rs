//! Bank: transfers move money, reads of all accounts must always add up.
//!
//! A read of every account at one instant sums to the same total. Read skew, lost updates
//! and doubled transfers all break the sum. Cost O(n).

use crate::history::Value;
use crate::mistake::{Mistake, planted};
use std::collections::BTreeMap;

/// What the bank promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bank {
    /// The accounts; a read must show exactly these.
    pub accounts: Vec<Value>,
    /// What they hold together.
    pub total: i64,
    /// Whether an account may be overdrawn.
    pub overdraft: bool,
}

/// How a read is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Money appeared or vanished.
    #[error("the accounts hold {found} together")]
    WrongTotal {
        /// The sum read.
        found: i128,
    },
    /// An account that must not be.
    #[error("account {account} holds {balance}")]
    Overdrawn {
        /// Which.
        account: Value,
        /// How much it holds.
        balance: i64,
    },
    /// An account without a balance.
    #[error("account {account} is missing")]
    Missing {
        /// Which.
        account: Value,
    },
    /// A balance without an account.
    #[error("account {account} does not exist")]
    Unexpected {
        /// Which.
        account: Value,
    },
}

impl Bank {
    /// What is wrong with one read, if anything: the accounts before the sum.
    #[must_use]
    pub fn judge(&self, read: &BTreeMap<Value, i64>) -> Option<Fault> {
        let missing = self.accounts.iter().find(|account| !read.contains_key(account));
        if let Some(&account) = missing.filter(|_| !planted(Mistake::MissingAccountsPass)) {
            return Some(Fault::Missing { account });
        }
        if let Some(&account) = read.keys().find(|account| !self.accounts.contains(account)) {
            return Some(Fault::Unexpected { account });
        }
        let found: i128 = read.values().map(|balance| i128::from(*balance)).sum();
        if found != i128::from(self.total) && !planted(Mistake::TotalIsNotChecked) {
            return Some(Fault::WrongTotal { found });
        }
        let overdrawn = read.iter().find(|(_, balance)| **balance < 0 && !self.overdraft);
        let overdrawn = overdrawn.filter(|_| !planted(Mistake::OverdraftPasses));
        overdrawn.map(|(&account, &balance)| Fault::Overdrawn { account, balance })
    }

    /// All wrong reads, by their place in `reads`.
    #[must_use]
    pub fn check(&self, reads: &[BTreeMap<Value, i64>]) -> Vec<(usize, Fault)> {
        let judge = |(at, read)| Some((at, self.judge(read)?));
        reads.iter().enumerate().filter_map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_neither_appears_nor_vanishes() {
        let bank = |overdraft| Bank { accounts: vec![0, 1], total: 30, overdraft };
        let read = |balances: &[(Value, i64)]| balances.iter().copied().collect::<BTreeMap<_, _>>();
        let reads = [
            read(&[(0, 10), (1, 20)]),
            read(&[(0, 10), (1, 25)]),
            read(&[(0, -5), (1, 35)]),
            read(&[(0, 30)]),
            read(&[(0, 10), (1, 20), (2, 0)]),
        ];
        let found = bank(false).check(&reads);
        let overdrawn = Fault::Overdrawn { account: 0, balance: -5 };
        assert_eq!(
            found,
            [
                (1, Fault::WrongTotal { found: 35 }),
                (2, overdrawn),
                (3, Fault::Missing { account: 1 }),
                (4, Fault::Unexpected { account: 2 }),
            ]
        );
        assert_eq!(bank(true).judge(&reads[2]), None);
    }
}
