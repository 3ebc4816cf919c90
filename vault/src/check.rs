//! Checking a vault: L0 everything is there, L1 its bytes are those written, L2 everything opens
//! and is what the indexes say. L3 and higher are shown by restoring.
//!
//! Holds: every object that the chain refers to is looked at, the root, wraps and commits included;
//! a finding names the object, the part, and the snapshots that need it; a check writes nothing;
//! segments and spilled buckets are read piece by piece, so memory is bounded by a few frames.

mod stream;

use crate::access::{AccessError, MESSAGE_LIMIT, WRAP_LIMIT, sha256};
use crate::chain::ChainError;
use crate::format::{
    Described, FormatError, MAX_COMMIT_BYTES, ObjectId, ROOT_NAME, decode_root, open_body,
    open_object,
};
use crate::proto::{Body, ObjectKind, ObjectRef, Seed, SegmentRef, SmallBucket, WrapRef};
use crate::store::StoreError;
use crate::vault::Vault;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use stream::Pieces;

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Objects exist with the recorded size.
    L0,
    /// Their SHA-256 is the recorded one.
    L1,
    /// They open and decompress, and records are what indexes and bodies say.
    L2,
}

/// How to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// How deep.
    pub level: Level,
    /// These snapshots only, with what they need; empty: everything extant.
    pub snapshots: BTreeSet<u64>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object's name in the store.
    pub object: String,
    /// What is wrong, with the part.
    pub detail: String,
    /// Snapshots that cannot be restored because of it.
    pub snapshots: Vec<u64>,
}

/// What a check saw.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// What is wrong.
    pub findings: Vec<CheckFinding>,
    /// Objects looked at.
    pub objects: usize,
    /// Bytes read.
    pub read_bytes: u64,
    /// Snapshots that everything was found sound for.
    pub sound: Vec<u64>,
}

impl Vault {
    /// Checks the vault as its head stands. What cannot be opened because a key is missing is an
    /// error, not a finding.
    pub async fn check(&mut self, options: &CheckOptions) -> Result<CheckReport, ChainError> {
        self.refresh().await?;
        let mut checker = Checker {
            vault: self,
            level: options.level,
            report: CheckReport::default(),
            gone: BTreeSet::new(),
            bodies: BTreeMap::new(),
            needed: BTreeMap::new(),
        };
        let kept = checker.vault.chain().catalogue().numbers();
        let wanted =
            |number: &u64| options.snapshots.is_empty() || options.snapshots.contains(number);
        let chosen: BTreeSet<u64> = kept.iter().copied().filter(wanted).collect();
        if options.snapshots.is_empty() {
            checker.root().await?;
            checker.wraps().await?;
            checker.commits().await?;
        }
        checker.gaps();
        checker.objects(&chosen, options.snapshots.is_empty()).await?;
        let mut report = checker.report;
        let broken: BTreeSet<u64> =
            report.findings.iter().flat_map(|finding| finding.snapshots.iter().copied()).collect();
        report.sound = chosen.difference(&broken).copied().collect();
        Ok(report)
    }
}

struct Checker<'a> {
    vault: &'a Vault,
    level: Level,
    report: CheckReport,
    /// Seeds without any wrap: what they seal is told beforehand.
    gone: BTreeSet<Bytes>,
    /// Segments and spilled buckets as bodies describe them, by object id.
    bodies: BTreeMap<ObjectId, Known>,
    /// Which snapshots' bodies name an object.
    needed: BTreeMap<ObjectId, Vec<u64>>,
}

enum Known {
    Segment(Box<SegmentRef>),
    Spill(Box<SmallBucket>),
}

impl Known {
    fn object(&self) -> Option<&ObjectRef> {
        match self {
            Known::Segment(segment) => segment.object.as_ref(),
            Known::Spill(bucket) => bucket.spill.as_ref(),
        }
    }
}

