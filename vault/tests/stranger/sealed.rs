//! docs/FORMAT.md, sections 2, 4 and 5: the envelope, objects in clear, seeds.

use super::wire::{Message, take, varint};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub type Seeds = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn expand(key: &[u8], info: &[&[u8]], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    Hkdf::<Sha256>::from_prk(key).unwrap().expand(&info.concat(), &mut out).unwrap();
    out
}

fn open(key: &[u8], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    let key: [u8; 32] = key.try_into().unwrap();
    let nonce: [u8; 12] = nonce.try_into().unwrap();
    Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), Payload { msg, aad }).ok()
}

/// Section 4: an object in clear.
pub fn clear(magic: &[u8; 8], bytes: &[u8]) -> Message {
    let (before, digest) = bytes.split_at(bytes.len() - 32);
    assert_eq!(sha256(before), digest);
    assert_eq!(&before[..8], magic);
    let length = u32::from_le_bytes(before[8..12].try_into().unwrap());
    assert_eq!(length as usize, before.len() - 12);
    Message::parse(&before[12..])
}

/// What opens wraps: a local key, or nothing but that the vault is not sealed.
pub enum Provider {
    Local { kind: &'static str, name: &'static str, key: &'static [u8] },
    Identity,
}

/// Section 5: the seed in a wrap.
pub fn unwrap_seed(wrap: &Message, provider: &Provider) -> Vec<u8> {
    let text = |field: u64| {
        let bytes = wrap.bytes(field);
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length[..], &bytes].concat()
    };
    let ids = [wrap.bytes(3), wrap.bytes(4), wrap.bytes(2), wrap.bytes(5)].concat();
    let kind = [u8::try_from(wrap.number(6)).unwrap()];
    let created_ms = wrap.signed(15).to_le_bytes();
    let place = [&ids[..], &kind, &created_ms, &text(7), &text(8)].concat();
    let seed = match provider {
        Provider::Identity => {
            assert_eq!(wrap.bytes(7), b"identity");
            wrap.bytes(12)
        }
        Provider::Local { kind, name, key } => {
            assert_eq!(
                (wrap.bytes(7), wrap.bytes(8)),
                (kind.as_bytes().into(), name.as_bytes().into())
            );
            let (prk, _) = Hkdf::<Sha256>::extract(None, key);
            let label = format!("holdfast/1/wrap/{kind}/{name}");
            let both = expand(&prk, &[label.as_bytes()], 40);
            assert_eq!(wrap.bytes(10), both[32..], "key check value");
            assert_eq!(wrap.bytes(9), format!("{name}:{}", hex(&both[32..])).as_bytes());
            let aad = [b"holdfast/1/wrap", &place[..], &text(9)].concat();
            open(&both[..32], &wrap.bytes(11), &aad, &wrap.bytes(12)).expect("the wrap opens")
        }
    };
    assert_eq!(wrap.bytes(13), expand(&seed, &[b"holdfast/1/seed", &place], 32), "commitment");
    seed
}

