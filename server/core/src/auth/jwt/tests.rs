//! Tests of signed tokens: every method, every way of giving keys, every flipped byte.

use super::*;
use crate::auth::der;
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::sync::OnceLock;

const NOW: u64 = 1_800_000_000;
const TTL: Duration = Duration::from_secs(60);

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|c| str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// A private and a public key in PEM.
type Pair = (Vec<u8>, Vec<u8>);

fn rsa() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

fn ecdsa(method: Method) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(match method {
        Method::Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Method::Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
    })
    .unwrap()
}

fn public<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    pem("PUBLIC KEY", AsDer::<PublicKeyX509Der<'_>>::as_der(key).unwrap().as_ref())
}

fn pair(method: Method) -> Pair {
    let private = |der: &[u8]| pem("PRIVATE KEY", der);
    match method.name().as_bytes()[0] {
        b'H' => (b"a secret that is long enough".to_vec(), Vec::new()),
        b'R' | b'P' => {
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(rsa()).unwrap();
            (private(der.as_ref()), public(rsa().public_key()))
        }
        _ if method == Method::EdDsa => {
            let key = Ed25519KeyPair::generate().unwrap();
            (private(key.to_pkcs8v1().unwrap().as_ref()), public(key.public_key()))
        }
        _ => {
            let key = ecdsa(method);
            (private(key.to_pkcs8v1().unwrap().as_ref()), public(key.public_key()))
        }
    }
}

fn alice() -> Identity {
    Identity { user: "alice <&> \u{e9}".to_owned(), revision: 17 }
}

#[test]
fn every_method_signs_and_verifies() {
    for method in Method::ALL {
        let (private, public) = pair(method);
        let both = Jwt::new(method, TTL, Some(&public), Some(&private)).unwrap();
        let token = both.sign(&alice(), NOW).unwrap();
        assert_eq!(both.verify(&token, NOW), Ok(alice()), "{method:?}");
        assert_eq!(both.verify(&token, NOW + 59), Ok(alice()));
        assert_eq!(both.verify(&token, NOW + 60), Err(AuthError::InvalidToken), "its time is over");
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let expected = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, method.name());
        assert_eq!(String::from_utf8(header).unwrap(), expected);
        if public.is_empty() {
            continue;
        }
        let verify_only = Jwt::new(method, TTL, Some(&public), None).unwrap();
        assert_eq!(verify_only.verify(&token, NOW), Ok(alice()), "{method:?}");
        assert!(verify_only.is_verify_only() && !both.is_verify_only());
        assert_eq!(verify_only.sign(&alice(), NOW).unwrap_err(), AuthError::VerifyOnly);
        let private_only = Jwt::new(method, TTL, None, Some(&private)).unwrap();
        assert_eq!(private_only.verify(&token, NOW), Ok(alice()), "{method:?}");
    }
}

#[test]
fn keys_come_in_several_forms() {
    let key = ecdsa(Method::Es256);
    let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&key.private_key()).unwrap();
    let sec1 = pem("EC PRIVATE KEY", sec1.as_ref());
    let token =
        Jwt::new(Method::Es256, TTL, None, Some(&sec1)).unwrap().sign(&alice(), NOW).unwrap();
    let reader = Jwt::new(Method::Es256, TTL, Some(&public(key.public_key())), None).unwrap();
    assert_eq!(reader.verify(&token, NOW), Ok(alice()));

    // PKCS#1, private and public.
    let pkcs1 = pem("RSA PUBLIC KEY", rsa().public_key().as_ref());
    let (pkcs8, _) = pair(Method::Rs256);
    let signer = Jwt::new(Method::Rs256, TTL, Some(&pkcs1), Some(&pkcs8)).unwrap();
    assert!(signer.sign(&alice(), NOW).is_ok());
    let (_, whole) = der::first_pem_block(&pkcs8).unwrap();
    // The last octet string of PKCS#8 holds PKCS#1.
    let inner = (0..whole.len()).find_map(|at| {
        let rest = whole.get(at..)?;
        let is_pkcs1 = rest.starts_with(&[4, 0x82]) && rest.get(4..6) == Some(&[0x30, 0x82]);
        if is_pkcs1 { rest.get(4..) } else { None }
    });
    let traditional = pem("RSA PRIVATE KEY", inner.unwrap());
    let signer = Jwt::new(Method::Rs256, TTL, Some(&pkcs1), Some(&traditional)).unwrap();
    assert!(signer.sign(&alice(), NOW).is_ok());

    // A certificate.
    let own = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&own).unwrap();
    let certificate = pem("CERTIFICATE", certificate.der());
    let private = own.serialize_pem().into_bytes();
    let jwt = Jwt::new(Method::Es256, TTL, Some(&certificate), Some(&private)).unwrap();
    let token = jwt.sign(&alice(), NOW).unwrap();
    let reader = Jwt::new(Method::Es256, TTL, Some(&certificate), None).unwrap();
    assert_eq!(reader.verify(&token, NOW), Ok(alice()));
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let refused = |method, public: &[u8], private: &[u8]| {
        Jwt::new(method, TTL, Some(public), Some(private)).unwrap_err()
    };
    assert_eq!(refused(Method::Hs256, b"", b""), KeyError::Missing);
    assert_eq!(refused(Method::Rs256, b"", b""), KeyError::Missing);
    assert_eq!(Jwt::new(Method::EdDsa, TTL, None, None).unwrap_err(), KeyError::Missing);
    let (one, other) = (pair(Method::Es256), pair(Method::Es256));
    assert_eq!(refused(Method::Es256, &other.1, &one.0), KeyError::Mismatch);
    for (method, public, private) in [
        (Method::Es384, &b""[..], &one.0[..]),
        (Method::Rs256, b"", &one.0),
        (Method::EdDsa, b"", &one.0),
        (Method::Es384, &one.1, b""),
        (Method::Es256, &one.0, b""),
        (Method::Es256, b"", &one.1),
        (Method::Es256, b"no PEM", b""),
        (Method::Es256, b"", b"no PEM"),
    ] {
        let error = refused(method, public, private);
        assert!(matches!(error, KeyError::Unusable { .. }), "{method:?}: {error}");
        assert!(error.to_string().contains(method.name()), "{error}");
    }
}

