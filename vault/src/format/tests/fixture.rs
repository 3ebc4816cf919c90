//! A cluster with fixed seeds, and one small object of each kind.

use crate::format::*;
use crate::keys::{DataSeed, IndexSeed, Keyring};
use crate::proto::segment_ref::Class;
use crate::proto::*;
use bytes::Bytes;
use std::collections::BTreeMap;

pub(super) struct Fixture {
    pub(super) vault: VaultId,
    pub(super) cluster: ClusterId,
    pub(super) data: DataSeed,
    pub(super) index: IndexSeed,
    pub(super) tag_key: TagKey,
    pub(super) keyring: Keyring,
    pub(super) entropy: SeededEntropy,
}

/// A record with its own bytes and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) main: i64,
    pub(super) sub: i64,
    pub(super) tombstone: bool,
    pub(super) value: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) sensitive: bool,
}

impl Owned {
    pub(super) fn record(&self) -> Record<'_> {
        Record { main: self.main, sub: self.sub, tombstone: self.tombstone, value: &self.value }
    }
}

/// An object with what its chain would say of it.
pub(super) struct Stored {
    pub(super) kind: ObjectKind,
    pub(super) bytes: Vec<u8>,
    pub(super) reference: ObjectRef,
    pub(super) segment: Option<SegmentRef>,
    pub(super) bucket: Option<SmallBucket>,
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let mut entropy = SeededEntropy::new(20_26);
        let data = DataSeed::random(&mut entropy);
        let index = IndexSeed::random(&mut entropy);
        let mut keyring = Keyring::new();
        keyring.insert(data.seed().clone());
        keyring.insert(index.seed().clone());
        Fixture {
            vault: VaultId::random(&mut entropy),
            cluster: ClusterId::random(&mut entropy),
            data,
            index,
            tag_key: TagKey::random(&mut entropy),
            keyring,
            entropy,
        }
    }

    pub(super) fn context(&self) -> ObjectContext<'_> {
        let (vault, cluster) = (self.vault, self.cluster);
        ObjectContext { vault, cluster, data: Some(&self.data), index: &self.index }
    }

    pub(super) fn owner(&self) -> (VaultId, ClusterId) {
        (self.vault, self.cluster)
    }

    pub(super) fn fresh(&mut self) -> NewObject {
        NewObject::random(&mut self.entropy)
    }

    pub(super) fn expected<'a>(
        &self,
        kind: ObjectKind,
        reference: Option<&'a ObjectRef>,
    ) -> Expected<'a> {
        Expected { kind, vault: self.vault, cluster: self.cluster, reference }
    }

    pub(super) fn segment(
        &mut self,
        records: &[Owned],
        settings: SegmentSettings,
    ) -> (Vec<u8>, SegmentRef) {
        let new = self.fresh();
        let (context, tags) = (self.context(), &self.tag_key);
        let writer = SegmentWriter::new(&context, &new, tags, Class::Live, settings, Vec::new());
        let mut writer = writer.unwrap();
        for record in records {
            writer.push(&record.record(), &record.key, record.sensitive).unwrap();
        }
        let (reference, bytes) = writer.finish().unwrap();
        (bytes, reference)
    }

    /// Twelve records in several frames of both lanes.
    pub(super) fn small_segment(&mut self) -> (Vec<u8>, SegmentRef) {
        let settings = SegmentSettings { frame_bytes: 120, zstd_level: 3 };
        self.segment(&records(12), settings)
    }

    fn stored(&self, done: FinishedObject, bytes: Vec<u8>) -> Stored {
        let kind = done.reference.kind();
        Stored { kind, bytes, reference: done.reference, segment: None, bucket: None }
    }

    fn message<M: prost::Message>(&mut self, kind: ObjectKind, message: &M) -> Stored {
        let new = self.fresh();
        let (done, bytes) = seal_message(kind, &self.context(), &new, message).unwrap();
        self.stored(done, bytes)
    }

    /// One small object of each kind.
    pub(super) fn one_of_each(&mut self) -> Vec<Stored> {
        let (bytes, segment) = self.small_segment();
        let reference = segment.object.clone().unwrap();
        let kind = ObjectKind::Segment;
        let mut all = vec![Stored { kind, bytes, reference, segment: Some(segment), bucket: None }];

        let new = self.fresh();
        let name = (&b"lease"[..], 9);
        let context = self.context();
        let spill = SpillWriter::new(&context, &new, name, Compression::Zstd(3), Vec::new());
        let mut spill = spill.unwrap();
        (0u8..40).for_each(|n| spill.push(&[n; 8], &[n / 2; 3]).unwrap());
        let (bucket, bytes) = spill.finish().unwrap();
        let reference = bucket.spill.clone().unwrap();
        let kind = ObjectKind::Spill;
        let spilled =
            Stored { kind, bytes, reference, segment: None, bucket: Some(bucket.clone()) };

        let body = self.body(all[0].segment.clone(), bucket);
        let new = self.fresh();
        let sealed = seal_body(&self.context(), &new, body, small_buckets()).unwrap();
        let body = self.stored(sealed.object, sealed.bytes);

        let commit = self.commit(&body.reference);
        let new = NewObject::with_id(
            ObjectId::from_bytes(&commit.attempt_id).unwrap(),
            &mut self.entropy,
        );
        let (done, bytes) = seal_commit(&self.context(), &new, &commit, Vec::new()).unwrap();
        let sealed_commit = self.stored(done, bytes);

        let page = CataloguePage { entries: commit.catalogue.clone() };
        let ledger = Ledger { number: 2, ..Ledger::default() };
        let report =
            Report { snapshot: 2, passed: true, host: "drill".into(), ..Report::default() };
        all.push(spilled);
        all.push(body);
        all.push(sealed_commit);
        all.push(self.message(ObjectKind::Page, &page));
        all.push(self.message(ObjectKind::Ledger, &ledger));
        all.push(self.message(ObjectKind::Report, &report));
        all
    }

    pub(super) fn body(&mut self, segment: Option<SegmentRef>, spilled: SmallBucket) -> Body {
        Body {
            vault_id: self.vault.to_bytes(),
            cluster_id: self.cluster.to_bytes(),
            lineage_id: LineageId::random(&mut self.entropy).to_bytes(),
            base_number: 1,
            base_sha256: Bytes::from_static(&[7; 32]),
            segments: segment.into_iter().collect(),
            buckets: vec![spilled],
            facts: Some(Facts { revision: 12, compact_revision: -1, ..Facts::default() }),
            contested: Vec::new(),
        }
    }

    pub(super) fn commit(&mut self, body: &ObjectRef) -> Commit {
        let lineage = LineageId::random(&mut self.entropy).to_bytes();
        let entry = CatalogueEntry {
            number: 2,
            body_id: body.object_id.clone(),
            body_size_bytes: body.size_bytes,
            body_sha256: body.sha256.clone(),
            lineage_id: lineage.clone(),
            revision: 12,
            ..CatalogueEntry::default()
        };
        Commit {
            number: 2,
            previous_sha256: Bytes::from_static(&[9; 32]),
            identity: Some(VaultIdentity {
                vault_id: self.vault.to_bytes(),
                ..VaultIdentity::default()
            }),
            cluster_id: self.cluster.to_bytes(),
            tag_key: self.tag_key.to_bytes(),
            writer_id: WriterId::random(&mut self.entropy).to_bytes(),
            attempt_id: AttemptId::random(&mut self.entropy).to_bytes(),
            epoch: 1,
            lineage: Some(Lineage { lineage_id: lineage, since_number: 1, ..Lineage::default() }),
            time_ms: 1_700_000_000_000,
            floor: 1,
            added: vec![body.clone()],
            catalogue: vec![entry],
            ..Commit::default()
        }
    }

    /// Opens everything that an object holds; what it holds, as comparable bytes.
    pub(super) fn read_all(
        &self,
        stored: &Stored,
        bytes: &[u8],
        by_reference: bool,
    ) -> Result<Vec<u8>, FormatError> {
        let reference = by_reference.then_some(&stored.reference);
        let expected = self.expected(stored.kind, reference);
        match stored.kind {
            ObjectKind::Segment => {
                let segment = stored.segment.as_ref().unwrap();
                let index = SegmentIndex::open(bytes, segment, self.owner(), &self.keyring)?;
                read_segment(&index, bytes, &self.keyring)
            }
            ObjectKind::Spill => {
                let bucket = stored.bucket.as_ref().unwrap();
                let entries = open_spill(bytes, &expected, bucket, &self.keyring)?;
                Ok(format!("{entries:?}").into_bytes())
            }
            ObjectKind::Body => {
                let opened = open_body(bytes, &expected, &self.keyring)?;
                let mut out = format!("{:?}", opened.body).into_bytes();
                for bucket in opened.body.buckets.iter().filter(|bucket| bucket.spill.is_none()) {
                    let entries = opened.bucket(bytes, bucket, &self.keyring)?;
                    out.extend(format!("{entries:?}").bytes());
                }
                Ok(out)
            }
            ObjectKind::Commit => {
                let opened = open_commit(bytes, self.owner(), (0, 2), &self.keyring)?;
                Ok(format!("{:?}", opened.commit).into_bytes())
            }
            _ => Ok(open_object(bytes, &expected, &self.keyring)?.payload().to_vec()),
        }
    }
}