/// Every seed of a cluster that one of its wraps gives. The second copies, where there are some,
/// are the same bytes.
pub fn seeds(cluster: &Path, provider: &Provider) -> Seeds {
    let mut seeds = Seeds::new();
    let copies = cluster.join("keys2");
    let read_from = if copies.is_dir() { copies } else { cluster.join("keys") };
    for wrap in files(&read_from) {
        let first = cluster.join("keys").join(wrap.strip_prefix(&read_from).unwrap());
        assert_eq!(std::fs::read(&wrap).unwrap(), std::fs::read(first).unwrap());
        let wrap = clear(b"HOLDWRAP", &std::fs::read(wrap).unwrap());
        // The stranger has no paper.
        if wrap.bytes(7) == b"recovery" {
            continue;
        }
        seeds.insert(wrap.bytes(5), unwrap_seed(&wrap, provider));
    }
    seeds
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Section 2: an opened object.
pub struct Object {
    pub bytes: Vec<u8>,
    pub payload: Vec<u8>,
    pub frames: Vec<Frame>,
    pub index_key: Vec<u8>,
    pub header: Vec<u8>,
}

/// A line of the frame table.
#[derive(Debug, Clone)]
pub struct Frame {
    pub class: u8,
    pub codec: u8,
    pub place: std::ops::Range<usize>,
    pub plain: u64,
}

fn key(header: &[u8], class: &str, seed: &[u8], commitment: &[u8]) -> Vec<u8> {
    let mut zeroed = header.to_vec();
    zeroed[144..208].fill(0);
    let mut okm = expand(seed, &[b"holdfast/1/", class.as_bytes(), &zeroed], 64);
    assert_eq!(okm.split_off(32), commitment, "{class} commitment");
    okm
}

fn unseal(key: &[u8], header: &[u8], how: (u8, u8, u8, u64, u64), sealed: &[u8]) -> Vec<u8> {
    let (class, last, codec, counter, plain) = how;
    let nonce = [&[class, last, 0, 0], &counter.to_le_bytes()[..]].concat();
    let flags = [class, last, codec, 0, 0, 0, 0, 0];
    let aad = [&sha256(header)[..], &flags, &counter.to_le_bytes(), &plain.to_le_bytes()].concat();
    open(key, &nonce, &aad, sealed).expect("what is sealed opens")
}

fn padme(length: u64) -> u64 {
    let e = length.ilog2();
    let s = e.ilog2() + 1;
    length.next_multiple_of(1 << (e - s))
}

impl Object {
    pub fn open(bytes: Vec<u8>, kind: u8, seeds: &Seeds) -> Object {
        let (before, digest) = bytes.split_at(bytes.len() - 32);
        assert_eq!(sha256(before), digest, "trailer");
        let trailer = &bytes[bytes.len() - 64..];
        let at = |place: usize| u64::from_le_bytes(trailer[place..place + 8].try_into().unwrap());
        assert_eq!((at(16), &trailer[24..32]), (0, &b"HFTRAIL1"[..]));
        let offset = usize::try_from(at(0)).unwrap();
        assert_eq!(offset + usize::try_from(at(8)).unwrap() + 64, bytes.len());
        assert_eq!(padme(bytes.len() as u64), bytes.len() as u64);

        let header = bytes[..272].to_vec();
        assert_eq!(&header[..8], b"HOLDFAST");
        assert_eq!(header[8..16], [1, 0, 1, 0, kind, 1, 0, 0]);
        assert_eq!(header[208..272], [0; 64]);
        let seed = &seeds[&header[96..112]];
        let index_key = key(&header, "index", seed, &header[176..208]);
        let sealed = &bytes[offset..bytes.len() - 64];
        let plain = sealed.len() as u64 - 16;
        let index = unseal(&index_key, &header, (4, 1, 0, 0, plain), sealed);

        let length = usize::try_from(u64::from_le_bytes(index[..8].try_into().unwrap())).unwrap();
        assert!(index[8 + length..].iter().all(|byte| *byte == 0));
        let mut rest = &index[8..8 + length];
        let mut end = 272;
        let mut frames = Vec::new();
        for _ in 0..varint(&mut rest) {
            let (class, codec) = (take(&mut rest, 1)[0], take(&mut rest, 1)[0]);
            let stored = usize::try_from(varint(&mut rest)).unwrap();
            let plain = varint(&mut rest);
            let place = end..end + stored;
            assert_eq!(sha256(&bytes[place.clone()]), take(&mut rest, 32));
            end = place.end;
            frames.push(Frame { class, codec, place, plain });
        }
        assert_eq!(end, offset, "frames end where the index section begins");
        let payload = rest.to_vec();
        Object { payload, frames, index_key, header, bytes }
    }

    /// The plaintext of a data frame.
    pub fn frame(&self, number: usize, seeds: &Seeds) -> Vec<u8> {
        let Frame { class, codec, place, plain } = self.frames[number].clone();
        let seed = &seeds[&self.header[80..96]];
        let key = key(&self.header, "data", seed, &self.header[144..176]);
        let last = u8::from(number + 1 == self.frames.len());
        let how = (class, last, codec, number as u64, plain);
        let opened = unseal(&key, &self.header, how, &self.bytes[place]);
        let opened = match codec {
            0 => opened,
            1 if class != 2 => zstd::decode_all(&opened[..]).unwrap(),
            other => panic!("codec {other} in class {class}"),
        };
        assert_eq!(opened.len() as u64, plain);
        opened
    }
}
