//! A vault that somebody forged who holds its keys: every digest is right, every seal opens, and
//! one frame is not what a frame must be. Made with docs/FORMAT.md, sections 2 and 5.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use holdfast_restore::drill::{DrillRequest, Level, drill};
use holdfast_restore::plan::BumpChoice;
use holdfast_restore::select::Question;
use holdfast_vault::format::decode_wrap;
use holdfast_vault::init::VaultOptions;
use holdfast_vault::keys::{Providers, Sealing, parse_encryption_config};
use holdfast_vault::store::{Store, StoreOptions};
use holdfast_vault::vault::Vault;
use sha2::{Digest, Sha256};

use crate::peers::{free_ports, peer};
use crate::restores::restored;
use crate::sources::{FileSource, store};

/// No key: the seeds stand in the wraps.
const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - identity: {}
";
const HEADER: usize = 272;
const TRAILER: usize = 64;
const TAG: usize = 16;

fn options() -> VaultOptions {
    let config = parse_encryption_config(CONFIG).unwrap();
    let none = &mut |_: &_| unreachable!("no plugin is configured");
    VaultOptions::new(Providers::from_config(&config, Sealing::None, none))
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// All files below a folder that lie in one of this name.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path, name)),
            false if path.iter().any(|part| part == name) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn varint(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// One sealed piece of an object.
struct Seal {
    cipher: Aes256Gcm,
    nonce: [u8; 12],
    aad: Vec<u8>,
}

impl Seal {
    /// `how`: class, last, codec, plain length; the piece is the first of its class.
    fn new(header: &[u8], class: &str, seed: &[u8], how: (u8, u8, u8, u64)) -> Seal {
        let mut zeroed = header.to_vec();
        zeroed[144..208].fill(0);
        let mut key = [0; 64];
        let info = [b"holdfast/1/", class.as_bytes(), &zeroed].concat();
        Hkdf::<Sha256>::from_prk(seed).unwrap().expand(&info, &mut key).unwrap();
        let key: [u8; 32] = key[..32].try_into().unwrap();
        let (class, last, codec, plain) = how;
        let mut nonce = [0; 12];
        nonce[..2].copy_from_slice(&[class, last]);
        let flags = [class, last, codec, 0, 0, 0, 0, 0];
        let aad = [&sha256(header)[..], &flags, &[0; 8], &plain.to_le_bytes()].concat();
        Seal { cipher: Aes256Gcm::new(&key.into()), nonce, aad }
    }

    fn open(&self, msg: &[u8]) -> Vec<u8> {
        let payload = Payload { msg, aad: &self.aad };
        self.cipher.decrypt(&self.nonce.into(), payload).expect("it opens")
    }

    fn seal(&self, msg: &[u8]) -> Vec<u8> {
        self.cipher.encrypt(&self.nonce.into(), Payload { msg, aad: &self.aad }).unwrap()
    }
}

/// Digests that were, and those that stand for them now.
type Changed = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes objects again under the vault's own seeds.
struct Forger {
    seeds: BTreeMap<Vec<u8>, Vec<u8>>,
    changed: Changed,
}

impl Forger {
    fn new(folder: &Path) -> Forger {
        let wraps = files(folder, "keys").into_iter();
        let wraps = wraps.map(|path| decode_wrap(&fs::read(path).unwrap()).unwrap());
        let seeds = wraps.map(|wrap| (wrap.seed_id.to_vec(), wrap.sealed_seed.to_vec())).collect();
        Forger { seeds, changed: Changed::new() }
    }

    /// The index section with its digests replaced, then the trailer's.
    fn rewrite(&mut self, path: &Path, mut bytes: Vec<u8>) {
        let before = sha256(&fs::read(path).unwrap());
        let end = bytes.len() - TRAILER;
        let offset = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap());
        let place = usize::try_from(offset).unwrap()..end;
        let (header, sealed) = (bytes[..HEADER].to_vec(), bytes[place.clone()].to_vec());
        let how = (4, 1, 0, (sealed.len() - TAG) as u64);
        let seal = Seal::new(&header, "index", &self.seeds[&header[96..112]], how);
        let mut plain = seal.open(&sealed);
        for (old, new) in &self.changed {
            let last = plain.len().saturating_sub(old.len());
            for at in 0..=last {
                if plain[at..].starts_with(old) {
                    plain[at..at + old.len()].copy_from_slice(new);
                }
            }
        }
        let resealed = seal.seal(&plain);
        self.changed.push((sha256(&sealed), sha256(&resealed)));
        bytes[place].copy_from_slice(&resealed);
        let body = bytes.len() - 32;
        let digest = sha256(&bytes[..body]);
        bytes[body..].copy_from_slice(&digest);
        self.changed.push((before, sha256(&bytes)));
        fs::write(path, bytes).unwrap();
    }

    /// The first frame of a segment becomes what zstd never wrote.
    fn spoil(&mut self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len() - TRAILER;
        let offset = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap());
        let (header, sealed) = (&bytes[..HEADER], &bytes[usize::try_from(offset).unwrap()..end]);
        let how = (4, 1, 0, (sealed.len() - TAG) as u64);
        let index = Seal::new(header, "index", &self.seeds[&header[96..112]], how).open(sealed);
        let mut at = 8;
        let frames = varint(&index, &mut at);
        let (class, codec) = (index[at], index[at + 1]);
        at += 2;
        let (stored, plain) = (varint(&index, &mut at), varint(&index, &mut at));
        assert_eq!(codec, 1, "the frame is compressed");
        let how = (class, u8::from(frames == 1), codec, plain as u64);
        let seal = Seal::new(header, "data", &self.seeds[&header[80..96]], how);
        let place = HEADER..HEADER + stored;
        let mut frame = seal.open(&bytes[place.clone()]);
        frame[..4].fill(0);
        let frame = seal.seal(&frame);
        self.changed.push((sha256(&bytes[place.clone()]), sha256(&frame)));
        bytes[place].copy_from_slice(&frame);
        self.rewrite(path, bytes);
    }
}