#[test]
fn claims_have_rules() {
    let jwt = Jwt::new(Method::Hs256, TTL, None, Some(b"secret")).unwrap();
    let Some(Signer::Hmac(key)) = &jwt.signer else { panic!() };
    let forge = |header: &str, claims: &str| {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = aws_lc_rs::hmac::sign(key, signed.as_bytes());
        jwt.verify(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), NOW)
    };
    let hs256 = r#"{"alg":"HS256"}"#;
    let good = Identity { user: "a".into(), revision: 3 };
    for claims in [
        r#"{"username":"a","revision":3}"#,
        r#"{"username":"a","revision":3.9,"exp":0}"#,
        r#"{"username":"a","revision":3,"exp":1.8000000015e9,"nbf":1800000000,"x":[]}"#,
    ] {
        assert_eq!(forge(hs256, claims), Ok(good.clone()), "{claims}");
    }
    for claims in [
        r#"{"username":"a","revision":3,"exp":1800000000}"#,
        r#"{"username":"a","revision":3,"exp":"1900000000"}"#,
        r#"{"username":"a","revision":3,"nbf":1800000001}"#,
        r#"{"username":"a","revision":"3"}"#,
        r#"{"username":"a"}"#,
        r#"{"username":1,"revision":3}"#,
        r#"{"revision":3}"#,
        "[]",
        "",
    ] {
        assert_eq!(forge(hs256, claims), Err(AuthError::InvalidToken), "{claims}");
    }
    let claims = r#"{"username":"a","revision":3}"#;
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS384"}"#, r#"{"alg":1}"#, "{}", ""] {
        assert_eq!(forge(header, claims), Err(AuthError::InvalidToken), "{header}");
    }
}

#[test]
fn another_method_or_key_or_a_flipped_byte_is_refused() {
    let jwt = Jwt::new(Method::Hs256, TTL, None, Some(b"secret")).unwrap();
    let token = jwt.sign(&alice(), NOW).unwrap();
    for other in [
        Jwt::new(Method::Hs256, TTL, None, Some(b"Secret")).unwrap(),
        Jwt::new(Method::Hs512, TTL, None, Some(b"secret")).unwrap(),
    ] {
        assert_eq!(other.verify(&token, NOW), Err(AuthError::InvalidToken));
    }
    for at in 0..token.len() {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] ^= 1;
        let flipped = String::from_utf8(bytes).unwrap();
        assert_eq!(jwt.verify(&flipped, NOW), Err(AuthError::InvalidToken), "byte {at}");
        assert_eq!(jwt.verify(&token[..at], NOW), Err(AuthError::InvalidToken), "cut to {at}");
    }
    let long = format!("{}.{}", "a".repeat(MAX_LEN), token.as_str());
    assert!(jwt.verify(&long, NOW).is_err());
    let shown = format!("{jwt:?}");
    assert!(shown.contains("Hs256") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_no_token(text in "[a-zA-Z0-9_=.-]{0,80}", any in ".{0,40}") {
        let jwt = Jwt::new(Method::Hs256, TTL, None, Some(b"secret")).unwrap();
        prop_assert!(jwt.verify(&text, NOW).is_err());
        prop_assert!(jwt.verify(&any, NOW).is_err());
    }
}
