//! Hybrid keyspaces: one region decides, the others hold copies that are shipped to them.
//!
//! **Promise.** A write costs a round trip inside its home region. While the home lives nobody else answers for the keyspace; when
//! it is lost another region takes over, and what it lacks then is no more than the bound says, and is told exactly.
//!
//! **Model.** The commands of a keyspace are ordered by a chain (`dwcp-chain`) whose voters all stand in one region, its *home*.
//! Every other node keeps a *copy*: the same entries, in the same order, in a log and a store of its own. Who owns the keyspace is
//! said by the [`Deed`], a record in a strong keyspace of all regions that is changed by compare-and-set alone. Each owner
//! reigns for one *era*; an era ends by a [`Cut`], the position up to which the next one goes on.
//!
//! ```text
//!   era 0, home eu      1 2 3 4 5 6 7 8 | 9 10 11        the tail: decided in eu, shipped to nobody
//!                                       \
//!   era 1, home us      cut at 8         9 10 11 12 ...  another 9: never merged with the tail
//! ```
//!
//! | part | rule | why |
//! |---|---|---|
//! | [`Fence`] | a home node answers for a lease's time after the *start* of a linearizable read of the deed that named it | who moves the deed waits longer than that, and then nobody else answers |
//! | [`Ledger`] | what a majority of a region's nodes has on disk, that region holds | its other nodes may be lost together with the home |
//! | [`Bound`] | outside of it the home takes no writes and answers none | the RPO is what was agreed, not what the network gave |
//! | [`Deed::lineage`] | a state is a prefix of the owner's order, or is thrown away | copies that heard more of a lost home than the new one did |
//!
//! **Invariants**, watched from outside by scenarios (`consensus/hybrid*`):
//! 1. At no time do nodes of two regions answer for one keyspace.
//! 2. No acknowledged write is lost but those behind a cut, and these are no more than the bound.
//! 3. A copy is a prefix of its home's order.
//!
//! **Epoch numbers.** The epochs of era e are numbered from e * [`EPOCHS`]: an epoch that a lost home went on to has no namesake.
//!
//! **Sources.** The fence is Gray and Cheriton's lease (1989), held on a register instead of an object. The deed is the metastore
//! of Delos (Balakrishnan et al., 2020), asked only when the home changes. Fencing a failed-over primary, and telling the lost tail
//! instead of merging it, is what operators of PostgreSQL's asynchronous replicas do by hand (`pg_rewind`, timelines: our eras).
//!
//! **Rejected.** *Learners of the home's engine*: engines differ in what they know of learners, and a chain of one engine
//! could not be switched; what is shipped here is what was applied, whatever ordered it. *A log of each region's own, commands proposed
//! again*: names of sessions and leases are places in the log. *A lease object of the store as fence*: its clock is its leader's,
//! who changes. *Wall clocks*: one wrong calendar and two homes answer. *No writes while any region lags*: one far
//! region lost would stop the home; the bound asks for so many regions within it ([`Bound::copies`]).
//!
//! **Left to others.** Shipping, roles, what becomes of a state: `core/node/src/hybrid`.

mod deed;
mod fence;
mod ledger;

pub use deed::{CUTS_MAX, Cut, Deed, EPOCHS, ERAS_MAX, Lineage, Move, MoveError, era_of, first_epoch};
pub use fence::Fence;
pub use ledger::{Bound, BoundError, Lag, Ledger};
