//! What members say to each other: messages, entries, snapshots, and their protobuf form.
//!
//! Kinds are numbered as upstream's `MessageType` (0-23), so that members of ours and of upstream's
//! understand each other. Kinds that never leave a member (its own ticks and reports, and those of
//! upstream's asynchronous storage) exist as numbers only: [`MessageKind::is_local`].
//! Must hold: what is written has every scalar present, as upstream up to raft 3.6 writes it; what
//! is read may leave zeros out (3.7) or carry an empty snapshot (3.5).

use bytes::Bytes;
use holdfast_api::raftpb as pb;

use crate::meta::ConfState;
use crate::raftpb::{self, EntryKind, SnapshotMetadata};

/// Context of a vote request that overrides the leader's lease: its sender was told to take over.
pub const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// Nobody: an id that no member has.
pub const NOBODY: u64 = 0;

/// What a message is. The numbers are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// Own tick: campaign.
    Hup = 0,
    /// Own tick: send heartbeats.
    Beat = 1,
    /// Entries for the leader to append.
    Propose = 2,
    /// Entries of the leader's log.
    Append = 3,
    /// Answer to [`Self::Append`] and [`Self::Snapshot`].
    AppendAnswer = 4,
    /// Asks for a vote.
    Vote = 5,
    /// Answer to it.
    VoteAnswer = 6,
    /// A snapshot in place of entries.
    Snapshot = 7,
    /// The leader is alive.
    Heartbeat = 8,
    /// Answer to it.
    HeartbeatAnswer = 9,
    /// Own transport: a peer cannot be reached.
    Unreachable = 10,
    /// Own transport: how sending a snapshot ended.
    SnapshotStatus = 11,
    /// Own tick: is a quorum active.
    CheckQuorum = 12,
    /// Hand leadership to the sender.
    TransferLeader = 13,
    /// Campaign at once.
    TimeoutNow = 14,
    /// Asks for a read index.
    ReadIndex = 15,
    /// Answer to it.
    ReadIndexAnswer = 16,
    /// Asks whether a vote would be given.
    PreVote = 17,
    /// Answer to it.
    PreVoteAnswer = 18,
    /// Asynchronous storage, not used.
    StorageAppend = 19,
    /// Asynchronous storage, not used.
    StorageAppendAnswer = 20,
    /// Asynchronous storage, not used.
    StorageApply = 21,
    /// Asynchronous storage, not used.
    StorageApplyAnswer = 22,
    /// Forget the leader, not used.
    ForgetLeader = 23,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What `data` is.
    pub kind: EntryKind,
    /// Term of the leader that appended it; 0 in a proposal.
    pub term: u64,
    /// Position in the log, from 1; 0 in a proposal.
    pub index: u64,
    /// The payload.
    pub data: Bytes,
}

/// Where an entry stands and who put it there. Two logs with the same id are equal up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryId {
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A state that stands for all entries up to its index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// For etcd the v2 store's JSON; raft does not look at it.
    pub data: Bytes,
    /// Its place in the log and the members there.
    pub metadata: SnapshotMetadata,
}

/// One message between members. Fields that a kind does not use are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// Receiver.
    pub to: u64,
    /// Sender; [`NOBODY`] in a request of this member itself.
    pub from: u64,
    /// Sender's term; 0 on proposals and read requests.
    pub term: u64,
    /// Term of the entry at `index`; in a refused append, of the entry at `reject_hint`.
    pub log_term: u64,
    /// Entry before the first one sent; in an answer the last one taken or the one refused.
    pub index: u64,
    /// Entries.
    pub entries: Vec<Entry>,
    /// Sender's commit index, or what of it is safe for the receiver.
    pub commit: u64,
    /// With [`MessageKind::Snapshot`].
    pub snapshot: Option<Box<Snapshot>>,
    /// Whether an answer is a refusal.
    pub reject: bool,
    /// In a refused append: the last index that can match.
    pub reject_hint: u64,
    /// Why a campaign is held, or which read a heartbeat is for.
    pub context: Bytes,
}

