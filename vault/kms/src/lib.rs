//! The Kubernetes KMS v2 plugin's client behind the trait of the vault: any plugin that serves a
//! kube-apiserver serves us.
//!
//! What must hold: what a plugin answers is within Kubernetes' limits or an error
//! (`k8s.io/apiserver`, kmsv2/envelope.go); a secret never stands in an error or a `Debug` text; no
//! question outlasts its timeout (a refusal asks a second one: how the plugin is).

mod limits;
mod plugin;

pub use plugin::{Plugin, connect};

/// The generated messages and stub.
mod v2 {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/v2.rs"));
}

impl std::fmt::Debug for v2::EncryptRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptRequest").field("uid", &self.uid).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for v2::DecryptResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecryptResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::v2::{DecryptResponse, EncryptRequest};

    #[test]
    fn secrets_are_not_shown() {
        let asked = EncryptRequest { plaintext: b"hunter2".to_vec(), uid: "u-1".to_owned() };
        let answered = DecryptResponse { plaintext: b"hunter2".to_vec() };
        let shown = format!("{asked:?} {answered:?}");
        assert!(shown.contains("u-1"), "{shown}");
        // Neither as text nor as a list of numbers.
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
    }
}
