//! The bundled etcd server, its outside: flags, listeners, pages, metrics, logs, gateway.

pub mod config;
pub mod log;