/// A message that cannot be one of raft's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A kind beyond those that etcd 3.5 to 3.7 know.
    #[error("raft message of unknown kind {0}; is the peer of a newer version?")]
    Kind(i32),
    /// An entry of a kind beyond those that etcd 3.5 to 3.7 know.
    #[error("raft entry of unknown kind {0}; is the peer of a newer version?")]
    EntryKind(i32),
}

const KINDS: [MessageKind; 24] = {
    use MessageKind as K;
    [
        K::Hup,
        K::Beat,
        K::Propose,
        K::Append,
        K::AppendAnswer,
        K::Vote,
        K::VoteAnswer,
        K::Snapshot,
        K::Heartbeat,
        K::HeartbeatAnswer,
        K::Unreachable,
        K::SnapshotStatus,
        K::CheckQuorum,
        K::TransferLeader,
        K::TimeoutNow,
        K::ReadIndex,
        K::ReadIndexAnswer,
        K::PreVote,
        K::PreVoteAnswer,
        K::StorageAppend,
        K::StorageAppendAnswer,
        K::StorageApply,
        K::StorageApplyAnswer,
        K::ForgetLeader,
    ]
};

impl MessageKind {
    /// The kind with upstream's number.
    pub fn from_number(number: i32) -> Option<Self> {
        usize::try_from(number).ok().and_then(|at| KINDS.get(at).copied())
    }

    /// Upstream's number.
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }

    /// Whether it never travels between members: the node refuses it from outside.
    pub fn is_local(self) -> bool {
        use MessageKind as K;
        matches!(
            self,
            K::Hup
                | K::Beat
                | K::Unreachable
                | K::SnapshotStatus
                | K::CheckQuorum
                | K::StorageAppend
                | K::StorageAppendAnswer
                | K::StorageApply
                | K::StorageApplyAnswer
        )
    }

    /// Whether it answers a request, so that only members may send it.
    pub fn is_answer(self) -> bool {
        use MessageKind as K;
        matches!(
            self,
            K::AppendAnswer
                | K::VoteAnswer
                | K::HeartbeatAnswer
                | K::ReadIndexAnswer
                | K::PreVoteAnswer
        )
    }
}

impl Entry {
    /// A proposal of `data`; term and index are the leader's to give.
    pub fn proposal(kind: EntryKind, data: Bytes) -> Self {
        Entry { kind, term: 0, index: 0, data }
    }

    /// Its id.
    pub fn id(&self) -> EntryId {
        EntryId { term: self.term, index: self.index }
    }

    /// Bytes of its protobuf form with every scalar present: what the limits on messages and
    /// batches count, as upstream counts them.
    pub fn encoded_len(&self) -> u64 {
        let data = match self.data.len() as u64 {
            0 => 0,
            len => 1 + varint_len(len) + len,
        };
        2 + 1 + varint_len(self.term) + 1 + varint_len(self.index) + data
    }

    /// The entry as the WAL writes it.
    pub fn as_record(&self) -> raftpb::Entry<'_> {
        raftpb::Entry { kind: self.kind, term: self.term, index: self.index, data: &self.data }
    }

    fn decode(entry: pb::Entry) -> Result<Self, DecodeError> {
        let kind = match entry.r#type.unwrap_or_default() {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            2 => EntryKind::ConfChangeV2,
            number => return Err(DecodeError::EntryKind(number)),
        };
        Ok(Entry {
            kind,
            term: entry.term.unwrap_or_default(),
            index: entry.index.unwrap_or_default(),
            data: entry.data.unwrap_or_default(),
        })
    }

    fn encode(self) -> pb::Entry {
        let kind = match self.kind {
            EntryKind::Normal => 0,
            EntryKind::ConfChange => 1,
            EntryKind::ConfChangeV2 => 2,
        };
        pb::Entry {
            r#type: Some(kind),
            term: Some(self.term),
            index: Some(self.index),
            data: (!self.data.is_empty()).then_some(self.data),
        }
    }
}

/// From a WAL record; copies the payload.
impl From<&raftpb::Entry<'_>> for Entry {
    fn from(entry: &raftpb::Entry<'_>) -> Self {
        let data = Bytes::copy_from_slice(entry.data);
        Entry { kind: entry.kind, term: entry.term, index: entry.index, data }
    }
}

