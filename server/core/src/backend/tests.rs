//! Views against a model of all points, with freezes and commits at any moment.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Model = BTreeMap<(u8, u8), u8>;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u8, u8),
    Delete(u8, u8),
    Publish,
    Look,
    Freeze,
    Write,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u8..3, 0u8..12, any::<u8>()).prop_map(|(b, k, v)| Op::Put(b, k, v)),
        3 => (0u8..3, 0u8..12).prop_map(|(b, k)| Op::Delete(b, k)),
        3 => Just(Op::Publish),
        2 => Just(Op::Look),
        1 => Just(Op::Freeze),
        1 => Just(Op::Write),
    ]
}

fn compare(view: &View, model: &Model) {
    for bucket in 0u8..3 {
        let of_bucket = |range: std::ops::Range<u8>| -> Vec<(Vec<u8>, Vec<u8>)> {
            let all = model.iter().filter(|((b, k), _)| *b == bucket && range.contains(k));
            all.map(|((_, key), value)| (vec![*key], vec![*value])).collect()
        };
        assert_eq!(view.entries(&[bucket]).unwrap(), of_bucket(0..255));
        let mut part = Vec::new();
        view.scan(&[bucket], &[3], Some(&[9]), &mut |key, value| {
            part.push((key.to_vec(), value.to_vec()));
            if part.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(part, of_bucket(3..9).into_iter().take(3).collect::<Vec<_>>());
        for key in 0u8..12 {
            let got = view.get(&[bucket], &[key]).unwrap().map(|value| value[0]);
            assert_eq!(got, model.get(&(bucket, key)).copied());
        }
    }
}

proptest! {
    #[test]
    fn views_stay_what_they_were(ops in proptest::collection::vec(op(), 0..120)) {
        let base = MemoryBase::new();
        let backend = Backend::new(Box::new(base.clone())).unwrap();
        let (mut now, mut published) = (Model::new(), Model::new());
        let mut views: Vec<(View, Model)> = Vec::new();
        let mut frozen: Option<(Commit, Model)> = None;
        let mut committed = Model::new();
        for op in ops {
            match op {
                Op::Put(bucket, key, value) => {
                    backend.put(&[bucket], &[key], Bytes::from(vec![value]));
                    now.insert((bucket, key), value);
                }
                Op::Delete(bucket, key) => {
                    backend.delete(&[bucket], &[key]);
                    now.remove(&(bucket, key));
                }
                Op::Publish => {
                    backend.publish();
                    published = now.clone();
                }
                Op::Look => views.push((backend.view(), published.clone())),
                Op::Freeze => {
                    if let Some(commit) = backend.freeze().unwrap() {
                        prop_assert!(frozen.is_none());
                        frozen = Some((commit, now.clone()));
                    }
                    published = now.clone();
                }
                Op::Write => if let Some((commit, model)) = frozen.take() {
                    commit.run().unwrap();
                    committed = model;
                },
            }
            compare(&backend.latest(), &now);
        }
        for (view, model) in &views {
            compare(view, model);
        }
        compare(&Backend::new(Box::new(base)).unwrap().view(), &committed);
    }
}

#[derive(Debug)]
struct Failing;

impl Base for Failing {
    fn read(&self) -> Result<Arc<dyn BaseRead>, BackendError> {
        MemoryBase::new().read()
    }

    fn write(&self, _: &[Arc<[u8]>], _: &[Change]) -> Result<(), BackendError> {
        Err(BackendError::write(std::io::Error::other("the disk is gone")))
    }

    fn size(&self) -> Result<SizeBytes, BackendError> {
        Ok(SizeBytes::default())
    }
}

#[test]
fn a_failed_commit_is_final() {
    let backend = Backend::new(Box::new(Failing)).unwrap();
    backend.put(b"b", b"k", Bytes::from_static(b"v"));
    let error = backend.commit().unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(backend.view().get(b"b", b"k").unwrap().as_deref(), Some(&b"v"[..]));
    backend.put(b"b", b"k", Bytes::from_static(b"w"));
    assert!(matches!(backend.freeze(), Err(BackendError::CommitFailed)));
}

#[test]
fn versions_that_nobody_sees_are_not_kept() {
    let backend = Backend::new(Box::new(MemoryBase::new())).unwrap();
    for _ in 0..1000 {
        backend.put(b"meta", b"index", Bytes::from_static(&[0; 64]));
        backend.publish();
    }
    assert_eq!(backend.pending_changes(), 1);
    assert!(backend.pending_bytes() < 500, "{}", backend.pending_bytes());
    backend.create_bucket(b"empty");
    backend.commit().unwrap();
    assert_eq!((backend.pending_changes(), backend.pending_bytes()), (0, 0));
    assert!(backend.freeze().unwrap().is_none(), "nothing is left");
}

#[test]
fn a_base_is_replaced_between_commits() {
    let backend = Backend::new(Box::new(MemoryBase::new())).unwrap();
    backend.put(b"b", b"k", Bytes::from_static(b"old"));
    backend.publish();
    let view = backend.view();
    let commit = backend.freeze().unwrap().unwrap();
    assert!(matches!(backend.replace_base(Box::new(MemoryBase::new())), Err(BackendError::Busy)));
    commit.run().unwrap();
    let base = MemoryBase::new();
    Base::write(
        &base,
        &[],
        &[Change {
            bucket: Arc::from(&b"b"[..]),
            key: Box::from(&b"k"[..]),
            value: Some(Bytes::from_static(b"new")),
        }],
    )
    .unwrap();
    backend.put(b"b", b"other", Bytes::from_static(b"dropped"));
    backend.replace_base(Box::new(base)).unwrap();
    let now = backend.view();
    assert_eq!(now.get(b"b", b"k").unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(now.get(b"b", b"other").unwrap(), None);
    assert_eq!(view.get(b"b", b"k").unwrap().as_deref(), Some(&b"old"[..]));
}

#[test]
fn a_base_of_the_same_content_takes_over_between_commits() {
    let old = MemoryBase::new();
    let backend = Backend::new(Box::new(old.clone())).unwrap();
    backend.put(b"b", b"committed", Bytes::from_static(b"1"));
    backend.commit().unwrap();
    let before = backend.view();
    backend.put(b"b", b"frozen", Bytes::from_static(b"2"));
    let commit = backend.freeze().unwrap().unwrap();
    backend.put(b"b", b"pending", Bytes::from_static(b"3"));
    backend.publish();
    let new = old.fork();
    backend.change_base(Box::new(new.clone())).unwrap();
    commit.run().unwrap();
    backend.commit().unwrap();
    let keys = |view: &View| view.entries(b"b").unwrap().len();
    assert_eq!((keys(&before), keys(&backend.view())), (1, 3));
    let kept = |base: MemoryBase| keys(&Backend::new(Box::new(base)).unwrap().view());
    assert_eq!((kept(old), kept(new)), (1, 3), "what was under way went into the new one");
    let failing = Backend::new(Box::new(Failing)).unwrap();
    failing.put(b"b", b"k", Bytes::from_static(b"v"));
    failing.commit().unwrap_err();
    assert!(matches!(
        failing.change_base(Box::new(MemoryBase::new())),
        Err(BackendError::CommitFailed)
    ));
}
