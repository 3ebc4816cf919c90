//! The conformance suite: what a store must do so that a vault is safe in it.
//!
//! One function, run by the tests against every back end and by `holdfast store doctor URL`. It
//! works below `doctor/<random>/` and removes what it made. A failed check names what would go
//! wrong and what to do.

use super::{ObjectInfo, PART_BYTES, Store, StoreError, masked};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// Safe, but the operator should know.
    Warn,
    /// A vault must not have its authority here.
    Fail,
}

/// One check's outcome.
#[derive(Debug, Clone, Serialize)]
pub struct CheckOutcome {
    /// What was checked.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do; empty when all is well.
    pub advice: &'static str,
}

/// All outcomes, in the order they ran.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorReport {
    /// The store's address, printable.
    pub address: String,
    /// One per check.
    pub outcomes: Vec<CheckOutcome>,
    /// The store's clock minus ours, milliseconds, as far as it shows; `None`: not measured.
    pub clock_ahead_ms: Option<i64>,
}

impl DoctorReport {
    /// Whether no check failed.
    pub fn is_fit(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.verdict != Verdict::Fail)
    }

    /// The outcome of the check named `check`.
    pub fn outcome(&self, check: &str) -> Option<&CheckOutcome> {
        self.outcomes.iter().find(|outcome| outcome.check == check)
    }
}

/// Runs every check below `doctor/<token>/`; `token` is random, `now_ms` our clock. Errors of the
/// store become failed checks, so that the report is always whole.
pub async fn examine(store: &Store, token: &str, now_ms: i64) -> DoctorReport {
    let mut doctor =
        Doctor { store, folder: format!("doctor/{token}"), outcomes: vec![], clock_ahead_ms: None };
    doctor.reach(now_ms).await;
    // Without a first write and read the others would all say the same.
    if doctor.outcomes.iter().all(|outcome| outcome.verdict != Verdict::Fail) {
        doctor.collide().await;
        doctor.overwrite().await;
        doctor.ranges().await;
        doctor.missing().await;
        doctor.multipart().await;
        doctor.list().await;
        doctor.delete().await;
        doctor.hidden().await;
    }
    doctor.clean().await;
    DoctorReport {
        address: store.address().to_owned(),
        outcomes: doctor.outcomes,
        clock_ahead_ms: doctor.clock_ahead_ms,
    }
}

/// Whether a create really refuses a taken name: create, create again with other bytes, read back.
/// Leaves nothing behind when deletes work. Run by the first write of every process.
pub async fn probe_collision(store: &Store, name: &str) -> Result<bool, StoreError> {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    // An answer "exists" for a fresh random name is our own lost answer; what counts is what lies
    // there.
    match store.put_if_absent(name, first.clone()).await {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let answer = store.put_if_absent(name, second).await;
    let found = store.get(name, 64).await?;
    let refused = matches!(answer, Err(StoreError::AlreadyExists { .. }));
    let unknown = matches!(&answer, Err(error) if error.is_temporary());
    if let Err(error) = store.delete(name).await {
        tracing::debug!(%error, "the probe object stays");
    }
    match answer {
        Err(error) if unknown && found == first => Err(error),
        Err(error) if !refused && !unknown => Err(error),
        _ => Ok(refused && found == first),
    }
}

struct Doctor<'a> {
    store: &'a Store,
    folder: String,
    outcomes: Vec<CheckOutcome>,
    clock_ahead_ms: Option<i64>,
}

const UNSAFE: &str = "use another store as the authority; this one may hold a replica";
const BROKEN: &str = "do not keep a vault here; report it to whoever runs the store";

