//! Asks all members how they are, and what the quorum's revision is; the decision is in
//! `member.rs`.
//!
//! What must hold: all members are asked at once, after a linearizable read, each within the
//! request deadline; one that does not answer is an answer. Passwords and keys are read anew for
//! every round, so that renewed ones are taken.

use crate::config::EtcdConfig;
use crate::member::{Answer, Probe, Survey};
use futures::future::join_all;
use holdfast_api::client::{Client, ClientConfig, ClientError, Member, Pem, Tls};
use holdfast_api::etcdserverpb::{
    AlarmRequest, AlarmType, RangeRequest, StatusResponse, alarm_request::AlarmAction,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Largest answer taken from a member, and so the largest piece of a stream: upstream's blobs have
/// 32 KiB.
const MESSAGE_LIMIT_BYTES: usize = 8 << 20;

/// The cluster cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The client's own configuration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The password's file.
    #[error("{}: the password cannot be read: {source}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A client of the cluster; talks to nobody yet.
///
/// # Errors
/// Files that cannot be read, endpoints that cannot work.
pub fn connect(config: &EtcdConfig) -> Result<Client, ConnectError> {
    let mut client = ClientConfig::new(config.endpoints.iter().cloned());
    client.request_timeout = config.request_timeout;
    client.walk_timeout = config.hash_timeout;
    client.max_message_bytes = MESSAGE_LIMIT_BYTES;
    if let Some(ca) = &config.ca_file {
        let mut tls = Tls::new(Pem::File(ca.clone()));
        if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
            tls.identity = Some((Pem::File(cert.clone()), Pem::File(key.clone())));
        }
        tls.server_name.clone_from(&config.server_name);
        client = client.with_tls(tls);
    }
    if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConnectError::Password { path: path.clone(), source })?;
        let text = Zeroizing::new(text);
        client = client.with_credentials(user, text.trim_end_matches(['\r', '\n']));
    }
    Ok(Client::lazy(client)?)
}

/// Asks everybody.
pub async fn survey(client: &Client) -> Survey {
    let (corrupt, quorum_revision) = tokio::join!(corrupt_members(client), quorum_revision(client));
    // After the read: whoever answered it has applied all that was committed before.
    let statuses = join_all(client.members().iter().map(Member::status)).await;
    let probes = client.members().iter().zip(statuses).map(|(member, status)| Probe {
        endpoint: member.endpoint().to_owned(),
        answer: status.map(answer).map_err(|error| error.to_string()),
    });
    Survey { probes: probes.collect(), corrupt, quorum_revision }
}

fn answer(status: StatusResponse) -> Answer {
    let header = status.header.unwrap_or_default();
    Answer {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        leader_id: status.leader,
        revision: header.revision,
        raft_index: status.raft_index,
        applied_index: status.raft_applied_index,
        raft_term: status.raft_term,
        learner: status.is_learner,
        errors: status.errors,
        version: status.version,
        database_bytes: status.db_size,
    }
}

/// Members with a CORRUPT alarm. Without an answer none is known: the alarms also stand in each
/// Status.
async fn corrupt_members(client: &Client) -> BTreeSet<u64> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    let answer = client.maintenance().alarm(request).await;
    match client.check("Alarm", answer) {
        Ok(answer) => answer
            .alarms
            .iter()
            .filter(|alarm| alarm.alarm() == AlarmType::Corrupt)
            .map(|alarm| alarm.member_id)
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the alarms cannot be read");
            BTreeSet::new()
        }
    }
}

/// The revision that a linearizable read gives, from the first member that answers one (a learner
/// does not).
async fn quorum_revision(client: &Client) -> Option<i64> {
    for member in client.members() {
        let request =
            RangeRequest { key: b"\0".to_vec(), count_only: true, ..RangeRequest::default() };
        match member.check("Range", member.kv().range(request).await) {
            Ok(answer) => return answer.header.map(|header| header.revision),
            Err(error) => tracing::debug!(%error, "no linearizable read here"),
        }
    }
    None
}
