//! What the story is played with: a folder, running members, our binary as a process.

use holdfast_api::client::{Client, ClientConfig};
use holdfast_restore::server::{Ports, Server, ServerProgram, ServerSpec};
use holdfast_tests::contents;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const READY: Duration = Duration::from_secs(60);

/// Where the story plays.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    holdfast: PathBuf,
    etcd: Option<PathBuf>,
}

impl Stage {
    /// An empty folder. A folder that no demo made is refused.
    pub(crate) fn new(dir: &Path, holdfast: &Path, etcd: Option<&Path>) -> Result<Stage> {
        let mark = dir.join(".holdfast-demo");
        if dir.exists() {
            if !mark.exists() {
                return Err(format!(
                    "{} exists and was not made by a demo; name another with --dir",
                    dir.display()
                )
                .into());
            }
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
        std::fs::write(&mark, "")?;
        let dir = dir.canonicalize()?;
        let found = |file: &Path| {
            file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))
        };
        Ok(Stage { dir, holdfast: found(holdfast)?, etcd: etcd.map(found).transpose()? })
    }

    /// The etcd that plays the cluster, if it is not the bundled server.
    pub(crate) fn etcd(&self) -> Option<&Path> {
        self.etcd.as_deref()
    }

    fn program(&self) -> ServerProgram {
        let bundled = || ServerProgram::in_holdfast(self.holdfast.clone());
        self.etcd().map_or_else(bundled, ServerProgram::from)
    }

    /// Starts a member on its data directory `name` and waits for its first linearizable read.
    pub(crate) async fn boot(&self, name: &str, spec: Boot<'_>) -> Result<Member> {
        let spec = ServerSpec {
            program: self.program(),
            data_dir: self.dir.join(name),
            name: name.to_owned(),
            listens: spec.ports.into(),
            initial_cluster: spec.initial_cluster.to_owned(),
            joins: spec.joins,
            token: spec.token.to_owned(),
            log: self.dir.join(format!("{name}.log")),
            extra: vec![],
            tls: false,
        };
        let url = spec.client_url();
        let mut server = Server::start(spec)?;
        let client = Client::lazy(ClientConfig::new([url.clone()]))?;
        let ready =
            server.wait_ready(READY, || async { contents::revision(&client).await.map(|_| ()) });
        let ready = ready.await?;
        Ok(Member { server, url, client, ready })
    }

    /// Runs our binary, shows what it prints, and gives it back. Fails if it fails.
    pub(crate) async fn holdfast(&self, arguments: &[&str]) -> Result<Output> {
        self.run(arguments, true, |_| Ok(())).await
    }

    /// Like [`Stage::holdfast`], without showing the output.
    pub(crate) async fn holdfast_quietly(&self, arguments: &[&str]) -> Result<Output> {
        self.run(arguments, false, |_| Ok(())).await
    }

    /// Runs our binary; each line of its output is shown and given to `react`.
    pub(crate) async fn run(
        &self,
        arguments: &[&str],
        shown: bool,
        mut react: impl FnMut(&str) -> Result<()>,
    ) -> Result<Output> {
        if shown {
            println!(
                "$ holdfast {}",
                arguments.join(" ").replace(&*self.dir.to_string_lossy(), ".")
            );
        }
        let started = Instant::now();
        let mut command = Command::new(&self.holdfast);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let pipe = child.stdout.take().ok_or("the child has no output")?;
        let mut lines = BufReader::new(pipe).lines();
        let mut text = String::new();
        while let Some(line) = lines.next_line().await? {
            if shown {
                println!("  {}", line.replace(&*self.dir.to_string_lossy(), "."));
            }
            react(&line)?;
            text.push_str(&line);
            text.push('\n');
        }
        let status = child.wait().await?;
        if !status.success() {
            return Err(format!("`holdfast {}` ended with {status}", arguments.join(" ")).into());
        }
        Ok(Output { text, took: started.elapsed() })
    }
}

/// How a member boots.
pub(crate) struct Boot<'a> {
    pub(crate) ports: Ports,
    pub(crate) initial_cluster: &'a str,
    pub(crate) joins: bool,
    pub(crate) token: &'a str,
}

/// A running member.
pub(crate) struct Member {
    server: Server,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) ready: Duration,
}

impl Member {
    /// Ends it as an operator would; kills it if it does not end.
    pub(crate) async fn stop(self) {
        self.server.stop(Duration::from_secs(10)).await;
    }
}

/// What a run of our binary gave.
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) took: Duration,
}
