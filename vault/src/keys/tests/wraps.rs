//! Wraps: opened by the key they name, and by nothing else.

use crate::format::*;
use crate::keys::*;
use crate::proto::{SeedKind, Wrap};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// Names and secrets (base64 of 16, 24 and 32 bytes).
const KEYS: [(&str, &str, &str); 7] = [
    ("aesgcm", "k16", "MDEyMzQ1Njc4OWFiY2RlZg=="),
    ("aesgcm", "k24", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"),
    ("aesgcm", "k32", "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/ISEhISE="),
    ("aescbc", "k16", "MDEyMzQ1Njc4OWFiY2RlZg=="),
    ("aescbc", "k24", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"),
    ("aescbc", "k32", "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/ISEhISE="),
    ("secretbox", "k32", "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/ISEhISE="),
];

fn key(kind: &str, name: &str, secret: &str) -> String {
    format!("{{\"{kind}\": {{\"keys\": [{{\"name\": \"{name}\", \"secret\": \"{secret}\"}}]}}}}")
}

const KMS: &str =
    "{\"kms\": {\"apiVersion\": \"v2\", \"name\": \"plugin\", \"endpoint\": \"unix:///kms\"}}";
const IDENTITY: &str = "{\"identity\": {}}";

fn providers_with(list: &[&str], sealing: Sealing, plugin: &Arc<Plugin>) -> Providers {
    let text = format!(
        "{{\"kind\": \"EncryptionConfiguration\", \"apiVersion\": \"apiserver.config.k8s.io/v1\", \
         \"resources\": [{{\"resources\": [\"secrets\"], \"providers\": [{}]}}]}}",
        list.join(", ")
    );
    let config = parse_encryption_config(&text).unwrap();
    Providers::from_config(&config, sealing, &mut |_| plugin.clone())
}

fn providers(list: &[&str]) -> Providers {
    providers_with(list, Sealing::Required, &Arc::default())
}

/// A plugin that answers as it is told to.
#[derive(Default)]
struct Plugin {
    answer: Mutex<Answer>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Answer {
    #[default]
    Right,
    Down,
    OtherSeed,
    Nothing,
    LongCiphertext,
    NoKeyId,
    ManyAnnotations,
}

#[async_trait::async_trait]
impl KeyService for Plugin {
    async fn status(&self) -> Result<ServiceStatus, ServiceError> {
        let (version, healthz, key_id) = ("v2".into(), "ok".into(), "kek-1".into());
        Ok(ServiceStatus { version, healthz, key_id })
    }

    async fn encrypt(&self, _: &str, plaintext: &[u8]) -> Result<Encrypted, ServiceError> {
        let answer = *self.answer.lock().unwrap();
        let mut ciphertext: Vec<u8> = plaintext.iter().map(|byte| byte ^ 0xa5).collect();
        let mut annotations = BTreeMap::from([("tenant.example.com".to_owned(), b"7".to_vec())]);
        let mut key_id = "kek-1".to_owned();
        match answer {
            Answer::Down => {
                let timeout = std::time::Duration::from_secs(3);
                return Err(ServiceError::Unavailable { timeout, detail: "no socket".into() });
            }
            Answer::LongCiphertext => ciphertext.resize(1025, 0),
            Answer::NoKeyId => key_id.clear(),
            Answer::ManyAnnotations => {
                annotations.insert("big.example.com".into(), vec![0; 33_000]);
            }
            _ => {}
        }
        Ok(Encrypted { ciphertext, key_id, annotations })
    }

    async fn decrypt(
        &self,
        _: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let plain: Vec<u8> = encrypted.ciphertext.iter().map(|byte| byte ^ 0xa5).collect();
        match *self.answer.lock().unwrap() {
            Answer::OtherSeed => Ok(Zeroizing::new([&[1; 32], &plain[32..]].concat())),
            Answer::Nothing => Ok(Zeroizing::new(Vec::new())),
            _ if encrypted.key_id != "kek-1" || encrypted.annotations.len() != 1 => {
                Err(ServiceError::Refused { detail: "key not found".into() })
            }
            _ => Ok(Zeroizing::new(plain)),
        }
    }
}

fn owner() -> WrapOwner {
    let mut entropy = SeededEntropy::new(1);
    WrapOwner { vault: VaultId::random(&mut entropy), cluster: ClusterId::random(&mut entropy) }
}

fn seed() -> Seed {
    Seed::random(SeedKind::Index, &mut SeededEntropy::new(2))
}

async fn wrap(providers: &Providers) -> SealedWrap {
    let new = NewWrap::random(&mut SeededEntropy::new(3));
    providers.wrap(&seed(), owner(), false, 1_700_000_000_000, new).await.unwrap()
}

async fn open(providers: &Providers, bytes: &[u8]) -> Result<OpenedSeed, WrapError> {
    let opened = providers.open_bytes(bytes, seed().id(), owner(), false).await;
    if let Ok(opened) = &opened {
        assert_eq!(opened.seed.secret(), seed().secret());
        assert_eq!((opened.seed.id(), opened.seed.kind()), (seed().id(), SeedKind::Index));
    }
    opened
}

fn every_provider() -> Vec<String> {
    let mut all: Vec<String> =
        KEYS.iter().map(|(kind, name, secret)| key(kind, name, secret)).collect();
    all.push(KMS.to_owned());
    all
}

#[tokio::test]
async fn each_provider_opens_its_own_wrap_wherever_it_stands_and_no_other() {
    let all = every_provider();
    let list: Vec<&str> = all.iter().map(String::as_str).collect();
    for (place, own) in list.iter().enumerate() {
        let sealed = wrap(&providers(&[own])).await;
        let opened = open(&providers(&[own]), &sealed.bytes).await.unwrap();
        assert!(opened.by_first);
        assert_eq!(opened.by.key_id.as_deref(), Some(&sealed.reference.key_id[..]));
        let opened = open(&providers(&list), &sealed.bytes).await.unwrap();
        assert_eq!(opened.by_first, place == 0);
        assert!(providers(&[own]).is_current(&sealed.reference).await.unwrap());
        assert_eq!(providers(&list).is_current(&sealed.reference).await.unwrap(), place == 0);

        let others: Vec<&str> = list
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != place)
            .map(|(_, other)| *other)
            .collect();
        let error = open(&providers(&others), &sealed.bytes).await.unwrap_err();
        assert!(matches!(error, WrapError::NoProvider { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("{:?}", sealed.reference.key_id)), "{said}");
        assert!(said.contains(&sealed.id.to_string()), "{said}");
        let configured = providers(&others).names();
        assert!(configured.iter().all(|name| said.contains(&name.to_string())), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_key_under_a_right_name_is_said_to_be_that() {
    let sealed = wrap(&providers(&[&key("aesgcm", "main", KEYS[0].2)])).await;
    let other = providers(&[&key("aesgcm", "main", KEYS[2].2)]);
    let error = open(&other, &sealed.bytes).await.unwrap_err();
    let WrapError::WrongKey { needed, found, .. } = &error else { panic!("{error}") };
    assert_eq!(needed.key_id.as_ref(), Some(&sealed.reference.key_id));
    assert_eq!(Some(found), other.names()[0].key_id.as_ref());
    // Names may repeat: the old key below the new one opens it.
    let both = providers(&[&key("aesgcm", "main", KEYS[2].2), &key("aesgcm", "main", KEYS[0].2)]);
    assert!(!open(&both, &sealed.bytes).await.unwrap().by_first);
    // The same key under another name is another key.
    let renamed = providers(&[&key("aesgcm", "other", KEYS[0].2)]);
    assert!(matches!(open(&renamed, &sealed.bytes).await, Err(WrapError::NoProvider { .. })));
}

#[tokio::test]
async fn identity_neither_wraps_nor_opens_where_it_was_not_agreed() {
    let new = || NewWrap::random(&mut SeededEntropy::new(3));
    let agreed = providers_with(&[IDENTITY], Sealing::None, &Arc::default());
    assert!(agreed.unsealed());
    assert!(!providers(&[IDENTITY]).unsealed());
    let sealed = agreed.wrap(&seed(), owner(), true, 0, new()).await.unwrap();
    let opened = agreed.open_bytes(&sealed.bytes, seed().id(), owner(), true).await.unwrap();
    assert_eq!(opened.seed.secret(), seed().secret());

    for (providers, unsealed) in [(&agreed, false), (&providers(&[IDENTITY]), true)] {
        let refused = providers.wrap(&seed(), owner(), unsealed, 0, new()).await.unwrap_err();
        assert_eq!(refused, WrapError::WouldNotSeal);
        let refused = providers.open_bytes(&sealed.bytes, seed().id(), owner(), unsealed).await;
        assert!(matches!(refused, Err(WrapError::NotSealed { .. })));
    }
    // A forged identity wrap does not open in a sealed vault, wherever identity stands.
    let list = [&key("aesgcm", "k", KEYS[0].2)[..], IDENTITY];
    let mixed = providers_with(&list, Sealing::None, &Arc::default());
    assert!(!mixed.unsealed());
    let refused = mixed.open_bytes(&sealed.bytes, seed().id(), owner(), false).await;
    assert!(matches!(refused, Err(WrapError::NotSealed { .. })));
    // On the way out of an unsealed vault, both open.
    assert!(mixed.open_bytes(&sealed.bytes, seed().id(), owner(), true).await.is_ok());
}

#[tokio::test]
async fn every_damage_of_a_wrap_is_an_error() {
    for own in every_provider() {
        let providers = providers(&[&own]);
        let bytes = wrap(&providers).await.bytes;
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x04;
            let error = open(&providers, &other).await.unwrap_err();
            assert!(
                matches!(error, WrapError::Object(ClearError::Damaged { .. })),
                "{at}: {error}"
            );
            assert!(open(&providers, &bytes[..at]).await.is_err());
        }
    }
}

#[tokio::test]
async fn every_forged_field_is_an_error() {
    type Forge = fn(&mut Wrap);
    let forgeries: [(&str, Forge); 12] = [
        ("another vault", |wrap| wrap.vault_id = vec![1; 16].into()),
        ("another cluster", |wrap| wrap.cluster_id = vec![1; 16].into()),
        ("another seed", |wrap| wrap.seed_id = vec![1; 16].into()),
        ("", |wrap| wrap.wrap_id = vec![1; 16].into()),
        ("unknown kind", |wrap| wrap.seed_kind = 0),
        ("", |wrap| wrap.seed_kind = SeedKind::Data as i32),
        ("", |wrap| wrap.provider_name.push('x')),
        ("unknown kind", |wrap| wrap.provider_kind = "rot13".into()),
        ("", |wrap| wrap.commitment = vec![0; 32].into()),
        ("", |wrap| wrap.sealed_seed = wrap.sealed_seed.slice(1..)),
        ("", |wrap| wrap.created_ms += 1),
        ("contradict", |wrap| wrap.key_check = vec![0; 8].into()),
    ];
    for own in every_provider() {
        let providers = providers(&[&own]);
        let sealed = wrap(&providers).await;
        for (number, (said, forge)) in forgeries.iter().enumerate() {
            let mut wrap = sealed.wrap.clone();
            forge(&mut wrap);
            let error = open(&providers, &encode_wrap(&wrap)).await.unwrap_err();
            assert!(error.to_string().contains(said), "{number}: {error}");
        }
        let mut newer = sealed.wrap.clone();
        newer.format = 2;
        let error = open(&providers, &encode_wrap(&newer)).await.unwrap_err();
        assert!(
            matches!(error, WrapError::Object(ClearError::TooNew { needed: 2, .. })),
            "{error}"
        );
    }
    // A damaged wrap under the right key is not called a wrong key.
    let providers = providers(&[&key("aesgcm", "k", KEYS[0].2)]);
    let mut wrap = wrap(&providers).await.wrap;
    wrap.nonce = vec![0; 12].into();
    let error = open(&providers, &encode_wrap(&wrap)).await.unwrap_err();
    assert!(matches!(error, WrapError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_plugin_that_answers_nonsense_gives_no_seed() {
    let plugin = Arc::new(Plugin::default());
    let providers = providers_with(&[KMS], Sealing::Required, &plugin);
    let sealed = wrap(&providers).await;
    assert_eq!(sealed.reference.key_id, "kek-1");
    assert_eq!(sealed.wrap.annotations["tenant.example.com"], "7");
    for answer in [Answer::OtherSeed, Answer::Nothing] {
        *plugin.answer.lock().unwrap() = answer;
        let error = open(&providers, &sealed.bytes).await.unwrap_err();
        assert!(matches!(error, WrapError::Damaged { .. }), "{error}");
    }
    for answer in [Answer::Down, Answer::LongCiphertext, Answer::NoKeyId, Answer::ManyAnnotations] {
        *plugin.answer.lock().unwrap() = answer;
        let new = NewWrap::random(&mut SeededEntropy::new(3));
        let error = providers.wrap(&seed(), owner(), false, 0, new).await.unwrap_err();
        let WrapError::Service { source, .. } = &error else { panic!("{error}") };
        assert_eq!(answer == Answer::Down, matches!(source, ServiceError::Unavailable { .. }));
    }
    *plugin.answer.lock().unwrap() = Answer::Right;
    let mut other = sealed.wrap.clone();
    other.key_id = "kek-0".into();
    let error = open(&providers, &encode_wrap(&other)).await.unwrap_err();
    assert!(
        error.to_string().contains("kms \"plugin\" with key id \"kek-0\": it refused"),
        "{error}"
    );
}

#[tokio::test]
async fn wraps_are_written_as_they_always_were() {
    let mut digests = Vec::new();
    for own in every_provider() {
        let sealed = wrap(&providers(&[&own])).await;
        let hex: String = sealed.reference.sha256[..6].iter().map(|b| format!("{b:02x}")).collect();
        digests.push(format!("{} {hex}", sealed.reference.key_id));
    }
    // Key id, and the first 6 bytes of the wrap's SHA-256.
    let recorded = [
        "k16:6fb038961add788a c8c69a65d17c",
        "k24:4770525d369ecadb 01b7b74081d0",
        "k32:acc552afef8e3003 be8e9ce143f0",
        "k16:f0faea6619c9ba4b f14de0f517c1",
        "k24:ec76043a9f5d738e e51dd038be2b",
        "k32:8c78623e6e72d6af e257924a8d85",
        "k32:ba2f57d7846b4d14 8d0db446a818",
        "kek-1 84b37d12a910",
    ];
    assert_eq!(digests, recorded);
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let all = every_provider();
    let list: Vec<&str> = all.iter().map(String::as_str).collect();
    let providers = providers(&list);
    let sealed = wrap(&providers).await;
    let opened = open(&providers, &sealed.bytes).await.unwrap();
    let shown = format!("{providers:?} {opened:?} {:?} {:?}", seed(), Keyring::new());
    let secret: Vec<String> = seed().secret().iter().map(u8::to_string).collect();
    assert!(!shown.contains(&secret.join(", ")), "{shown}");
    assert!(!shown.contains("48, 49, 50, 51"), "{shown}");
    assert!(shown.contains(&seed().id().to_string()) && shown.contains("k16:"), "{shown}");
}
