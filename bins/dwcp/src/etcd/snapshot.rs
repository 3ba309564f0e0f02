//! `Maintenance.Snapshot`.

use super::backend::Backend;
use super::door::{Door, refuse_path};
use super::grpc::Call;

impl<B: Backend> Door<B> {
    pub(super) async fn snapshot(self, call: Call) {
        refuse_path(call);
    }
}
