//! The Redis door: `redis-cli`, `redis-benchmark` and Redis' clients work unmodified on eventual keyspaces.
//!
//! **Promise.** A client can't tell this door from Redis 7.0 by the answers of the commands it serves, nor by the texts
//! of its errors; a command whose meaning can't be kept where every region writes by itself is refused with an error that
//! says why and names the strong keyspace and what to use there (`NOTKEPT`). What each command means under concurrency
//! stands in [`dwcp_eventual::api`]; docs/protocols/redis-door.md lists the differences.
//!
//! **Model.** A connection is one task. All requests that have arrived whole are gone through in order (`session`);
//! those for the replica become the steps of *one* question, which crosses the node's queue once and waits for one sync
//! of its disk; all replies leave in one write. So a pipeline of a hundred writes costs one group commit, and its
//! replies one system call.
//!
//! | file | holds |
//! |---|---|
//! | [`backend`] | what the door needs of the node |
//! | `door` | accepting, bounds, the end |
//! | `connection` | one connection: reading, writing, deadlines |
//! | `request`, `reply` | RESP2 and RESP3, both ways |
//! | `table` | the commands; `COMMAND` |
//! | `words`, `shape` | words to commands; answers to replies |
//! | `session` | one client's state, its transaction, the order of replies |
//! | `local`, `info` | what the session answers itself |
//! | `listening` | subscriptions |
//! | `cursor` | numbers for the places of scans |
//! | `meter` | how often, how long |
//! | [`client`] | a client, as small as it can be: for `dwcp crdt` and the benchmarks |
//!
//! **Bounds.** [`CONNECTIONS`] connections; requests, arguments and lines as in `request`; 5 s for the node's answer;
//! slow and silent clients as in `connection`; subscriptions as in `listening`; transactions of
//! [`TRANSACTION_MAX`](dwcp_eventual::api::TRANSACTION_MAX) commands.
//!
//! **Rejected.** A request to the node for each command, joined: sixteen queue crossings, sixteen channels, and sixteen
//! places among the requests in flight for a pipeline of sixteen. A crate for RESP: those there are parse replies, or
//! copy each argument, or hold what a client claims to send before it has.

pub mod backend;
pub mod client;

mod connection;
mod cursor;
mod door;
#[cfg(test)]
mod hostile;
mod info;
mod listening;
mod local;
#[cfg(test)]
mod memory;
mod meter;
mod reply;
mod request;
mod session;
mod shape;
mod table;
#[cfg(test)]
mod told;
mod words;

pub use backend::{Answered, Backend, Keyspace, Refused};
pub use door::{CONNECTIONS, Door};
