//! `dwcp.v1.Consensus`: which engine orders a keyspace's commands. Not etcd's: dwcp's own, at the same door.
//!
//! | method | asks | says |
//! |---|---|---|
//! | `Status` | nothing | how this node sees the keyspace's epoch, as JSON |
//! | `Hybrid` | a question about a keyspace with a home region, as JSON | its answer, as JSON; for a wish, whether it is in the deed |
//! | `Switch` | the next epoch's engine, quorums and first leader, as JSON; which epoch it is to follow, if any | nothing, once it is decided |

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door, refuse_path};
use super::grpc::Call;
use super::message as pb;
use super::status::{Code, Status};
use dwcp_node::{Answer, Ask, HybridAsk, Switch};
use dwcp_store::api;

impl<B: Backend> Door<B> {
    pub(super) async fn consensus_service(self, call: Call, method: &str) {
        match method {
            "Status" => self.unary(call, |c, r| self.consensus_status(c, r)).await,
            "Hybrid" => self.unary(call, |c, r| self.consensus_hybrid(c, r)).await,
            "Switch" => self.unary(call, |c, r| self.consensus_switch(c, r)).await,
            _ => refuse_path(call),
        }
    }

    async fn consensus_status(
        &self,
        c: Context,
        _: pb::ConsensusStatusRequest,
    ) -> Result<pb::ConsensusAnswer, Status> {
        match self.ask(c, Ask::Consensus).await? {
            Answer::Consensus(status) => {
                let json = serde_json::to_string(&status);
                let json = json.map_err(|e| Status::told(Code::Internal, format!("dwcp: {e}")))?;
                Ok(pb::ConsensusAnswer { json })
            }
            other => Err(convert::mismatch("the engine", &other)),
        }
    }

    async fn consensus_hybrid(
        &self,
        c: Context,
        r: pb::ConsensusSwitchRequest,
    ) -> Result<pb::ConsensusAnswer, Status> {
        let wrong =
            |e: serde_json::Error| Status::told(Code::InvalidArgument, format!("dwcp: the question: {e}"));
        let ask: HybridAsk = serde_json::from_str(&r.json).map_err(wrong)?;
        let json = match self.ask(c, Ask::Hybrid(ask)).await? {
            Answer::Hybrid(status) => serde_json::to_string(&status),
            Answer::Aside(aside) => serde_json::to_string(&aside),
            Answer::Written(api::Response { body: api::Body::Txn { succeeded, .. }, .. }) => {
                serde_json::to_string(&succeeded)
            }
            other => return Err(convert::mismatch("a hybrid keyspace", &other)),
        };
        let json = json.map_err(|e| Status::told(Code::Internal, format!("dwcp: {e}")))?;
        Ok(pb::ConsensusAnswer { json })
    }

    async fn consensus_switch(
        &self,
        c: Context,
        r: pb::ConsensusSwitchRequest,
    ) -> Result<pb::ConsensusAnswer, Status> {
        let wrong =
            |e: serde_json::Error| Status::told(Code::InvalidArgument, format!("dwcp: the next epoch: {e}"));
        let to: Switch = serde_json::from_str(&r.json).map_err(wrong)?;
        match self.ask(c, Ask::Switch { after: r.after, to }).await? {
            Answer::Done => Ok(pb::ConsensusAnswer { json: String::new() }),
            other => Err(convert::mismatch("a switch", &other)),
        }
    }
}
