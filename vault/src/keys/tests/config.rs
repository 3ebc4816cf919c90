//! EncryptionConfigurations, good and bad.

use crate::keys::*;
use proptest::prelude::*;
use std::time::Duration;

/// 32, 24, 17 bytes in base64.
const K32: &str = "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/ISEhISE=";
const K24: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const K16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const K17: &str = "MDEyMzQ1Njc4OWFiY2RlZmc=";

fn document(providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: \
         [secrets]\n  providers:\n{providers}"
    )
}

fn local(kind: &str, name: &str, secret: &str) -> String {
    format!("  - {kind}:\n      keys:\n      - name: {name}\n        secret: {secret}\n")
}

fn refused(text: &str) -> String {
    let error = parse_encryption_config(text).expect_err(text).to_string();
    for secret in [K32, K24, K16, K17, "secret is secure", "0123456789abcdef"] {
        assert!(!error.contains(secret), "a secret in {error}");
    }
    error
}

#[test]
fn all_providers_in_yaml_and_in_json() {
    let yaml = document(&format!(
        "{}{}{}  - kms:\n      apiVersion: v2\n      name: vault-kms\n      endpoint: \
         unix:///run/kms.sock\n      timeout: 1m0.5s\n  - identity: {{}}\n",
        local("aesgcm", "a:b", K16),
        local("aescbc", "c", K24),
        local("secretbox", "s", K32)
    ));
    let json = format!(
        "{{\n\t\"kind\": \"EncryptionConfiguration\", \"apiVersion\": \"apiserver.config.k8s.io/v1\",\n \
         \"resources\": [{{\"resources\": [\"*.*\"], \"providers\": [{{\"aesgcm\": {{\"keys\": \
         [{{\"name\": \"a:b\", \"secret\": \"{K16}\"}}]}}}}, {{\"identity\": {{}}}}]}}]}}"
    );
    let config = parse_encryption_config(&yaml).unwrap();
    assert_eq!(config.resources, ["secrets"]);
    assert_eq!(config.providers.len(), 5);
    let ProviderConfig::Local { kind: ProviderKind::AesGcm, keys } = &config.providers[0] else {
        panic!("{config:?}");
    };
    assert_eq!((&keys[0].name[..], &keys[0].secret[..]), ("a:b", &b"0123456789abcdef"[..]));
    let kms = KmsConfig {
        name: "vault-kms".into(),
        endpoint: "unix:///run/kms.sock".into(),
        timeout: Duration::from_millis(60_500),
    };
    assert!(matches!(&config.providers[3], ProviderConfig::Kms(found) if *found == kms));
    assert!(matches!(&config.providers[4], ProviderConfig::Identity));
    assert_eq!(parse_encryption_config(&json).unwrap().providers.len(), 2);
    assert!(!format!("{config:?}").contains("0123456789"), "Debug shows no key");
}

#[test]
fn keys_may_share_a_name_but_not_all_of_it() {
    let two = |a, b| document(&(local("aesgcm", "key", a) + &local("aesgcm", "key", b)));
    assert!(parse_encryption_config(&two(K16, K24)).is_ok());
    let error = refused(&two(K16, K16));
    assert_eq!(
        error,
        "line 12, column 9: resources[0].providers[1].aesgcm.keys[0]: this key stands in the list already"
    );
}

