//! The bundled etcd server: flags, listeners, pages, metrics, logs, gateway.
//!
//! [`run::run`] is the process: it reads the configuration ([`config`]), opens the log ([`log`]),
//! binds the listeners ([`listen`], [`tls`]), lets a [`run::Boot`] start the member, and serves
//! RPCs ([`grpc`]), pages ([`http`]) and the JSON gateway ([`gateway`]) that ask it through
//! [`member::Member`]. How a member works only [`engine`] knows, which runs the core.

pub mod config;
pub mod engine;
pub mod gateway;
pub mod grpc;
pub mod http;
pub mod listen;
pub mod log;
pub mod member;
pub mod metrics;
pub mod run;
pub mod tls;
pub mod version;
