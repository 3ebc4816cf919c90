//! Stores against the conformance suite, healthy and faulty.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use bytes::Bytes;
use holdfast_vault::store::doctor::{Verdict, examine, probe_collision};
use holdfast_vault::store::faults::{Fault, Faulty};
use holdfast_vault::{Store, StoreError, StoreOptions};
use object_store::memory::InMemory;
use std::sync::Arc;
use std::time::Duration;

fn quick() -> StoreOptions {
    StoreOptions {
        create: true,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(2),
        call_timeout: Duration::from_secs(5),
        jitter_seed: Some(1),
        ..StoreOptions::default()
    }
}

fn faulty() -> (Arc<Faulty>, Store) {
    let faulty = Arc::new(Faulty::new(Arc::new(InMemory::new())));
    (faulty.clone(), Store::over(faulty, "memory", quick()))
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn a_directory_and_memory_pass_the_doctor() {
    let dir = tempfile::tempdir().unwrap();
    let local = Store::open(&format!("file://{}/new", dir.path().display()), quick()).unwrap();
    for store in [local, Store::over(Arc::new(InMemory::new()), "memory", quick())] {
        let report = examine(&store, "t", now_ms()).await;
        assert!(report.is_fit(), "{report:#?}");
        assert!(report.outcomes.len() >= 11);
        assert!(store.list_all("doctor", 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_missing_directory_is_refused_unless_created() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent");
    let options = StoreOptions { create: false, ..quick() };
    let error = Store::open(&path.display().to_string(), options).unwrap_err();
    assert!(matches!(error, StoreError::Configuration { .. }), "{error}");
}

#[tokio::test]
async fn faults_are_found_by_name() {
    for (fault, check) in [
        (Fault::IgnoreAbsent, "put if absent"),
        (Fault::StaleList, "listing"),
        (Fault::IgnoreStartAfter, "listing"),
        (Fault::Flip(5000), "ranges"),
        (Fault::DeleteNothing, "delete"),
        (Fault::FailBefore, "write and read"),
    ] {
        let (faulty, store) = faulty();
        faulty.on_name("doctor", fault);
        let report = examine(&store, "t", now_ms()).await;
        let outcome = report.outcome(check).unwrap();
        assert_eq!(outcome.verdict, Verdict::Fail, "{fault:?}: {report:#?}");
        assert!(!outcome.advice.is_empty());
    }
}

#[tokio::test]
async fn a_store_that_answers_exists_for_our_own_create_is_not_blamed() {
    let (faulty, store) = faulty();
    faulty.at_call(1, Fault::ExistsForOwn);
    assert!(probe_collision(&store, "p").await.unwrap());
    faulty.on_name("q", Fault::IgnoreAbsent);
    assert!(!probe_collision(&store, "q").await.unwrap());
}

#[tokio::test]
async fn reads_and_writes_are_repeated_and_creates_are_not() {
    let (faulty, store) = faulty();
    faulty.at_call(1, Fault::FailBefore);
    store.put("a", Bytes::from_static(b"x")).await.unwrap();
    faulty.at_call(faulty.calls() + 1, Fault::Cut);
    assert_eq!(store.get("a", 9).await.unwrap(), Bytes::from_static(b"x"));
    faulty.at_call(faulty.calls() + 1, Fault::FailAfter);
    let before = faulty.calls();
    let error = store.put_if_absent("b", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.is_temporary());
    assert_eq!(faulty.calls(), before + 1);
}

#[tokio::test]
async fn an_upload_survives_a_lost_completion_and_fails_on_a_lost_part() {
    let (faulty, store) = faulty();
    let bytes = vec![7; 20 << 20];
    let mut upload = store.upload("big");
    upload.write(&bytes).await.unwrap();
    // begin, two parts, then the last part and the completion
    faulty.at_call(5, Fault::FailAfter);
    upload.finish().await.unwrap();
    assert_eq!(store.head("big").await.unwrap().size_bytes, 20 << 20);

    let start = faulty.calls();
    faulty.at_call(start + 2, Fault::FailBefore);
    let mut upload = store.upload("lost");
    let mut outcome = upload.write(&bytes).await;
    if outcome.is_ok() {
        outcome = upload.finish().await;
    }
    assert!(outcome.is_err());
    assert!(store.head("lost").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_larger_object_than_allowed_is_refused() {
    let (_, store) = faulty();
    store.put("a", Bytes::from(vec![0; 100])).await.unwrap();
    assert!(matches!(store.get("a", 99).await, Err(StoreError::Size { .. })));
    assert!(store.get_range("a", 90..110).await.is_err());
}

#[tokio::test]
async fn errors_name_the_address_and_the_object() {
    let inner = Arc::new(InMemory::new());
    let store = Store::over(inner, "s3://bucket/prefix", StoreOptions::default());
    let error = store.get("c/1/body/2", 9).await.unwrap_err().to_string();
    assert!(error.starts_with("s3://bucket/prefix/c/1/body/2: "), "{error}");
    store.put("a", Bytes::from(vec![0; 100])).await.unwrap();
    let error = store.get("a", 9).await.unwrap_err().to_string();
    assert!(error.starts_with("s3://bucket/prefix/a: "), "{error}");
}
