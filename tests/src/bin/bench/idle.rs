//! Idle watchers and connections: what each takes of a member's memory.

use crate::Ground;
use crate::figures::{self, Result, against, mebibytes, ratio};
use crate::member::{Measured, SIDES};
use holdfast_tests::crowd;

/// Streams of watchers.
const STREAMS: u64 = 100;
/// Watchers of a stream.
const PER_STREAM: u64 = 100;
/// Connections that read once and then do nothing.
const CONNECTIONS: u64 = 1_000;
/// Of both, however small the share.
const LEAST: u64 = 10;

/// Opens both on each side, and prints what they took.
pub(crate) async fn compare(ground: &Ground, share: u64) -> Result<()> {
    let mut taken = [[0; 2]; 2];
    let [streams, connections] = [STREAMS, CONNECTIONS].map(|full| (full * share / 100).max(LEAST));
    for (place, side) in SIDES.into_iter().enumerate() {
        let member = Measured::start(ground, side, "idle").await?;
        let begin = member.memory()?;
        let config = member.client_config();
        let [of_watchers, per_stream] = [usize::try_from(streams)?, usize::try_from(PER_STREAM)?];
        let watchers = crowd::idle_watchers(&config, of_watchers, per_stream).await?;
        let watching = member.memory()?;
        let readers = crowd::idle_connections(&config, usize::try_from(connections)?).await?;
        let connected = member.memory()?;
        taken[place] = [watching.saturating_sub(begin), connected.saturating_sub(watching)];
        drop((watchers, readers));
        member.remove().await?;
    }
    let line = |what: String, at: usize, count: u64| {
        let [theirs, ours] = [taken[0][at], taken[1][at]];
        let shown = |bytes: u64| format!("{} ({} B each)", mebibytes(bytes), bytes / count.max(1));
        [what, shown(theirs), shown(ours), against(ratio(ours, theirs), Some(0.5))]
    };
    let rows = [
        line(format!("{} idle watchers", streams * PER_STREAM), 0, streams * PER_STREAM),
        line(format!("{connections} idle connections"), 1, connections),
    ];
    figures::print("RssAnon of the server for", ["", "etcd 3.6", "ours", "of it"], &rows);
    Ok(())
}
