//! The methods that there are, read from the descriptors: their paths and whether they stream.

use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Services that a client may call, as upstream registers them; and ours.
const SERVED: [&str; 10] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
    "holdfast.v1.Records",
];

/// Who streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nobody.
    Unary,
    /// The client.
    ClientStream,
    /// The server.
    ServerStream,
    /// Both.
    BothStream,
}

impl Shape {
    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Unary => "unary",
            Shape::ClientStream => "client_stream",
            Shape::ServerStream => "server_stream",
            Shape::BothStream => "bidi_stream",
        }
    }
}

/// One method.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its place in the list.
    pub(crate) place: usize,
    /// The service with its package.
    pub service: String,
    /// The method alone.
    pub name: String,
    /// Who streams.
    pub shape: Shape,
    pub(crate) descriptor: MethodDescriptor,
}

/// All methods, by path.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    by_path: BTreeMap<String, usize>,
    list: Vec<Method>,
}

impl Methods {
    /// The method of a path such as `/etcdserverpb.KV/Range`.
    pub(crate) fn find(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path).and_then(|place| self.list.get(*place))
    }

    /// All of them.
    pub(crate) fn list(&self) -> &[Method] {
        &self.list
    }
}

/// All methods that are served.
pub(crate) fn methods() -> &'static Methods {
    static METHODS: OnceLock<Methods> = OnceLock::new();
    METHODS.get_or_init(|| {
        // The descriptors are our own; were they none, nothing would be found and tests fail.
        let pool = crate::gateway::pool();
        let mut methods = Methods::default();
        for name in SERVED {
            let Some(service) = DescriptorPool::get_service_by_name(pool, name) else { continue };
            for descriptor in service.methods() {
                let shape =
                    match (descriptor.is_client_streaming(), descriptor.is_server_streaming()) {
                        (false, false) => Shape::Unary,
                        (true, false) => Shape::ClientStream,
                        (false, true) => Shape::ServerStream,
                        (true, true) => Shape::BothStream,
                    };
                let place = methods.list.len();
                methods.by_path.insert(format!("/{name}/{}", descriptor.name()), place);
                let (service, name) = (name.to_owned(), descriptor.name().to_owned());
                methods.list.push(Method { place, service, name, shape, descriptor });
            }
        }
        methods
    })
}
