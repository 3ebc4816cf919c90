//! etcd protobuf messages and, behind the feature grpc, the stubs and the client.
