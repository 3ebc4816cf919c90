//! The judge: replays everything that happened to a store, in order, and holds it against the
//! invariants of docs/FORMAT.md, section 10. It knows the format, and none of the engine.
//!
//! 1: commits at or above the floor are contiguous, each names its predecessor's digest, and what
//! was one once is never another. 2: an object is in at most one interval. 3: nothing is deleted
//! that a kept snapshot needs, that was not condemned for the grace, or that a commit names later.
//! 4: live bits only turn off, each for a reason. 5: wraps in use are there under both names.
//! 6: nothing opens under another's header.

use super::recorder::Change;
use bytes::Bytes;
use holdfast_vault::chain::names::Names;
use holdfast_vault::chain::rules::ChainLimits;
use holdfast_vault::format::{
    ClusterId, Expected, ObjectId, SegmentIndex, VaultId, open_body, open_commit, open_object,
};
use holdfast_vault::keys::Keyring;
use holdfast_vault::proto::{
    Body, CatalogueEntry, Commit, ObjectKind, ObjectRef, SegmentRef, WrapRef,
};
use holdfast_vault::snapshot::bitmap;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 86_400_000;
const GRACE_MS: i64 = 72 * 3_600_000;

type Rev = (i64, i64);

/// What happened, to see that the model is not hollow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub commits: u64,
    pub snapshots: u64,
    pub forgotten: u64,
    pub objects_swept: u64,
    pub orphans_swept: u64,
    pub numbers_deleted: u64,
    pub numbers_created_again: u64,
    pub bits_off: u64,
}

struct Life {
    object: ObjectRef,
    added: u64,
    removed: Option<u64>,
    condemned_ms: Option<i64>,
}

/// The judge of one store.
pub struct Judge {
    pub owner: (VaultId, ClusterId),
    pub keyring: Keyring,
    pub limits: ChainLimits,
    pub names: Names,
    store: BTreeMap<String, (Bytes, i64)>,
    ever: BTreeMap<String, Bytes>,
    chain: Vec<(Commit, [u8; 32])>,
    lives: BTreeMap<ObjectId, Life>,
    revisions: BTreeMap<ObjectId, Vec<Rev>>,
    /// Numbers that were created again below the floor, by a put that came late.
    again: BTreeSet<u64>,
    /// Names that were deleted: a put that came late brings them back as garbage.
    gone: BTreeSet<String>,
    pub seen: Seen,
}

type Judged = Result<(), String>;

fn rule(holds: bool, text: impl FnOnce() -> String) -> Judged {
    if holds { Ok(()) } else { Err(text()) }
}

fn id(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(bytes).unwrap()
}

