//! A stranger reads the golden vaults with docs/FORMAT.md, the field numbers of proto/vault.proto
//! and the standards they name, and nothing of this crate: what is missing in the document is
//! missing here. Lists what is alive in every snapshot, and compares it with what was written down.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "stranger/sealed.rs"]
mod sealed;
#[path = "stranger/wire.rs"]
mod wire;

use hmac::{Hmac, KeyInit, Mac};
use roaring::RoaringBitmap;
use sealed::{Object, Provider, Seeds, expand, hex, seeds, sha256};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use wire::{Message, number, piece, take, varint};

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn provider(vault: &str) -> Provider {
    let kind = match vault {
        "unsealed" => return Provider::Identity,
        "aescbc" => "aescbc",
        "secretbox" => "secretbox",
        _ => "aesgcm",
    };
    Provider::Local { kind, name: "key1", key: KEY }
}

struct Cluster {
    folder: PathBuf,
    seeds: Seeds,
    root: Message,
}

/// A record: main, sub, flags, value.
type Record = (i64, i64, u8, Vec<u8>);

impl Cluster {
    fn read(&self, folder: &str, id: &[u8]) -> Vec<u8> {
        std::fs::read(self.folder.join(folder).join(hex(id))).unwrap()
    }

    /// An object that an ObjectRef names.
    fn object(&self, reference: &Message) -> Object {
        let kind = u8::try_from(reference.number(1)).unwrap();
        let folder = ["", "seg", "body", "", "page", "ledger", "spill", "report"];
        let bytes = self.read(folder[usize::from(kind)], &reference.bytes(2));
        assert_eq!(bytes.len() as u64, reference.number(3));
        assert_eq!(sha256(&bytes)[..], reference.bytes(4));
        let object = Object::open(bytes, kind, &self.seeds);
        assert_eq!(object.header[64..80], reference.bytes(2));
        object
    }

    fn commit(&self, number: u64) -> (Message, [u8; 32]) {
        let name = self.folder.join(format!("commit/0/{number:020}"));
        let bytes = std::fs::read(name).unwrap();
        let digest = sha256(&bytes);
        let object = Object::open(bytes, 3, &self.seeds);
        let commit = Message::parse(&Message::parse(&object.payload).bytes(1));
        assert_eq!((commit.number(1), commit.number(2)), (0, number));
        assert_eq!(commit.bytes(9), object.header[64..80], "the attempt id is the object's id");
        let (sealed, clear) = (commit.message(5), &self.root);
        assert_eq!((sealed.bytes(1), sealed.number(2)), (clear.bytes(1), clear.number(2)));
        (commit, digest)
    }

    /// The head: found by probing, and the chain below it down to its floor.
    fn head(&self) -> Message {
        let numbers = sealed::files(&self.folder.join("commit/0"));
        let newest = numbers.last().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let (head, _) = self.commit(newest.parse().unwrap());
        let (mut above, floor) = (head.clone(), head.number(14));
        while above.number(2) > floor {
            let (commit, digest) = self.commit(above.number(2) - 1);
            assert_eq!(above.bytes(3), digest, "it names its predecessor");
            above = commit;
        }
        head
    }

    /// Section 6, 4 and 6: the intervals of all objects, from the ledger or the first commit on.
    fn intervals(&self, head: &Message) -> BTreeMap<Vec<u8>, (u64, u64)> {
        let mut lives = BTreeMap::new();
        let mut start = 1;
        if head.has(24) {
            let object = self.object(&head.message(24).message(1));
            let ledger = Message::parse(&object.payload);
            for entry in ledger.messages(3) {
                let end = if entry.number(3) == 0 { u64::MAX } else { entry.number(3) };
                lives.insert(entry.message(1).bytes(2), (entry.number(2), end));
            }
            start = ledger.number(2) + 1;
            assert_eq!(head.message(24).number(2), ledger.number(2));
        }
        for number in start..=head.number(2) {
            let (commit, _) = self.commit(number);
            for id in commit.list(19) {
                lives.remove(&id);
            }
            for id in commit.list(17) {
                lives.get_mut(&id).unwrap().1 = number;
            }
            for object in commit.messages(16) {
                let end = if object.number(1) == 2 { number + 1 } else { u64::MAX };
                lives.insert(object.bytes(2), (number, end));
            }
        }
        lives
    }

    fn catalogue(&self, head: &Message) -> Vec<Message> {
        let pages = head
            .messages(23)
            .into_iter()
            .flat_map(|page| Message::parse(&self.object(&page.message(1)).payload).messages(1));
        pages.chain(head.messages(22)).collect()
    }

    /// The records of a segment that are alive, with every digest compared.
    fn segment(&self, reference: &Message) -> Vec<Record> {
        let object = self.object(&reference.message(1));
        let digest_key = expand(&object.index_key, &[b"holdfast/1/digest"], 32);
        let live = RoaringBitmap::deserialize_from(&reference.bytes(10)[..]).unwrap();
        assert_eq!(live.len(), reference.number(11));
        let (mut index, mut ordinal, mut alive) = (&object.payload[..], 0, Vec::new());
        for frame in 0..object.frames.len() {
            let plain = object.frame(frame, &self.seeds);
            let (mut records, mut main) = (&plain[..], 0);
            let (first, sub) = (number(&mut index), number(&mut index));
            let last = (number(&mut index), number(&mut index));
            let (mut indexed, mut rev) = (first, (first, sub));
            for _ in 0..varint(&mut index) {
                indexed += number(&mut index);
                main += number(&mut records);
                rev = (main, number(&mut records));
                assert_eq!((indexed, number(&mut index)), rev);
                let flags = take(&mut records, 1)[0];
                assert_eq!(take(&mut index, 1)[0], flags);
                let value = piece(&mut records);
                assert_eq!(varint(&mut index), value.len() as u64);
                let mut mac = Hmac::<Sha256>::new_from_slice(&digest_key).unwrap();
                mac.update(&main.to_le_bytes());
                mac.update(&rev.1.to_le_bytes());
                mac.update(&[flags]);
                mac.update(value);
                assert_eq!(take(&mut index, 4), &mac.finalize().into_bytes()[..4], "digest");
                take(&mut index, 4);
                if live.contains(ordinal) {
                    alive.push((main, rev.1, flags, value.to_vec()));
                }
                ordinal += 1;
            }
            assert_eq!(rev, last);
            assert!(records.is_empty());
        }
        assert!(index.is_empty());
        assert_eq!(u64::from(ordinal), reference.number(8));
        alive
    }

