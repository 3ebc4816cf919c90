//! First inputs: small sound ones, from our own writers and from the golden and example files.

use crate::pieces::join;
use crate::vault::Fixture;
use bytes::Bytes;
use holdfast_bolt::fault::MemoryDisk;
use holdfast_bolt::{BuildError, BuildOptions, Builder, Freelist};
use holdfast_core::datadir::{founding_log, founding_snapshot};
use holdfast_core::membership::Founding;
use holdfast_core::record::KeyValue;
use holdfast_core::wire;
use holdfast_vault::format::{
    Bound, Bucket, Compression, FormatError, FrameBuffer, NewObject, OpenedObject, Record,
    SegmentIndex, SegmentSettings, SegmentWriter, SpillWriter, TagKey, open_object, seal_body,
};
use holdfast_vault::proto::segment_ref::Class;
use holdfast_vault::proto::{
    Body, CatalogueEntry, CataloguePage, Commit, Facts, Ledger, LedgerEntry, Lineage, ObjectKind,
    ObjectRef, PageRef, SmallBucket,
};
use prost::Message;
use std::path::Path;

type Seeds = Vec<Vec<u8>>;

/// A file of the repository; empty if it is not there.
fn file(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join(name)).unwrap_or_default()
}

/// Small databases: empty, with inline buckets, with branches, with overflow pages.
pub fn bolt() -> Seeds {
    let shapes = [(0, 0, Freelist::NotStored), (4, 10, Freelist::Stored)];
    let large = [(90, 30, Freelist::NotStored), (3, 2500, Freelist::NotStored)];
    let build = |&(count, size, freelist): &(i64, usize, Freelist)| {
        database(count, size, BuildOptions { page_size: 1024, fill_percent: 90, freelist }).ok()
    };
    shapes.iter().chain(&large).filter_map(build).collect()
}

fn database(count: i64, size: usize, options: BuildOptions) -> Result<Vec<u8>, BuildError> {
    let mut builder = Builder::new(MemoryDisk::new(), options)?;
    builder.begin_bucket(b"key")?;
    for main in 2..2 + count {
        let mut key = main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend_from_slice(&0_i64.to_be_bytes());
        let value = vec![b'v'; size];
        let record = KeyValue {
            key: b"/registry/pods/a",
            value: &value,
            create_revision: main,
            mod_revision: main,
            version: 1,
            lease: 0,
        };
        builder.push(&key, &record.to_bytes())?;
    }
    builder.end_bucket()?;
    for (bucket, key, value) in [
        (&b"meta"[..], &b"consistent_index"[..], &[0, 0, 0, 0, 0, 0, 0, 9][..]),
        (b"members", b"8e9e05c52164694d", b"{\"id\":10276657743932975437,\"peerURLs\":[]}"),
        (b"lease", &[0, 0, 0, 0, 0, 0, 0, 7], &[8, 7, 16, 60]),
        (b"auth", b"authEnabled", &[1]),
        (b"alarm", &[8, 1, 16, 1], &[]),
        (b"cluster", b"clusterVersion", b"3.6.0"),
    ] {
        builder.begin_bucket(bucket)?;
        builder.push(key, value)?;
        builder.end_bucket()?;
    }
    Ok(builder.finish()?.0.into_bytes())
}

/// The golden objects.
pub fn envelope() -> Seeds {
    let kinds = ["segment", "body", "commit", "page", "ledger", "spill", "report"];
    kinds.map(|kind| file(&format!("vault/tests/golden/{kind}.bin"))).to_vec()
}

/// A root and a wrap, as far as their writers give them.
pub fn clear() -> Seeds {
    use holdfast_vault::format::{encode_root, encode_wrap};
    use holdfast_vault::proto::{VaultIdentity, Wrap};
    let fixture = Fixture::new();
    let vault_id = fixture.vault.to_bytes();
    let root = encode_root(&VaultIdentity { vault_id, ..VaultIdentity::default() });
    vec![root, encode_wrap(&Wrap::default())]
}

/// A segment of both lanes, taken apart.
pub fn segment() -> Seeds {
    segment_pieces().into_iter().collect()
}

fn segment_pieces() -> Option<Vec<u8>> {
    let mut fixture = Fixture::new();
    let tags = TagKey::random(&mut fixture.entropy);
    let new = NewObject::random(&mut fixture.entropy);
    let settings = SegmentSettings { frame_bytes: 120, zstd_level: 3 };
    let context = fixture.context(true);
    let mut writer =
        SegmentWriter::new(&context, &new, &tags, Class::Live, settings, Vec::new()).ok()?;
    for main in 2..9_u8 {
        let value = vec![main; usize::from(main) * 9];
        let record =
            Record { main: i64::from(main), sub: 0, tombstone: main % 4 == 0, value: &value };
        writer.push(&record, &[main % 3], main % 3 == 0).ok()?;
    }
    let (reference, bytes) = writer.finish().ok()?;
    let index = SegmentIndex::open(&bytes, &reference, fixture.owner(), &fixture.keyring).ok()?;
    let frames = plaintexts(&fixture, index.object(), &bytes).ok()?;
    Some(pieces_of(&[&reference.encode_to_vec(), index.object().payload()], &frames))
}

