//! `etcdserverpb.KV`.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door};
use super::message as pb;
use super::status::Status;
use dwcp_store::api::{Body, Op};

impl<B: Backend> Door<B> {
    pub(super) async fn put(&self, c: Context, r: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        convert::check_size(&r)?;
        let done = self.write(c, Op::Put(convert::put(r)?)).await?;
        let Body::Put { prev_kv } = done.body else { return Err(convert::mismatch("a put", &done.body)) };
        Ok(pb::PutResponse {
            header: Some(self.header(c.group, done.header.revision)),
            prev_kv: prev_kv.map(convert::key_value),
        })
    }

    pub(super) async fn range(&self, c: Context, r: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let serializable = r.serializable;
        let (revision, found) = self.read(c, convert::range(r)?, serializable).await?;
        Ok(convert::range_response(self.header(c.group, revision), found))
    }

    pub(super) async fn delete_range(
        &self,
        c: Context,
        r: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        let done = self.write(c, Op::DeleteRange(convert::delete_range(r)?)).await?;
        let Body::DeleteRange { deleted, prev_kvs } = done.body else {
            return Err(convert::mismatch("a delete", &done.body));
        };
        Ok(pb::DeleteRangeResponse {
            header: Some(self.header(c.group, done.header.revision)),
            deleted,
            prev_kvs: prev_kvs.into_iter().map(convert::key_value).collect(),
        })
    }

    pub(super) async fn txn(&self, c: Context, r: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        convert::check_size(&r)?;
        let done = self.write(c, Op::Txn(convert::whole_txn(r)?)).await?;
        let Body::Txn { succeeded, responses } = done.body else {
            return Err(convert::mismatch("a txn", &done.body));
        };
        Ok(pb::TxnResponse {
            header: Some(self.header(c.group, done.header.revision)),
            succeeded,
            responses: convert::responses(responses)?,
        })
    }

    pub(super) async fn compact(
        &self,
        c: Context,
        r: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Status> {
        let done = self.write(c, Op::Compact { revision: r.revision }).await?;
        Ok(pb::CompactionResponse { header: Some(self.header(c.group, done.header.revision)) })
    }
}
