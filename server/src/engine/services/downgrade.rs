//! A downgrade of the running cluster: may it be, begin it, end it.

use holdfast_api::etcdserverpb::downgrade_request::DowngradeAction;
use holdfast_api::etcdserverpb::{DowngradeRequest, InternalRaftRequest};
use holdfast_api::membershippb::DowngradeInfoSetRequest;
use holdfast_core::auth::Identity;
use holdfast_core::membership::DowngradeRefusal;
use holdfast_core::versions::EtcdVersion;
use tonic::Status;

use crate::engine::handle::Handle;
use crate::engine::locks::read;
use crate::grpc::Refusal;

impl Handle {
    pub(super) async fn change_downgrade(&self, request: DowngradeRequest) -> Result<(), Status> {
        let action = DowngradeAction::try_from(request.action);
        let action = action.map_err(|_| Refusal::Other("etcdserver: unknown method".to_owned()))?;
        let set = match action {
            DowngradeAction::Validate => {
                self.check_downgrade(&request.version).await?;
                return Ok(());
            }
            DowngradeAction::Enable => {
                let target = self.check_downgrade(&request.version).await?;
                DowngradeInfoSetRequest { enabled: true, ver: target.to_string() }
            }
            DowngradeAction::Cancel => {
                self.catch_up().await?;
                if !read(&self.inner.cluster).downgrade().enabled {
                    // Upstream notes it in its log and answers as if there had been one.
                    return Ok(());
                }
                DowngradeInfoSetRequest::default()
            }
        };
        let request = InternalRaftRequest { downgrade_info_set: Some(set), ..Default::default() };
        self.propose(&Identity::default(), request).await.map(|_| ())
    }

    async fn check_downgrade(&self, version: &str) -> Result<EtcdVersion, Status> {
        let target: Result<EtcdVersion, _> = version.parse();
        let target = target.map_err(|_| Refusal::WrongDowngradeVersionFormat)?;
        self.catch_up().await?;
        let verdict = read(&self.inner.cluster).may_downgrade(target);
        verdict.map_err(|refusal| match refusal {
            DowngradeRefusal::NoClusterVersion => Refusal::ClusterVersionUnavailable,
            DowngradeRefusal::InvalidTarget => Refusal::InvalidDowngradeTargetVersion,
            DowngradeRefusal::InProcess => Refusal::DowngradeInProcess,
            DowngradeRefusal::NoneRuns => Refusal::NoInflightDowngrade,
        })?;
        Ok(target)
    }
}
