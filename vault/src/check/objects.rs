//! The objects that the chain lists, each at the depth asked for.
//!
//! Holds: bodies come first, since they tell how segments and spills are opened; an object without
//! which a seed is left is told without asking for a key.

use super::body::Known;
use super::stream::{Pieces, is_large};
use super::{Checker, Level};
use crate::access::{AccessError, MESSAGE_LIMIT};
use crate::chain::ChainError;
use crate::chain::state::Extant;
use crate::format::{Described, FormatError, ObjectId, open_body, open_object};
use crate::proto::{ObjectKind, ObjectRef};
use crate::store::StoreError;
use std::collections::BTreeSet;

impl Checker<'_> {
    pub(super) async fn objects(
        &mut self,
        chosen: &BTreeSet<u64>,
        all: bool,
    ) -> Result<(), ChainError> {
        let extant: Vec<_> = self
            .vault
            .chain()
            .state()
            .objects()
            .iter()
            .filter(|(_, extant)| extant.condemned.is_none())
            .map(|(id, extant)| (*id, extant.clone()))
            .collect();
        let needed = |extant: &Extant| -> Vec<u64> {
            let end = extant.removed.unwrap_or(u64::MAX);
            match extant.object.kind() {
                ObjectKind::Page | ObjectKind::Ledger => chosen.iter().copied().collect(),
                ObjectKind::Report => Vec::new(),
                _ => chosen.range(extant.added..end).copied().collect(),
            }
        };
        // Bodies first: they tell how segments and spills are opened.
        for bodies in [true, false] {
            for (id, extant) in &extant {
                let snapshots = needed(extant);
                let body = extant.object.kind() == ObjectKind::Body;
                if body == bodies && (all || !snapshots.is_empty()) {
                    self.object(*id, &extant.object, &snapshots).await?;
                }
            }
        }
        if self.vault.chain().gaps().is_empty() {
            return Ok(());
        }
        // Only the bodies tell what else there is.
        for (id, snapshots) in std::mem::take(&mut self.needed) {
            let object = self.bodies.get(&id).and_then(Known::object).cloned();
            if let Some(object) = object {
                self.object(id, &object, &snapshots).await?;
            }
        }
        Ok(())
    }

    async fn object(
        &mut self,
        id: ObjectId,
        object: &ObjectRef,
        snapshots: &[u64],
    ) -> Result<(), ChainError> {
        let access = self.vault.access().clone();
        let name = access.names().object(object.kind(), id);
        if self.gone.contains(&object.data_seed_id) || self.gone.contains(&object.index_seed_id) {
            let detail = "no wrap of a seed of it is left: nothing opens it any more".to_owned();
            self.find(&name, detail, snapshots.to_vec());
            return Ok(());
        }
        let deep = self.level == Level::L2 || object.kind() == ObjectKind::Body;
        if self.level == Level::L0 && !deep {
            self.report.objects += 1;
            match access.store().head(&name).await {
                Ok(info) if info.size_bytes == object.size_bytes => {}
                Ok(info) => {
                    let detail =
                        format!("{} bytes instead of {}", info.size_bytes, object.size_bytes);
                    self.find(&name, detail, snapshots.to_vec());
                }
                Err(StoreError::NotFound { .. }) => {
                    self.find(&name, "it is missing".to_owned(), snapshots.to_vec());
                }
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
        let opened = match self.level {
            Level::L2 => access.ensure_seeds(object).await,
            _ => access.ensure_index_seed(object).await,
        };
        match opened {
            Err(error @ AccessError::WrapsGone { .. }) => {
                self.find(&name, error.to_string(), snapshots.to_vec());
                return Ok(());
            }
            opened => opened?,
        }
        let checked = if is_large(object.kind()) {
            self.pieces(&name, (id, object), snapshots).await?
        } else {
            let limit = object.size_bytes.min(MESSAGE_LIMIT);
            let Some(bytes) = self.read(&name, limit, snapshots).await? else { return Ok(()) };
            self.open(object, &bytes)
        };
        match checked {
            Ok(()) => Ok(()),
            Err(error) if error.is_damage() => {
                self.find(&name, error.to_string(), snapshots.to_vec());
                Ok(())
            }
            Err(error) => Err(AccessError::from(error).into()),
        }
    }

    /// A segment or a spill, never whole in memory.
    async fn pieces(
        &mut self,
        name: &str,
        (id, object): (ObjectId, &ObjectRef),
        snapshots: &[u64],
    ) -> Result<Result<(), FormatError>, ChainError> {
        let described = match self.bodies.get(&id) {
            Some(Known::Segment(segment)) => Described::Segment(segment),
            Some(Known::Spill(bucket)) => Described::Spill(bucket),
            // Only the body of a forgotten or damaged snapshot described it.
            None => Described::Not,
        };
        let deep = self.level == Level::L2;
        let access = self.vault.access();
        let checked = Pieces { access, name, object, deep }.check(described).await;
        self.report.objects += 1;
        match checked {
            Ok(checked) => {
                self.report.read_bytes += object.size_bytes;
                Ok(checked)
            }
            Err(ChainError::Store(error)) => {
                let Some(detail) = error.loss() else { return Err(error.into()) };
                self.find(name, detail, snapshots.to_vec());
                Ok(Ok(()))
            }
            Err(error) => Err(error),
        }
    }

    /// L1 for every kind: size and digest, and on a difference the part. L2: everything in it.
    fn open(&mut self, object: &ObjectRef, bytes: &[u8]) -> Result<(), FormatError> {
        let access = self.vault.access();
        let keyring = access.keyring();
        let expected = access.expected(object.kind(), Some(object));
        if object.kind() != ObjectKind::Body {
            return open_object(bytes, &expected, &keyring).map(|_| ());
        }
        let opened = open_body(bytes, &expected, &keyring)?;
        if let Some(detail) = self.contradiction(&opened.body, object) {
            let name = expected.name();
            return Err(FormatError::Exchanged { object: name, reason: detail.into() });
        }
        self.describe(&opened.body);
        if self.level == Level::L2 {
            for bucket in opened.body.buckets.iter().filter(|bucket| bucket.spill.is_none()) {
                opened.bucket(bytes, bucket, &keyring)?;
            }
        }
        Ok(())
    }
}
