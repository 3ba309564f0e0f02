//! Who belongs to the cluster: the same on every node, from the names that `init` gives.
//!
//! Nodes are numbered from 1 in the order of their names (shorter first, so that n2 comes before n10). The
//! first [`VOTERS`] form the group; the others join it as learners: they hold the state, serve, and count
//! in no quorum. The cluster's identity is a hash of the names, so that a data directory of other
//! nodes is refused.

use super::protocol::Fault;
use dwcp_consensus::{Member, Members};
use dwcp_env::{ClusterId, NodeId};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most voters: a quorum of four still answers when three are away.
pub(super) const VOTERS: usize = 7;
/// The most nodes.
pub(super) const NODES_MAX: usize = 1_000;

/// The nodes by name and number, and which one this is.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) me: NodeId,
    /// In the order of numbers, which begin at 1.
    names: Vec<String>,
    ids: BTreeMap<String, NodeId>,
}

impl Cluster {
    /// From the body of `init`.
    pub(super) fn of(body: &super::protocol::Body) -> Result<Self, Fault> {
        let me = body.get("node_id").and_then(Value::as_str);
        let me = me.ok_or_else(|| Fault::malformed("init: node_id is no text"))?;
        let names = body.get("node_ids").and_then(Value::as_array);
        let names = names.ok_or_else(|| Fault::malformed("init: node_ids is no list"))?;
        let mut names: Vec<String> = names
            .iter()
            .map(|n| {
                n.as_str().map(str::to_string).ok_or_else(|| Fault::malformed("init: a name is no text"))
            })
            .collect::<Result<_, _>>()?;
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names.dedup();
        if names.len() > NODES_MAX {
            return Err(Fault::malformed(format!(
                "init: {} nodes, at most {NODES_MAX} are allowed",
                names.len()
            )));
        }
        let ids: BTreeMap<String, NodeId> =
            names.iter().enumerate().map(|(i, n)| (n.clone(), NodeId(i as u64 + 1))).collect();
        let me = *ids.get(me).ok_or_else(|| Fault::malformed("init: node_id is not among node_ids"))?;
        Ok(Self { me, names, ids })
    }

    /// All nodes, in the order of their numbers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.names.len() as u64).map(NodeId)
    }
    pub(super) fn name(&self, node: NodeId) -> Option<&str> {
        self.names.get(usize::try_from(node.0.checked_sub(1)?).ok()?).map(String::as_str)
    }
    pub(super) fn my_name(&self) -> &str {
        self.name(self.me).unwrap_or_default()
    }
    pub(super) fn id(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied()
    }
    pub(super) fn is_voter(&self, node: NodeId) -> bool {
        node.0 <= VOTERS as u64
    }

    /// What the group knows of a node.
    pub(super) fn member(&self, node: NodeId) -> Member {
        Member { name: self.name(node).unwrap_or_default().into(), ..Member::default() }
    }
    /// Who forms the group.
    pub(super) fn founders(&self) -> Members {
        let voters: Vec<NodeId> = self.nodes().filter(|n| self.is_voter(*n)).collect();
        Members {
            nodes: voters.iter().map(|n| (*n, self.member(*n))).collect(),
            voters: voters.into_iter().collect(),
            ..Members::default()
        }
    }
    /// The identity of a cluster of these names.
    pub(super) fn identity(&self) -> ClusterId {
        let text = serde_json::to_vec(&self.names).unwrap_or_default();
        let hash = ring::digest::digest(&ring::digest::SHA256, &text);
        let first = hash.as_ref().first_chunk::<16>().copied().unwrap_or_default();
        ClusterId(u128::from_be_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(me: &str, names: &[&str]) -> Result<Cluster, Fault> {
        Cluster::of(json!({"node_id": me, "node_ids": names}).as_object().expect("an object"))
    }

    #[test]
    fn all_nodes_agree_whatever_the_order_of_names() {
        let a = cluster("n10", &["n10", "n2", "n1"]).unwrap();
        let b = cluster("n1", &["n1", "n2", "n10"]).unwrap();
        assert_eq!((a.me, b.me), (NodeId(3), NodeId(1)));
        assert_eq!(a.identity(), b.identity());
        assert_eq!(a.founders(), b.founders());
        assert_eq!((a.id("n2"), a.name(NodeId(2))), (Some(NodeId(2)), Some("n2")));
        assert_ne!(a.identity(), cluster("n1", &["n1", "n2"]).unwrap().identity());
    }

    #[test]
    fn only_the_first_seven_vote() {
        let names: Vec<String> = (0..25).map(|i| format!("n{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let c = cluster("n20", &names).unwrap();
        assert_eq!(c.founders().voters, (1..=7).map(NodeId).collect());
        assert!(!c.is_voter(c.me));
    }

    #[test]
    fn who_is_not_among_the_names_is_refused() {
        assert!(cluster("n9", &["n1"]).is_err());
        assert!(Cluster::of(json!({"node_id": 1, "node_ids": []}).as_object().unwrap()).is_err());
    }
}
