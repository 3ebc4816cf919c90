//! What every RPC shares: refusals with upstream's codes and texts, tokens and leader demands from
//! metadata, metrics, and the health service.
//!
//! The services themselves (KV, Watch, Lease, …) stand on the core; they come in as tonic routes
//! and are wrapped by [`Gate`].

pub(crate) mod deadline;
pub(crate) mod frames;
pub mod frequent;
mod gate;
mod health;
pub mod metadata;
pub(crate) mod methods;
mod observe;
mod refusal;

pub use gate::{Gate, GateConfig, Services};
pub use health::HealthService;
pub use methods::{Method, Shape};
pub use observe::RpcMetrics;
pub(crate) use observe::go_error;
pub use refusal::Refusal;
