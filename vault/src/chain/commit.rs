//! The commit attempt: write pages and ledger, create the name, and after any answer but success
//! look what lies there.

use super::load::remember;
use super::rules::{self, Found, Next, Round};
use super::state::object_id;
use super::{Catalogue, Chain, ChainError, Draft};
use crate::access::sha256;
use crate::chain::catalogue::Page;
use crate::chain::draft::Attempt;
use crate::format::{MAX_COMMIT_BYTES, ObjectId};
use crate::proto::{CataloguePage, Commit, LedgerRef, ObjectKind, PageRef};
use crate::store::StoreError;
use bytes::Bytes;
use futures::StreamExt;

/// Tries of one attempt before the store counts as unreachable.
const TRIES: u32 = 12;

/// How a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It stands, with this number; the chain has moved on to it.
    Won(u64),
    /// Another's commit took the number; the chain was read again up to the new head.
    Lost,
}

impl Chain {
    /// Tries to add `draft` as the commit after the head. `store_ms` is the store's clock, 0 if
    /// unknown.
    ///
    /// # Errors
    /// `RoundTooOld`, `Unknown` (the store stopped answering), `Store`, and damage found while
    /// re-reading.
    ///
    /// # Panics
    /// If the draft breaks a rule of the chain: that is a defect of its maker, found before
    /// anything is written.
    pub async fn commit(
        &mut self,
        draft: &Draft,
        round: Round,
        store_ms: i64,
    ) -> Result<CommitOutcome, ChainError> {
        let access = self.access.clone();
        if !round.may_attempt(access.clock().boot_ms()) {
            return Err(ChainError::RoundTooOld);
        }
        self.check_writable()?;
        let mut draft = draft.clone();
        let now_ms = access.clock().now_ms();
        let edit = draft.numbered_edit(&self.state, now_ms, store_ms);
        let catalogue = self.catalogue.edited(&edit, access.limits().page_entries);
        let catalogue = self.write_pages(&mut draft, catalogue).await?;
        let ledger = self.write_ledger(&mut draft).await?;
        let id = access.random_object_id();
        let attempt = Attempt { writer: access.writer(), id, now_ms, store_ms };
        let commit = draft.build(&self.state, &catalogue, ledger, &attempt);
        if let Err(error) = self.state.check_next(&commit, &catalogue.numbers()) {
            panic!("a draft that breaks the chain: {error}");
        }
        let bytes = access.seal_commit(&commit)?;
        let name = access.names().commit(commit.era, commit.number);
        match self.attempt(&name, &bytes, commit.number, round).await? {
            Next::Won => self.won(commit, catalogue, &bytes),
            Next::Confirm => self.confirm(commit, catalogue, &bytes).await,
            Next::Lost => {
                self.refresh().await?;
                Ok(CommitOutcome::Lost)
            }
            Next::TooOld | Next::Retry => Err(ChainError::RoundTooOld),
        }
    }

    async fn attempt(
        &self,
        name: &str,
        bytes: &Bytes,
        number: u64,
        round: Round,
    ) -> Result<Next, ChainError> {
        let store = self.access.store();
        let boot = || self.access.clock().boot_ms();
        let mut tries = 1;
        loop {
            let answer = store.put_if_absent(name, bytes.clone()).await;
            let found = match &answer {
                Ok(()) => None,
                // A refusal that no retry changes: nothing was created.
                Err(error @ (StoreError::Denied { .. } | StoreError::Full { .. })) => {
                    return Err(error.clone().into());
                }
                Err(_) => Some(self.look(name, bytes, number).await?),
            };
            let next = rules::judge(answer.is_ok(), found, self.read_boot_ms, round, boot());
            match (next, answer) {
                (Next::Retry, Err(error)) if tries >= TRIES => return Err(error.into()),
                (Next::Retry, _) => {}
                (next, _) => return Ok(next),
            }
            store.pause(tries).await;
            tries += 1;
        }
    }

    async fn look(&self, name: &str, bytes: &Bytes, number: u64) -> Result<Found, ChainError> {
        match self.access.store().get(name, MAX_COMMIT_BYTES).await {
            Ok(found) if found == *bytes => Ok(Found::Ours),
            Ok(_) => Ok(Found::Anothers),
            Err(StoreError::NotFound { .. }) => Ok(Found::Nothing),
            Err(source) => Err(ChainError::Unknown { number, source }),
        }
    }

    fn won(
        &mut self,
        commit: Commit,
        catalogue: Catalogue,
        bytes: &Bytes,
    ) -> Result<CommitOutcome, ChainError> {
        let (number, digest) = (commit.number, sha256(bytes));
        self.state.apply(commit, digest)?;
        self.catalogue = catalogue;
        self.access.know_wraps(&self.state.head().seeds);
        remember(&mut self.recent, number, digest);
        Ok(CommitOutcome::Won(number))
    }

