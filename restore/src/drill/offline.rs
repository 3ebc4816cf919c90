//! What a drill shows before a server runs: the vault opens, rebuilds, and what was built is sound
//! (L0 to L3, and L5 by HashKV).
//!
//! Holds: each step says which level failed; nothing but the sandbox is written.

use super::report::Level;
use super::{NAME, Verdict, Work, fail, served};
use crate::check::{faults_line, hashkv_of, open_database};
use crate::fetch::blocking;
use crate::rebuild::RebuildSpec;
use crate::restore::{BuiltMember, RestoreError, build_member, source_hash};
use crate::server::UNREACHABLE_URL;
use holdfast_core::check::check_member;
use holdfast_core::hashkv::HashScope;
use holdfast_core::membership::Founding;
use holdfast_vault::snapshot::SnapshotReader;
use holdfast_vault::vault::Vault;
use std::time::Instant;

impl Work<'_> {
    /// L0: everything that a restore needs is there.
    pub(super) async fn open(&mut self, vault: &mut Vault) -> Verdict<SnapshotReader> {
        let opened = vault.reader(self.request.snapshot).await;
        let reader = opened.map_err(|error| fail(served::level_of(&error), error))?;
        let objects = served::objects_exist(vault, &reader).await;
        let objects = objects.map_err(|reason| fail(Level::L0, reason))?;
        self.reached(Level::L0);
        self.step("open", &format!("{objects} objects are there"));
        Ok(reader)
    }

    /// L1 and L2, and the member for the later ones.
    pub(super) async fn rebuild(&mut self, reader: &SnapshotReader) -> Verdict<BuiltMember> {
        let token = format!("drill-{}", self.report.id);
        let founding = Founding::single(NAME, &[UNREACHABLE_URL.to_owned()], &token);
        let founding = founding.map_err(|error| fail(Level::L3, error))?;
        let spec = RebuildSpec {
            sample: self.request.sample,
            sample_seed: self.request.sample_seed,
            authentication_off: true,
            ..RebuildSpec::new(founding, self.version.version)
        };
        let built = build_member(reader, &self.sandbox.data_dir(), spec, self.request.read).await;
        let built = built.map_err(|error| match &error {
            RestoreError::Fetch(crate::fetch::FetchError::Snapshot(cause)) => {
                fail(served::level_of(cause), &error)
            }
            _ => fail(Level::L3, error),
        })?;
        let rebuilt = &built.rebuilt;
        self.report.records = rebuilt.counts.records;
        self.report.size_bytes = rebuilt.summary.size_bytes;
        self.reached(Level::L2);
        if !built.verified.digest_compared {
            self.note("the source's digest could not be compared: members disagreed about records");
        }
        if !rebuilt.made_up_leases.is_empty() {
            let count = rebuilt.made_up_leases.len();
            self.note(&format!("{count} leases were made up for live keys"));
        }
        if built.verified.facts.auth_enabled {
            self.note(
                "authentication was switched off in the sandbox; users and roles are all there",
            );
        }
        self.step("rebuild", &format!("{} records", rebuilt.counts.records));
        Ok(built)
    }

    /// L3: structure, schema, WAL and .snap.
    pub(super) async fn check(&mut self, built: &BuiltMember) -> Verdict {
        self.began = Instant::now();
        let data_dir = self.sandbox.data_dir();
        let findings = blocking(move || Ok::<_, RestoreError>(check_member(&data_dir))).await;
        let findings = findings.map_err(|error| fail(Level::L3, error))?;
        if let Some(faults) = faults_line(&findings) {
            return Err(fail(Level::L3, faults));
        }
        let facts = &built.verified.facts;
        let small = (facts.lease_count, facts.user_count, facts.role_count);
        let found =
            served::small_counts(&built.database).map_err(|error| fail(Level::L3, error))?;
        let made_up = built.rebuilt.made_up_leases.len() as u64;
        if found != (small.0 + made_up, small.1, small.2) {
            return Err(fail(
                Level::L3,
                format!(
                    "leases, users and roles: {found:?} were rebuilt, {small:?} were backed up \
                     and {made_up} leases made up"
                ),
            ));
        }
        self.reached(Level::L3);
        self.step("check structure", "bolt, schema, WAL and .snap are sound");
        Ok(())
    }

    /// L5, offline: HashKV of what was rebuilt. Returns it for the scope that the server will
    /// answer for.
    pub(super) async fn hash(&mut self, built: &BuiltMember) -> Verdict<u32> {
        self.began = Instant::now();
        let (revision, compact_revision) = (built.rebuilt.revision, built.rebuilt.compact_revision);
        let scope = HashScope { revision, compact_revision };
        let expected = source_hash(&built.verified.facts);
        let database = built.database.clone();
        let hashed = blocking(move || {
            let db = open_database(&database)?;
            let of = |revision, compact_revision| {
                hashkv_of(&db, HashScope { revision, compact_revision })
            };
            let theirs = expected.map(|one| of(one.revision, one.compact_revision)).transpose()?;
            let ours = match expected {
                Some(one)
                    if (one.revision, one.compact_revision)
                        == (scope.revision, scope.compact_revision) =>
                {
                    theirs
                }
                _ => None,
            };
            Ok::<_, RestoreError>((
                theirs,
                ours.map_or_else(|| of(scope.revision, scope.compact_revision), Ok)?,
            ))
        })
        .await;
        let (theirs, ours) = hashed.map_err(|error| fail(Level::L5, error))?;
        match (expected, theirs) {
            (Some(expected), Some(found)) if expected.hash != found => {
                return Err(fail(
                    Level::L5,
                    format!(
                        "HashKV at revision {} is {found:08x} in the rebuild, {:08x} in the \
                         source",
                        expected.revision, expected.hash
                    ),
                ));
            }
            (Some(expected), _) => {
                let detail = format!(
                    "{:08x} at revision {}, as the source's",
                    expected.hash, expected.revision
                );
                self.step("compare HashKV", &detail);
            }
            (None, _) => {
                self.note("the source gave no HashKV: equality with it (L5) cannot be proven");
            }
        }
        Ok(ours)
    }
}
