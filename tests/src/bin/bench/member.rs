//! A member as the kernel sees it: our server or upstream's, under the same flags, with fsync.
//!
//! Must hold: both run under one name, from one folder, and are told the same; a member is ended
//! before its folder is removed.

use crate::Ground;
use crate::cluster::{FLAGS, MEMBER};
use crate::figures::Result;
use crate::process::processor_time_of;
use holdfast_api::client::{Client, ClientConfig};
use holdfast_restore::server::{Server, ServerProgram, ServerSpec};
use holdfast_tests::contents;
use holdfast_tests::crowd;
use holdfast_tests::etcd::free_ports;
use holdfast_tests::peers::peer;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For a boot, and for an end.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// etcd 3.6.
    Upstream,
    /// The bundled one.
    Ours,
}

/// Upstream first: ratios are of the second to the first.
pub(crate) const SIDES: [Side; 2] = [Side::Upstream, Side::Ours];

impl Side {
    fn folder(self) -> &'static str {
        match self {
            Side::Upstream => "upstream",
            Side::Ours => "ours",
        }
    }

    fn program(self, ground: &Ground) -> ServerProgram {
        match self {
            Side::Upstream => peer("etcd-3.6").into(),
            Side::Ours => ServerProgram::in_holdfast(&ground.holdfast),
        }
    }
}

/// One that runs.
pub(crate) struct Measured {
    server: Server,
    data_dir: PathBuf,
    /// From its start to its first linearizable read.
    pub(crate) boot: Duration,
}

impl Measured {
    /// Starts one on a data directory, or on none.
    pub(crate) async fn start(ground: &Ground, side: Side, what: &str) -> Result<Measured> {
        Measured::start_with(ground, side, what, &[]).await
    }

    /// The same with more flags.
    pub(crate) async fn start_with(
        ground: &Ground,
        side: Side,
        what: &str,
        flags: &[&str],
    ) -> Result<Measured> {
        let data_dir = data_dir(ground, side, what);
        let spec = ServerSpec {
            program: side.program(ground),
            data_dir: data_dir.clone(),
            name: MEMBER.to_owned(),
            listens: free_ports().into(),
            initial_cluster: String::new(),
            joins: false,
            token: "bench".to_owned(),
            log: ground.dir.join(format!("{}-{what}.log", side.folder())),
            extra: FLAGS.iter().chain(flags).map(|flag| (*flag).to_owned()).collect(),
            tls: false,
        };
        let client = Client::lazy(ClientConfig::new([spec.client_url()]))?;
        let mut server = Server::start(spec)?;
        let read = || async { contents::revision(&client).await.map(|_| ()) };
        let boot = server.wait_ready(PATIENCE, read).await?;
        Ok(Measured { server, data_dir, boot })
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        self.server.spec().client_url()
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::new([self.url()])
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::lazy(self.client_config())?)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.server.id()
    }

    /// Of all processors since its start.
    pub(crate) fn processor(&self) -> Result<Duration> {
        processor_time_of(self.server.id())
    }

    /// RssAnon in bytes: what lies outside the file's mapping.
    pub(crate) fn memory(&self) -> Result<u64> {
        Ok(crowd::anonymous_bytes(self.server.id())?)
    }

    /// Ends it and keeps what it stored.
    pub(crate) async fn stop(self) -> PathBuf {
        self.server.stop(PATIENCE).await;
        self.data_dir
    }

    /// Ends it and removes what it stored.
    pub(crate) async fn remove(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.stop().await)?)
    }
}

/// Where a side's data for one purpose lies.
pub(crate) fn data_dir(ground: &Ground, side: Side, what: &str) -> PathBuf {
    Path::new(&ground.dir).join(format!("{}-{what}", side.folder()))
}
