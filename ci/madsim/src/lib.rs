//! The same node in a world that others wrote.
//!
//! **Promise.** [`run`] puts three [`dwcp_node::Node`]s, as they are, under madsim's executor, clock
//! and network, lets clients work while leaders are killed with `kill -9` and cut off, and hands
//! their log to the same judge as everywhere. A mistake of `runtime-sim` that hides a mistake of the
//! node would have to be made by madsim's authors as well.
//!
//! **What differs from `runtime-sim`.** Datagrams overtake one another on every lane; a turn's sends
//! leave one by one, so that a kill may fall between them; a disk request is carried out operation by
//! operation, so that a kill may fall between those; ready tasks run in an order drawn by madsim.
//!
//! Read in this order: [`storage`], [`driver`], [`clients`], [`world`].

pub mod clients;
pub mod driver;
pub mod storage;
pub mod world;

pub use world::{Report, run};

use dwcp_env::{GroupId, Instant, NodeId};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The group all clients use.
pub const GROUP: GroupId = GroupId(1);
/// The nodes: voters of one group.
pub const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// The machine of the clients, named as a node would be.
pub const CLIENTS: NodeId = NodeId(100);

/// A machine's address.
#[must_use]
pub fn ip(node: NodeId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, node.0 as u8).into()
}

/// Where a machine listens.
#[must_use]
pub fn address(node: NodeId) -> SocketAddr {
    SocketAddr::new(ip(node), 7_001)
}

/// madsim's clock: the same for all, from the start of the run.
#[must_use]
pub fn mono() -> Instant {
    Instant::from_nanos(madsim::time::TimeHandle::current().elapsed().as_nanos() as u64)
}
