//! Agreement: what an engine owes the node, what a protocol owes its driver, who must answer.
//!
//! **Promise.** A group of nodes agrees on one order of commands, whichever protocol runs. Nothing
//! in this crate reads a clock, draws a random number, sends or writes: all of it is data.
//!
//! | room | holds |
//! |---|---|
//! | [`engine`] | the contract between an engine and the node it lives in |
//! | [`step`] | the contract of a protocol as a step function, with the order of durability in its outputs |
//! | [`epaxos`] | EPaxos: every replica proposes, only commands that interfere are ordered |
//! | [`hybrid`] | keyspaces that one region decides and others hold copies of: who owns them, who may answer, who lags |
//! | [`paxos`] | Multi-Paxos |
//! | [`pbft`] | PBFT: members may lie |
//! | [`quorum`] | quorum systems, and the intersections each protocol needs of them |
//! | [`select`] | which engine, quorums and leader, and whether to change |
//! | `rehearsal` | (feature `rehearsal`) the seeded world protocols are tried in, invariants from outside, the explorer |
//!
//! Protocols know nothing of each other; only the chain and the selection see them side by side.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod engine;
pub mod epaxos;
pub mod hybrid;
pub mod paxos;
pub mod pbft;
pub mod quorum;
#[cfg(feature = "rehearsal")]
pub mod rehearsal;
pub mod select;
pub mod step;

pub use engine::{
    Checkpointed, Engine, EngineError, EngineOutput, Member, MemberChange, Members, Piece, Position, Role,
    Stage, StateMachine, Status, Token, Work,
};
