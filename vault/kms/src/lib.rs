//! The Kubernetes KMS v2 plugin client behind the trait of the vault.
