//! `etcdserverpb.Cluster`.
//!
//! One difference from etcd: a new member always joins as a learner, and the answer says so. A
//! voter that has not been started yet would count against the quorum from that moment;
//! `member promote` makes it a voter once it has caught up.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door, refuse_path};
use super::grpc::Call;
use super::message as pb;
use super::status::{self, Status};
use dwcp_consensus::{Member, MemberChange, Members};
use dwcp_env::NodeId;
use dwcp_node::{Answer, Ask};
use std::collections::BTreeSet;

impl<B: Backend> Door<B> {
    pub(super) async fn cluster_service(self, call: Call, method: &str) {
        match method {
            "MemberList" => self.unary(call, |c, r| self.member_list(c, r)).await,
            "MemberAdd" => self.unary(call, |c, r| self.member_add(c, r)).await,
            "MemberRemove" => self.unary(call, |c, r| self.member_remove(c, r)).await,
            "MemberUpdate" => self.unary(call, |c, r| self.member_update(c, r)).await,
            "MemberPromote" => self.unary(call, |c, r| self.member_promote(c, r)).await,
            _ => refuse_path(call),
        }
    }

    async fn members(&self, c: Context) -> Result<Members, Status> {
        match self.ask(c, Ask::Members).await? {
            Answer::Members(members) => Ok(members),
            other => Err(convert::mismatch("the members", &other)),
        }
    }

    /// Makes the change, and tells who the members are after it.
    async fn change(&self, c: Context, change: MemberChange) -> Result<Members, Status> {
        match self.ask(c, Ask::ChangeMembers(change)).await? {
            Answer::Members(members) => Ok(members),
            Answer::Done => self.members(c).await,
            other => Err(convert::mismatch("a change of members", &other)),
        }
    }

    fn answer(&self, c: Context, members: &Members) -> pb::MembersResponse {
        pb::MembersResponse { header: Some(self.header(c.group, 0)), members: listed(members) }
    }

    async fn member_list(&self, c: Context, _: pb::MemberListRequest) -> Result<pb::MembersResponse, Status> {
        Ok(self.answer(c, &self.members(c).await?))
    }

    async fn member_add(&self, c: Context, r: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, Status> {
        let peer_address = host_and_port(&r.peer_urls)?;
        let before = self.members(c).await?;
        if before.nodes.values().any(|m| m.peer_address == peer_address) {
            return Err(status::PEER_URL_EXISTS);
        }
        let id = match r.id {
            0 => self.new_id(&before, &peer_address),
            taken if before.nodes.contains_key(&NodeId(taken)) => return Err(status::MEMBER_EXISTS),
            free => NodeId(free),
        };
        let member = Member { peer_address, client_address: r.client_url, name: r.name, ..Member::default() };
        let after = self.change(c, MemberChange::AddLearner(id, member)).await?;
        let members = listed(&after);
        let member = members.iter().find(|m| m.id == id.0).cloned();
        Ok(pb::MemberAddResponse { header: Some(self.header(c.group, 0)), member, members })
    }

    async fn member_remove(
        &self,
        c: Context,
        r: pb::MemberRemoveRequest,
    ) -> Result<pb::MembersResponse, Status> {
        self.known(c, r.id).await?;
        let after = self.change(c, MemberChange::Remove(BTreeSet::from([NodeId(r.id)]))).await?;
        Ok(self.answer(c, &after))
    }

    async fn member_update(
        &self,
        c: Context,
        r: pb::MemberUpdateRequest,
    ) -> Result<pb::MembersResponse, Status> {
        let peer_address = host_and_port(&r.peer_urls)?;
        let (member, _) = self.known(c, r.id).await?;
        let member = Member { peer_address, ..member };
        let after = self.change(c, MemberChange::Update(NodeId(r.id), member)).await?;
        Ok(self.answer(c, &after))
    }

    async fn member_promote(
        &self,
        c: Context,
        r: pb::MemberPromoteRequest,
    ) -> Result<pb::MembersResponse, Status> {
        let (_, voter) = self.known(c, r.id).await?;
        if voter {
            return Err(status::MEMBER_NOT_LEARNER);
        }
        let after = self.change(c, MemberChange::Promote(BTreeSet::from([NodeId(r.id)]))).await?;
        Ok(self.answer(c, &after))
    }

    /// The member of this number, and whether it is a voter.
    async fn known(&self, c: Context, id: u64) -> Result<(Member, bool), Status> {
        let members = self.members(c).await?;
        let member = members.nodes.get(&NodeId(id)).cloned().ok_or(status::MEMBER_NOT_FOUND)?;
        Ok((member, members.voters.contains(&NodeId(id))))
    }

    /// A number that no member has or had: drawn from the cluster, the address and the
    /// calendar, as etcd does it.
    fn new_id(&self, members: &Members, peer_address: &str) -> NodeId {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut salt = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
        loop {
            let mut context = ring::digest::Context::new(&ring::digest::SHA256);
            context.update(&self.backend.identity().0.to_be_bytes());
            context.update(&salt.to_be_bytes());
            context.update(peer_address.as_bytes());
            let digest = context.finish();
            let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
            let id = NodeId(u64::from_be_bytes(first) >> 1);
            if id.0 != 0 && !members.nodes.contains_key(&id) {
                return id;
            }
            salt = salt.wrapping_add(1);
        }
    }
}

fn listed(members: &Members) -> Vec<pb::Member> {
    let url = |scheme: &str, address: &str| match address {
        "" => Vec::new(),
        a if a.contains("://") => vec![a.to_owned()],
        a => vec![format!("{scheme}://{a}")],
    };
    members
        .nodes
        .iter()
        .map(|(id, m)| pb::Member {
            id: id.0,
            name: m.name.clone(),
            peer_urls: url("https", &m.peer_address),
            client_urls: url("http", &m.client_address),
            is_learner: !members.voters.contains(id),
        })
        .collect()
}

/// The address in a peer's URL: exactly one, with a scheme, a host and a port.
fn host_and_port(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else { return Err(status::MEMBER_BAD_URLS) };
    let address = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .map(|a| a.strip_suffix('/').unwrap_or(a))
        .ok_or(status::MEMBER_BAD_URLS)?;
    let (host, port) = address.rsplit_once(':').ok_or(status::MEMBER_BAD_URLS)?;
    let port: Option<u16> = port.parse().ok().filter(|p| *p != 0);
    if host.is_empty() || host.contains(['/', ' ']) || port.is_none() {
        return Err(status::MEMBER_BAD_URLS);
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_taken_apart_or_refused() {
        for (url, want) in [
            ("https://10.0.0.4:2380", Some("10.0.0.4:2380")),
            ("http://node-4:2380/", Some("node-4:2380")),
            ("http://[::1]:2380", Some("[::1]:2380")),
            ("10.0.0.4:2380", None),
            ("http://10.0.0.4", None),
            ("http://:2380", None),
            ("http://a:0", None),
            ("http://a/b:1", None),
        ] {
            assert_eq!(host_and_port(&[url.to_owned()]).ok().as_deref(), want, "{url}");
        }
        assert_eq!(host_and_port(&[]), Err(status::MEMBER_BAD_URLS));
    }
}
