//! The client of a cluster: typed stubs that find an endpoint that answers, log in, and keep
//! deadlines.
//!
//! [`Client::connect`] checks the configuration, reads the certificates, and makes sure that at
//! least one endpoint answers and the login works. The stubs of a [`Client`] go to the first
//! endpoint that can be reached; those of a [`Member`] to one endpoint only, as most Maintenance
//! calls must.

mod config;
mod error;
mod login;
mod socket;
mod tls;
mod transport;

pub use config::{ClientConfig, Credentials, DEFAULT_MAX_MESSAGE_BYTES, Pem, Tls};
pub use error::ClientError;
pub use socket::MOST_SOCKET_PATH_BYTES;
pub use transport::Transport;

use crate::etcdserverpb::auth_client::AuthClient;
use crate::etcdserverpb::cluster_client::ClusterClient;
use crate::etcdserverpb::kv_client::KvClient;
use crate::etcdserverpb::lease_client::LeaseClient;
use crate::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::etcdserverpb::watch_client::WatchClient;
use crate::etcdserverpb::{StatusRequest, StatusResponse};
use crate::holdfast::records_client::RecordsClient;
use login::Login;
use std::sync::Arc;
use tonic::{Code, Response, Status};
use transport::{Deadlines, Route};

/// A cluster. Cheap to clone; clones share connections and login.
#[derive(Debug, Clone)]
pub struct Client {
    any: Member,
    members: Arc<[Member]>,
    login: Option<Arc<Login>>,
}

/// One endpoint, or (inside a [`Client`]) whichever answers.
#[derive(Debug, Clone)]
pub struct Member {
    endpoint: String,
    transport: Transport,
    max_message_bytes: usize,
}

impl Client {
    /// Makes the connections, asks for a status until one endpoint answers, and logs in.
    ///
    /// # Errors
    /// A configuration that cannot work, files that cannot be read, no endpoint that answers, or a
    /// refused login.
    pub async fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        let client = Client::lazy(config)?;
        client.log_in().await?;
        client.any_status().await?;
        Ok(client)
    }

    /// Like [`Client::connect`], but talks to nobody yet: the first call does. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// A configuration that cannot work, or files that cannot be read.
    #[expect(clippy::needless_pass_by_value, reason = "the secrets in it end here")]
    pub fn lazy(config: ClientConfig) -> Result<Client, ClientError> {
        if config.endpoints.is_empty() {
            return Err(ClientError::NoEndpoint);
        }
        let tls = config.tls.as_ref().map(tls::connector).transpose()?;
        let mut routes: Vec<Route> = Vec::with_capacity(config.endpoints.len());
        for text in &config.endpoints {
            let endpoint = config::normalise(text, config.tls.is_some())?;
            if routes.iter().all(|route| route.endpoint != endpoint) {
                routes.push(config::route(endpoint, &config, tls.as_ref())?);
            }
        }
        let login = config.credentials.clone().map(|given| Arc::new(Login::new(given)));
        let deadlines = Deadlines {
            request: config.request_timeout,
            walk: config.walk_timeout,
            waits_for_connection: config.waits_for_connection,
        };
        let member = |routes: Arc<[Route]>| {
            let transport = Transport::new(routes, login.clone(), deadlines);
            Member {
                endpoint: transport.names(),
                transport,
                max_message_bytes: config.max_message_bytes,
            }
        };
        let members = routes.iter().map(|route| member(Arc::from([route.clone()]))).collect();
        Ok(Client { any: member(routes.into()), members, login })
    }

    /// The endpoints, normalised, in the configured order.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.endpoint.as_str())
    }

    /// One client per endpoint, in the configured order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The client of one endpoint, written as configured or normalised.
    ///
    /// # Errors
    /// The endpoint is not configured.
    pub fn member(&self, endpoint: &str) -> Result<&Member, ClientError> {
        let tail = |text: &str| text.trim_end_matches('/').rsplit("://").next().map(str::to_owned);
        self.members.iter().find(|member| tail(&member.endpoint) == tail(endpoint)).ok_or_else(
            || ClientError::UnknownEndpoint {
                endpoint: endpoint.to_owned(),
                known: self.any.endpoint.clone(),
            },
        )
    }

    /// Keys and values, at whichever endpoint answers.
    pub fn kv(&self) -> KvClient<Transport> {
        self.any.kv()
    }

    /// Watches, at the endpoint that answered last.
    pub fn watch(&self) -> WatchClient<Transport> {
        self.any.watch()
    }

    /// Leases, at whichever endpoint answers.
    pub fn lease(&self) -> LeaseClient<Transport> {
        self.any.lease()
    }

    /// Members, at whichever endpoint answers.
    pub fn cluster(&self) -> ClusterClient<Transport> {
        self.any.cluster()
    }

    /// Users and roles, at whichever endpoint answers.
    pub fn auth(&self) -> AuthClient<Transport> {
        self.any.auth()
    }

    /// Alarms and downgrades concern the whole cluster; for all other maintenance ask a [`Member`].
    pub fn maintenance(&self) -> MaintenanceClient<Transport> {
        self.any.maintenance()
    }

    /// Turns a stub's result into one whose error says what, where, and what to do next.
    ///
    /// # Errors
    /// The stub's.
    pub fn check<T>(
        &self,
        call: &str,
        result: Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        self.any.check(call, result)
    }

    async fn log_in(&self) -> Result<(), ClientError> {
        let Some(login) = &self.login else { return Ok(()) };
        let Err(status) = self.any.transport.log_in(login).await else { return Ok(()) };
        if status.code() == Code::Unavailable {
            return Err(ClientError::call(&self.any.endpoint, "Authenticate", status));
        }
        Err(ClientError::Login {
            endpoint: self.any.endpoint.clone(),
            user: login.user().to_owned(),
            reason: status.message().to_owned(),
        })
    }

    /// Some servers (3.5) let only logged-in users ask for a status: a refusal is an answer too.
    async fn any_status(&self) -> Result<(), ClientError> {
        match self.any.status().await {
            Err(error) if error.is_temporary() => Err(error),
            Err(_) | Ok(_) => Ok(()),
        }
    }
}

impl Member {
    /// The endpoint's URL; of a client's own, all of them.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Keys and values.
    pub fn kv(&self) -> KvClient<Transport> {
        KvClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Watches.
    pub fn watch(&self) -> WatchClient<Transport> {
        WatchClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Leases.
    pub fn lease(&self) -> LeaseClient<Transport> {
        LeaseClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Members.
    pub fn cluster(&self) -> ClusterClient<Transport> {
        ClusterClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Users and roles.
    pub fn auth(&self) -> AuthClient<Transport> {
        AuthClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Status, snapshot, hashes, defragmentation of this member.
    pub fn maintenance(&self) -> MaintenanceClient<Transport> {
        MaintenanceClient::new(self.transport.clone())
            .max_decoding_message_size(self.max_message_bytes)
    }

    /// What Holdfast's own server offers beside etcd's API; another one answers UNIMPLEMENTED.
    pub fn records(&self) -> RecordsClient<Transport> {
        RecordsClient::new(self.transport.clone()).max_decoding_message_size(self.max_message_bytes)
    }

    /// Turns a stub's result into one whose error says what, where, and what to do next.
    ///
    /// # Errors
    /// The stub's.
    pub fn check<T>(
        &self,
        call: &str,
        result: Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        match result {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(ClientError::call(&self.endpoint, call, status)),
        }
    }

    /// How the member is.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.check("Status", self.maintenance().status(StatusRequest {}).await)
    }
}
