//! The fleet: machines, hosts, addresses, regions, and what keeps their invariants through partitions.
//!
//! **Promise.** An address belongs to one machine, a machine runs on one host, no capacity and no quota is exceeded, a name
//! means one machine, and what was acknowledged is not lost: with regions cut off, hosts and agents dying, messages
//! late, and clocks anywhere within what they state.
//!
//! **Model.** Records lie in strong keyspaces: one for the fleet, one for each region. A change is a transaction in one of
//! them, computed by a pure function of what was read ([`plan`]). What spans stores is a sequence of such steps, which
//! anybody can continue. A region that is cut off lives on what it holds: address blocks and name prefixes lent to
//! it, rights granted to it, its own machines and hosts.
//!
//! | what must hold | kept by | in |
//! |---|---|---|
//! | an address belongs to one machine | blocks lent under epochs; a linearizable allocator inside | `plan::lend`, `plan::machine` |
//! | a machine runs on one host | a lease with a fencing epoch; the watchdog; storage that fences | `plan::place`, [`agent`], [`storage`], [`time`] |
//! | capacity, quota | bookings in the same transaction; escrow between regions | `plan::place`, `plan::quota` |
//! | names are unique | prefixes lent; a name record each | `plan::lend`, `plan::machine` |
//! | one region has a machine | ownership under epochs, handed over in two phases | `plan::handover` |
//! | lives go their way | tables of steps | [`life`] |
//!
//! Regions and hosts announce what they have in an eventual keyspace ([`announce`]); where that is contradictory after all,
//! [`finding`] says what follows, the same on every node.
//!
//! **Reading order**: [`record`], [`key`], [`life`], [`command`], [`plan`], [`work`], [`time`], [`agent`], [`storage`],
//! [`announce`], [`finding`]; then `rehearsal`, where all of it is tried.
//!
//! **Invariants of absence.** No clock, no network, no store: time and what was read come in, transactions go out.
//!
//! **Rejected.** *One global store for everything*: a region that is cut off could not start a machine. *CRDTs for places and
//! addresses*: nothing that merges can refuse. *Taking blocks back from a lost region by decree*: nobody could know what it still
//! uses; they stay lent until it is back.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod announce;
pub mod cidr;
pub mod command;
pub mod finding;
pub mod key;
pub mod life;
pub mod name;
pub mod plan;
pub mod planted;
pub mod record;
pub mod refusal;
#[cfg(feature = "rehearsal")]
pub mod rehearsal;
pub mod resources;
pub mod storage;
pub mod time;
pub mod transaction;
pub mod view;
pub mod work;

pub use command::{Answer, At, Command, Request, Seat};
pub use key::{Key, Scope};
pub use refusal::{Code, Refusal};
pub use work::{Next, Work};