pub(super) fn read_segment(
    index: &SegmentIndex,
    bytes: &[u8],
    keyring: &Keyring,
) -> Result<Vec<u8>, FormatError> {
    let opener = index.frames_opener(keyring)?;
    let mut buffer = FrameBuffer::new();
    let mut out = Vec::new();
    for frame in index.frames() {
        let sealed = frame.entry.slice(bytes).unwrap_or_default();
        let plain = opener.open(sealed, &frame.entry, Bound::ByFrame, &mut buffer)?;
        index.check_frame(frame, plain)?;
        out.extend_from_slice(plain);
    }
    Ok(out)
}

pub(super) fn small_buckets() -> Vec<Bucket> {
    let mut auth = Bucket::new(b"authUsers", 3, Compression::Never);
    auth.push(b"root", b"$2a$10$hash");
    let mut meta = Bucket::new(b"meta", 0, Compression::Zstd(3));
    meta.push(b"confState", &[b'x'; 300]);
    meta.push(b"consistent_index", &[0; 8]);
    vec![meta, auth, Bucket::new(b"members_removed", 0, Compression::Zstd(3))]
}

/// Records of mixed shapes: both lanes, tombstones, empty values, several in one revision.
pub(super) fn records(count: i64) -> Vec<Owned> {
    let record = |n: i64| Owned {
        main: 2 + n / 3 + if n > 8 { 1 << 40 } else { 0 },
        sub: n % 3,
        tombstone: n % 5 == 4,
        value: if n % 7 == 6 { Vec::new() } else { vec![n as u8; 10 + 5 * n as usize] },
        key: format!("/registry/{}/{n}", if n % 4 == 1 { "secrets" } else { "pods" }).into_bytes(),
        sensitive: n % 4 == 1,
    };
    (0..count).map(record).collect()
}

/// What a model of a segment holds.
pub(super) fn by_revision(records: &[Owned]) -> BTreeMap<(i64, i64), &Owned> {
    records.iter().map(|record| ((record.main, record.sub), record)).collect()
}
