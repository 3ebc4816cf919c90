//! Sealed objects: the input is what someone with the keys sealed, so that the fuzzer gets past
//! AES-GCM. Seeds, ids and salts are fixed, so that one input is one run.

use crate::pieces::Pieces;
use bytes::Bytes;
use holdfast_vault::chain::{Catalogue, State};
use holdfast_vault::format::{
    Bound, ClusterId, Compression, Expected, FinishedObject, FrameBuffer, FrameClass, NewObject,
    ObjectContext, ObjectId, ObjectWriter, SeededEntropy, SegmentIndex, VaultId, check_entries,
    decode_root, decode_wrap, live_of, open_body, open_commit, open_message, open_object,
    open_spill,
};
use holdfast_vault::keys::{DataSeed, IndexSeed, Keyring};
use holdfast_vault::proto::{
    CataloguePage, Commit, Ledger, ObjectKind, PageRef, SegmentRef, SignedCommit, SmallBucket,
    VaultIdentity,
};
use prost::Message;
use sha2::{Digest, Sha256};

/// Frames that an input may have.
const FRAMES: usize = 4;

/// A vault with fixed seeds.
pub(crate) struct Fixture {
    pub(crate) vault: VaultId,
    pub(crate) cluster: ClusterId,
    pub(crate) data: DataSeed,
    pub(crate) index: IndexSeed,
    pub(crate) keyring: Keyring,
    pub(crate) entropy: SeededEntropy,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let mut entropy = SeededEntropy::new(2026);
        let data = DataSeed::random(&mut entropy);
        let index = IndexSeed::random(&mut entropy);
        let mut keyring = Keyring::new();
        keyring.insert(data.seed().clone());
        keyring.insert(index.seed().clone());
        let vault = VaultId::random(&mut entropy);
        let cluster = ClusterId::random(&mut entropy);
        Fixture { vault, cluster, data, index, keyring, entropy }
    }

    pub(crate) fn context(&self, framed: bool) -> ObjectContext<'_> {
        let data = framed.then_some(&self.data);
        ObjectContext { vault: self.vault, cluster: self.cluster, data, index: &self.index }
    }

    pub(crate) fn expected(&self, kind: ObjectKind) -> Expected<'_> {
        Expected { kind, vault: self.vault, cluster: self.cluster, reference: None }
    }

    pub(crate) fn owner(&self) -> (VaultId, ClusterId) {
        (self.vault, self.cluster)
    }

    /// Seals a payload behind frames; `None` for what the writer itself refuses.
    fn seal(
        &mut self,
        kind: ObjectKind,
        id: Option<ObjectId>,
        payload: &[u8],
        frames: &[(FrameClass, &[u8])],
    ) -> Option<(FinishedObject, Vec<u8>)> {
        let new = match id {
            Some(id) => NewObject::with_id(id, &mut self.entropy),
            None => NewObject::random(&mut self.entropy),
        };
        let context = self.context(!frames.is_empty());
        let mut writer = ObjectWriter::new(kind, &context, &new, Vec::new()).ok()?;
        for (number, (class, plain)) in frames.iter().enumerate() {
            let last = number + 1 == frames.len();
            writer.frame(*class, Compression::Never, plain, last).ok()?;
        }
        writer.finish(payload).ok()
    }
}

/// Any bytes as an object of each kind, with the digest at its end put right.
pub fn envelope(data: &[u8]) {
    let fixture = Fixture::new();
    let mut object = data.to_vec();
    if let Some(end) = object.len().checked_sub(32) {
        let digest = Sha256::digest(&object[..end]);
        object[end..].copy_from_slice(&digest);
    }
    for kind in [ObjectKind::Segment, ObjectKind::Body, ObjectKind::Commit, ObjectKind::Report] {
        for bytes in [data, &object] {
            if let Err(error) = open_object(bytes, &fixture.expected(kind), &fixture.keyring) {
                let _ = error.to_string();
            }
        }
    }
}