    /// The entries of a small bucket: of frames in `body`, or of its spill.
    fn bucket(&self, body: &Object, bucket: &Message) -> Vec<(Vec<u8>, Vec<u8>)> {
        let spill = bucket.has(6).then(|| self.object(&bucket.message(6)));
        let (object, first) = match &spill {
            Some(object) => (object, 0),
            None => (body, usize::try_from(bucket.number(4)).unwrap()),
        };
        let count = usize::try_from(bucket.number(5)).unwrap();
        let plain: Vec<u8> =
            (first..first + count).flat_map(|frame| object.frame(frame, &self.seeds)).collect();
        assert_eq!(sha256(&plain)[..], bucket.bytes(7));
        let (mut rest, mut entries) = (&plain[..], Vec::new());
        while !rest.is_empty() {
            entries.push((piece(&mut rest).to_vec(), piece(&mut rest).to_vec()));
        }
        assert_eq!(entries.len() as u64, bucket.number(3));
        entries
    }

    /// One line, as golden_vaults.rs writes it.
    fn snapshot(&self, entry: &Message, lives: &BTreeMap<Vec<u8>, (u64, u64)>) -> String {
        let bytes = self.read("body", &entry.bytes(2));
        assert_eq!(
            (bytes.len() as u64, &sha256(&bytes)[..]),
            (entry.number(3), &entry.bytes(4)[..])
        );
        let object = Object::open(bytes, 2, &self.seeds);
        let body = Message::parse(&object.payload);
        let number = entry.number(1);
        assert_eq!(body.number(4) + 1, number, "a body is valid in one commit only");
        let (mut records, mut classes) = (Vec::new(), BTreeSet::new());
        for segment in body.messages(6) {
            classes.insert(segment.number(2));
            let (added, removed) = lives[&segment.message(1).bytes(2)];
            assert!(added <= number && number < removed, "its interval holds the snapshot");
            let alive = self.segment(&segment);
            if segment.number(2) != 4 {
                records.extend(alive);
            }
        }
        records.sort();
        let facts = body.message(8);
        assert_eq!(records.len() as u64, facts.number(13));
        let digests = |big: bool| {
            let mut hash = Sha256::new();
            for (main, sub, flags, value) in &records {
                let numbers = [*main, *sub, i64::try_from(value.len()).unwrap()];
                let bytes = numbers.map(|n| if big { n.to_be_bytes() } else { n.to_le_bytes() });
                hash.update(bytes[0]);
                hash.update(bytes[1]);
                hash.update([*flags]);
                hash.update(bytes[2]);
                hash.update(value);
            }
            hash.finalize()
        };
        if facts.has(18) {
            assert_eq!(digests(false)[..], facts.bytes(18), "Facts.live_sha256");
        }
        let mut hash = Sha256::new();
        let buckets = body.messages(7);
        for bucket in &buckets {
            hash.update(bucket.bytes(1));
            for (key, value) in self.bucket(&object, bucket) {
                for part in [key, value] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        let spilled = buckets.iter().filter(|bucket| bucket.has(6)).count();
        format!(
            "snapshot {number} revision {} compacted {} proven {} contested {} classes {classes:?} \
             spilled {spilled} records {} {} buckets {}\n",
            entry.signed(6),
            entry.signed(7),
            entry.number(10),
            entry.number(16) == 1,
            records.len(),
            hex(&digests(true)),
            hex(&hash.finalize()),
        )
    }
}

fn read_vault(folder: &Path, name: &str) -> String {
    let root = std::fs::read(folder.join("vault")).unwrap();
    let root = sealed::clear(b"HOLDROOT", &root).message(3);
    let mut clusters = std::fs::read_dir(folder.join("c")).unwrap();
    let cluster = clusters.next().unwrap().unwrap().path();
    assert!(clusters.next().is_none());
    let seeds = seeds(&cluster, &provider(name));
    let cluster = Cluster { folder: cluster, seeds, root };
    let head = cluster.head();
    let lives = cluster.intervals(&head);
    let mut text = format!(
        "head {} floor {} epoch {} lineage since {} pins {} holds {}\n",
        head.number(2),
        head.number(14),
        head.number(10),
        head.message(11).number(4),
        head.list(27).len(),
        head.list(26).len()
    );
    for entry in cluster.catalogue(&head) {
        write!(text, "{}", cluster.snapshot(&entry, &lives)).unwrap();
    }
    text
}

#[test]
fn a_stranger_lists_what_is_alive_in_every_golden_vault() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vaults");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            let expected = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
            assert_eq!(read_vault(&path, name), expected, "{name}");
            read += 1;
        }
    }
    assert!(read >= 8, "{read} vaults");
}
