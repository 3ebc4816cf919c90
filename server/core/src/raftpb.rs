//! Raft's messages as they stand in the WAL and in .snap files.
//!
//! Upstream declares them in proto2 with every scalar present: etcd 3.5 and 3.6 write zeros too,
//! 3.7 leaves them out. All versions read both; we write the older form. Field numbers:
//!
//! ```text
//! Entry             1 type (0 normal, 1 conf change, 2 conf change v2)  2 term  3 index  4 data
//! HardState         1 term  2 vote  3 commit
//! ConfState         1 voters  2 learners  3 voters_outgoing  4 learners_next  5 auto_leave
//! SnapshotMetadata  1 conf_state  2 index  3 term
//! Snapshot          1 data  2 metadata
//! ConfChange        1 id  2 type (0 add, 1 remove, 2 update, 3 add learner)  3 node_id  4 context
//! ```

use crate::meta::ConfState;
use crate::wire::{self, Field, Reader, WireError};

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A request, or nothing (a new leader's first entry).
    Normal,
    /// A [`ConfChange`].
    ConfChange,
    /// The second form of it, which etcd never proposes.
    ConfChangeV2,
}

/// An entry of the log. `data` is borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What `data` is.
    pub kind: EntryKind,
    /// Term of the leader that appended it.
    pub term: u64,
    /// Position in the log, from 1.
    pub index: u64,
    /// The payload.
    pub data: &'a [u8],
}

/// What raft must not forget beside its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The member's term.
    pub term: u64,
    /// Whom it voted for in that term; 0 for nobody.
    pub vote: u64,
    /// Index of the last entry known to be committed.
    pub commit: u64,
}

/// A change of the configuration, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfChange {
    /// Id of the request; 0 in a bootstrap entry.
    pub id: u64,
    /// What is done to the node.
    pub kind: ConfChangeKind,
    /// The member.
    pub node_id: u64,
    /// Its JSON, see [`crate::membership::Member`].
    pub context: Vec<u8>,
}

/// What a [`ConfChange`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfChangeKind {
    /// Adds a voter, or promotes a learner.
    AddNode,
    /// Removes a member.
    RemoveNode,
    /// Changes peer URLs.
    UpdateNode,
    /// Adds a learner.
    AddLearner,
}

/// A snapshot's place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotMetadata {
    /// Members at that point.
    pub conf_state: ConfState,
    /// Index of the last entry it covers.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

/// A snapshot as a .snap file holds it. `data` is borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftSnapshot<'a> {
    /// The v2 store's JSON, see [`crate::v2store`].
    pub data: &'a [u8],
    /// Its place in the log.
    pub metadata: SnapshotMetadata,
}

impl<'a> Entry<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Broken wire format or an unknown kind.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = Entry { kind: EntryKind::Normal, term: 0, index: 0, data: &[] };
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => {
                    out.kind = match field.as_u64(&reader)? {
                        0 => EntryKind::Normal,
                        1 => EntryKind::ConfChange,
                        2 => EntryKind::ConfChangeV2,
                        _ => return Err(reader.wrong("unknown entry type")),
                    }
                }
                2 => out.term = field.as_u64(&reader)?,
                3 => out.index = field.as_u64(&reader)?,
                4 => out.data = field.as_bytes(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message with every scalar written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + 32);
        self.append_to(&mut out);
        out
    }

    /// Appends the message with every scalar written.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            EntryKind::Normal => 0,
            EntryKind::ConfChange => 1,
            EntryKind::ConfChangeV2 => 2,
        };
        wire::put_u64(out, 1, kind);
        wire::put_u64(out, 2, self.term);
        wire::put_u64(out, 3, self.index);
        wire::put_bytes_nonempty(out, 4, self.data);
    }
}

impl HardState {
    /// Reads a message.
    ///
    /// # Errors
    /// Broken wire format.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = HardState::default();
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.term = field.as_u64(&reader)?,
                2 => out.vote = field.as_u64(&reader)?,
                3 => out.commit = field.as_u64(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message with every scalar written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_u64(&mut out, 1, self.term);
        wire::put_u64(&mut out, 2, self.vote);
        wire::put_u64(&mut out, 3, self.commit);
        out
    }
}

impl ConfChange {
    /// Reads a message.
    ///
    /// # Errors
    /// Broken wire format or an unknown kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = ConfChangeKind::AddNode;
        let mut out = ConfChange { id: 0, kind, node_id: 0, context: Vec::new() };
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.id = field.as_u64(&reader)?,
                2 => {
                    out.kind = match field.as_u64(&reader)? {
                        0 => ConfChangeKind::AddNode,
                        1 => ConfChangeKind::RemoveNode,
                        2 => ConfChangeKind::UpdateNode,
                        3 => ConfChangeKind::AddLearner,
                        _ => return Err(reader.wrong("unknown conf change type")),
                    }
                }
                3 => out.node_id = field.as_u64(&reader)?,
                4 => out.context = field.as_bytes(&reader)?.to_vec(),
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message with every scalar written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = match self.kind {
            ConfChangeKind::AddNode => 0,
            ConfChangeKind::RemoveNode => 1,
            ConfChangeKind::UpdateNode => 2,
            ConfChangeKind::AddLearner => 3,
        };
        let mut out = Vec::new();
        wire::put_u64(&mut out, 1, self.id);
        wire::put_u64(&mut out, 2, kind);
        wire::put_u64(&mut out, 3, self.node_id);
        wire::put_bytes_nonempty(&mut out, 4, &self.context);
        out
    }
}