/// What stands in a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_opens_and_does_not_decompress_is_named_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (folder, database) = (root.path().join("vault"), root.path().join("k8s.db"));
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/k8s/k8s.db.zst");
    let mut file = fs::File::create(&database).unwrap();
    zstd::stream::copy_decode(fs::File::open(packed).unwrap(), &mut file).unwrap();
    let place = StoreOptions { create: true, ..StoreOptions::default() };
    let place = Store::open(folder.to_str().unwrap(), place).unwrap();
    let mut vault = Vault::init(place, options()).await.unwrap();
    let number = store(&mut vault, &FileSource::open(&database, None)).await;
    drop(vault);

    let mut forger = Forger::new(&folder);
    let segment = files(&folder, "seg").swap_remove(0);
    forger.spoil(&segment);
    for path in files(&folder, "body") {
        forger.rewrite(&path, fs::read(&path).unwrap());
    }
    let commit = files(&folder, "commit").pop().unwrap();
    forger.rewrite(&commit, fs::read(&commit).unwrap());

    let place = Store::open(folder.to_str().unwrap(), StoreOptions::default()).unwrap();
    let mut vault = Vault::open(place, options()).await.unwrap();
    let object = segment.file_name().unwrap().to_str().unwrap();
    let sandboxes = root.path().join("sandboxes");
    fs::create_dir(&sandboxes).unwrap();
    let request = DrillRequest::new(number, peer("etcd-3.6"), &sandboxes);
    let report = drill(&mut vault, &request).await.unwrap();
    let failure = report.failure.clone().expect("the frame does not decompress");
    assert_eq!(failure.level, Level::L2, "{report}");
    for part in [object, "frame 0", "decompress"] {
        assert!(failure.reason.contains(part), "{part}: {report}");
    }
    assert!(names(&sandboxes).is_empty());

    // Beside a member that stands there: it is as it was, and nothing lies next to it.
    let data_dir = root.path().join("members/etcd");
    fs::create_dir_all(data_dir.join("member")).unwrap();
    let ports = free_ports();
    let target = ("3.6", BumpChoice::None);
    let error = restored(&mut vault, Question::Latest, &data_dir, ports, target).await.unwrap_err();
    let error = error.to_string();
    for part in [object, "decompress"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(names(&root.path().join("members")), std::slice::from_ref(&data_dir));
    assert_eq!(names(&data_dir), [data_dir.join("member")]);
}
