//! `v3lockpb.Lock`: mutual exclusion for as long as a lease lives.

use super::backend::Backend;
use super::door::{Context, Door, refuse_path};
use super::grpc::Call;
use super::message as pb;
use super::status::Status;
use super::wait::{self, Place};
use dwcp_env::GroupId;
use std::sync::Mutex;

impl<B: Backend> Door<B> {
    pub(super) async fn lock_service(self, call: Call, method: &str) {
        match method {
            "Lock" => {
                // Where the wait ends badly, the place taken is given back.
                let taken = Mutex::new(None);
                self.patient(
                    call,
                    |group, r| self.lock(group, r, &taken),
                    |group| self.give_back(group, &taken),
                )
                .await;
            }
            "Unlock" => self.unary(call, |c, r| self.unlock(c, r)).await,
            _ => refuse_path(call),
        }
    }

    async fn lock(
        &self,
        group: GroupId,
        r: pb::LockRequest,
        taken: &Mutex<Option<Place>>,
    ) -> Result<pb::LockResponse, Status> {
        let lease = self.session(group, r.lease).await?;
        let prefix = wait::prefix(&r.name);
        let (place, _, holder, mut revision) =
            self.take_place(group, &prefix, lease, bytes::Bytes::new()).await?;
        if holder.is_some_and(|kv| kv.create_revision != place.revision) {
            if let Ok(mut taken) = taken.lock() {
                *taken = Some(place.clone());
            }
            revision = self.wait_for_turn(group, &prefix, &place).await?;
        }
        Ok(pb::LockResponse { header: Some(self.header(group, revision)), key: place.key })
    }

    async fn unlock(&self, c: Context, r: pb::UnlockRequest) -> Result<pb::HeaderResponse, Status> {
        let gone = pb::DeleteRangeRequest { key: r.key, ..pb::DeleteRangeRequest::default() };
        Ok(pb::HeaderResponse { header: self.delete_range(c, gone).await?.header })
    }
}
