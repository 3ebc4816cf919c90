//! grpc.health.v1: the one service "" is served, unless a defragmentation stops it by its gate.

use holdfast_api::health::health_check_response::ServingStatus;
use holdfast_api::health::health_server::Health;
use holdfast_api::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use std::pin::Pin;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// The health service.
#[derive(Debug, Clone)]
pub struct HealthService {
    serving: watch::Receiver<bool>,
}

impl HealthService {
    /// Of a member that says whether it serves.
    pub fn new(serving: watch::Receiver<bool>) -> HealthService {
        HealthService { serving }
    }
}

fn answer(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service.is_empty() {
            return Ok(Response::new(answer(*self.serving.borrow())));
        }
        Err(Status::not_found("unknown service"))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let all = (String::new(), answer(*self.serving.borrow()));
        Ok(Response::new(HealthListResponse { statuses: [all].into() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if request.get_ref().service.is_empty() {
            let changes = WatchStream::new(self.serving.clone());
            return Ok(Response::new(Box::pin(changes.map(|serving| Ok(answer(serving))))));
        }
        let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
        let once = tokio_stream::once(Ok(unknown)).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(once)))
    }
}
