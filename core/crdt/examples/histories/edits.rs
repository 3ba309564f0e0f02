//! What clients do: edits drawn from a history's randomness.

use super::World;
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};

impl World {
    fn address(&mut self) -> Address {
        if self.lists && !self.draw.once_in(8) {
            return Address::key(Kind::Sequence, ["a", "b"][self.draw.below(9) / 8]);
        }
        const LEAVES: [Kind; 10] = [
            Kind::Lww,
            Kind::Mv,
            Kind::PnCounter,
            Kind::GCounter,
            Kind::Bounded,
            Kind::OrSet,
            Kind::TwoPhaseSet,
            Kind::GSet,
            Kind::Sequence,
            Kind::Sequence,
        ];
        const NAMES: [&str; 3] = ["a", "b", "a-long-name"];
        let mut at = Address::root();
        while at.names.len() < 2 && self.draw.once_in(3) {
            at = at.field(Kind::Map, NAMES[self.draw.below(2)]);
        }
        let kind = LEAVES[self.draw.below(10)];
        at.field(kind, NAMES[self.draw.below(3)])
    }
    pub(super) fn edit(&mut self, n: usize) -> Edit {
        let at = self.address();
        if self.draw.once_in(7) {
            let depth = 1 + self.draw.below(at.names.len());
            let kind = if depth == at.names.len() { at.kind } else { Kind::Map };
            return Edit::new(Address { names: at.names[..depth].to_vec(), kind }, Change::Delete);
        }
        if self.draw.once_in(20) {
            return Edit::new(at, Change::Expire(self.now + self.draw.next() % 5000));
        }
        const ELEMENTS: [&str; 3] = ["x", "y", "an-element"];
        let element = ELEMENTS[self.draw.below(3)].as_bytes().to_vec();
        let amount = self.draw.next() % 5;
        let change = match at.kind {
            Kind::Lww | Kind::Mv => Change::Write(vec![self.draw.below(4) as u8; self.draw.below(3) * 60]),
            Kind::GCounter => Change::Increase(amount),
            Kind::PnCounter if self.draw.once_in(2) => Change::Decrease(amount),
            Kind::PnCounter => Change::Increase(amount),
            Kind::Bounded => match self.draw.below(4) {
                0 => Change::Increase(amount),
                1 | 2 => Change::Decrease(amount),
                _ => {
                    let to = self.nodes[(n + 1) % self.nodes.len()].space.me();
                    Change::Transfer { to, amount }
                }
            },
            Kind::GSet => Change::Add(element),
            Kind::Sequence => self.splice(n, &at),
            _ if self.draw.once_in(3) => Change::Remove(element),
            _ => Change::Add(element),
        };
        Edit::new(at, change)
    }
    fn splice(&mut self, n: usize, at: &Address) -> Change {
        let len = self.nodes[n].space.length(at);
        let values: Vec<Vec<u8>> = (0..1 + self.draw.below(3))
            .map(|_| vec![b'a' + self.draw.below(26) as u8; self.draw.below(3)])
            .collect();
        if self.queue && !self.draw.once_in(6) {
            let cut = len > 1 && self.draw.once_in(2);
            return if cut {
                Change::Erase { from: 0, count: 1 + self.draw.below(len.min(3) - 1) }
            } else {
                Change::Insert { at: len, values }
            };
        }
        let position = match self.draw.below(4) {
            0 => 0,
            1 => len,
            _ => self.draw.below(len + 1),
        };
        match self.draw.below(10) {
            0..5 => Change::Insert { at: position, values },
            5 if len > 0 => Change::Replace { at: self.draw.below(len), value: values[0].clone() },
            6 if len > 0 => {
                let all = self.nodes[n].space.placed(at, 0, len);
                Change::EraseNamed(all.into_iter().map(|e| e.dot).filter(|_| self.draw.once_in(3)).collect())
            }
            7..10 if len > 0 => {
                let from = self.draw.below(len);
                Change::Erase { from, count: 1 + self.draw.below((len - from).min(3)) }
            }
            _ => Change::Insert { at: len, values },
        }
    }
}