/// Heads, then each frame with a byte for its class.
fn pieces_of(heads: &[&[u8]], frames: &[Vec<u8>]) -> Vec<u8> {
    let all: Vec<&[u8]> = heads.iter().copied().chain(frames.iter().map(Vec::as_slice)).collect();
    join(&all)
}

/// What the frames hold, each behind a byte that says its lane.
fn plaintexts(
    fixture: &Fixture,
    object: &OpenedObject,
    bytes: &[u8],
) -> Result<Vec<Vec<u8>>, FormatError> {
    if object.frames.is_empty() {
        return Ok(Vec::new());
    }
    let opener = object.frames_opener(&fixture.keyring)?;
    let mut buffer = FrameBuffer::new();
    let mut out = Vec::new();
    for frame in &object.frames {
        let part = frame.slice(bytes).unwrap_or_default();
        let plain = opener.open(part, frame, Bound::ByFrame, &mut buffer)?;
        let lane = u8::from(frame.class == holdfast_vault::format::FrameClass::Sensitive);
        out.push([&[lane], plain].concat());
    }
    Ok(out)
}

/// A body with small buckets in it.
pub fn body() -> Seeds {
    body_pieces().into_iter().collect()
}

fn body_pieces() -> Option<Vec<u8>> {
    let mut fixture = Fixture::new();
    let new = NewObject::random(&mut fixture.entropy);
    let mut meta = Bucket::new(b"meta", 0, Compression::Never);
    meta.push(b"consistent_index", &[0; 8]);
    let mut auth = Bucket::new(b"authUsers", 3, Compression::Never);
    auth.push(b"root", b"$2a$10$hash");
    let body = Body {
        vault_id: fixture.vault.to_bytes(),
        cluster_id: fixture.cluster.to_bytes(),
        lineage_id: Bytes::from_static(&[5; 16]),
        facts: Some(Facts { revision: 12, compact_revision: -1, ..Facts::default() }),
        ..Body::default()
    };
    let sealed = seal_body(&fixture.context(true), &new, body, vec![meta, auth]).ok()?;
    let expected = fixture.expected(ObjectKind::Body);
    let object = open_object(&sealed.bytes, &expected, &fixture.keyring).ok()?;
    let frames = plaintexts(&fixture, &object, &sealed.bytes).ok()?;
    Some(pieces_of(&[object.payload()], &frames))
}

/// A spilled bucket.
pub fn spill() -> Seeds {
    spill_pieces().into_iter().collect()
}

fn spill_pieces() -> Option<Vec<u8>> {
    let mut fixture = Fixture::new();
    let new = NewObject::random(&mut fixture.entropy);
    let context = fixture.context(true);
    let name = (&b"lease"[..], 9);
    let mut writer = SpillWriter::new(&context, &new, name, Compression::Never, Vec::new()).ok()?;
    (0_u8..9).for_each(|n| {
        let _ = writer.push(&[n; 8], &[n / 2; 3]);
    });
    let (bucket, bytes) = writer.finish().ok()?;
    let object =
        open_object(&bytes, &fixture.expected(ObjectKind::Spill), &fixture.keyring).ok()?;
    let frames = plaintexts(&fixture, &object, &bytes).ok()?;
    let bucket = SmallBucket { spill: None, ..bucket };
    Some(pieces_of(&[&bucket.encode_to_vec()], &frames))
}

fn reference(fill: u8, kind: ObjectKind) -> ObjectRef {
    ObjectRef {
        object_id: Bytes::copy_from_slice(&[fill; 16]),
        kind: kind.into(),
        size_bytes: 1000,
        sha256: Bytes::copy_from_slice(&[fill; 32]),
        index_seed_id: Bytes::from_static(&[3; 16]),
        ..ObjectRef::default()
    }
}

fn a_commit(number: u64) -> Commit {
    let fill = u8::try_from(number).unwrap_or(9);
    let body = reference(fill, ObjectKind::Body);
    let entry = CatalogueEntry {
        number,
        body_id: body.object_id.clone(),
        body_size_bytes: body.size_bytes,
        body_sha256: body.sha256.clone(),
        lineage_id: Bytes::from_static(&[5; 16]),
        revision: 12,
        ..CatalogueEntry::default()
    };
    let follows = number > 1;
    Commit {
        number,
        previous_sha256: if follows { Bytes::from_static(&[9; 32]) } else { Bytes::new() },
        tag_key: Bytes::from_static(&[4; 32]),
        writer_id: Bytes::from_static(&[6; 16]),
        attempt_id: Bytes::copy_from_slice(&[fill; 16]),
        epoch: 1,
        lineage: Some(Lineage {
            lineage_id: Bytes::from_static(&[5; 16]),
            since_number: 1,
            ..Lineage::default()
        }),
        time_ms: 1_700_000_000_000,
        floor: 1,
        added: if follows { vec![body] } else { Vec::new() },
        catalogue: if follows { vec![entry] } else { Vec::new() },
        ..Commit::default()
    }
}

