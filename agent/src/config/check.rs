//! What the types of the configuration cannot say: contradictions, limits, where paths begin.

use super::{Config, Sealing};
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Config {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, reason: &str| Err((field, reason.to_owned()));
        let etcd = &self.etcd;
        if etcd.endpoints.is_empty() {
            return wrong("etcd.endpoints", "give at least one client URL");
        }
        let https = etcd.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        if https && etcd.ca_file.is_none() {
            return wrong(
                "etcd.caFile",
                "https endpoints need it (kubeadm: /etc/kubernetes/pki/etcd/ca.crt)",
            );
        }
        if etcd.cert_file.is_some() != etcd.key_file.is_some() {
            return wrong("etcd.certFile", "certFile and keyFile come together");
        }
        if etcd.user.is_some() != etcd.password_file.is_some() {
            return wrong("etcd.user", "user and passwordFile come together");
        }
        if self.vault.sealing == Sealing::Sealed && self.vault.encryption_config.is_none() {
            return wrong(
                "vault.encryptionConfig",
                "name the file with the providers, or set `sealing: none` if the vault was \
                 created so",
            );
        }
        if !(1..=19).contains(&self.vault.compression_level) {
            return wrong("vault.compressionLevel", "1 to 19");
        }
        if self.vault.sensitive_prefixes.iter().any(String::is_empty) {
            return wrong(
                "vault.sensitivePrefixes",
                "an empty prefix would leave nothing to compress",
            );
        }
        if self.vault.upload_limit.is_some_and(|limit| limit.bytes() < 64 << 10) {
            return wrong("vault.uploadLimit", "at least 64KiB per second");
        }
        self.check_times()
    }

    fn check_times(&self) -> Result<(), (&'static str, String)> {
        let positive = [
            ("etcd.requestTimeout", self.etcd.request_timeout),
            ("etcd.snapshotTimeout", self.etcd.snapshot_timeout),
            ("etcd.stallTimeout", self.etcd.stall_timeout),
            ("etcd.hashTimeout", self.etcd.hash_timeout),
            ("schedule.retryAfter", self.schedule.retry_after),
            ("drill.timeout", self.drill.as_ref().map_or(Duration::MAX, |drill| drill.timeout)),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, time)| *time < Duration::from_secs(1)) {
            return Err((field, "at least 1s".to_owned()));
        }
        if self.schedule.jitter > holdfast_policies::schedule::LONGEST_JITTER {
            return Err(("schedule.jitter", "at most 1d".to_owned()));
        }
        if self.schedule.longest_retry < self.schedule.retry_after {
            return Err(("schedule.longestRetry", "not below retryAfter".to_owned()));
        }
        // A round is given up after six hours: docs/FORMAT.md.
        if self.etcd.snapshot_timeout > Duration::from_secs(4 * 3600) {
            return Err((
                "etcd.snapshotTimeout",
                "at most 4h: a round may take 6h in all".to_owned(),
            ));
        }
        if self.prune.grace < Duration::from_secs(3600) {
            let reason = "at least 1h: a restore may be reading what is condemned".to_owned();
            return Err(("prune.grace", reason));
        }
        Ok(())
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        let etcd = &mut self.etcd;
        let optional = [
            &mut etcd.ca_file,
            &mut etcd.cert_file,
            &mut etcd.key_file,
            &mut etcd.password_file,
            &mut self.vault.encryption_config,
            &mut self.spool.directory,
        ];
        let mut paths: Vec<&mut PathBuf> = optional.into_iter().flatten().collect();
        paths.push(&mut self.state_directory);
        if let Some(drill) = &mut self.drill {
            paths.push(&mut drill.directory);
            // A bare name is looked up in PATH, as `--server` is.
            let named = drill.server_binary.as_mut();
            paths.extend(named.filter(|file| file.components().count() > 1));
        }
        for path in paths {
            *path = directory.join(&*path);
        }
    }
}