impl Doctor<'_> {
    fn name(&self, leaf: &str) -> String {
        format!("{}/{leaf}", self.folder)
    }

    fn note(&mut self, check: &'static str, ok: bool, detail: String, advice: &'static str) {
        let verdict = if ok { Verdict::Pass } else { Verdict::Fail };
        let advice = if ok { "" } else { advice };
        self.outcomes.push(CheckOutcome { check, verdict, detail, advice });
    }

    /// Records a check's answer: what was seen and whether it is right.
    fn judge(
        &mut self,
        check: &'static str,
        answer: Result<(bool, String), StoreError>,
        advice: &'static str,
    ) {
        match answer {
            Ok((ok, detail)) => self.note(check, ok, detail, advice),
            Err(error) => self.note(check, false, error.to_string(), advice),
        }
    }

    async fn reach(&mut self, now_ms: i64) {
        let name = self.name("reach");
        let bytes = Bytes::from_static(b"holdfast");
        let answer = async {
            self.store.put(&name, bytes.clone()).await?;
            let found = self.store.get(&name, 64).await?;
            let info = self.store.head(&name).await?;
            Ok((found == bytes && info.size_bytes == bytes.len() as u64, info))
        }
        .await;
        let seen = answer.as_ref().ok().map(|(_, info): &(bool, ObjectInfo)| info.clone());
        let answer = answer.map(|(ok, _)| (ok, "written, read back".to_owned()));
        self.judge("write and read", answer, "check address, credentials, rights and network");
        if let Some(info) = seen {
            self.clock(&info, now_ms);
            self.versions(&info);
        }
    }

    fn clock(&mut self, info: &ObjectInfo, now_ms: i64) {
        let ahead = info.modified_ms - now_ms;
        self.clock_ahead_ms = Some(ahead);
        let verdict = if ahead.abs() > 60_000 { Verdict::Warn } else { Verdict::Pass };
        let advice = match verdict {
            Verdict::Pass => "",
            _ => "set both clocks by NTP; above 10 minutes nothing is forgotten or swept",
        };
        let detail = format!("the store's clock differs by {ahead} ms");
        self.outcomes.push(CheckOutcome { check: "clock", verdict, detail, advice });
    }

    fn versions(&mut self, info: &ObjectInfo) {
        let versioned = info.version.as_deref().is_some_and(|version| version != "null");
        let (verdict, detail, advice) = if versioned {
            (
                Verdict::Warn,
                "the bucket keeps versions: a delete hides a name and frees nothing",
                "add a lifecycle rule that expires noncurrent versions after the grace period",
            )
        } else {
            (Verdict::Pass, "no versions: a delete frees its bytes", "")
        };
        let detail = detail.to_owned();
        self.outcomes.push(CheckOutcome { check: "versions", verdict, detail, advice });
    }

    async fn collide(&mut self) {
        let answer = probe_collision(self.store, &self.name("collide")).await;
        let answer = answer.map(|refused| {
            let detail = if refused {
                "a second create of one name is refused and the first bytes stay"
            } else {
                "a second create of one name is NOT refused: two writers could both win"
            };
            (refused, detail.to_owned())
        });
        self.judge("put if absent", answer, UNSAFE);
        let race = self.race().await;
        self.judge("concurrent creates", race, UNSAFE);
    }

    /// Eight creates of one name at once: exactly one set of bytes may be there, and at most one
    /// may say that it won.
    async fn race(&self) -> Result<(bool, String), StoreError> {
        let name = self.name("race");
        let creates = (0u8..8).map(|index| {
            let bytes = Bytes::from(vec![index; 32]);
            let name = name.clone();
            async move { (index, self.store.put_if_absent(&name, bytes).await) }
        });
        let answers = futures::future::join_all(creates).await;
        let winners: Vec<u8> =
            answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(index, _)| *index).collect();
        let found = self.store.get(&name, 64).await?;
        let holds = found.first().copied();
        let ok = winners.len() <= 1 && winners.first().is_none_or(|winner| holds == Some(*winner));
        Ok((ok, format!("{} of 8 concurrent creates won", winners.len())))
    }

    async fn overwrite(&mut self) {
        let name = self.name("overwrite");
        let answer = async {
            self.store.put(&name, Bytes::from_static(b"old")).await?;
            self.store.put(&name, Bytes::from_static(b"newer")).await?;
            let found = self.store.get(&name, 64).await?;
            Ok((found == Bytes::from_static(b"newer"), format!("reads back {} bytes", found.len())))
        }
        .await;
        self.judge("overwrite", answer, BROKEN);
    }

    async fn ranges(&mut self) {
        let name = self.name("range");
        let bytes: Vec<u8> =
            (0..1_048_576u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let answer = async {
            self.store.put(&name, Bytes::from(bytes.clone())).await?;
            let whole = self.store.get(&name, 2 << 20).await?;
            let middle = self.store.get_range(&name, 4096..70_001).await?;
            let last = self.store.get_range(&name, 1_048_575..1_048_576).await?;
            let ok = whole == bytes && middle == bytes[4096..70_001] && last == bytes[1_048_575..];
            Ok((ok, "1 MiB, a range inside, the last byte".to_owned()))
        }
        .await;
        self.judge("ranges", answer, BROKEN);
    }

    async fn missing(&mut self) {
        let name = self.name("missing");
        let get = self.store.get(&name, 64).await;
        let head = self.store.head(&name).await;
        let both = matches!(get, Err(StoreError::NotFound { .. }))
            && matches!(head, Err(StoreError::NotFound { .. }));
        let detail = match (get, head) {
            (Err(error), _) if !error.is_not_found() => error.to_string(),
            (_, Err(error)) if !error.is_not_found() => error.to_string(),
            _ => "an absent name answers as absent".to_owned(),
        };
        self.note(
            "absent names",
            both,
            detail,
            "grant the right to list the bucket: without it an absent name answers as denied",
        );
    }

    async fn multipart(&mut self) {
        let name = self.name("multipart");
        let answer = async {
            let mut upload = self.store.upload(&name);
            let part: Vec<u8> = (0..=250).cycle().take(PART_BYTES).collect();
            upload.write(&part).await?;
            upload.write(&part[..PART_BYTES / 2]).await?;
            upload.write(b"the end").await?;
            let written = upload.written();
            upload.finish().await?;
            let info = self.store.head(&name).await?;
            let end = self.store.get_range(&name, written - 7..written).await?;
            let seam = PART_BYTES as u64;
            let middle = self.store.get_range(&name, seam - 4..seam + 4).await?;
            let expected: Vec<u8> =
                part[PART_BYTES - 4..].iter().chain(&part[..4]).copied().collect();
            let ok = info.size_bytes == written && end == Bytes::from_static(b"the end");
            Ok((ok && middle == expected, format!("{written} bytes in parts")))
        }
        .await;
        self.judge("multipart upload", answer, BROKEN);
    }

    async fn list(&mut self) {
        let answer = self.list_semantics().await;
        self.judge("listing", answer, "cold starts and orphan searches need it; use another store");
    }

    async fn list_semantics(&self) -> Result<(bool, String), StoreError> {
        let names: Vec<String> = ["a", "b", "c/x", "c/y", "d"]
            .iter()
            .map(|leaf| self.name(&format!("list/{leaf}")))
            .collect();
        for name in &names {
            self.store.put(name, Bytes::from_static(b"x")).await?;
        }
        let folder = self.name("list");
        let mut all: Vec<String> =
            self.store.list_all(&folder, 100).await?.into_iter().map(|item| item.name).collect();
        all.sort();
        if all != names {
            return Ok((false, format!("{} of {} new names listed", all.len(), names.len())));
        }
        let mut after = Vec::new();
        let mut stream = self.store.list(&folder, Some(&names[1]));
        while let Some(item) = stream.next().await {
            after.push(item?.name);
        }
        after.sort();
        if after != names[2..] {
            let detail = format!("start-after gives {} names instead of 3", after.len());
            return Ok((false, detail));
        }
        let folders = self.store.folders(&folder).await?;
        Ok((folders == ["c"], "new names at once, start-after, folders".to_owned()))
    }

    async fn delete(&mut self) {
        let name = self.name("delete");
        let answer = async {
            self.store.put(&name, Bytes::from_static(b"x")).await?;
            self.store.delete(&name).await?;
            self.store.delete(&name).await?;
            let gone = matches!(self.store.get(&name, 64).await, Err(StoreError::NotFound { .. }));
            Ok((gone, "deleted, twice, and gone".to_owned()))
        }
        .await;
        self.judge(
            "delete",
            answer,
            "nothing can be pruned with these rights: grant delete, or prune from another machine",
        );
    }

    /// What a versioned bucket hides of the chains in it.
    async fn hidden(&mut self) {
        match masked::search(self.store).await {
            Ok(None) => {}
            Ok(Some((ok, detail))) => {
                self.note("commit versions", ok, detail, masked::ADVICE);
            }
            Err(error) => self.outcomes.push(CheckOutcome {
                check: "commit versions",
                verdict: Verdict::Warn,
                detail: error.to_string(),
                advice: "grant the right to list versions, if the bucket keeps them",
            }),
        }
    }

    async fn clean(&self) {
        let Ok(left) = self.store.list_all(&self.folder, 1000).await else { return };
        for item in left {
            if let Err(error) = self.store.delete(&item.name).await {
                tracing::debug!(%error, "a doctor's object stays");
            }
        }
    }
}