/// The objects that are not sealed: the root and wraps.
pub fn clear(data: &[u8]) {
    let mut whole = data.to_vec();
    whole.extend_from_slice(&Sha256::digest(data));
    for bytes in [data, &whole] {
        let _ = decode_root(bytes);
        let _ = decode_wrap(bytes);
    }
}

/// A segment: the reference in its body, its index, then frames: a byte for the class, the records.
pub fn segment(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let (reference, payload) = (pieces.next(), pieces.next());
    let frames = frames(&mut pieces, |byte| match byte % 2 {
        0 => FrameClass::Normal,
        _ => FrameClass::Sensitive,
    });
    let sealed = fixture.seal(ObjectKind::Segment, None, payload, &frames);
    let Some((done, bytes)) = sealed else { return };
    let reference = SegmentRef::decode(reference).unwrap_or_default();
    let _ = live_of(&reference);
    let index_offset = done.index_offset;
    let reference = SegmentRef { object: Some(done.reference), index_offset, ..reference };
    let opened = SegmentIndex::open(&bytes, &reference, fixture.owner(), &fixture.keyring);
    let Ok(index) = opened else { return };
    let count = index.records().count();
    assert_eq!(count, index.ordered().count(), "both orders hold the same records");
    let Ok(opener) = index.frames_opener(&fixture.keyring) else { return };
    let mut buffer = FrameBuffer::new();
    for frame in index.frames() {
        let part = frame.entry.slice(&bytes).unwrap_or_default();
        if let Ok(plain) = opener.open(part, &frame.entry, Bound::ByFrame, &mut buffer) {
            let _ = index.check_frame(frame, plain);
        }
    }
}

/// A snapshot's body: the message, then frames of its small buckets.
pub fn body(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let payload = pieces.next();
    let frames = frames(&mut pieces, |_| FrameClass::Bucket);
    let sealed = fixture.seal(ObjectKind::Body, None, payload, &frames);
    let Some((_, bytes)) = sealed else { return };
    let opened = open_body(&bytes, &fixture.expected(ObjectKind::Body), &fixture.keyring);
    let Ok(opened) = opened else { return };
    for segment in &opened.body.segments {
        let _ = live_of(segment);
    }
    for bucket in opened.body.buckets.iter().filter(|bucket| bucket.spill.is_none()) {
        let _ = opened.bucket(&bytes, bucket, &fixture.keyring);
    }
}

/// A spilled bucket: its message, then its frames.
pub fn spill(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let payload = pieces.next();
    let frames = frames(&mut pieces, |_| FrameClass::Bucket);
    let sealed = fixture.seal(ObjectKind::Spill, None, payload, &frames);
    let Some((_, bytes)) = sealed else { return };
    let bucket = SmallBucket::decode(payload).unwrap_or_default();
    let expected = fixture.expected(ObjectKind::Spill);
    let _ = open_spill(&bytes, &expected, &SmallBucket { spill: None, ..bucket }, &fixture.keyring);
}

/// A chain: one commit a piece. Each is opened by itself and folded onto those before it.
pub fn commit(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let mut state: Option<State> = None;
    for _ in 0..FRAMES {
        let piece = pieces.next();
        if piece.is_empty() {
            break;
        }
        // As it is, and with the fields that the envelope repeats put right.
        let signed = SignedCommit { commit: Bytes::copy_from_slice(piece), signatures: Vec::new() };
        let _ = reopened(&mut fixture, piece, None, (0, 1));
        let Ok(commit) = Commit::decode(piece) else {
            let _ = reopened(&mut fixture, &signed.encode_to_vec(), None, (0, 1));
            continue;
        };
        let Some((commit, digest)) = opened(&mut fixture, commit) else { continue };
        if let Ok(catalogue) = Catalogue::new(&[], Vec::new(), commit.catalogue.clone()) {
            let _ = state.as_ref().map(|state| state.check_next(&commit, &catalogue.numbers()));
        }
        match &mut state {
            None => state = State::genesis(commit, digest).ok(),
            Some(state) => {
                let _ = state.apply(commit, digest);
            }
        }
        if let Some(state) = &state {
            let _ = state.ledger(Vec::new());
        }
    }
}

