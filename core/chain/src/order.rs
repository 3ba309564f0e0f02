//! Commands that are the chain's own, among those of the state: who keeps time for leases where every member serves.
//!
//! **Promise.** At any place of the order one member is the *keeper*, the same for all who have come to that place; and what a
//! keeper has ordered in its name takes effect only while it is.
//!
//! **Model.** An epoch begins with its first voter as keeper, in turn 0. [`Order::Keep`] names the turn that it ends and the next
//! keeper; the first one decided in a turn counts, and those that come behind it name a turn that is over. So who takes the
//! role from a silent member needs no election, and two who try at once do not undo each other. A keeper ends leases by
//! [`Order::Guarded`] commands, which name its turn: one that is decided when the role has gone on is void, since the next keeper
//! has given each lease its whole time again and may have kept it alive meanwhile.
//!
//! **Left to others.** When a keeper counts as silent (`company`); the clocks of leases, which start anew with each turn (the node).
//! Under PBFT a liar may take the role, and take it again: it could end leases as any client's node can.
//!
//! **Rejected.** *The lowest member that is heard*: two members hear differently, and both would keep time. *A new epoch led by
//! another*: under PBFT an epoch ends by its operator's signature only. *A record of the store*: the role is the epoch's, and
//! ends with it.
//!
//! ```text
//!   0                8
//!   +----------------+-------------------------
//!   | the chain's tag| the order, encoded         no command of a state begins with the tag's first byte
//!   +----------------+-------------------------
//! ```

use bytes::Bytes;
use dwcp_env::{NodeId, wire};
use serde::{Deserialize, Serialize};

const TAG: [u8; 8] = *b"\xffchain\0\x01";

/// A command of the chain's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The turn ends, and this member keeps time in the next.
    Keep {
        /// The turn that ends.
        turn: u64,
        /// The next keeper.
        keeper: NodeId,
    },
    /// A command that takes effect in this turn or never.
    Guarded {
        /// The turn.
        turn: u64,
        /// The command.
        command: Bytes,
    },
}

/// Who keeps time, of an epoch where every member serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// How often the role has gone on.
    pub turn: u64,
    /// The keeper; `None`: the first voter.
    pub keeper: Option<NodeId>,
}

impl Order {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = TAG.to_vec();
        wire::encode_into(self, &mut out);
        out.into()
    }
    /// Whether a command is the chain's, and which; `Some(None)` if it is the chain's and says nothing.
    pub(crate) fn parse(command: &Bytes) -> Option<Option<Self>> {
        command.starts_with(&TAG).then(|| wire::decode(&command[TAG.len()..]).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_back_and_other_commands_are_none() {
        let keep = Order::Keep { turn: 3, keeper: NodeId(2) };
        let guarded = Order::Guarded { turn: 4, command: Bytes::from_static(b"x") };
        for order in [keep, guarded] {
            assert_eq!(Order::parse(&order.encode()), Some(Some(order)));
        }
        assert_eq!(Order::parse(&Bytes::from_static(b"\x01put")), None);
        assert_eq!(Order::parse(&Bytes::from_static(b"\xffchain\0")), None, "not the whole tag");
        assert_eq!(Order::parse(&Bytes::from_static(b"\xffchain\0\x01\xff")), Some(None));
    }
}
