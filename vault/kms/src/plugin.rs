//! One plugin on its socket.
//!
//! What must hold: a plugin that is not there yet, or starts again, is waited for until the timeout
//! (as a kube-apiserver does); one that answers no is not asked twice. When it refuses, its own
//! words about its health stand in the error, because that is where plugins say that their key
//! store is locked.

use crate::limits::{check_encrypted, check_status, shorten};
use crate::v2::key_management_service_client::KeyManagementServiceClient;
use crate::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use holdfast_vault::keys::{Encrypted, KeyService, KmsConfig, ServiceError, ServiceStatus};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};
use tower::service_fn;
use zeroize::Zeroizing;

/// Pause between two attempts to reach a plugin that is not there.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Answers larger than this are not even read; the limits on content are much lower.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A KMS v2 plugin behind a unix socket. Connects when first asked, and again when the plugin
/// restarts.
#[derive(Debug, Clone)]
pub struct Plugin {
    name: String,
    endpoint: String,
    timeout: Duration,
    client: KeyManagementServiceClient<Channel>,
}

/// A plugin as the vault wants it; talks to nobody yet. Must be called inside a tokio runtime.
pub fn connect(config: &KmsConfig) -> Arc<dyn KeyService> {
    Arc::new(Plugin::new(config))
}

impl Plugin {
    /// Prepares a client; talks to nobody yet. Must be called inside a tokio runtime.
    pub fn new(config: &KmsConfig) -> Self {
        let path = socket_path(&config.endpoint);
        let connector = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is what plugins on Kubernetes' library expect of a local socket.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        let client =
            KeyManagementServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let (name, endpoint) = (config.name.clone(), config.endpoint.clone());
        Plugin { name, endpoint, timeout: config.timeout, client }
    }

    /// Repeats a call while nobody listens on the socket, until the timeout.
    async fn call<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, ServiceError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let end = Instant::now() + self.timeout;
        let mut last = "no answer".to_owned();
        loop {
            let Ok(result) = timeout_at(end, call()).await else {
                return Err(self.unavailable(&last));
            };
            let status = match result {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            match status.code() {
                // A status with a cause is the transport's, whatever its code: the plugin was
                // killed while it was asked, for example. Asking twice does no harm.
                _ if status.source().is_some() => last = words(&status),
                Code::Unavailable => last = words(&status),
                Code::DeadlineExceeded | Code::Cancelled => {
                    return Err(self.unavailable(&words(&status)));
                }
                Code::Unimplemented => {
                    let detail = self.speak("it does not serve KMS v2", &status);
                    return Err(ServiceError::Protocol { detail });
                }
                code => {
                    let detail = self.speak(&format!("{code:?}"), &status);
                    return Err(ServiceError::Refused { detail });
                }
            }
            if Instant::now() + RETRY_PAUSE >= end {
                return Err(self.unavailable(&last));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn unavailable(&self, last: &str) -> ServiceError {
        let detail = format!("plugin {:?} at {}: {}", self.name, self.endpoint, shorten(last));
        ServiceError::Unavailable { timeout: self.timeout, detail }
    }

    fn speak(&self, what: &str, status: &Status) -> String {
        let said = words(status);
        format!("plugin {:?} at {}: {what}: {}", self.name, self.endpoint, shorten(&said))
    }

    /// Adds what the plugin says about its health, if it is unwell.
    async fn with_health(&self, error: ServiceError) -> ServiceError {
        let ServiceError::Refused { detail } = error else { return error };
        let health = match self.status().await {
            Ok(status) if status.healthz == "ok" => return ServiceError::Refused { detail },
            Ok(status) => shorten(&status.healthz),
            Err(error) => error.to_string(),
        };
        ServiceError::Refused { detail: format!("{detail}; its health: {health}") }
    }
}

#[async_trait::async_trait]
impl KeyService for Plugin {
    async fn status(&self) -> Result<ServiceStatus, ServiceError> {
        let answer = self
            .call(|| {
                let mut client = self.client.clone();
                async move { client.status(StatusRequest {}).await }
            })
            .await?;
        let status = ServiceStatus {
            version: answer.version,
            healthz: answer.healthz,
            key_id: answer.key_id,
        };
        check_status(&status)?;
        Ok(status)
    }

    async fn encrypt(&self, uid: &str, plaintext: &[u8]) -> Result<Encrypted, ServiceError> {
        let result = self
            .call(|| {
                let mut client = self.client.clone();
                let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: uid.to_owned() };
                async move { client.encrypt(request).await }
            })
            .await;
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => return Err(self.with_health(error).await),
        };
        let encrypted = Encrypted {
            ciphertext: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations,
        };
        check_encrypted(&encrypted)?;
        Ok(encrypted)
    }

    async fn decrypt(
        &self,
        uid: &str,
        encrypted: &Encrypted,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let result = self
            .call(|| {
                let mut client = self.client.clone();
                let request = DecryptRequest {
                    ciphertext: encrypted.ciphertext.clone(),
                    uid: uid.to_owned(),
                    key_id: encrypted.key_id.clone(),
                    annotations: encrypted.annotations.clone(),
                };
                async move { client.decrypt(request).await }
            })
            .await;
        match result {
            Ok(answer) => Ok(Zeroizing::new(answer.plaintext)),
            Err(error) => Err(self.with_health(error).await),
        }
    }
}

/// What to connect to: `unix:///path` is a path, `unix:///@name` an abstract name. The
/// configuration's parser has seen the form; anything else is taken as a path and fails to connect.
fn socket_path(endpoint: &str) -> PathBuf {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    match path.strip_prefix("/@").or_else(|| path.strip_prefix('@')) {
        Some(name) => PathBuf::from(format!("\0{name}")),
        None => PathBuf::from(path),
    }
}

/// A status's message, with its causes where the transport is at fault.
fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::socket_path;
    use std::path::Path;

    #[test]
    fn endpoints_are_paths_or_abstract_names() {
        assert_eq!(socket_path("unix:///run/kms.sock"), Path::new("/run/kms.sock"));
        assert_eq!(socket_path("unix:///@kms"), Path::new("\0kms"));
        assert_eq!(socket_path("unix://@kms"), Path::new("\0kms"));
    }
}
