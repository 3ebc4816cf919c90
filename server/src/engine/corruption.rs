//! Looks for records that are not what they were.
//!
//! Members compare their hashes with one another. A single member has nobody to compare with; as
//! upstream's it still walks all its records, and so meets what cannot be read: once at a start,
//! and now and then twice around a linearizable read, where the same revisions must give the same
//! hash. What must hold: a difference raises the alarm CORRUPT, which refuses nearly everything
//! until a person looks; nothing here writes anything else.

use std::time::Duration;

use holdfast_api::etcdserverpb::AlarmType;
use holdfast_core::mvcc::{self, KvHash, MvccError};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::handle::Handle;
use crate::config::Config;
use crate::log::Logger;

/// Walks all records of a member that starts again, where `--experimental-initial-corrupt-check`
/// asks for it.
///
/// # Errors
/// Records that cannot be read, in one sentence.
pub(crate) fn check_at_start(
    store: &mvcc::Handle,
    member_id: u64,
    config: &Config,
    logger: &Logger,
) -> Result<(), String> {
    let id = ("local-member-id", json!(format!("{member_id:x}")));
    let timeout = ("timeout", json!(format!("{:?}", config.request_timeout())));
    logger.info("starting initial corruption check", &[id.clone(), timeout]);
    if let Err(error) = store.hashkv(0) {
        logger.error("checkInitialHashKV failed", &[("error", json!(error.to_string()))]);
        return Err(format!(
            "{member_id:x} failed to fetch hash ({error}); restore this member from a backup"
        ));
    }
    logger.info("initial corruption checking passed; no corruption", &[id]);
    Ok(())
}

/// Walks all records every `--corrupt-check-time`.
pub(crate) async fn check_by_time(handle: Handle, every: Duration, logger: Logger) {
    let id = format!("{:x}", handle.inner.member_id);
    let fields = [("local-member-id", json!(id)), ("interval", json!(format!("{every:?}")))];
    logger.info("enabled corruption checking", &fields);
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !handle.inner.view.leads() {
            continue;
        }
        if let Err(why) = check_twice(&handle, &logger).await {
            logger.warn("failed to check hash KV", &[("error", json!(why))]);
        }
    }
}

async fn check_twice(handle: &Handle, logger: &Logger) -> Result<(), String> {
    let first = hash(handle).await?;
    handle.catch_up().await.map_err(|status| status.message().to_owned())?;
    let second = hash(handle).await?;
    if differ(&first, &second) {
        logger.warn(
            "found hash mismatch",
            &[
                ("revision-1", json!(first.revision)),
                ("compact-revision-1", json!(first.compact_revision)),
                ("hash-1", json!(first.hash)),
                ("revision-2", json!(second.revision)),
                ("compact-revision-2", json!(second.compact_revision)),
                ("hash-2", json!(second.hash)),
            ],
        );
        let raised = handle.raise_alarm(AlarmType::Corrupt).await;
        raised.map_err(|status| status.message().to_owned())?;
    }
    logger.info("finished peer corruption check", &[("number-of-peers-checked", json!(0))]);
    Ok(())
}

/// Whether two hashes of the same records are not the same.
fn differ(first: &KvHash, second: &KvHash) -> bool {
    first.hash != second.hash
        && first.revision == second.revision
        && first.compact_revision == second.compact_revision
}

async fn hash(handle: &Handle) -> Result<KvHash, String> {
    let store = handle.inner.store.clone();
    let hashed: Result<Result<KvHash, MvccError>, _> =
        tokio::task::spawn_blocking(move || store.hashkv(0)).await;
    hashed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Goes through the hashes of the last compactions every `--compact-hash-check-time`. There is no
/// other member to ask for its own, so none of them is ever checked off.
pub(crate) async fn check_compactions(handle: Handle, every: Duration, logger: Logger) {
    let id = ("local-member-id", json!(format!("{:x}", handle.inner.member_id)));
    let timeout = ("timeout", json!(format!("{:?}", handle.inner.limits.patience)));
    loop {
        sleep(every).await;
        if !handle.inner.view.leads() {
            continue;
        }
        logger.info("starting compact hash check", &[id.clone(), timeout.clone()]);
        let hashes = handle.inner.store.compaction_hashes().len();
        let fields = [("number-of-hashes-checked", json!(hashes))];
        logger.info("finished compaction hash check", &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_the_same_records_must_be_equal() {
        let hash = KvHash { hash: 1, revision: 5, compact_revision: 3 };
        assert!(!differ(&hash, &hash));
        assert!(differ(&hash, &KvHash { hash: 2, ..hash }));
        for later in [KvHash { revision: 6, ..hash }, KvHash { compact_revision: 4, ..hash }] {
            assert!(!differ(&hash, &KvHash { hash: 2, ..later }), "of other records");
        }
    }
}
