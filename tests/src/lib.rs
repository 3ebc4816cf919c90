//! Whole-system suites, upstream peers, benchmarks, tidy: what the suites, the demo and the
//! benchmarks share.

pub mod accounts;
pub mod contents;
pub mod crowd;
pub mod etcd;
pub mod holdfast;
pub mod kms;
pub mod objects;
pub mod peers;
pub mod pki;
pub mod s3;
pub mod seed;
pub mod site;
