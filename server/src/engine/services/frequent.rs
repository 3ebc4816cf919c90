//! The methods of KV that most calls are for, by their short way.

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_api::etcdserverpb::kv_server::Kv;
use tonic::{Request, Status};

use crate::engine::handle::Handle;
use crate::grpc::frequent::{Frequent, answer};
use crate::grpc::{Method, Refusal};

const SERVICE: &str = "etcdserverpb.KV";

impl Frequent for Handle {
    fn serves(&self, method: &Method) -> bool {
        method.service == SERVICE
            && matches!(method.name.as_str(), "Range" | "Put" | "DeleteRange" | "Txn")
    }

    fn answer(
        &self,
        method: &Method,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Bytes, Status>> {
        match method.name.as_str() {
            "Range" => Box::pin(answer(request, |request| self.range(request))),
            "Put" => Box::pin(answer(request, |request| self.put(request))),
            "DeleteRange" => Box::pin(answer(request, |request| self.delete_range(request))),
            "Txn" => Box::pin(answer(request, |request| self.txn(request))),
            name => {
                let text = format!("method {name} has no short way; this is a defect");
                Box::pin(std::future::ready(Err(Refusal::Other(text).into())))
            }
        }
    }
}
