//! The simulated door: a client's questions in the node's words, and its answers back.

use dwcp_env::GroupId;
use dwcp_node as node;
use dwcp_store::api::{Body, Header, Response};
use dwcp_workload::{Answer, Ask, Refusal};

/// The group all workloads live in.
pub(super) const GROUP: GroupId = GroupId(1);
/// The hybrid keyspace, where a run has one.
pub(crate) const HYBRID: GroupId = GroupId(2);
/// The eventual keyspace, where a run has one.
pub(crate) const EVENTUAL: GroupId = GroupId(1_000);

/// A question in the node's words.
pub(super) fn question(ask: Ask) -> node::Request {
    let eventual = |query| node::Request { group: EVENTUAL, ask: node::Ask::Eventual(query) };
    let ask = match ask {
        Ask::Eventual(command) => return eventual(dwcp_eventual::Query::Command(command)),
        Ask::Documents(question) => return eventual(dwcp_eventual::Query::Documents(question)),
        Ask::Together(commands) => return eventual(dwcp_eventual::Query::Transaction(commands)),
        Ask::Range(range) => node::Ask::Range { range, serializable: false },
        Ask::Do { stamp, op } => node::Ask::Write { session: stamp, op },
        Ask::KeepAlive(lease) => node::Ask::LeaseKeepAlive(lease),
        Ask::Watch { key, range_end, from, prev_kv } => node::Ask::Watch(node::WatchRequest {
            key,
            range_end,
            start_revision: from,
            prev_kv,
            ..node::WatchRequest::default()
        }),
    };
    node::Request { group: GROUP, ask }
}

/// An answer in the client's words.
pub(super) fn answer(response: node::Response) -> Result<Answer, Refusal> {
    match response {
        Ok(node::Answer::Written(response)) => Ok(Answer::Said(response)),
        Ok(node::Answer::Range { revision, range }) => {
            Ok(Answer::Said(Response { header: Header { revision }, body: Body::Range(range) }))
        }
        Ok(node::Answer::KeptAlive { ttl_s, .. }) => Ok(Answer::Alive(ttl_s)),
        Ok(node::Answer::Watched { revision, events }) => Ok(Answer::Changes { events, revision }),
        Ok(node::Answer::Eventual(dwcp_eventual::Answer::Reply(reply))) => Ok(Answer::Replied(reply)),
        Ok(node::Answer::Eventual(dwcp_eventual::Answer::Documents(_))) => {
            Ok(Answer::Replied(dwcp_eventual::Reply::Done))
        }
        Ok(node::Answer::Eventual(dwcp_eventual::Answer::Replies(replies))) => {
            Ok(Answer::Replies(replies.into_iter().map(Result::ok).collect()))
        }
        // No question of ours is answered so; a node that does has answered nothing.
        Ok(_) => Err(Refusal::Unknown),
        Err(node::AskError::Op(error)) => Err(Refusal::Op(error)),
        Err(node::AskError::Unknown) => Err(Refusal::Unknown),
        Err(_) => Err(Refusal::NotDone { hint: None }),
    }
}