impl Checker<'_> {
    fn find(&mut self, object: &str, detail: String, snapshots: Vec<u64>) {
        self.report.findings.push(CheckFinding { object: object.to_owned(), detail, snapshots });
    }

    fn all(&self) -> Vec<u64> {
        self.vault.chain().catalogue().numbers().into_iter().collect()
    }

    /// Reads an object whole; what is wrong with getting it is a finding.
    async fn read(
        &mut self,
        name: &str,
        limit: u64,
        snapshots: &[u64],
    ) -> Result<Option<bytes::Bytes>, ChainError> {
        self.report.objects += 1;
        match self.vault.store().get(name, limit).await {
            Ok(bytes) => {
                self.report.read_bytes += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Err(error) => {
                let Some(detail) = error.loss() else { return Err(error.into()) };
                self.find(name, detail, snapshots.to_vec());
                Ok(None)
            }
        }
    }

    async fn root(&mut self) -> Result<(), ChainError> {
        let all = self.all();
        let Some(bytes) = self.read(ROOT_NAME, 1 << 16, &all).await? else { return Ok(()) };
        match decode_root(&bytes) {
            Err(error) => self.find(ROOT_NAME, error.to_string(), all),
            Ok((_, identity)) if Some(&identity) != self.vault.head().identity.as_ref() => {
                self.find(ROOT_NAME, "it is not what the sealed chain repeats".to_owned(), all);
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// Wraps are few and losing them is losing all: their bytes are read at every level.
    async fn wraps(&mut self) -> Result<(), ChainError> {
        let all = self.all();
        for seed in self.vault.head().seeds.clone() {
            let mut sound = false;
            for wrap in &seed.wraps {
                sound |= self.wrap(&seed, wrap, &all).await?;
            }
            let access = self.vault.access().clone();
            if !sound && access.is_gone(&seed).await {
                self.gone.insert(seed.seed_id.clone());
            }
        }
        Ok(())
    }

    /// Both copies of a wrap; whether one is sound. Then the loss of the other takes no snapshot
    /// along.
    async fn wrap(&mut self, seed: &Seed, wrap: &WrapRef, all: &[u64]) -> Result<bool, ChainError> {
        let mut bad = Vec::new();
        let mut sound = None;
        for (name, copy) in self.vault.access().wrap_names(seed, wrap).into_iter().zip(1..) {
            self.report.objects += 1;
            match self.vault.store().get(&name, WRAP_LIMIT).await {
                Ok(bytes) => {
                    self.report.read_bytes += bytes.len() as u64;
                    match sha256(&bytes)[..] == wrap.sha256[..] {
                        true => sound = Some(name),
                        false => bad.push((name, "its SHA-256 is not the recorded one".to_owned())),
                    }
                }
                // Vaults of the first days have one copy each, until a writer adds the other.
                Err(StoreError::NotFound { .. }) if copy > wrap.copies.max(1) => {}
                Err(error) => match error.loss() {
                    Some(detail) => bad.push((name, detail)),
                    None => return Err(error.into()),
                },
            }
        }
        for (name, detail) in bad {
            match &sound {
                Some(other) => {
                    let mended = "is sound: the next prune or rewrap puts it again from there";
                    self.find(&name, format!("{detail}; {other} {mended}"), Vec::new());
                }
                None => self.find(&name, detail, all.to_vec()),
            }
        }
        Ok(sound.is_some())
    }

    /// Every commit from the floor on, each against the digest that its successor recorded. The
    /// head names all that a restore needs, so no snapshot is lost with an older one.
    async fn commits(&mut self) -> Result<(), ChainError> {
        let access = self.vault.access().clone();
        let head = self.vault.head().clone();
        let mut expected = Some(*self.vault.chain().state().sha256());
        for number in (head.floor..=head.number).rev() {
            let name = access.names().commit(head.era, number);
            let known = expected.take();
            let Some(bytes) = self.read(&name, MAX_COMMIT_BYTES, &[]).await? else { continue };
            match access.open_commit((head.era, number), &bytes).await {
                Err(AccessError::Format(error)) if error.is_damage() => {
                    self.find(&name, error.to_string(), Vec::new());
                }
                Err(error @ (AccessError::NoWrap { .. } | AccessError::WrapsGone { .. })) => {
                    self.find(&name, error.to_string(), Vec::new());
                }
                Err(error) => return Err(error.into()),
                Ok(opened) => {
                    if known.is_some_and(|known| known != opened.sha256) {
                        let detail = "its successor recorded another digest".to_owned();
                        self.find(&name, detail, Vec::new());
                    }
                    expected = opened.commit.previous_sha256[..].try_into().ok();
                }
            }
        }
        Ok(())
    }

    /// What already kept the chain from being read whole.
    fn gaps(&mut self) {
        for gap in self.vault.chain().gaps().to_vec() {
            if !self.report.findings.iter().any(|finding| finding.object == gap.name) {
                let detail =
                    format!("{}; nothing can be written to this chain any more", gap.detail);
                self.find(&gap.name, detail, Vec::new());
            }
        }
    }

    async fn objects(&mut self, chosen: &BTreeSet<u64>, all: bool) -> Result<(), ChainError> {
        let extant: Vec<_> = self
            .vault
            .chain()
            .state()
            .objects()
            .iter()
            .filter(|(_, extant)| extant.condemned.is_none())
            .map(|(id, extant)| (*id, extant.clone()))
            .collect();
        let needed = |extant: &crate::chain::state::Extant| -> Vec<u64> {
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
        let checked = if stream::is_large(object.kind()) {
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

    /// What a body says that the chain contradicts: the commit it was made for, and the objects
    /// that its snapshot consists of, which are those whose interval holds that commit.
    fn contradiction(&self, body: &Body, object: &ObjectRef) -> Option<String> {
        if !self.vault.chain().gaps().is_empty() {
            return None;
        }
        let objects = self.vault.chain().state().objects();
        let extant = objects.get(&ObjectId::from_bytes(&object.object_id).ok()?)?;
        let number = extant.added;
        if body.base_number + 1 != number {
            return Some(format!("it was made for commit {}, not {number}", body.base_number + 1));
        }
        let listed: BTreeSet<&[u8]> = (body.segments.iter().filter_map(|one| one.object.as_ref()))
            .chain(body.buckets.iter().filter_map(|one| one.spill.as_ref()))
            .map(|object| &object.object_id[..])
            .collect();
        let alive: BTreeSet<&[u8]> = objects
            .values()
            .filter(|one| matches!(one.object.kind(), ObjectKind::Segment | ObjectKind::Spill))
            .filter(|one| one.added <= number && one.removed.is_none_or(|end| number < end))
            .map(|one| &one.object.object_id[..])
            .collect();
        let differ = listed.symmetric_difference(&alive).count();
        (differ > 0).then(|| {
            format!(
                "its objects are not those that the chain counts for snapshot {number}: {differ} \
                 differ"
            )
        })
    }

    fn describe(&mut self, body: &Body) {
        for segment in &body.segments {
            let id = segment.object.as_ref().map(|object| ObjectId::from_bytes(&object.object_id));
            if let Some(Ok(id)) = id {
                self.bodies.insert(id, Known::Segment(Box::new(segment.clone())));
                self.needed.entry(id).or_default().push(body.base_number + 1);
            }
        }
        for bucket in &body.buckets {
            let id = bucket.spill.as_ref().map(|object| ObjectId::from_bytes(&object.object_id));
            if let Some(Ok(id)) = id {
                self.bodies.insert(id, Known::Spill(Box::new(bucket.clone())));
                self.needed.entry(id).or_default().push(body.base_number + 1);
            }
        }
    }
}
