//! Proving the newest snapshot: what the agent asks for, and the one that does it.

use crate::config::DrillConfig;
use holdfast_restore::drill::{DrillReport, DrillRequest, drill};
use holdfast_restore::server::ServerProgram;
use holdfast_vault::vault::Vault;
use std::time::Duration;

/// Proves snapshots. Its futures stay on the job's thread.
#[async_trait::async_trait(?Send)]
pub trait Drill: Send + Sync {
    /// Proves snapshot `number`. Dropping the future ends and removes whatever it started.
    ///
    /// # Errors
    /// The drill could not be done, in words for people; a snapshot that fails is in the report.
    async fn prove(
        &self,
        vault: &mut Vault,
        number: u64,
        config: &DrillConfig,
    ) -> Result<DrillReport, String>;
}

/// Restores into a sandbox and boots the configured server, else the one in this program.
#[derive(Debug, Clone, Copy, Default)]
pub struct SandboxDrill;

#[async_trait::async_trait(?Send)]
impl Drill for SandboxDrill {
    async fn prove(
        &self,
        vault: &mut Vault,
        number: u64,
        config: &DrillConfig,
    ) -> Result<DrillReport, String> {
        let server = ServerProgram::named_or_bundled(config.server_binary.as_deref());
        let mut request = DrillRequest::new(number, server, &config.directory);
        request.boot_deadline = request.boot_deadline.min(config.timeout);
        let limited = tokio::time::timeout(config.timeout, drill(vault, &request)).await;
        match limited {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err(too_long(config.timeout)),
        }
    }
}

fn too_long(timeout: Duration) -> String {
    let text = holdfast_policies::duration::text(timeout);
    format!("it took longer than drill.timeout ({text}); raise it, or look at the machine's disk")
}
