//! Lock: the oldest key below a name holds the lock.

use holdfast_api::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use holdfast_api::v3lockpb::lock_server::Lock;
use holdfast_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

use super::contest::Caller;
use crate::engine::handle::Handle;
use crate::grpc::Refusal;

#[tonic::async_trait]
impl Lock for Handle {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let (caller, LockRequest { name, lease }) = Caller::of(self, request);
        let lease = caller.lease(lease).await?;
        let claim = caller.claim(&name, lease, Vec::new()).await?;
        let (key, mut header) = (claim.key.clone(), claim.header);
        if caller.wait_for_turn(&name, claim.revision).await? {
            // The lease may have ended while others held the lock.
            let own = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            let found = caller.range(own).await?;
            if found.kvs.is_empty() {
                return Err(Refusal::Other("mutex: session is expired".to_owned()).into());
            }
            header = found.header;
        }
        claim.keep();
        Ok(Response::new(LockResponse { header, key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let (caller, UnlockRequest { key }) = Caller::of(self, request);
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let deleted = caller.delete(delete).await?;
        Ok(Response::new(UnlockResponse { header: deleted.header }))
    }
}
