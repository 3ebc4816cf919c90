//! Streams that are whole, cut anywhere, stalling, lying and failing.

use super::*;
use futures::stream;
use holdfast_bolt::PageSource;
use proptest::prelude::*;

const SOON: Deadlines =
    Deadlines { stall: Duration::from_secs(30), whole: Duration::from_secs(600) };

fn message(blob: &[u8], remaining_bytes: u64) -> Result<SnapshotResponse, Status> {
    let blob = Bytes::copy_from_slice(blob);
    Ok(SnapshotResponse { remaining_bytes, blob, version: "3.6.0".into(), ..Default::default() })
}

fn whole(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

/// The bytes in pieces, as a member sends them.
fn pieces(bytes: &[u8], piece: usize) -> Vec<Result<SnapshotResponse, Status>> {
    let mut left = bytes.len() as u64;
    let parts = bytes.chunks(piece);
    parts
        .map(|part| {
            left -= part.len() as u64;
            message(part, left)
        })
        .collect()
}

async fn take(
    messages: impl Stream<Item = Result<SnapshotResponse, Status>>,
) -> Result<Received, SourceError> {
    let directory = tempfile::tempdir().unwrap();
    let spool = SpoolWriter::create(directory.path(), 1 << 20).unwrap();
    receive(messages, spool, SOON).await
}

/// Only the receiving half: tokio does not let time pass by itself while a blocking thread waits.
async fn drained(
    messages: impl Stream<Item = Result<SnapshotResponse, Status>>,
) -> Result<Drained, SourceError> {
    let (blobs, mut queue) = mpsc::channel(BLOBS_IN_FLIGHT);
    let writer = tokio::spawn(async move { while queue.recv().await.is_some() {} });
    let drained = drain(messages, blobs, SOON).await;
    writer.await.unwrap();
    drained
}

#[tokio::test]
async fn a_whole_stream_is_taken() {
    let bytes = whole(40 * 512);
    let received = take(stream::iter(pieces(&bytes, 4096))).await.unwrap();
    assert_eq!(received.sha256[..], bytes[40 * 512..]);
    assert_eq!(received.storage_version, "3.6.0");
    assert_eq!(&*received.spool.read_at(0, 40 * 512).unwrap(), &bytes[..40 * 512]);
}

#[tokio::test]
async fn a_stream_cut_anywhere_is_never_taken() {
    let bytes = whole(4 * 512);
    for cut in 0..bytes.len() {
        let announced = pieces(&bytes, 700).into_iter();
        let kept: Vec<_> = announced.take(cut / 700).collect();
        if cut % 700 == 0 && cut > 0 {
            let error = take(stream::iter(kept)).await.unwrap_err();
            assert!(matches!(error, SourceError::Cut { .. }), "{cut}: {error}");
        }
        // A member that announces nothing.
        let silent = vec![message(&bytes[..cut], 0)];
        let error = take(stream::iter(silent)).await.unwrap_err();
        let right = matches!(error, SourceError::Cut { .. } | SourceError::Digest { .. });
        assert!(right, "{cut}: {error}");
    }
}

#[tokio::test]
async fn what_the_member_announced_must_come() {
    // The length alone would pass.
    let bytes = &whole(4 * 512)[..512 + 32];
    let error = take(stream::iter([message(bytes, 1_536)])).await.unwrap_err();
    assert!(matches!(error, SourceError::Cut { received_bytes: 544, .. }), "{error}");
    assert!(error.to_string().contains("announced 1536 more"), "{error}");
}

#[tokio::test]
async fn a_flipped_bit_fails_the_digest() {
    let bytes = whole(2 * 512);
    for at in (0..bytes.len()).step_by(7) {
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        let error = take(stream::iter(pieces(&bent, 333))).await.unwrap_err();
        assert!(matches!(error, SourceError::Digest { database_bytes: 1024 }), "{at}: {error}");
    }
}

#[tokio::test]
async fn a_failing_member_is_quoted() {
    let mut messages = pieces(&whole(512), 100);
    messages.truncate(3);
    messages.push(Err(Status::unavailable("mvcc: disk on fire")));
    let error = take(stream::iter(messages)).await.unwrap_err();
    assert!(matches!(error, SourceError::Failed { received_bytes: 300, .. }), "{error}");
    assert!(error.to_string().contains("disk on fire"));
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_stall() {
    let some = stream::iter(pieces(&whole(512), 100).into_iter().take(2));
    let started = Instant::now();
    let error = drained(some.chain(stream::pending())).await.err().unwrap();
    assert!(matches!(error, SourceError::Stalled { received_bytes: 200, empty_blobs: 0, .. }));
    assert_eq!(started.elapsed().as_secs(), SOON.stall.as_secs());
}

#[tokio::test(start_paused = true)]
async fn empty_messages_for_ever_are_a_stall() {
    let some = stream::iter(pieces(&whole(512), 100).into_iter().take(2));
    let empty = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((message(b"", 344), ()))
    });
    let error = drained(some.chain(empty)).await.err().unwrap();
    let SourceError::Stalled { received_bytes: 200, empty_blobs, .. } = error else {
        panic!("{error}")
    };
    assert!((290..=310).contains(&empty_blobs), "{empty_blobs}");
}

#[tokio::test]
async fn empty_messages_without_a_pause_are_a_stall_too() {
    let empty = stream::repeat_with(|| message(b"", 0));
    let directory = tempfile::tempdir().unwrap();
    let spool = SpoolWriter::create(directory.path(), 1 << 20).unwrap();
    let deadlines = Deadlines { stall: Duration::from_millis(50), ..SOON };
    let error = receive(empty, spool, deadlines).await.unwrap_err();
    assert!(matches!(error, SourceError::Stalled { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_at_the_whole_deadline() {
    let drops = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Some((message(b"x", 9), ()))
    });
    let error = drained(drops).await.err().unwrap();
    assert!(matches!(error, SourceError::TooSlow { received_bytes: 29, .. }), "{error}");
}

#[tokio::test]
async fn the_spools_own_error_is_told() {
    let error = take(stream::iter(pieces(&whole(2 << 20), 32 << 10))).await.unwrap_err();
    assert!(matches!(error, SourceError::Spool(SpoolError::TooLarge { .. })), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_pieces_make_the_same_snapshot(
        units in 1usize..20,
        cuts in proptest::collection::vec(0usize..900, 1..60),
    ) {
        let bytes = whole(units * 512);
        let (mut messages, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            messages.push(message(now, later.len() as u64));
            rest = later;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let received = runtime.block_on(take(stream::iter(messages))).unwrap();
        prop_assert_eq!(&*received.spool.read_at(0, units * 512).unwrap(), &bytes[..units * 512]);
    }
}
