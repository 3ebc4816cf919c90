//! A vault in a folder, and backups into it by the agent as it ships.

use crate::Ground;
use crate::cluster::{Cluster, MEMBER, PEER_URL};
use crate::figures::{Result, Stored};
use crate::process::{Beside, Run, measure, measure_beside};
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

/// What the agent's log says of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Bytes off the member.
    pub(crate) received_bytes: u64,
    /// All of its database was read.
    pub(crate) whole: bool,
}

impl Vault {
    /// Creates one for the cluster.
    pub(crate) fn create(ground: &Ground, name: &str, cluster: &Cluster) -> Result<Vault> {
        Vault::of(ground, name, &cluster.etcd().endpoint(), "1d")
    }

    /// Creates one for the member at `endpoint`; `whole_reading`: after so long the agent reads all
    /// of its database, whatever it offers.
    pub(crate) fn of(
        ground: &Ground,
        name: &str,
        endpoint: &str,
        whole_reading: &str,
    ) -> Result<Vault> {
        let vault = Vault { folder: ground.dir.join(name), holdfast: ground.holdfast.clone() };
        std::fs::create_dir_all(vault.folder.join("state"))?;
        std::fs::write(vault.folder.join("keys.yaml"), keys()?)?;
        let agent = format!(
            "etcd:\n  endpoints: [\"{endpoint}\"]\n  wholeReading: {whole_reading}\nvault:\n  \
             url: {}\n  encryptionConfig: keys.yaml\nstateDirectory: state\nlog:\n  level: info\n",
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

    /// One round of the agent, what the member took meanwhile, and what the agent's log says of it.
    pub(crate) fn backup_beside(&self, member: u32) -> Result<(Backup, Beside, Said)> {
        let before = self.stored()?;
        let mut command = Command::new(&self.holdfast);
        command.args(["agent", "--config", "agent.yaml", "--once"]).current_dir(&self.folder);
        let log = self.folder.join("agent.log");
        let (run, beside) = measure_beside(&mut command, &log, member)?;
        let backup = Backup { run, added: self.stored()?.since(before) };
        let said = Said::of(&std::fs::read_to_string(&log)?);
        Ok((backup, beside, said.ok_or("the agent's log tells of no round")?))
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

impl Said {
    fn of(log: &str) -> Option<Said> {
        let line = log.lines().find(|line| line.contains("the round is complete"))?;
        let field = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let received_bytes = field("received_bytes")?.parse().ok()?;
        Some(Said { received_bytes, whole: field("whole")? == "true" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounds_line_is_read() {
        let log = "12:00 INFO something else received_bytes=1\n\
                   12:01 INFO the round is complete snapshot=3 received_bytes=27 whole=false\n";
        assert_eq!(Said::of(log), Some(Said { received_bytes: 27, whole: false }));
        assert_eq!(Said::of("12:00 INFO nothing\n"), None);
    }
}
