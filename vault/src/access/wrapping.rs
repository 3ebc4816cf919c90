//! Wrapping seeds and storing the wraps.
//!
//! Holds: a wrap is put under both of its names and read back from both before anything refers to
//! it; one by the first provider is opened, too.

use super::wraps::{COPIES, WRAP_LIMIT, is_recovery};
use super::{Access, AccessError};
use crate::keys::{NewWrap, Recipient, SealedWrap, Seed};
use crate::proto::WrapRef;

impl Access {
    /// Wraps a seed under the first provider, stores the wrap, reads it back and opens it.
    pub async fn store_wrap(&self, seed: &Seed) -> Result<WrapRef, AccessError> {
        let new = match self.providers.is_paper_alone() {
            true => NewWrap::for_recovery(&mut **self.entropy()),
            false => NewWrap::random(&mut **self.entropy()),
        };
        let now_ms = self.clock.now_ms();
        let wrapped = self.providers.wrap(seed, self.owner(), self.unsealed, now_ms, new).await?;
        let reference = self.put_wrap(seed, &wrapped).await?;
        let opened =
            self.providers.open_bytes(&wrapped.bytes, seed.id(), self.owner(), self.unsealed);
        if opened.await?.seed.secret() != seed.secret() {
            return Err(AccessError::NotKept { seed: seed.id() });
        }
        Ok(reference)
    }

    /// Wraps a seed for the recovery key, stores the wrap and reads it back. Only the paper opens
    /// it.
    pub(crate) async fn store_recovery_wrap(
        &self,
        seed: &Seed,
        recipient: Recipient,
    ) -> Result<WrapRef, AccessError> {
        let new = NewWrap::for_recovery(&mut **self.entropy());
        let now_ms = self.clock.now_ms();
        let wrapped = self.providers.wrap_for(recipient, seed, self.owner(), now_ms, new)?;
        self.put_wrap(seed, &wrapped).await
    }

    /// Puts both copies; what comes back is what was put.
    async fn put_wrap(&self, seed: &Seed, wrapped: &SealedWrap) -> Result<WrapRef, AccessError> {
        for name in self.names.wrap(seed.id(), wrapped.id) {
            self.store.put(&name, wrapped.bytes.clone().into()).await?;
            let found = self.store.get(&name, WRAP_LIMIT).await?;
            if found[..] != wrapped.bytes[..] {
                return Err(AccessError::NotKept { seed: seed.id() });
            }
        }
        Ok(WrapRef { copies: COPIES, ..wrapped.reference.clone() })
    }

    /// Wraps and stores a fresh seed, under the first provider and for the recovery key if there is
    /// one; the message is what a commit says of it. When the key service is away, the recovery
    /// key alone must do; a rewrap adds the rest.
    pub async fn store_seed(&self, seed: &Seed) -> Result<crate::proto::Seed, AccessError> {
        let mut wraps = Vec::new();
        let recipient = self.recipient();
        match (self.store_wrap(seed).await, recipient) {
            (Ok(wrap), _) => wraps.push(wrap),
            (Err(error), Some(recipient)) if error.is_key_service() => {
                let (seed, key) = (seed.id(), recipient.key_id());
                tracing::warn!(%seed, key, %error, "a new seed is wrapped for the recovery key alone");
            }
            (Err(error), _) => return Err(error),
        }
        if let Some(recipient) = recipient
            && !wraps.iter().any(|wrap| is_recovery(wrap, Some(recipient)))
        {
            wraps.push(self.store_recovery_wrap(seed, recipient).await?);
        }
        Ok(crate::proto::Seed {
            seed_id: seed.id().to_bytes(),
            kind: seed.kind().into(),
            created_ms: self.clock.now_ms(),
            wraps,
            condemned_wraps: vec![],
        })
    }
}