impl Judge {
    pub fn new(
        names: Names,
        owner: (VaultId, ClusterId),
        keyring: Keyring,
        limits: ChainLimits,
    ) -> Judge {
        Judge {
            owner,
            keyring,
            limits,
            names,
            store: BTreeMap::new(),
            ever: BTreeMap::new(),
            chain: Vec::new(),
            lives: BTreeMap::new(),
            revisions: BTreeMap::new(),
            again: BTreeSet::new(),
            gone: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// The commit of this number and its digest, if it ever was one.
    pub fn commit(&self, number: u64) -> Option<&(Commit, [u8; 32])> {
        self.chain.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    fn head(&self) -> Option<&Commit> {
        self.chain.last().map(|(commit, _)| commit)
    }

    pub fn floor(&self) -> u64 {
        self.head().map_or(1, |head| head.floor)
    }

    /// Takes the next change.
    pub fn take(&mut self, change: &Change) -> Judged {
        let Change { at_ms, name, bytes } = change;
        match bytes {
            Some(bytes) => {
                if let Some((_, number)) = self.names.parse_commit(name) {
                    self.created(number, bytes)?;
                }
                // A put that arrives twice makes nothing younger: what counts is the first.
                let since_ms = self.store.get(name).map_or(*at_ms, |(_, put_ms)| *put_ms);
                self.store.insert(name.clone(), (bytes.clone(), since_ms));
                self.ever.entry(name.clone()).or_insert_with(|| bytes.clone());
            }
            None => {
                self.deleted(name, *at_ms).map_err(|text| format!("delete of {name}: {text}"))?;
                self.store.remove(name);
                self.gone.insert(name.clone());
            }
        }
        Ok(())
    }

    fn created(&mut self, number: u64, bytes: &Bytes) -> Judged {
        let next = self.chain.len() as u64 + 1;
        if number < next {
            self.seen.numbers_created_again += 1;
            self.again.insert(number);
            let floor = self.floor();
            return rule(number < floor, || format!("commit {number} again, floor {floor}"));
        }
        rule(number == next, || format!("commit {number} after {}", next - 1))?;
        let opened = open_commit(bytes, self.owner, (0, number), &self.keyring);
        let commit = opened.map_err(|error| format!("commit {number}: {error}"))?.commit;
        let previous = self.chain.last().map_or(&[][..], |(_, sha256)| &sha256[..]);
        rule(commit.previous_sha256 == previous, || {
            format!("commit {number} names another predecessor")
        })?;
        self.apply(&commit).map_err(|text| format!("commit {number}: {text}"))?;
        self.seen.commits += 1;
        self.chain.push((commit, Sha256::digest(bytes).into()));
        Ok(())
    }

    fn apply(&mut self, commit: &Commit) -> Judged {
        assert!(commit.pages.is_empty(), "the model stays below a page");
        let kept: BTreeSet<u64> = commit.catalogue.iter().map(|entry| entry.number).collect();
        let before = self.head().map_or(0, |head| head.catalogue.len());
        let fresh = kept.contains(&commit.number);
        self.seen.snapshots += u64::from(fresh);
        self.seen.forgotten += (before + usize::from(fresh)).saturating_sub(kept.len()) as u64;
        rule(commit.floor >= self.floor(), || "the floor fell".to_owned())?;
        let limit = commit.number.saturating_sub(self.limits.kept_commits).max(1);
        rule(commit.floor <= limit.max(self.floor()), || format!("floor {}", commit.floor))?;
        for object in &commit.swept {
            let life = self.lives.get(&id(object));
            rule(life.is_some_and(|life| life.condemned_ms.is_some()), || "swept".to_owned())?;
        }
        for object in &commit.removed {
            let life = self.lives.get_mut(&id(object)).filter(|life| life.removed.is_none());
            let life = life.ok_or_else(|| format!("{} was not live", id(object)))?;
            life.removed = Some(commit.number);
        }
        for object in &commit.condemned {
            let life = self.lives.get_mut(&id(object));
            let life = life.ok_or_else(|| format!("{} is unknown", id(object)))?;
            life.condemned_ms = Some(commit.time_ms);
        }
        for object in &commit.added {
            let key = id(&object.object_id);
            let name = self.names.object(object.kind(), key);
            let there = self.store.get(&name).map(|(bytes, _)| Sha256::digest(bytes));
            rule(there.is_some_and(|sha256| sha256[..] == object.sha256[..]), || {
                format!("{name} is named and not in the store")
            })?;
            let body = object.kind() == ObjectKind::Body;
            let removed = body.then_some(commit.number + 1);
            let life =
                Life { object: object.clone(), added: commit.number, removed, condemned_ms: None };
            let twice = self.lives.insert(key, life).is_some();
            rule(!twice, || format!("{name} is added twice"))?;
        }
        for (seed, wrap) in
            commit.seeds.iter().flat_map(|seed| seed.wraps.iter().map(move |wrap| (seed, wrap)))
        {
            for folder in self.names.keys() {
                let name = format!("{folder}/{}/{}", hex(&seed.seed_id), hex(&wrap.wrap_id));
                let there = self.store.get(&name).map(|(bytes, _)| Sha256::digest(bytes));
                rule(there.is_some_and(|sha256| sha256[..] == wrap.sha256[..]), || {
                    format!("{name} is named and not in the store")
                })?;
            }
        }
        let condemned = self.lives.iter().filter(|(_, life)| life.condemned_ms.is_some());
        for (key, life) in condemned {
            rule(!needed(life, &kept), || format!("{key} is condemned and needed"))?;
        }
        Ok(())
    }

    fn deleted(&mut self, name: &str, at_ms: i64) -> Judged {
        let Some((_, put_ms)) = self.store.get(name) else { return Ok(()) };
        let age_ms = at_ms - put_ms;
        if name.contains("/probe/") || name.starts_with("probe/") {
            return Ok(());
        }
        let head = self.head().ok_or("before the first commit")?;
        if let Some((_, number)) = self.names.parse_commit(name) {
            rule(number < head.floor, || format!("the floor is {}", head.floor))?;
            rule(number + self.limits.kept_commits <= head.number, || "too new".to_owned())?;
            let again = self.again.contains(&number);
            rule(age_ms >= 7 * DAY_MS || again, || format!("{age_ms} ms old"))?;
            let lower = self.store.keys().any(|other| {
                let found = self.names.parse_commit(other).map(|(_, found)| found);
                found.is_some_and(|found| found < number && !self.again.contains(&found))
            });
            rule(!lower, || "a lower number is still there".to_owned())?;
            self.seen.numbers_deleted += 1;
            return Ok(());
        }
        if let Some((_, key)) = self.names.parse_object(name) {
            let Some(life) = self.lives.get(&key) else {
                self.seen.orphans_swept += 1;
                let old = age_ms >= 7 * DAY_MS || self.gone.contains(name);
                return rule(old, || format!("an orphan, {age_ms} ms old"));
            };
            let kept = head.catalogue.iter().map(|entry| entry.number);
            let held = head.holds.iter().filter(|hold| hold.expires_ms > at_ms);
            let kept: BTreeSet<u64> = kept.chain(held.map(|hold| hold.snapshot)).collect();
            rule(!needed(life, &kept), || "a kept snapshot needs it".to_owned())?;
            let condemned_ms = life.condemned_ms.ok_or("it was not condemned")?;
            rule(at_ms - condemned_ms >= GRACE_MS, || "within the grace".to_owned())?;
            self.seen.objects_swept += 1;
            return Ok(());
        }
        if self.names.is_wrap(name) {
            let is = |known: &&WrapRef| name.ends_with(&hex(&known.wrap_id));
            let used = head.seeds.iter().any(|seed| seed.wraps.iter().any(|known| is(&known)));
            rule(!used, || "it opens a seed in use".to_owned())?;
            let mut condemned = head.seeds.iter().flat_map(|seed| &seed.condemned_wraps);
            let since_ms = condemned.find(is).map_or(i64::MIN, |known| known.condemned_ms);
            return rule(at_ms.saturating_sub(since_ms) >= GRACE_MS, || {
                "a wrap within the grace".to_owned()
            });
        }
        Err("nothing deletes that".to_owned())
    }

    /// What must hold when all is quiet.
    pub fn finish(&mut self) -> Judged {
        let head = self.head().ok_or("no commit")?.clone();
        for number in head.floor..=head.number {
            let name = self.names.commit(0, number);
            let there = self.store.get(&name).map(|(bytes, _)| Sha256::digest(bytes));
            let (_, sha256) = self.commit(number).ok_or("a commit is unknown")?;
            let same = there.is_some_and(|there| there[..] == sha256[..]);
            rule(same, || format!("{name} is not what was committed"))?;
        }
        let kept: BTreeSet<u64> = head.catalogue.iter().map(|entry| entry.number).collect();
        for (key, life) in &self.lives {
            let name = self.names.object(life.object.kind(), *key);
            let there = self.store.get(&name).map(|(bytes, _)| Sha256::digest(bytes));
            let same = there.is_some_and(|sha256| sha256[..] == life.object.sha256[..]);
            rule(same || !needed(life, &kept), || format!("{name} is needed and is gone"))?;
        }
        Ok(())
    }

    /// All snapshots that ever were, with the revisions alive in each: bits only turn off, each for
    /// a reason.
    pub fn snapshots(&mut self) -> Result<Vec<(CatalogueEntry, Vec<Rev>)>, String> {
        let entries: Vec<CatalogueEntry> = self
            .chain
            .iter()
            .filter_map(|(commit, _)| {
                commit.catalogue.last().filter(|entry| entry.number == commit.number).cloned()
            })
            .collect();
        let mut all = Vec::new();
        let mut before: Option<(Body, BTreeMap<Rev, ObjectId>)> = None;
        for entry in entries {
            let body = self.body(&entry)?;
            let alive = self.alive(&body)?;
            if let Some((last, alive_before)) = &before {
                self.only_off((last, alive_before), (&body, &alive), entry.compact_revision)
                    .map_err(|text| format!("snapshot {}: {text}", entry.number))?;
            }
            all.push((entry, alive.keys().copied().collect()));
            before = Some((body, alive));
        }
        Ok(all)
    }

    fn body(&self, entry: &CatalogueEntry) -> Result<Body, String> {
        let name = self.names.object(ObjectKind::Body, id(&entry.body_id));
        let bytes = self.ever.get(&name).ok_or_else(|| format!("{name} never was"))?;
        let reference = &self.lives[&id(&entry.body_id)].object;
        let opened = open_body(bytes, &self.expected(reference), &self.keyring);
        Ok(opened.map_err(|error| error.to_string())?.body)
    }

    fn expected<'a>(&self, reference: &'a ObjectRef) -> Expected<'a> {
        let (vault, cluster) = self.owner;
        Expected { kind: reference.kind(), vault, cluster, reference: Some(reference) }
    }

    /// Each revision alive, and the one segment that it is alive in.
    fn alive(&mut self, body: &Body) -> Result<BTreeMap<Rev, ObjectId>, String> {
        let mut alive = BTreeMap::new();
        for segment in &body.segments {
            let key = id(&segment.object.as_ref().unwrap().object_id);
            let live = bitmap(segment).map_err(|error| error.to_string())?;
            let revisions = self.revisions(key, segment)?;
            for ordinal in live {
                let rev = revisions[ordinal as usize];
                let twice = alive.insert(rev, key).is_some();
                rule(!twice, || format!("{rev:?} is alive twice"))?;
            }
        }
        Ok(alive)
    }

    fn revisions(&mut self, key: ObjectId, segment: &SegmentRef) -> Result<&[Rev], String> {
        if !self.revisions.contains_key(&key) {
            let name = self.names.object(ObjectKind::Segment, key);
            let bytes = self.ever.get(&name).ok_or_else(|| format!("{name} never was"))?;
            let index = SegmentIndex::open(bytes, segment, self.owner, &self.keyring);
            let index = index.map_err(|error| error.to_string())?;
            self.revisions.insert(key, index.records().map(|record| record.revision()).collect());
        }
        Ok(&self.revisions[&key])
    }

    fn only_off(
        &mut self,
        (last, before): (&Body, &BTreeMap<Rev, ObjectId>),
        (body, after): (&Body, &BTreeMap<Rev, ObjectId>),
        compact_revision: i64,
    ) -> Judged {
        for segment in &body.segments {
            let object = segment.object.as_ref().unwrap();
            let same = |old: &&SegmentRef| {
                old.object.as_ref().is_some_and(|old| old.object_id == object.object_id)
            };
            let Some(old) = last.segments.iter().find(same) else { continue };
            let (now, then) = (bitmap(segment).unwrap(), bitmap(old).unwrap());
            rule(now.is_subset(&then), || format!("{} turned bits on", id(&object.object_id)))?;
        }
        for rev in before.keys().filter(|rev| !after.contains_key(rev)) {
            self.seen.bits_off += 1;
            rule(rev.0 <= compact_revision, || format!("{rev:?} vanished above C"))?;
        }
        Ok(())
    }

    /// Nothing in an object opens under the header of another of its kind.
    pub fn exchange(&self, chance: usize) -> Judged {
        let mut by_kind: BTreeMap<i32, Vec<&ObjectRef>> = BTreeMap::new();
        for life in self.lives.values() {
            by_kind.entry(life.object.kind).or_default().push(&life.object);
        }
        for objects in by_kind.values().filter(|objects| objects.len() > 1) {
            let one = objects[chance % objects.len()];
            let other = objects[(chance + 1) % objects.len()];
            let bytes = |object: &ObjectRef| {
                &self.ever[&self.names.object(object.kind(), id(&object.object_id))]
            };
            let mut forged = bytes(one)[..272].to_vec();
            forged.extend_from_slice(&bytes(other)[272..]);
            let end = forged.len() - 32;
            let digest = Sha256::digest(&forged[..end]);
            forged[end..].copy_from_slice(&digest);
            let expected = Expected { reference: None, ..self.expected(one) };
            let opened = open_object(&forged, &expected, &self.keyring);
            rule(opened.is_err(), || format!("{} opens under another's header", one.kind))?;
        }
        Ok(())
    }
}

fn needed(life: &Life, kept: &BTreeSet<u64>) -> bool {
    let chain = [ObjectKind::Page, ObjectKind::Ledger, ObjectKind::Report];
    match life.removed {
        None => true,
        Some(_) if chain.contains(&life.object.kind()) => false,
        Some(removed) => kept.range(life.added..removed).next().is_some(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
