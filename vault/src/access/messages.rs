//! Sealing and opening what is read whole: commits, pages, ledgers, reports.
//!
//! Holds: an object is opened only as what its reference, kind, vault and cluster say; what a
//! damaged header asks for is not taken for what was written.

use super::{Access, AccessError};
use crate::format::{
    Expected, FormatError, Header, NewObject, ObjectContext, ObjectId, ObjectName, OpenedCommit,
    OpenedObject, Part, has_sound_trailer, open_commit, open_message, seal_commit, seal_message,
};
use crate::keys::IndexSeed;
use crate::proto::{
    CatalogueEntry, CataloguePage, Commit, Ledger, LedgerRef, ObjectKind, ObjectRef, PageRef,
};
use bytes::Bytes;
use prost::Message;

/// Longest message object that is read whole: pages, ledgers, bodies' index sections.
pub const MESSAGE_LIMIT: u64 = 1 << 30;

impl Access {
    /// What an object of this kind must be.
    pub fn expected<'a>(&self, kind: ObjectKind, reference: Option<&'a ObjectRef>) -> Expected<'a> {
        Expected { kind, vault: self.vault, cluster: self.cluster, reference }
    }

    /// Opens the commit of this era and number.
    pub(crate) async fn open_commit(
        &self,
        number: (u64, u64),
        bytes: &[u8],
    ) -> Result<OpenedCommit, AccessError> {
        let name = ObjectName { kind: ObjectKind::Commit, id: None };
        let spoilt = |error: &dyn std::fmt::Display| {
            let reason = format!("its SHA-256 is not the one in its trailer ({error})").into();
            FormatError::Damaged { object: name, part: Part::Header, reason }.into()
        };
        // What a damaged header asks for is not what was written.
        let header = match Header::parse(bytes, name) {
            Err(error) if !error.is_damage() && !has_sound_trailer(bytes) => {
                return Err(spoilt(&error));
            }
            parsed => parsed?,
        };
        match self.ensure_seed(header.index_seed).await {
            Err(error @ AccessError::NoWrap { .. }) if !has_sound_trailer(bytes) => {
                return Err(spoilt(&error));
            }
            ensured => ensured?,
        }
        Ok(open_commit(bytes, (self.vault, self.cluster), number, &self.keyring())?)
    }

    /// Seals a commit.
    pub(crate) fn seal_commit(&self, commit: &Commit) -> Result<Bytes, crate::chain::ChainError> {
        let seed = self.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
        let id = ObjectId::from_bytes(&commit.attempt_id).expect("drafts carry a random id");
        let new = NewObject::with_id(id, &mut **self.entropy());
        let sealed = seal_commit(&self.context(&seed), &new, commit, Vec::new());
        let (_, bytes) = sealed.map_err(AccessError::from)?;
        Ok(bytes.into())
    }

    /// Whose objects, under this index seed, without data frames.
    pub fn context<'a>(&self, index: &'a IndexSeed) -> ObjectContext<'a> {
        ObjectContext { vault: self.vault, cluster: self.cluster, data: None, index }
    }

    /// Seals a message into an object of its own and stores it.
    pub async fn put_message<M: Message>(
        &self,
        kind: ObjectKind,
        message: &M,
    ) -> Result<ObjectRef, crate::chain::ChainError> {
        let seed = self.sealing_seed().ok_or(crate::chain::ChainError::ReadOnly)?;
        let new = NewObject::random(&mut **self.entropy());
        let sealed = seal_message(kind, &self.context(&seed), &new, message);
        let (finished, bytes) = sealed.map_err(AccessError::from)?;
        self.store.put(&self.names.object(kind, new.id()), bytes.into()).await?;
        Ok(finished.reference)
    }

    /// Reads and opens the message object that `reference` names.
    pub async fn read_message<M: Message + Default>(
        &self,
        reference: &ObjectRef,
    ) -> Result<(M, OpenedObject), AccessError> {
        let kind = reference.kind();
        let id = ObjectId::from_bytes(&reference.object_id).map_err(|error| {
            let object = ObjectName { kind, id: None };
            FormatError::Refused { object, reason: error.to_string().into() }
        })?;
        self.ensure_index_seed(reference).await?;
        let limit = reference.size_bytes.min(MESSAGE_LIMIT);
        let bytes = self.store.get(&self.names.object(kind, id), limit).await?;
        let expected = self.expected(kind, Some(reference));
        Ok(open_message(&bytes, &expected, &self.keyring())?)
    }

    /// The entries of a catalogue page.
    pub(crate) async fn read_page(
        &self,
        page: &PageRef,
    ) -> Result<Vec<CatalogueEntry>, AccessError> {
        let reference = page.object.clone().unwrap_or_default();
        let (page, _) = self.read_message::<CataloguePage>(&reference).await?;
        Ok(page.entries)
    }

    /// A ledger.
    pub(crate) async fn read_ledger(&self, ledger: &LedgerRef) -> Result<Ledger, AccessError> {
        let reference = ledger.object.clone().unwrap_or_default();
        Ok(self.read_message::<Ledger>(&reference).await?.0)
    }
}
