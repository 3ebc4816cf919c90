//! What a drill shows with a server on the rebuild: it boots, serves what was backed up, and takes
//! a write (L5 by its answers, L6).
//!
//! Holds: the server listens on sockets in the sandbox and nowhere else, so that what was backed up
//! is nobody else's to read.

use super::report::Level;
use super::served::{self, Expected};
use super::{NAME, Verdict, Work, fail};
use crate::restore::{BuiltMember, source_hash};
use crate::server::{Listens, Server, ServerError, ServerSpec, Sockets};
use holdfast_api::client::{Client, ClientConfig};
use holdfast_vault::snapshot::SnapshotReader;
use std::time::Instant;

impl Work<'_> {
    /// L6, first half: a server starts and answers a linearizable read.
    pub(super) async fn boot(&mut self) -> Verdict<Server> {
        self.began = Instant::now();
        let spec = self.server_spec().map_err(|error| fail(Level::L6, error))?;
        let client = Client::lazy(ClientConfig::new([spec.client_url()]));
        let client = client.map_err(|error| fail(Level::L6, error))?;
        let mut server = Server::start(spec).map_err(|error| fail(Level::L6, error))?;
        self.sandbox.note_server(server.id()).map_err(|error| fail(Level::L6, error))?;
        let probe = || served::linearizable_read(&client);
        let ready = server.wait_ready(self.request.boot_deadline, probe).await;
        ready.map_err(|error| fail(Level::L6, error))?;
        self.step("boot", &format!("etcd {} answers a linearizable read", self.version.text));
        Ok(server)
    }

    fn server_spec(&self) -> Result<ServerSpec, ServerError> {
        // Twice the database, so that a write in a large sandbox raises no alarm.
        let quota = self.report.size_bytes.saturating_mul(2).max(8 << 30);
        Ok(ServerSpec {
            program: self.request.server.clone(),
            data_dir: self.sandbox.data_dir(),
            name: NAME.to_owned(),
            listens: Listens::Sockets(Sockets::in_directory(self.sandbox.path())?),
            initial_cluster: String::new(),
            joins: false,
            token: format!("drill-{}", self.report.id),
            log: self.sandbox.log(),
            extra: vec!["--quota-backend-bytes".to_owned(), quota.to_string()],
            tls: false,
        })
    }

    /// L5 on what is served, then L6's second half.
    pub(super) async fn compare(
        &mut self,
        reader: &SnapshotReader,
        built: &BuiltMember,
        server: &Server,
        offline: u32,
    ) -> Verdict {
        self.began = Instant::now();
        let client = Client::lazy(ClientConfig::new([server.spec().client_url()]));
        let client = client.map_err(|error| fail(Level::L6, error))?;
        let facts = reader.facts();
        let expected = Expected {
            revision: built.rebuilt.revision,
            compact_revision: built.rebuilt.compact_revision,
            hash: offline,
            key_count: facts
                .key_count
                .saturating_sub(u64::from(built.rebuilt.counts.bump_records > 0)),
        };
        served::same_hash(&client, &expected).await.map_err(|reason| fail(Level::L5, reason))?;
        served::same_count(&client, &expected).await.map_err(|reason| fail(Level::L5, reason))?;
        let sample = &built.rebuilt.sample;
        served::same_records(&client, sample).await.map_err(|reason| fail(Level::L5, reason))?;
        self.report.sampled = sample.len() as u64;
        let proven = source_hash(&facts).is_some();
        if proven {
            self.reached(Level::L5);
        }
        self.step(
            "compare what is served",
            &format!(
                "HashKV {offline:08x}, {} keys, {} records one by one",
                expected.key_count,
                sample.len()
            ),
        );
        let revision =
            served::write_and_read(&client).await.map_err(|reason| fail(Level::L6, reason))?;
        if proven {
            self.reached(Level::L6);
        }
        self.step("write", &format!("taken at revision {revision}, read back, deleted"));
        Ok(())
    }
}
