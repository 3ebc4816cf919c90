//! A vault in a folder, and backups into it by the agent as it ships.

use crate::Ground;
use crate::cluster::{Cluster, MEMBER, PEER_URL};
use crate::figures::{Result, Stored};
use crate::process::{Run, measure};
use base64::Engine;
use std::path::{Path, PathBuf};
use std::process::Command;

/// It.
pub(crate) struct Vault {
    folder: PathBuf,
    holdfast: PathBuf,
}

/// What a backup took and brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backup {
    pub(crate) run: Run,
    /// Everything that was put to the store.
    pub(crate) added: Stored,
}

impl Vault {
    /// Creates one for the cluster.
    pub(crate) fn create(ground: &Ground, name: &str, cluster: &Cluster) -> Result<Vault> {
        let vault = Vault { folder: ground.dir.join(name), holdfast: ground.holdfast.clone() };
        std::fs::create_dir_all(vault.folder.join("state"))?;
        std::fs::write(vault.folder.join("keys.yaml"), keys()?)?;
        let agent = format!(
            "etcd:\n  endpoints: [\"{}\"]\nvault:\n  url: {}\n  encryptionConfig: keys.yaml\n\
             stateDirectory: state\nlog:\n  level: warn\n",
            cluster.etcd().endpoint(),
            vault.url()
        );
        std::fs::write(vault.folder.join("agent.yaml"), agent)?;
        vault.run("init", &["vault", "init", &vault.url(), "--config", "agent.yaml"])?;
        Ok(vault)
    }

    /// One round of the agent.
    pub(crate) fn backup(&self) -> Result<Backup> {
        let before = self.stored()?;
        let run = self.run("agent", &["agent", "--config", "agent.yaml", "--once"])?;
        Ok(Backup { run, added: self.stored()?.since(before) })
    }

    /// Rebuilds the newest snapshot, without a bump, verified to L2; `hash`: HashKV too.
    pub(crate) fn restore(&self, data_dir: &Path, hash: bool) -> Result<Run> {
        let (url, data_dir) = (self.url(), data_dir.to_string_lossy());
        let mut arguments = vec![
            "restore",
            "--from",
            &url,
            "--keys",
            "keys.yaml",
            "--name",
            MEMBER,
            "--data-dir",
            &data_dir,
            "--peer-url",
            PEER_URL,
            "--bump",
            "none",
        ];
        if !hash {
            arguments.push("--skip-hash");
        }
        self.run("restore", &arguments)
    }

    /// What lies in it now.
    pub(crate) fn stored(&self) -> Result<Stored> {
        Stored::of(&self.folder.join("store"))
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.join("store").display())
    }

    /// Runs our binary in the vault's folder.
    fn run(&self, verb: &str, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(&self.holdfast);
        let log = self.folder.join(format!("{verb}.log"));
        measure(command.args(arguments).current_dir(&self.folder), &log)
    }
}

/// A throw-away EncryptionConfiguration.
fn keys() -> Result<String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| error.to_string())?;
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    Ok(format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [\"*.*\"]\n  providers:\n  - aesgcm:\n      keys:\n      - name: bench\n        secret: {key}\n"
    ))
}
