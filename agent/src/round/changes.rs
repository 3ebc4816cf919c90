//! The short way: a member of our own server tells what the vault does not have.
//!
//! What must hold: it is taken only onto the newest snapshot as it was named; whatever cannot be
//! had so is had the long way in the same round (a member that does not offer it) or in the next
//! one (an answer that failed).

use super::facts::{self, Counted, Stream};
use super::take::{Asking, Content, Taken, ask_hash};
use super::{Round, RoundError};
use crate::changes::{self, Answered, Asked, Changed, ChangesError};
use crate::reader::ReaderError;
use crate::stop::Stop;
use holdfast_core::database::{DatabaseError, DatabaseFacts, KeyFacts};
use holdfast_core::revision::Revision;
use holdfast_vault::proto::{Facts, HashKv};
use holdfast_vault::vault::Vault;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The short way's end, or the asking to go on with.
pub(super) enum Way {
    Changes(Box<Taken>),
    Whole(Box<Asking>),
}

impl Round<'_> {
    /// Asks the chosen member for what `vault` does not have.
    pub(super) async fn take_changes(
        &self,
        vault: &Vault,
        asking: Asking,
    ) -> Result<Way, RoundError> {
        let began = Instant::now();
        let Some(naming) = vault.naming(self.damaged).await? else {
            return Ok(Way::Whole(Box::new(asking)));
        };
        let (number, before) = (naming.number(), naming.facts());
        let member = asking.client.member(&asking.choice.endpoint)?;
        let spool = (self.config.spool_directory(), self.config.spool.size_limit.bytes());
        let asked = changes::ask(member, naming, spool, self.deadlines());
        match self.timed("changes", asked).await? {
            Asked::NotNow(reason) => {
                tracing::debug!(reason, "the member tells no changes: taking all that it has");
                Ok(Way::Whole(Box::new(asking)))
            }
            Asked::Answered(answered) => {
                let taken = self.changed(asking, *answered, (number, before), began.elapsed());
                Ok(Way::Changes(Box::new(taken.await?)))
            }
        }
    }

    async fn changed(
        &self,
        asking: Asking,
        answered: Answered,
        (number, before): (u64, Facts),
        elapsed: Duration,
    ) -> Result<Taken, RoundError> {
        let answer = &answered.answer;
        let trailer = &answer.trailer;
        let last = Revision::new(trailer.last_main, trailer.last_sub);
        let key = KeyFacts {
            records: trailer.records,
            tombstones: trailer.tombstones,
            size_bytes: trailer.live_bytes,
            last: (last.main > 0).then_some(last),
        };
        let database = DatabaseFacts::of(&answer.small, key);
        let database = database
            .map_err(|error: DatabaseError| RoundError::Database(ReaderError::Database(error)))?;
        let (revision, compacted) = (database.revision, database.meta.marks.effective());
        let stream = Stream {
            bytes: answer.received_bytes,
            sha256: answer.sha256,
            storage_version: answer.header.storage_version.clone(),
            milliseconds: i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
            taken_ms: self.now_ms,
        };
        let asked =
            self.timed("hash", ask_hash(&asking.client, &asking.choice, revision, compacted)).await;
        let counted = Counted {
            database: &database,
            compact_revision: compacted,
            key_count: trailer.keys,
            source_bytes: answer.header.database_bytes,
        };
        let facts = facts::facts(&asking.choice, &counted, &stream);
        let computed = HashKv {
            revision: trailer.hash_revision,
            compact_revision: trailer.hash_compact_revision,
            hash: trailer.hash,
        };
        let scope = |hash: &HashKv| (hash.revision, hash.compact_revision);
        let differences = answered.differences(number).ok_or_else(|| {
            let reason = "its totals have no digest".to_owned();
            RoundError::Changes(ChangesError::Malformed { reason })
        })?;
        tracing::info!(
            revision,
            received_bytes = answer.received_bytes,
            named = answered.names,
            equal = trailer.equal,
            records = trailer.records,
            spooled = answer.is_spooled(),
            "the member told what the vault did not have"
        );
        let changed = Changed {
            differences,
            facts,
            before,
            asked: asked.filter(|asked| scope(asked) == scope(&computed)),
            computed,
            sensitive_prefixes: self.sensitive_prefixes(),
            answered,
        };
        let content = Content::Changes(Arc::new(changed));
        Ok(Taken::of(asking, content, &stream, Stop::default()))
    }
}