/// Reads a ConfState. Lists may be packed or not.
///
/// # Errors
/// Broken wire format.
pub fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, WireError> {
    let mut reader = Reader::new(bytes);
    let mut out = ConfState::default();
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => push_ids(&mut out.voters, field, &reader)?,
            2 => push_ids(&mut out.learners, field, &reader)?,
            3 => push_ids(&mut out.voters_outgoing, field, &reader)?,
            4 => push_ids(&mut out.learners_next, field, &reader)?,
            5 => out.auto_leave = field.as_u64(&reader)? != 0,
            _ => {}
        }
    }
    Ok(out)
}

/// Writes a ConfState, lists unpacked.
pub fn encode_conf_state(state: &ConfState) -> Vec<u8> {
    let mut out = Vec::new();
    let lists = [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next];
    for (number, ids) in (1..).zip(lists) {
        ids.iter().for_each(|id| wire::put_u64(&mut out, number, *id));
    }
    wire::put_u64(&mut out, 5, u64::from(state.auto_leave));
    out
}

impl<'a> RaftSnapshot<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Broken wire format.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = RaftSnapshot { data: &[], metadata: SnapshotMetadata::default() };
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.data = field.as_bytes(&reader)?,
                2 => out.metadata = SnapshotMetadata::decode(field.as_bytes(&reader)?)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message with every scalar written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut metadata = Vec::new();
        wire::put_bytes(&mut metadata, 1, &encode_conf_state(&self.metadata.conf_state));
        wire::put_u64(&mut metadata, 2, self.metadata.index);
        wire::put_u64(&mut metadata, 3, self.metadata.term);
        let mut out = Vec::with_capacity(self.data.len() + metadata.len() + 16);
        wire::put_bytes_nonempty(&mut out, 1, self.data);
        wire::put_bytes(&mut out, 2, &metadata);
        out
    }
}

impl SnapshotMetadata {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut out = SnapshotMetadata::default();
        while let Some((number, field)) = reader.next_field()? {
            match number {
                1 => out.conf_state = decode_conf_state(field.as_bytes(&reader)?)?,
                2 => out.index = field.as_u64(&reader)?,
                3 => out.term = field.as_u64(&reader)?,
                _ => {}
            }
        }
        Ok(out)
    }
}

fn push_ids(ids: &mut Vec<u64>, field: Field<'_>, reader: &Reader<'_>) -> Result<(), WireError> {
    let Field::Bytes(packed) = field else {
        ids.push(field.as_u64(reader)?);
        return Ok(());
    };
    let mut rest = packed;
    while !rest.is_empty() {
        let (id, len) = wire::split_varint(rest).ok_or(reader.wrong("bad packed list"))?;
        ids.push(id);
        rest = &rest[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_that_etcdutl_writes() {
        let id = 0xd622_1276_8587_9b3c;
        let id_bytes = [0xbc, 0xb6, 0x9e, 0xac, 0xe8, 0xce, 0x84, 0x91, 0xd6, 0x01];
        let state = HardState { term: 1, vote: id, commit: 1 };
        assert_eq!(state.to_bytes(), [&[8, 1, 0x10][..], &id_bytes, &[0x18, 1]].concat());
        assert_eq!(HardState::decode(&state.to_bytes()), Ok(state));
        let conf = ConfState::of_voters(vec![id]);
        assert_eq!(encode_conf_state(&conf), [&[8][..], &id_bytes, &[0x28, 0]].concat());
        let packed = [&[10, 10][..], &id_bytes].concat();
        assert_eq!(decode_conf_state(&packed), Ok(conf));
        let change =
            ConfChange { id: 0, kind: ConfChangeKind::AddNode, node_id: id, context: vec![b'x'] };
        let want = [&[8, 0, 0x10, 0, 0x18][..], &id_bytes, &[0x22, 1, b'x']].concat();
        assert_eq!(change.to_bytes(), want);
        assert_eq!(ConfChange::decode(&want), Ok(change));
    }

    proptest! {
        #[test]
        fn entries_come_back(
            kind in 0usize..3, term: u64, index: u64,
            data in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let kind = [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2][kind];
            let entry = Entry { kind, term, index, data: &data };
            let bytes = entry.to_bytes();
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        }

        #[test]
        fn snapshots_come_back(
            data in proptest::collection::vec(any::<u8>(), 0..50),
            voters: Vec<u64>, learners: Vec<u64>, index: u64, term: u64, auto_leave: bool,
        ) {
            let conf_state = ConfState { voters, learners, auto_leave, ..ConfState::default() };
            let metadata = SnapshotMetadata { conf_state, index, term };
            let snapshot = RaftSnapshot { data: &data, metadata };
            let bytes = snapshot.to_bytes();
            prop_assert_eq!(RaftSnapshot::decode(&bytes), Ok(snapshot));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Entry::decode(&bytes), HardState::decode(&bytes), ConfChange::decode(&bytes));
            let _ = (RaftSnapshot::decode(&bytes), decode_conf_state(&bytes));
        }
    }
}
