//! Who starts the new members: an operator who is told the command, or we, as local processes.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::path::PathBuf;
use std::time::Duration;

use super::plan::MemberStart;
use crate::server::{Ports, Server, ServerError, ServerProgram, ServerSpec};

/// A member that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

/// Starts members.
pub trait Starter {
    /// Starts a member with an empty data directory, or has it started. It need not run yet on
    /// return.
    fn start(&mut self, start: &MemberStart)
    -> impl Future<Output = Result<(), StartError>> + Send;

    /// Whether a member that was started here has ended; asked while it is waited for.
    fn check(&mut self, name: &str) -> impl Future<Output = Result<(), StartError>> + Send {
        let _ = name;
        ready(Ok(()))
    }
}

/// Tells somebody the command and leaves the start to them.
#[derive(Debug)]
pub struct AskOperator<F>(
    /// Is given each start; its `Display` is the command.
    pub F,
);

impl<F: FnMut(&MemberStart) + Send> Starter for AskOperator<F> {
    fn start(
        &mut self,
        start: &MemberStart,
    ) -> impl Future<Output = Result<(), StartError>> + Send {
        (self.0)(start);
        ready(Ok(()))
    }
}

/// Starts members as processes on this machine, below one folder. For demonstrations and tests.
#[derive(Debug)]
pub struct LocalProcesses {
    /// The etcd binary.
    pub program: ServerProgram,
    /// Data directories and logs go here.
    pub folder: PathBuf,
    /// More flags, for example for TLS.
    pub extra: Vec<String>,
    /// The ports of each member by name, as in its URLs.
    pub ports: BTreeMap<String, Ports>,
    /// The members that run.
    pub servers: BTreeMap<String, Server>,
}

impl LocalProcesses {
    /// Ends all members.
    pub async fn stop(&mut self, grace: Duration) {
        for (_, server) in std::mem::take(&mut self.servers) {
            server.stop(grace).await;
        }
    }
}

impl Starter for LocalProcesses {
    async fn start(&mut self, start: &MemberStart) -> Result<(), StartError> {
        let name = &start.member.name;
        let Some(ports) = self.ports.get(name).copied() else {
            return Err(StartError::Other(format!("no ports are given for member {name}")));
        };
        if self.servers.contains_key(name) {
            return Ok(());
        }
        let spec = ServerSpec {
            program: self.program.clone(),
            data_dir: self.folder.join(name),
            name: name.clone(),
            listens: ports.into(),
            initial_cluster: start.initial_cluster.clone(),
            joins: true,
            token: "joins".to_owned(),
            log: self.folder.join(format!("{name}.log")),
            tls: start.member.peer_urls.iter().any(|url| url.starts_with("https")),
            extra: self.extra.clone(),
        };
        self.servers.insert(name.clone(), Server::start(spec)?);
        Ok(())
    }

    async fn check(&mut self, name: &str) -> Result<(), StartError> {
        match self.servers.get_mut(name) {
            Some(server) => Ok(server.check_running()?),
            None => Ok(()),
        }
    }
}