    /// A slow create: it stands only if nobody made, and then deleted, another commit of that
    /// number before. A listing may be too old to show what followed it. But numbers are deleted
    /// from the bottom: as long as the commit below is the one that was built on, ours never was.
    async fn confirm(
        &mut self,
        commit: Commit,
        catalogue: Catalogue,
        bytes: &Bytes,
    ) -> Result<CommitOutcome, ChainError> {
        let (number, era) = (commit.number, commit.era);
        let name = self.access.names().commit(era, number);
        let unknown = |source| ChainError::Unknown { number, source };
        let mut newer = self.access.store().list(&self.access.names().commits(), Some(&name));
        let mut alone = true;
        while let Some(item) = newer.next().await {
            let item = item.map_err(unknown)?;
            let listed = self.access.names().parse_commit(&item.name);
            alone &= listed.is_none_or(|found| found <= (era, number));
        }
        drop(newer);
        let below = self.access.names().commit(era, number - 1);
        let based = match self.access.store().get(&below, MAX_COMMIT_BYTES).await {
            Ok(found) => sha256(&found) == *self.state.sha256(),
            Err(StoreError::NotFound { .. }) => false,
            Err(source) => return Err(unknown(source)),
        };
        if alone && based {
            return self.won(commit, catalogue, bytes);
        }
        self.reload().await?;
        let stands = self.recent.get(&number) == Some(&sha256(bytes));
        Ok(if stands { CommitOutcome::Won(number) } else { CommitOutcome::Lost })
    }

    /// Stores the pages that changed and notes them in the draft.
    async fn write_pages(
        &self,
        draft: &mut Draft,
        catalogue: Catalogue,
    ) -> Result<Catalogue, ChainError> {
        for old in catalogue.removed_pages() {
            if let Some(Ok(id)) = old.object.as_ref().map(object_id) {
                retire(draft, id);
            }
        }
        let mut references = Vec::new();
        for page in catalogue.pages() {
            let Page::Unwritten { entries, .. } = page else { continue };
            let message = CataloguePage { entries: entries.clone() };
            let object = self.access.put_message(ObjectKind::Page, &message).await?;
            draft.added.push(object.clone());
            references.push(PageRef {
                object: Some(object),
                first_number: entries.first().map_or(0, |entry| entry.number),
                last_number: entries.last().map_or(0, |entry| entry.number),
                count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            });
        }
        Ok(catalogue.stored(references))
    }

    /// Stores a ledger of the head's state when the next number asks for one.
    async fn write_ledger(&self, draft: &mut Draft) -> Result<Option<LedgerRef>, ChainError> {
        let number = self.state.number();
        if !(number + 1).is_multiple_of(self.access.limits().ledger_every) {
            return Ok(None);
        }
        let wraps = self.access.read_wraps(&self.head().seeds).await;
        let ledger = self.state.ledger(wraps);
        let object = self.access.put_message(ObjectKind::Ledger, &ledger).await?;
        draft.added.push(object.clone());
        let old = self.head().ledger.as_ref().and_then(|old| old.object.as_ref());
        if let Some(Ok(old)) = old.map(object_id) {
            retire(draft, old);
        }
        Ok(Some(LedgerRef { object: Some(object), number }))
    }
}

/// What only the head needs leaves with the head and is condemned at once.
fn retire(draft: &mut Draft, id: ObjectId) {
    draft.removed.push(id);
    draft.condemned.push(id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::VaultOptions;
    use crate::keys::{Providers, Sealing, parse_encryption_config};
    use crate::proto::action::Kind;
    use crate::{Store, StoreOptions, Vault};
    use object_store::memory::InMemory;
    use std::sync::Arc;

    #[tokio::test]
    async fn after_a_newer_version_an_older_one_reads_and_does_not_write() {
        let text = "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: \
                    [{resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: \
                    MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]}]}";
        let config = parse_encryption_config(text).expect("a configuration");
        let providers =
            Providers::from_config(&config, Sealing::Required, &mut |_| panic!("no kms here"));
        let store = Store::over(Arc::new(InMemory::new()), "memory", StoreOptions::default());
        let vault = Vault::init(store, VaultOptions::new(providers)).await.expect("a vault");
        let mut chain = Chain::load(vault.access().clone()).await.expect("a chain");
        chain.write_guard = Some(40);
        let (round, draft) = (vault.round(), Draft::of(Kind::Epoch, 0, ""));
        let refused = chain.commit(&draft, round, 0).await;
        assert!(
            matches!(refused, Err(ChainError::WriterTooOld { number: 1, bit: 40 })),
            "{refused:?}"
        );
        chain.refresh().await.expect("it still reads");
        assert_eq!(chain.write_guard, Some(40), "the head is the same");
        chain.write_guard = None;
        assert_eq!(chain.commit(&draft, round, 0).await.expect("won"), CommitOutcome::Won(2));
    }
}
