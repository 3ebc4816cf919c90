//! What everything else hangs on: the root, the wraps, the commits.

use super::Checker;
use crate::access::{AccessError, WRAP_LIMIT, sha256};
use crate::chain::ChainError;
use crate::format::{MAX_COMMIT_BYTES, ROOT_NAME, decode_root};
use crate::proto::{Seed, WrapRef};
use crate::root::ROOT_LIMIT;
use crate::store::StoreError;

impl Checker<'_> {
    pub(super) async fn root(&mut self) -> Result<(), ChainError> {
        let all = self.all();
        let Some(bytes) = self.read(ROOT_NAME, ROOT_LIMIT, &all).await? else { return Ok(()) };
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
    pub(super) async fn wraps(&mut self) -> Result<(), ChainError> {
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
    pub(super) async fn commits(&mut self) -> Result<(), ChainError> {
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
    pub(super) fn gaps(&mut self) {
        for gap in self.vault.chain().gaps().to_vec() {
            if !self.report.findings.iter().any(|finding| finding.object == gap.name) {
                let detail =
                    format!("{}; nothing can be written to this chain any more", gap.detail);
                self.find(&gap.name, detail, Vec::new());
            }
        }
    }
}