impl Snapshot {
    /// Its last entry.
    pub fn id(&self) -> EntryId {
        EntryId { term: self.metadata.term, index: self.metadata.index }
    }

    fn decode(snapshot: pb::Snapshot) -> Self {
        let metadata = snapshot.metadata.unwrap_or_default();
        let conf = metadata.conf_state.unwrap_or_default();
        Snapshot {
            data: snapshot.data.unwrap_or_default(),
            metadata: SnapshotMetadata {
                conf_state: ConfState {
                    voters: conf.voters,
                    learners: conf.learners,
                    voters_outgoing: conf.voters_outgoing,
                    learners_next: conf.learners_next,
                    auto_leave: conf.auto_leave.unwrap_or_default(),
                },
                index: metadata.index.unwrap_or_default(),
                term: metadata.term.unwrap_or_default(),
            },
        }
    }

    fn encode(self) -> pb::Snapshot {
        let SnapshotMetadata { conf_state: conf, index, term } = self.metadata;
        let conf_state = pb::ConfState {
            voters: conf.voters,
            learners: conf.learners,
            voters_outgoing: conf.voters_outgoing,
            learners_next: conf.learners_next,
            auto_leave: Some(conf.auto_leave),
        };
        pb::Snapshot {
            data: (!self.data.is_empty()).then_some(self.data),
            metadata: Some(pb::SnapshotMetadata {
                conf_state: Some(conf_state),
                index: Some(index),
                term: Some(term),
            }),
        }
    }
}

impl Message {
    /// A message of a kind to a member, with all else zero. The node fills in sender and term.
    pub fn new(kind: MessageKind, to: u64) -> Self {
        Message {
            kind,
            to,
            from: NOBODY,
            term: 0,
            log_term: 0,
            index: 0,
            entries: Vec::new(),
            commit: 0,
            snapshot: None,
            reject: false,
            reject_hint: 0,
            context: Bytes::new(),
        }
    }

    /// From the protobuf form. What asynchronous storage adds to a message is left out.
    ///
    /// # Errors
    /// A kind that we do not know.
    pub fn decode(message: pb::Message) -> Result<Self, DecodeError> {
        let number = message.r#type.unwrap_or_default();
        let kind = MessageKind::from_number(number).ok_or(DecodeError::Kind(number))?;
        // 3.5 sends an empty snapshot with every message.
        let snapshot = message.snapshot.map(Snapshot::decode);
        let snapshot = snapshot.filter(|snapshot| snapshot.metadata.index > 0).map(Box::new);
        let entries: Result<_, _> = message.entries.into_iter().map(Entry::decode).collect();
        Ok(Message {
            kind,
            to: message.to.unwrap_or_default(),
            from: message.from.unwrap_or_default(),
            term: message.term.unwrap_or_default(),
            log_term: message.log_term.unwrap_or_default(),
            index: message.index.unwrap_or_default(),
            entries: entries?,
            commit: message.commit.unwrap_or_default(),
            snapshot,
            reject: message.reject.unwrap_or_default(),
            reject_hint: message.reject_hint.unwrap_or_default(),
            context: message.context.unwrap_or_default(),
        })
    }

    /// The protobuf form with every scalar present, as raft 3.6 writes it.
    pub fn encode(self) -> pb::Message {
        pb::Message {
            r#type: Some(self.kind.number()),
            to: Some(self.to),
            from: Some(self.from),
            term: Some(self.term),
            log_term: Some(self.log_term),
            index: Some(self.index),
            entries: self.entries.into_iter().map(Entry::encode).collect(),
            commit: Some(self.commit),
            snapshot: self.snapshot.map(|snapshot| snapshot.encode()),
            reject: Some(self.reject),
            reject_hint: Some(self.reject_hint),
            context: (!self.context.is_empty()).then_some(self.context),
            vote: Some(0),
            responses: Vec::new(),
        }
    }
}

/// Bytes of a number's protobuf form: seven bits each.
fn varint_len(value: u64) -> u64 {
    u64::from((64 - value.leading_zeros()).max(1).div_ceil(7))
}
