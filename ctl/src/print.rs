//! What a verb prints, in the five formats of `--write-out`.
//!
//! Must hold: simple, fields, json and table are upstream's byte for byte; protobuf is the answer's
//! message as it came.

mod fields;
mod json;
mod rows;
mod simple;

use crate::console::Console;
use crate::failure::Failure;
use holdfast_api::etcdserverpb::{
    AlarmResponse, AuthRoleGetResponse, AuthRoleListResponse, AuthStatusResponse,
    AuthUserGetResponse, AuthUserListResponse, DeleteRangeResponse, DowngradeResponse,
    HashKvResponse, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse,
    LeaseTimeToLiveResponse, MemberAddResponse, MemberListResponse, PutResponse, RangeResponse,
    ResponseHeader, StatusResponse, TxnResponse, WatchResponse,
};
use holdfast_core::duration::GoDuration;
use prost::Message;
use std::time::Duration;

/// What is printed.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    Range(&'a RangeResponse),
    Put(&'a PutResponse),
    Delete(&'a DeleteRangeResponse),
    Txn(&'a TxnResponse),
    Watch(&'a WatchResponse),
    /// An answer without content: a sentence says what was done.
    Done {
        words: String,
        header: Option<ResponseHeader>,
        has_fields: bool,
    },
    Grant(&'a LeaseGrantResponse),
    KeepAlive(&'a LeaseKeepAliveResponse),
    TimeToLive {
        response: &'a LeaseTimeToLiveResponse,
        with_keys: bool,
    },
    Leases(&'a LeaseLeasesResponse),
    MemberAdd(&'a MemberAddResponse),
    /// A member was removed, updated or promoted; the answer has the shape of a list.
    MemberChange {
        words: String,
        response: MemberListResponse,
    },
    MemberList(&'a MemberListResponse),
    Health(&'a [Health]),
    Status(&'a [(String, StatusResponse)]),
    HashKv(&'a [(String, HashKvResponse)]),
    Downgrade {
        words: String,
        response: &'a DowngradeResponse,
    },
    Alarm(&'a AlarmResponse),
    RoleGet {
        role: &'a str,
        response: &'a AuthRoleGetResponse,
    },
    RoleList(&'a AuthRoleListResponse),
    UserGet {
        user: &'a str,
        response: &'a AuthUserGetResponse,
    },
    UserList(&'a AuthUserListResponse),
    AuthStatus(&'a AuthStatusResponse),
    FileStatus(&'a FileStatus),
    FileHash(&'a FileHash),
}

/// How an endpoint is.
#[derive(Debug)]
pub(crate) struct Health {
    /// As given.
    pub(crate) endpoint: String,
    /// How long the read took.
    pub(crate) took: Option<Duration>,
    /// Why it is not healthy; empty if it is.
    pub(crate) fault: String,
}

impl Health {
    /// How long the read took, as Go writes it; empty if it was not made.
    fn took(&self) -> String {
        self.took.map(|took| GoDuration::from(took).to_string()).unwrap_or_default()
    }
}

/// What a snapshot file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileStatus {
    /// CRC-32C over all buckets' names, keys and values.
    pub(crate) hash: u32,
    /// The last record's main revision.
    pub(crate) revision: i64,
    /// Keys alive.
    pub(crate) keys: u64,
    /// Bytes of all pages.
    pub(crate) size_bytes: u64,
    /// The storage version; empty if there is none.
    pub(crate) version: String,
}

/// The hash of a file's history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileHash {
    pub(crate) hash: u32,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
}

/// One of the five formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Fields,
    Json,
    Table,
    Protobuf,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    /// Bytes, and some ids, as hexadecimal.
    pub(crate) hex: bool,
    /// Only the values of keys.
    pub(crate) value_only: bool,
}

impl Printer {
    /// A printer for a `--write-out`.
    ///
    /// # Errors
    /// An unknown format.
    pub(crate) fn new(format: &str, hex: bool) -> Result<Printer, Failure> {
        let format = match format {
            "simple" => Format::Simple,
            "fields" => Format::Fields,
            "json" => Format::Json,
            "table" => Format::Table,
            "protobuf" => Format::Protobuf,
            _ => return Err(Failure::feature("unsupported output format")),
        };
        Ok(Printer { format, hex, value_only: false })
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// The format cannot show this answer, or nobody reads any more.
    pub(crate) fn print(&self, console: &Console, answer: &Answer<'_>) -> Result<(), Failure> {
        if let (Format::Simple, Answer::Health(all)) = (self.format, answer) {
            return simple::health(console, all);
        }
        let shown = match self.format {
            Format::Simple => Some(simple::text(*self, answer)),
            Format::Fields => fields::text(*self, answer).map(String::into_bytes),
            Format::Json => Some(format!("{}\n", json::text(*self, answer)).into_bytes()),
            Format::Table => rows::of(answer)
                .map(|(header, rows)| crate::go::table::text(&header, &rows).into_bytes()),
            Format::Protobuf => message(answer),
        };
        match shown {
            Some(shown) => console.print(shown),
            None => {
                let name = match self.format {
                    Format::Fields => "fields",
                    Format::Protobuf => "protobuf",
                    _ => "table",
                };
                Err(Failure::feature(format!("{name} not supported as output format")))
            }
        }
    }
}

/// The answer's message, if it is one.
fn message(answer: &Answer<'_>) -> Option<Vec<u8>> {
    Some(match answer {
        Answer::Range(response) => response.encode_to_vec(),
        Answer::Put(response) => response.encode_to_vec(),
        Answer::Delete(response) => response.encode_to_vec(),
        Answer::Txn(response) => response.encode_to_vec(),
        Answer::Watch(response) => {
            let mut response = (*response).clone();
            (response.watch_id, response.fragment) = (0, false);
            response.cancel_reason.clear();
            response.encode_to_vec()
        }
        // All of them have the header in field 1 and nothing else.
        Answer::Done { header, .. } => {
            PutResponse { header: *header, prev_kv: None }.encode_to_vec()
        }
        Answer::Grant(response) => response.encode_to_vec(),
        Answer::KeepAlive(response) => response.encode_to_vec(),
        Answer::TimeToLive { response, .. } => response.encode_to_vec(),
        Answer::Leases(response) => response.encode_to_vec(),
        Answer::MemberAdd(response) => response.encode_to_vec(),
        Answer::MemberChange { response, .. } => response.encode_to_vec(),
        Answer::MemberList(response) => response.encode_to_vec(),
        Answer::Downgrade { response, .. } => response.encode_to_vec(),
        Answer::Alarm(response) => response.encode_to_vec(),
        Answer::RoleGet { response, .. } => response.encode_to_vec(),
        Answer::RoleList(response) => response.encode_to_vec(),
        Answer::UserGet { response, .. } => response.encode_to_vec(),
        Answer::UserList(response) => response.encode_to_vec(),
        Answer::AuthStatus(response) => response.encode_to_vec(),
        Answer::Health(_)
        | Answer::Status(_)
        | Answer::HashKv(_)
        | Answer::FileStatus(_)
        | Answer::FileHash(_) => return None,
    })
}

/// A header's fields, zeros where there is none.
fn header(header: Option<&ResponseHeader>) -> ResponseHeader {
    header.copied().unwrap_or_default()
}
