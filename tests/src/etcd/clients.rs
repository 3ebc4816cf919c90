//! Who speaks to a member: our client, and upstream's etcdctl.

use super::{BUNDLED, Etcd, GRACE};
use crate::peers::peer;
use crate::pki::Pki;
use holdfast_api::client::{Client, ClientConfig, ClientError, Tls};
use holdfast_api::etcdserverpb::{RangeRequest, SnapshotRequest};
use holdfast_peers::run;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

impl Etcd {
    /// How to reach it.
    pub fn client_config(&self) -> ClientConfig {
        client_config([self.endpoint()], self.pki.as_deref())
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        lazy(self.client_config())
    }

    /// A client of it that logs in.
    pub fn client_as(&self, user: &str, password: &str) -> Client {
        lazy(self.client_config().with_credentials(user, password))
    }

    /// What upstream's etcdctl of the same version prints.
    ///
    /// # Panics
    /// It fails; with what it says.
    pub fn ctl(&self, args: &[&str]) -> String {
        run(self.etcdctl().args(args))
    }

    /// What etcdctl says that must not succeed; both streams.
    ///
    /// # Panics
    /// It succeeds, or does not end.
    pub async fn ctl_refused(&self, args: &[&str]) -> String {
        let mut command = self.etcdctl();
        command.args(args);
        let mut command = tokio::process::Command::from(command);
        let output = tokio::time::timeout(GRACE, command.kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{command:?} does not end"));
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{command:?} succeeds: {said}");
        said
    }

    fn etcdctl(&self) -> Command {
        let tools = if self.version == BUNDLED { "3.6" } else { &self.version };
        let mut command = Command::new(peer(&format!("etcdctl-{tools}")));
        command.arg("--endpoints").arg(self.endpoint());
        if let Some(pki) = &self.pki {
            let pair = pki.client("root");
            command.arg("--cacert").arg(pki.ca());
            command.arg("--cert").arg(pair.cert).arg("--key").arg(pair.key);
        }
        command
    }

    /// Streams its database to a file, as upstream's snapshots are: with the SHA-256 at the end.
    ///
    /// # Errors
    /// The member refuses or the stream ends early.
    ///
    /// # Panics
    /// The file cannot be written.
    pub async fn save_snapshot(&self, client: &Client, to: &Path) -> Result<(), ClientError> {
        let stream = client.maintenance().snapshot(SnapshotRequest {}).await;
        let mut stream = client.check("Snapshot", stream)?;
        let mut file = std::fs::File::create(to).expect("the snapshot's file");
        loop {
            let piece = stream.message().await;
            match piece.map_err(|status| ClientError::call(&self.endpoint(), "Snapshot", status))? {
                Some(piece) => file.write_all(&piece.blob).expect("the snapshot's file"),
                None => return Ok(()),
            }
        }
    }
}

pub(super) fn lazy(config: ClientConfig) -> Client {
    Client::lazy(config).unwrap_or_else(|error| panic!("{error}"))
}

/// How to reach members: over TLS as root, if there is an authority.
pub fn client_config(
    endpoints: impl IntoIterator<Item = String>,
    pki: Option<&Pki>,
) -> ClientConfig {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(30), ..ClientConfig::new(endpoints) };
    match pki {
        None => config,
        Some(pki) => {
            let pair = pki.client("root");
            config.with_tls(Tls::from_files(pki.ca(), pair.cert, pair.key))
        }
    }
}

/// Succeeds also where only logged-in users may read: then the member serves as well.
pub(super) async fn linearizable_read(client: &Client) -> Result<(), ClientError> {
    let request = RangeRequest { key: b"ready?".to_vec(), ..RangeRequest::default() };
    match client.check("Range", client.kv().range(request).await) {
        Err(error) if error.is_temporary() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