#[test]
fn mistakes_are_named_with_line_and_column() {
    let kms = |lines: &str| format!("  - kms:\n      name: k\n{lines}");
    let cases = [
        (
            local("aesgcm", "k", K17),
            "line 9, column 17: resources[0].providers[0].aesgcm.keys[0].secret: 17 bytes long; aesgcm takes 16, 24 or 32",
        ),
        (
            local("secretbox", "k", K24),
            "line 9, column 17: resources[0].providers[0].secretbox.keys[0].secret: 24 bytes long; secretbox takes 32",
        ),
        (
            local("aescbc", "k", "'not base64'"),
            "line 9, column 17: resources[0].providers[0].aescbc.keys[0].secret: is not standard base64",
        ),
        (
            local("aesgcm", "k", "12345"),
            "line 9, column 17: resources[0].providers[0].aesgcm.keys[0].secret: text is expected, a number stands here",
        ),
        (
            local("aesgcm", "''", K16),
            "line 8, column 15: resources[0].providers[0].aesgcm.keys[0].name: must be 1 to",
        ),
        (
            local("aesctr", "k", K16),
            "line 6, column 5: resources[0].providers[0]: unknown field \"aesctr\"",
        ),
        (
            "  - aesgcm:\n      keys: []\n".into(),
            "line 7, column 13: resources[0].providers[0].aesgcm.keys: the list is empty",
        ),
        (
            "  - aesgcm: {}\n".into(),
            "line 6, column 13: resources[0].providers[0].aesgcm: keys is missing",
        ),
        (
            "  - aesgcm:\n      keys:\n      - name: a\n".into(),
            "line 8, column 9: resources[0].providers[0].aesgcm.keys[0]: secret is missing",
        ),
        (
            format!(
                "  - aesgcm:\n      keys:\n      - name: a\n        name: b\n        secret: {K16}\n"
            ),
            "line 9, column 9: resources[0].providers[0].aesgcm.keys[0]: name stands here twice",
        ),
        (
            format!("  - aesgcm:\n      keys:\n      - name: a\n        secrets: {K16}\n"),
            "line 9, column 9: resources[0].providers[0].aesgcm.keys[0]: unknown field \"secrets\"; known here: name, secret",
        ),
        (
            "  - identity: {}\n    kms: {}\n".into(),
            "line 6, column 5: resources[0].providers[0]: exactly one provider",
        ),
        (
            "  - identity: {}\n  - identity: {}\n".into(),
            "line 7, column 15: resources[0].providers[1].identity: identity stands in the list twice",
        ),
        (
            "  - identity: yes please\n".into(),
            "line 6, column 15: resources[0].providers[0].identity: a mapping is expected, text",
        ),
        ("    []\n".into(), "line 6, column 5: resources[0].providers: the list is empty"),
        (
            kms("      endpoint: unix:///a\n"),
            "line 7, column 7: resources[0].providers[0].kms: kms v1",
        ),
        (
            kms("      apiVersion: v1\n      endpoint: unix:///a\n"),
            "line 8, column 19: resources[0].providers[0].kms.apiVersion: kms v1",
        ),
        (
            kms("      apiVersion: v3\n"),
            "line 8, column 19: resources[0].providers[0].kms.apiVersion: must be v2",
        ),
        (
            kms("      apiVersion: v2\n      endpoint: /run/kms.sock\n"),
            "line 9, column 17: resources[0].providers[0].kms.endpoint: must be unix:///path",
        ),
        (
            kms("      apiVersion: v2\n      cachesize: 10\n"),
            "line 9, column 18: resources[0].providers[0].kms.cachesize: cachesize belongs to kms v1",
        ),
        (
            kms("      apiVersion: v2\n      endpoint: unix:///a\n      timeout: 0s\n"),
            "line 10, column 16: resources[0].providers[0].kms.timeout: must be a positive duration",
        ),
        (
            kms("      apiVersion: v2\n      endpoint: unix:///a\n      timeout: 3\n"),
            "line 10, column 16: resources[0].providers[0].kms.timeout: text is expected",
        ),
        (
            "  - kms:\n      name: 'a:b'\n      apiVersion: v2\n".into(),
            "line 7, column 13: resources[0].providers[0].kms.name: a plugin's name must not contain a colon",
        ),
    ];
    for (providers, wanted) in cases {
        let error = refused(&document(&providers));
        assert!(error.starts_with(wanted), "{error}\n wanted: {wanted}");
    }
    let twice = kms("      apiVersion: v2\n      endpoint: unix:///a\n");
    assert!(refused(&document(&(twice.clone() + &twice))).contains("of this name stands"));
}

#[test]
fn the_document_itself_is_checked() {
    let good = document("  - identity: {}\n");
    let cases = [
        (good.replace("v1\n", "v1beta1\n"), "line 1, column 13: apiVersion: must be"),
        (
            good.replace("EncryptionConfiguration", "EncryptionConfig"),
            "line 2, column 7: kind: must be",
        ),
        (good.replace("kind:", "kinds:"), "line 2, column 1: unknown field \"kinds\""),
        (
            good.replace("  providers:", "  provider:"),
            "line 5, column 3: resources[0]: unknown field",
        ),
        (
            good.replace("[secrets]", "[]"),
            "line 4, column 14: resources[0].resources: the list is empty",
        ),
        (
            good.replace("[secrets]", "[a, a]"),
            "line 4, column 18: resources[0].resources[1]: this resource is named twice",
        ),
        (
            format!("{good}- resources: [configmaps]\n  providers:\n  - identity: {{}}\n"),
            "line 7, column 3: resources[1]: exactly one element",
        ),
        (String::new(), "a mapping is expected"),
        ("- a\n".into(), "line 1, column 1: a mapping is expected, a list"),
        ("a: [\n".into(), "line 2, column 1: it is not a YAML"),
        ("a: !secret x\n".into(), "it is not a YAML"),
        (format!("{good}---\n{good}"), "it is not a YAML"),
    ];
    for (text, wanted) in cases {
        let error = refused(&text);
        assert!(error.contains(wanted), "{error}\n wanted: {wanted}");
    }
}

#[test]
fn a_secret_in_a_wrong_place_is_not_shown() {
    refused(&document(&format!("  - aesgcm:\n      keys:\n      - name: a\n        {K32}: x\n")));
    refused(&document(&format!("  - aesgcm:\n      keys: {K32}\n")));
    refused(&document(&format!("  - aesgcm: {K32}\n")));
    refused(&document(&format!("  - {K32}\n")));
    refused(&document(&format!(
        "  - aesgcm:\n      keys:\n      - name: a\n       secret: {K32}\n"
    )));
}

proptest! {
    #[test]
    fn any_text_is_an_error_or_a_configuration(text in "[ -~\n]{0,200}") {
        let _ = parse_encryption_config(&text);
    }

    #[test]
    fn a_good_text_with_a_hole_does_not_panic(at in 0usize..400, length in 0usize..12, with in "[ -~\n]{0,4}") {
        let mut text = document(&(local("aesgcm", "a", K16) + &local("secretbox", "b", K32)));
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        text.replace_range(at..end, &with);
        let _ = parse_encryption_config(&text);
    }
}
