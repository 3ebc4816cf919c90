//! The keys behind signed tokens.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, VerificationAlgorithm,
};

use super::Method;
use crate::auth::der;

/// Keys that cannot be used. The first two texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither key, or no secret for HS*.
    #[error("auth: missing key data; --auth-token=jwt needs priv-key, or pub-key to verify only")]
    Missing,
    /// The public key is not the private one's.
    #[error("auth: public and private keys don't match; give the pair, or priv-key alone")]
    Mismatch,
    /// A file that is no PEM, or no key of the method's kind. RSA keys have 2048 bits or more.
    #[error("auth: {which} is no key for {method}: {reason}; give a PEM file with such a key")]
    Unusable {
        /// `pub-key` or `priv-key`.
        which: &'static str,
        /// The method's name.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Signs. What is random in a signature the library draws itself: a signature's nonce must never
/// be anybody's choice.
pub(super) enum Signer {
    Hmac(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Verifies.
pub(super) enum Verifier {
    Hmac(Box<hmac::Key>),
    Public(Box<ParsedPublicKey>),
}

/// What a method takes.
enum Kind {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static dyn VerificationAlgorithm),
    Ed25519,
}

fn kind(method: Method) -> Kind {
    match method {
        Method::Hs256 => Kind::Hmac(hmac::HMAC_SHA256),
        Method::Hs384 => Kind::Hmac(hmac::HMAC_SHA384),
        Method::Hs512 => Kind::Hmac(hmac::HMAC_SHA512),
        Method::Rs256 => Kind::Rsa(&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        Method::Rs384 => Kind::Rsa(&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        Method::Rs512 => Kind::Rsa(&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
        Method::Ps256 => Kind::Rsa(&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        Method::Ps384 => Kind::Rsa(&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        Method::Ps512 => Kind::Rsa(&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
        Method::Es256 => Kind::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED),
        Method::Es384 => Kind::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED),
        Method::Es512 => Kind::Ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED),
        Method::EdDsa => Kind::Ed25519,
    }
}

/// Reads the keys of a method. Without a private one there is nothing to sign with.
pub(super) fn load(
    method: Method,
    public_key: Option<&[u8]>,
    private_key: Option<&[u8]>,
) -> Result<(Option<Signer>, Verifier), KeyError> {
    let public_key = public_key.filter(|file| !file.is_empty());
    let private_key = private_key.filter(|file| !file.is_empty());
    if let Kind::Hmac(algorithm) = kind(method) {
        let secret = private_key.ok_or(KeyError::Missing)?;
        let key = Box::new(hmac::Key::new(algorithm, secret));
        return Ok((Some(Signer::Hmac(key.clone())), Verifier::Hmac(key)));
    }
    let public = public_key.map(|file| read_public(method, file)).transpose()?;
    let Some(file) = private_key else {
        return Ok((None, public.ok_or(KeyError::Missing)?));
    };
    let (signer, own_public) = read_private(method, file)?;
    if let Some(public) = public {
        // They belong together if one verifies what the other signs.
        let probe = b"do these keys belong together?";
        let signature = signer.sign(probe).ok_or(KeyError::Mismatch)?;
        if !public.verify(probe, &signature) {
            return Err(KeyError::Mismatch);
        }
    }
    Ok((Some(signer), own_public))
}

fn unusable(which: &'static str, method: Method, reason: &str) -> KeyError {
    KeyError::Unusable { which, method: method.name(), reason: reason.to_owned() }
}

fn read_public(method: Method, file: &[u8]) -> Result<Verifier, KeyError> {
    let wrong = |reason: &str| unusable("pub-key", method, reason);
    let (label, der) = der::first_pem_block(file).ok_or_else(|| wrong("not a PEM file"))?;
    let der = match label.as_str() {
        "CERTIFICATE" => {
            der::certificate_key(&der).ok_or_else(|| wrong("not a readable certificate"))?
        }
        _ => &der[..],
    };
    parse_public(method, der).ok_or_else(|| wrong("a key of another kind, or damaged"))
}

/// Takes a `SubjectPublicKeyInfo`, or what a pair of keys gives as its public part.
fn parse_public(method: Method, bytes: &[u8]) -> Option<Verifier> {
    let algorithm: &'static dyn VerificationAlgorithm = match kind(method) {
        Kind::Hmac(_) => return None,
        Kind::Rsa(_, algorithm) | Kind::Ecdsa(_, algorithm) => algorithm,
        Kind::Ed25519 => &ED25519,
    };
    let key = ParsedPublicKey::new(algorithm, bytes).ok()?;
    Some(Verifier::Public(Box::new(key)))
}

fn read_private(method: Method, file: &[u8]) -> Result<(Signer, Verifier), KeyError> {
    let wrong = |reason: &str| unusable("priv-key", method, reason);
    let (_, der) = der::first_pem_block(file).ok_or_else(|| wrong("not a PEM file"))?;
    let rejected = |error: aws_lc_rs::error::KeyRejected| wrong(&error.to_string());
    let (signer, public) = match kind(method) {
        Kind::Hmac(_) => return Err(KeyError::Missing),
        Kind::Rsa(encoding, _) => {
            let key = RsaKeyPair::from_der(&der)
                .or_else(|_| RsaKeyPair::from_pkcs8(&der))
                .map_err(rejected)?;
            let public = key.public_key().as_ref().to_vec();
            (Signer::Rsa(Box::new(key), encoding), public)
        }
        Kind::Ecdsa(algorithm, _) => {
            let key = EcdsaKeyPair::from_private_key_der(algorithm, &der).map_err(rejected)?;
            let public = key.public_key().as_ref().to_vec();
            (Signer::Ecdsa(Box::new(key)), public)
        }
        Kind::Ed25519 => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(rejected)?;
            let public = key.public_key().as_ref().to_vec();
            (Signer::Ed25519(Box::new(key)), public)
        }
    };
    let verifier =
        parse_public(method, &public).ok_or_else(|| wrong("its public part cannot be read"))?;
    Ok((signer, verifier))
}

impl Signer {
    /// A signature, or `None` if the library refuses.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Signer::Hmac(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Signer::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Signer::Ecdsa(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Signer::Ed25519(key) => Some(key.try_sign(message).ok()?.as_ref().to_vec()),
        }
    }
}

impl Verifier {
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}
