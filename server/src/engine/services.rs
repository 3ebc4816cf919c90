//! The gRPC services over the running member. Each method: who asks, may they, is the request
//! sound; then read or propose; then fill the header.

mod auth;
mod cluster;
mod contest;
mod downgrade;
mod election;
mod frequent;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub(super) mod records;
mod watch;

use holdfast_core::auth::Identity;
use tonic::{Request, Status};

pub(crate) use watch::WatchService;

use super::handle::Handle;
use crate::grpc::metadata::Peer;

impl Handle {
    /// Who sent a request.
    pub(super) async fn identity<T>(&self, request: &Request<T>) -> Result<Identity, Status> {
        let peer = request.extensions().get::<Peer>();
        self.identity_of(request.metadata().as_ref(), peer).await
    }
}