/// The beginning of a chain.
pub fn commit() -> Seeds {
    let commits: Vec<Vec<u8>> = (1..4).map(|number| a_commit(number).encode_to_vec()).collect();
    let commits: Vec<&[u8]> = commits.iter().map(Vec::as_slice).collect();
    vec![join(&commits), join(&commits[..1])]
}

/// A page of two entries, its reference, and a head.
pub fn page() -> Seeds {
    let entries: Vec<CatalogueEntry> =
        (2..4).flat_map(|number| a_commit(number).catalogue).collect();
    let reference = PageRef { first_number: 2, last_number: 3, count: 2, ..PageRef::default() };
    let page = CataloguePage { entries };
    let head = a_commit(5).encode_to_vec();
    vec![join(&[&page.encode_to_vec(), &reference.encode_to_vec(), &head])]
}

/// A ledger and its commit.
pub fn ledger() -> Seeds {
    let object = |fill| LedgerEntry {
        object: Some(reference(fill, ObjectKind::Segment)),
        added: 1,
        ..LedgerEntry::default()
    };
    let ledger = Ledger { number: 2, objects: vec![object(1), object(2)], ..Ledger::default() };
    let commits = [a_commit(2).encode_to_vec(), a_commit(3).encode_to_vec()];
    vec![join(&[&ledger.encode_to_vec(), &commits[0], &commits[1]])]
}

fn founding() -> Option<Founding> {
    Founding::single("default", &["http://127.0.0.1:2380".to_owned()], "token").ok()
}

/// A new member's log, whole and as single records.
pub fn wal() -> Seeds {
    let Some(founding) = founding() else { return Vec::new() };
    let log = founding_log(&founding);
    let mut records = Vec::new();
    let mut reader = &log[..];
    while let Some((length, rest)) = reader.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length);
        let (len, padding) = (length & ((1 << 56) - 1), length >> 56 & 0x7);
        let (Ok(len), Ok(padding)) = (usize::try_from(len), usize::try_from(padding)) else {
            break;
        };
        let Some(record) = rest.get(..len).filter(|_| len > 0) else { break };
        records.push(content(record));
        reader = rest.get(len + padding..).unwrap_or_default();
    }
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    vec![join(&records), log]
}

/// A record's type and content, as the target takes them.
fn content(record: &[u8]) -> Vec<u8> {
    let mut reader = wire::Reader::new(record);
    let (mut kind, mut data) = (0, Vec::new());
    while let Ok(Some((number, field))) = reader.next_field() {
        match number {
            1 => kind = field.as_u64(&reader).unwrap_or(0),
            3 => data = field.as_bytes(&reader).unwrap_or_default().to_vec(),
            _ => {}
        }
    }
    data.insert(0, u8::try_from(kind).unwrap_or(0));
    data
}

/// A new member's .snap: the file, its content, and the v2 store in it.
pub fn snap() -> Seeds {
    let Some(founding) = founding() else { return Vec::new() };
    let file = founding_snapshot(&founding);
    let mut seeds = vec![file.clone()];
    if let Ok(snapshot) = holdfast_core::snap::decode(&file) {
        seeds.extend([snapshot.to_bytes(), snapshot.data.to_vec()]);
    }
    seeds
}

/// The example, and one of each provider.
pub fn keys() -> Seeds {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                - resources: [secrets]\n  providers:\n";
    let key = "keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]";
    let all = format!(
        "{head}  - aesgcm: {{{key}}}\n  - aescbc: {{{key}}}\n  - secretbox: {{{key}}}\n  \
         - kms: {{apiVersion: v2, name: k, endpoint: \"unix:///k.sock\", timeout: 3s}}\n  \
         - identity: {{}}\n"
    );
    vec![file("etc/encryption.yaml"), all.into_bytes()]
}

/// The example, and a short one.
pub fn agent() -> Seeds {
    let short = "etcd:\n  endpoints: [\"http://127.0.0.1:2379\"]\nvault:\n  url: file:///v\n  \
                 encryptionConfig: keys.yaml\nstateDirectory: /s\nschedule:\n  snapshot: \"@hourly\"\n  \
                 timeZone: Europe/Berlin\n  jitter: 30s\nretention:\n  last: 3\n";
    vec![file("etc/agent.yaml"), short.as_bytes().to_vec()]
}

/// Lines of every kind, in both zones.
pub fn crontab() -> Seeds {
    let lines = ["*/5 * * * *", "0 2 * * 0,7", "30 2 31 3 *", "15 10-18/2 1,15 * mon", "@hourly"];
    let with = |zone: u8| lines.map(|line| [&[zone], line.as_bytes()].concat());
    with(0).into_iter().chain(with(1)).collect()
}
