//! The bundled etcd server, its outside: flags, listeners, pages, metrics, logs, gateway.

pub mod config;
pub mod gateway;
pub mod grpc;
pub mod http;
pub mod log;
pub mod member;
pub mod metrics;
pub mod tls;
pub mod version;