fn opened(fixture: &mut Fixture, mut commit: Commit) -> Option<(Commit, [u8; 32])> {
    let identity = commit.identity.take().unwrap_or_default();
    commit.identity = Some(VaultIdentity { vault_id: fixture.vault.to_bytes(), ..identity });
    commit.cluster_id = fixture.cluster.to_bytes();
    let id = ObjectId::from_bytes(&commit.attempt_id).ok();
    let number = (commit.era, commit.number);
    let signed = SignedCommit { commit: commit.encode_to_vec().into(), signatures: Vec::new() };
    reopened(fixture, &signed.encode_to_vec(), id, number)
}

fn reopened(
    fixture: &mut Fixture,
    payload: &[u8],
    id: Option<ObjectId>,
    number: (u64, u64),
) -> Option<(Commit, [u8; 32])> {
    let (_, bytes) = fixture.seal(ObjectKind::Commit, id, payload, &[])?;
    let opened = open_commit(&bytes, fixture.owner(), number, &fixture.keyring).ok()?;
    Some((opened.commit, opened.sha256))
}

/// A page of the catalogue: the page, then the reference to it, then a commit with the newest.
pub fn page(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let payload = pieces.next();
    let sealed = fixture.seal(ObjectKind::Page, None, payload, &[]);
    let Some((done, bytes)) = sealed else { return };
    let expected = fixture.expected(ObjectKind::Page);
    let opened = open_message::<CataloguePage>(&bytes, &expected, &fixture.keyring);
    let Ok((page, _)) = opened else { return };
    let _ = check_entries(&page.entries, 0, u64::MAX);
    let reference = PageRef::decode(pieces.next()).unwrap_or_default();
    let reference = PageRef { object: Some(done.reference), ..reference };
    let newest = Commit::decode(pieces.next()).unwrap_or_default().catalogue;
    if let Ok(catalogue) = Catalogue::new(&[reference], vec![page.entries], newest) {
        let numbers = catalogue.numbers();
        assert!(numbers.len() <= catalogue.len(), "a number stands once");
        let _ = catalogue.latest();
    }
}

/// A ledger, then the commit it stands for, then one that follows.
pub fn ledger(data: &[u8]) {
    let mut fixture = Fixture::new();
    let mut pieces = Pieces(data);
    let payload = pieces.next();
    let sealed = fixture.seal(ObjectKind::Ledger, None, payload, &[]);
    let Some((_, bytes)) = sealed else { return };
    let expected = fixture.expected(ObjectKind::Ledger);
    let opened = open_message::<Ledger>(&bytes, &expected, &fixture.keyring);
    let Ok((ledger, _)) = opened else { return };
    let commit = Commit::decode(pieces.next()).unwrap_or_default();
    let Ok(mut state) = State::from_ledger(&ledger, commit, [7; 32]) else { return };
    let again = state.ledger(Vec::new());
    assert_eq!(again.objects.len(), ledger.objects.len(), "nothing is lost");
    let next = Commit::decode(pieces.next()).unwrap_or_default();
    let _ = state.apply(next, [8; 32]);
    let _ = state.check_kept(&std::collections::BTreeSet::from([1]));
}

/// Up to four frames, a piece each: a byte for the class, then what it holds.
fn frames<'a>(
    pieces: &mut Pieces<'a>,
    class: impl Fn(u8) -> FrameClass,
) -> Vec<(FrameClass, &'a [u8])> {
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        match pieces.next().split_first() {
            Some((byte, plain)) if !plain.is_empty() => frames.push((class(*byte), plain)),
            _ => break,
        }
    }
    frames
}
